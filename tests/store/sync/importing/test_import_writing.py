"""The file that is written: valid whatever the names are, and fit to be read."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from imports_under_test import entries, mosquitto, permissions, written

from store.hashes import hash_password
from store.records import Action, Effect, Grantee, Permission
from store.sync.document import load_policy
from store.sync.importing.first_match import Grants
from store.sync.importing.imported import Imported, ImportedIdentity
from store.sync.importing.original import Spot
from store.sync.importing.rules import Rule
from store.sync.importing.writing import policy_text

HASH = hash_password(b"x")
ODD = (
    "no", "null", "~", "1e3", "0123", "true", "#", " a ", "a: b", "-", "- a", "?", "&a", "*a", "!t", "%a", "@", "`",
    "é", "日本", "🎉", "\u2028", "\x85", "\ufeff", "x\ty", '"', "'", "\\", "a\nb", "\x01", "\x1b[31m", "\x7f", "[a]",
    "{a}", "a,b", "<<", "=", "2026-01-01", "|", ">", "a" * 200, "${x}", "a #b", "anna", "n\nidentities: []",
)  # fmt: skip
NAMES = st.sampled_from(ODD)
TOPICS = st.sampled_from(
    ["a", "a/#", "+/b", "$SYS/#", "x/${clientid}", "$${x}", " ", "a b", "é/\u2028", "# a"[2:], 'a"b', "a\\b"]
)
SPOT = Spot("a\nfile", 3)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    grantee = draw(st.sampled_from([Grantee.ALL, Grantee.USER, Grantee.CLIENT]))
    return Rule(
        effect=draw(st.sampled_from(Effect)),
        grantee=grantee,
        name="" if grantee is Grantee.ALL else draw(NAMES),
        action=draw(st.sampled_from([Action.PUB, Action.SUB])),
        topic=draw(TOPICS),
        at=SPOT,
        said=draw(NAMES),
    )


@st.composite
def imports(draw: st.DrawFn) -> Imported:
    made = Imported()
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        identity = ImportedIdentity(username=name, hash=HASH, note=draw(NAMES), comment=draw(NAMES))
        made.add_identity(identity, SPOT, "mend it")
    found = draw(st.lists(rules(), max_size=8))
    made.add_grants(Grants(tuple(one for one in found if one.allows), tuple(one for one in found if not one.allows)))
    for rule in found:
        made.comments[rule.key] = draw(NAMES)
    for name in draw(st.lists(NAMES, max_size=3)):
        made.leftovers.left_out(SPOT, name, name, name, name)
        made.leftovers.differs(name)
    return made


@given(imports())
@settings(max_examples=150, deadline=None)
def test_whatever_the_names_it_says_what_was_imported(made: Imported) -> None:
    text = policy_text(made, origin="a\nfile: x", source="policy", instance="mqtt-default")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "policy.yaml")
        file.write_text(text, encoding="utf-8")
        policy = load_policy([file])
    assert [one.username for one in policy.identities] == [one.username for one in made.identities]
    assert {one.secrets[0].value for one in policy.identities} <= {HASH}
    said = {(rule.grantee, rule.name, rule.topic, rule.effect, rule.action) for rule in (*made.allows, *made.denies)}
    assert {one for permission in policy.permissions for one in _parts(permission)} == said


def _parts(permission: Permission) -> list[tuple[Grantee, str, str, Effect, Action]]:
    actions = [action for action in (Action.PUB, Action.SUB) if permission.action.includes(action)]
    return [
        (permission.identity_type, permission.identity, permission.topic, permission.effect, action)
        for action in actions
    ]


def test_long_lists_have_a_line_each() -> None:
    topics = [f"plant/line-{number}/temperature" for number in range(6)]
    made = mosquitto("user a\n" + "\n".join(f"topic read {topic}" for topic in topics))
    assert permissions(made) == [{"username": "a", "subscribe": topics}]
    assert '    subscribe:\n      - "plant/line-0/temperature"\n' in written(made)


def test_the_lines_of_a_block_are_named_by_ranges() -> None:
    made = mosquitto(
        "user a\ntopic read a\ntopic read b\n\n# x\ntopic read c\nuser b\ntopic read d\nuser a\ntopic read e\n"
    )
    assert "  # acl:2-3,6,10\n  - username: a\n" in written(made)


def test_what_is_left_out_stands_at_the_end_and_is_announced_at_the_top() -> None:
    text = written(mosquitto("topic read a\nuser b\ntopic read c\n"))
    head, _, rest = text.partition("format: exhook/v1\n")
    assert head.splitlines()[-1] == (
        "# Not all of it could be carried over (1 line left out): see the end of this file."
    )
    assert "# - acl:1: topic read a: it stands before the first `user` line" in rest.partition("# Left out: ")[2]
    assert all(line.startswith("#") or not line for line in rest.partition("# Left out: ")[2].splitlines()[1:])


def test_an_import_of_nothing_is_a_policy_without_entries() -> None:
    assert entries(written(mosquitto(""))) == {
        "format": "exhook/v1",
        "source": "policy",
        "defaults": {"instance": "mqtt-default"},
    }
