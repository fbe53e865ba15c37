"""Whatever a file holds, an import ends in a policy that loads, or in a sentence with its place."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imports_under_test import written

from store.sync.commands_import import IMPORTERS, Kind
from store.sync.document import load_policy
from store.sync.findings import InvalidPolicy
from store.sync.importing.emqx_hashes import Algorithm, Hashing, SaltPosition
from store.sync.importing.imported import Imported
from store.sync.importing.original import Original

HASHING = Hashing(Algorithm.SHA256, SaltPosition.PREFIX)
PIECES = {
    Kind.EMQX_ACL: [
        "{allow, ",
        "{deny, ",
        "all",
        "}.",
        "\n",
        '"a/${clientid}"',
        "[",
        "]",
        ", ",
        "{eq, ",
        "}",
        "publish",
    ],
    Kind.EMQX_BUILTIN: [
        *('{"user_id": "a"', ', "password_hash": "', "0" * 64, '"', "}", "[", "]", ", ", '"rules": [', "null", "1e999"),
        *('{"permission": "allow"', '"topic": "a"', ', "action": "all"', "\n", "user_id,password_hash", "a,"),
    ],
    Kind.MOSQUITTO_PASSWORDS: ["a", ":", "$7$1$", "$6$", "AAAA", "$", "\n", " ", "#", "Token|"],
    Kind.MOSQUITTO_ACL: [
        *("user", "topic", "pattern", " ", "read", "deny", "a/b", "%c", "%u", "#", "+", "/", "$", "{", "\n", "\t"),
        *("user a\n", "topic read a\n", "pattern deny "),
    ],
    Kind.DYNAMIC_SECURITY: [
        *(
            '{"clients": [',
            '{"username": "a"',
            ', "roles": [',
            '{"rolename": "r"',
            "}",
            "]",
            ", ",
            '"roles": [',
            "null",
        ),
        *('{"acltype": "subscribePattern", "topic": "a/%c", "priority": "x"', '"groups": 1', '"acls": [', "-1e400"),
    ],
}


@pytest.mark.parametrize("kind", Kind)
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_it_ends_in_a_policy_or_in_a_sentence(kind: Kind, data: st.DataObject) -> None:
    pieces = st.one_of(st.sampled_from(PIECES[kind]), st.sampled_from(PIECES[kind]), st.text(max_size=3))
    text = "".join(data.draw(st.lists(pieces, max_size=25))).replace("\0", "")
    made = imported(kind, text)
    if isinstance(made, InvalidPolicy):
        assert all(line.startswith("file:") for line in str(made).splitlines())
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "policy.yaml")
        file.write_text(written(made), encoding="utf-8")
        load_policy([file])


def imported(kind: Kind, text: str) -> Imported | InvalidPolicy:
    try:
        return IMPORTERS[kind].run([Original("file", text)], HASHING)
    except InvalidPolicy as wrong:
        return wrong
