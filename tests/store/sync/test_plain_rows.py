"""The short way and the long way of reading rows: the same records, and the same rows refused."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from documents_under_test import blacklisted, blocks, flow, identities
from hypothesis import given
from hypothesis import strategies as st
from policy_files_under_test import unhurried

from store.sync.document import InvalidPolicy, Policy, load_policy
from store.sync.plain_rows import PlainRows

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$4Yf1mYzqfYOJzlMnqDcLrzKGh0ZKRj3BXVrHtJvqUXE"
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        "",
        " ",
        "a",
        "1",
        "true",
        "a\x00",
        "a\x07",
        "é",
        "�",
        "GID_abc",
        "Token|a",
        "x" * 130,
        1,
        1.5,
        True,
        False,
        None,
        [],
        {},
        ["a"],
        ["a", "a"],
        [1],
        [""],
        {"a": "b"},
        "2027-01-01",
        "2027-13-01",
        "#/a",
        "${var.v}",
        "${var.x}",
    ]
)
SECRETS = st.dictionaries(
    st.sampled_from(["id", "env", "file", "hash", "literal", "stored", "expires", "other"]),
    st.one_of(st.sampled_from(["a", "A_B", HASH, "2027-01-01", "/a", "a-b"]), ODD),
    max_size=3,
)
COMMON = {
    "id": st.one_of(st.sampled_from(["i", "j", "k"]), ODD),
    "instance": st.one_of(st.just("mqtt-other"), ODD),
    "note": st.one_of(st.just("a note"), ODD),
    "protect": st.one_of(st.booleans(), ODD),
    "expires": st.one_of(st.just("2027-01-01T00:00:00Z"), ODD),
    "override": st.one_of(st.booleans(), ODD),
    "other": ODD,
}
NAMES = st.one_of(st.sampled_from(["a", "b", "c"]), ODD)
TOPICS = st.one_of(
    st.lists(st.sampled_from(["a", "b/+", "c/#", "${clientid}", "${var.v}/x", "$${var.v}"]), max_size=3), ODD
)
ACTIONS = {"publish": TOPICS, "subscribe": TOPICS, "both": TOPICS}
MODES = st.one_of(st.sampled_from(["origin", "signed", "hashed", "external"]), ODD)
ROWS = {
    "identities": {
        "username": NAMES,
        "client_id": NAMES,
        "sign_mode": MODES,
        "client_ids": st.one_of(st.dictionaries(st.sampled_from(["prefix", "group", "x"]), NAMES, max_size=2), ODD),
        "secret": st.one_of(SECRETS, ODD),
        "secrets": st.one_of(st.lists(SECRETS, max_size=3), ODD),
    },
    "permissions": {
        "username": NAMES,
        "client_id": NAMES,
        "group": NAMES,
        "access_key": NAMES,
        "everyone": st.one_of(st.booleans(), ODD),
        "deny": st.one_of(st.fixed_dictionaries({}, optional={**ACTIONS, "x": ODD}), ODD),
        "roles": st.one_of(st.lists(st.sampled_from(["one", "two", "none"]), max_size=2), ODD),
        **ACTIONS,
    },
    "blacklist": {"client_id": NAMES, "username": NAMES, "reason": st.one_of(st.just("why"), ODD)},
}
DEFAULTS = {
    "identities": {"sign_mode": "external", "note": "of all"},
    "permissions": {"roles": ["one"], "protect": True},
    "blacklist": {"reason": "of all", "instance": "mqtt-lost"},
}
LIKELY: dict[str, list[dict[str, Any]]] = {
    "identities": [{"username": "a", "sign_mode": "external"}, {"username": "a", "secret": {"env": "A"}}],
    "permissions": [{"username": "a", "publish": ["t"]}, {"everyone": True, "deny": {"both": ["t"]}}],
    "blacklist": [{"client_id": "a"}],
}


@st.composite
def rows(draw: st.DrawFn, section: str) -> list[dict[str, Any]]:
    """Rows that are right, or nearly so, or not at all."""
    fields = {**COMMON, **ROWS[section]}
    found = []
    for _ in range(draw(st.integers(1, 4))):
        row = dict(draw(st.sampled_from(LIKELY[section])))
        for key in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
            row[key] = draw(fields[key])
        found.append(row)
    return found


@contextmanager
def the_long_way() -> Iterator[None]:
    with mock.patch.object(PlainRows, "records", return_value=None):
        yield


def outcome(policy: Path) -> Any:
    """What a policy says, or all that is wrong with it."""
    try:
        read = load_policy([policy])
    except InvalidPolicy as wrong:
        return [str(error) for error in wrong.errors]
    return everything(read)


def everything(policy: Policy) -> list[Any]:
    return [
        list(policy.identities),
        list(policy.permissions),
        list(policy.blacklist),
        policy.instances,
        policy.warnings,
    ]


def including(folder: Path, section: str, entries: list[dict[str, Any]], *, defaults: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    policy = folder / "policy.yaml"
    said = f", defaults: {json.dumps(DEFAULTS[section])}" if defaults else ""
    policy.write_text(
        "format: exhook/v1\nvars: {v: value}\nroles: {one: {publish: [r1, t]}, two: {subscribe: [r1, r2]}}\n"
        f"include: [{{{section}: rows.jsonl{said}}}]\n"
    )
    lines = [json.dumps(entry, ensure_ascii="\\ud" in json.dumps(entry)) for entry in entries]
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return policy


@pytest.mark.parametrize("section", sorted(ROWS))
@pytest.mark.parametrize("defaults", [False, True], ids=["", "defaults"])
@given(data=st.data())
@unhurried(150)
def test_both_ways_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, section: str, defaults: bool, data: st.DataObject
) -> None:
    policy = including(
        tmp_path_factory.getbasetemp() / f"both-{section}", section, data.draw(rows(section)), defaults=defaults
    )
    shortly = outcome(policy)
    with the_long_way():
        assert outcome(policy) == shortly


@pytest.mark.parametrize(
    ("section", "entries"), [("identities", identities), ("permissions", blocks), ("blacklist", blacklisted)]
)
@given(data=st.data())
@unhurried(60)
def test_rows_are_the_entries_of_a_policy_file(
    tmp_path_factory: pytest.TempPathFactory, section: str, entries: Any, data: st.DataObject
) -> None:
    """The same entries in a list of the policy file, as JSON, make the same records."""
    entry = data.draw(entries([]))
    policy = including(tmp_path_factory.getbasetemp() / f"rows-{section}", section, [entry])
    [included] = load_policy([policy]).__getattribute__(section)[:1] or [None]
    listed = tmp_path_factory.getbasetemp() / f"rows-{section}" / "listed.yaml"
    listed.write_text(f"format: exhook/v1\n{section}: {flow([entry])}\n", encoding="utf-8")
    [written] = getattr(load_policy([listed]), section)[:1] or [None]
    assert type(included) is type(written)
    listed_at = re.compile(r"listed\.yaml:2(:\d+)?")
    assert repr(included).replace("rows.jsonl:1", "x").replace("secret", "") == listed_at.sub(
        "x", repr(written)
    ).replace("secret", "")


@pytest.mark.parametrize("section", sorted(ROWS))
def test_the_short_way_is_taken(tmp_path: Path, section: str) -> None:
    """Else a million rows would take the long way, and nobody would notice but by the clock."""
    written: dict[str, list[dict[str, Any]]] = {
        "identities": [
            {"username": "a", "client_id": "c", "sign_mode": "signed", "secret": {"env": "A"}, "id": "i", "note": "n"},
            {"username": "b", "secrets": [{"id": "x", "hash": HASH}, {"id": "y", "hash": HASH}]},
            {"username": "${var.v}", "sign_mode": "origin", "secret": {"file": "f", "expires": "2027-01-01"}},
            {"username": "d", "sign_mode": "origin", "secret": {"stored": True}, "client_ids": {"prefix": "d"}},
        ],
        "permissions": [
            {"username": "a", "publish": ["t"], "subscribe": ["t", "${clientid}"], "deny": {"both": ["u"]}},
            {"everyone": True, "roles": ["one", "two"], "protect": True, "expires": "2027-01-01"},
        ],
        "blacklist": [{"client_id": "a", "reason": "why", "instance": "mqtt-x"}, {"username": "a"}],
    }
    entries = written[section]
    policy = including(tmp_path / "p", section, entries)
    with mock.patch("store.sync.included.Included._carefully", side_effect=AssertionError("the long way")):
        assert len(getattr(load_policy([policy]), section)) >= len(entries)
