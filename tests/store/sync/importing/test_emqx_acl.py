from pathlib import Path

import pytest
from imports_under_test import PUB, SUB, Installed, emqx, losses, permissions, told, written

from store.sync.findings import InvalidPolicy
from store.sync.importing.emqx_acl import import_acl
from store.sync.importing.leftovers import Sort
from store.sync.importing.original import Original

DATA = Path(__file__).parent / "data"
EVERYONE = {"everyone": True}


def test_the_file_that_emqx_ships(tmp_path: Path) -> None:
    made = import_acl([Original.read(DATA / "acl.conf")])
    assert permissions(made) == [
        {"username": "dashboard", "subscribe": ["$SYS/#"]},
        EVERYONE | {"publish": ["#"], "subscribe": ["+/#"]},
    ]
    (lost,) = losses(made)
    assert f'{DATA / "acl.conf"}:4: left out: {{allow, {{ipaddr, "127.0.0.1"}}, all, ["$SYS/#", "#"]}}: ' in lost
    with Installed(tmp_path, written(made), users=["dashboard", "anna"]) as store:
        assert store.may("anna", "c", PUB, "a/b")
        assert store.may("anna", "c", SUB, "a/#")
        assert not store.may("anna", "c", SUB, "#")
        assert not store.may("anna", "c", SUB, "$SYS/#")
        assert store.may("dashboard", "c", SUB, "$SYS/#")
        assert not store.may("nobody", "c", PUB, "a/b")


@pytest.mark.parametrize(
    ("who", "grantee"),
    [
        ("all", EVERYONE),
        ('{user, "anna"}', {"username": "anna"}),
        ('{username, <<"anna">>}', {"username": "anna"}),
        ('{client, "c1"}', {"client_id": "c1"}),
        ('{clientid, "c1"}', {"client_id": "c1"}),
        ('{username, {re, "^anna$"}}', {"username": "anna"}),
        ("{'and', [all, {user, \"anna\"}]}", {"username": "anna"}),
        ('{\'and\', [{user, "anna"}, {user, "anna"}]}', {"username": "anna"}),
        ("{'and', []}", EVERYONE),
        ("{'or', [{user, \"anna\"}]}", {"username": "anna"}),
        ('{username, "no"}', {"username": "no"}),
        ('{username, "0123"}', {"username": "0123"}),
    ],
)
def test_whom_a_rule_concerns(who: str, grantee: dict[str, object]) -> None:
    made = emqx(f'{{allow, {who}, publish, ["a"]}}.')
    assert permissions(made) == [{**grantee, "publish": ["a"]}]
    assert losses(made) == []


def test_either_of_two_is_a_block_for_each() -> None:
    made = emqx('{allow, {\'or\', [{user, "anna"}, {client, "c1"}]}, subscribe, ["a/#"]}.')
    assert permissions(made) == [
        {"username": "anna", "subscribe": ["a/#"]},
        {"client_id": "c1", "subscribe": ["a/#"]},
    ]


CONDITIONS = [
    ('{ipaddr, "10.0.0.0/8"}', "a rule by address"),
    ('{ipaddrs, ["10.0.0.1", "10.0.0.2"]}', "a rule by address"),
    ('{username, {re, "^an"}}', "a regular expression on user names"),
    ('{clientid, {re, "."}}', "a regular expression on client ids"),
    ('{\'and\', [{user, "anna"}, {client, "c1"}]}', "several conditions at once"),
    ('{client_attr, "tier", "gold"}', "is not known here"),
]


@pytest.mark.parametrize(("who", "why"), CONDITIONS)
def test_a_grant_under_a_condition_that_cannot_be_said_is_left_out(who: str, why: str) -> None:
    made = emqx(f'{{allow, {who}, publish, ["a"]}}.')
    assert permissions(made) == []
    (lost,) = losses(made)
    assert lost.startswith(f'acl.conf:1: left out: {{allow, {who}, publish, ["a"]}}: ')
    assert why in lost


@pytest.mark.parametrize(("who", "why"), CONDITIONS)
def test_a_denial_under_such_a_condition_is_widened(who: str, why: str) -> None:
    made = emqx(f'{{deny, {who}, publish, ["a/b"]}}.\n{{allow, all, publish, ["a/#"]}}.')
    denied = [block for block in permissions(made) if "deny" in block]
    assert [block["deny"] for block in denied] == [{"publish": ["a/b"]}]
    both = who.startswith("{'and'")
    assert ("username" in denied[0]) is both
    (lost,) = losses(made)
    assert lost.startswith("acl.conf:1: stricter: ")
    assert why in lost
    assert ("denied to everyone" in lost) is not both


def test_a_condition_that_is_said_in_part_is_carried_over_in_part() -> None:
    made = emqx('{allow, {\'or\', [{user, "anna"}, {ipaddr, "10.0.0.1"}]}, publish, ["a"]}.')
    assert permissions(made) == [{"username": "anna", "publish": ["a"]}]
    assert len(losses(made)) == 1


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("publish", {"publish": ["a"]}),
        ("subscribe", {"subscribe": ["a"]}),
        ("all", {"both": ["a"]}),
        ("pubsub", {"both": ["a"]}),
        ("{publish, []}", {"publish": ["a"]}),
        ("{all, [{qos, [0,1,2]}, {retain, all}]}", {"both": ["a"]}),
    ],
)
def test_actions(action: str, said: dict[str, object]) -> None:
    made = emqx(f'{{allow, all, {action}, ["a"]}}.')
    assert permissions(made) == [EVERYONE | said]
    assert losses(made) == []


@pytest.mark.parametrize("action", ["{publish, [{qos, 1}]}", "{publish, [{retain, false}]}", "{all, [odd]}"])
def test_conditions_on_qos_and_retain(action: str) -> None:
    made = emqx(f'{{allow, all, {action}, ["a"]}}.')
    assert permissions(made) == []
    assert "conditions on QoS and retain" in losses(made)[0]
    made = emqx(f'{{deny, all, {action}, ["a"]}}.\n{{allow, all, all, ["#"]}}.')
    assert permissions(made)[0]["deny"]["both" if action.startswith("{all") else "publish"] == ["a"]
    assert "denied whatever the QoS" in losses(made)[0]


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("a/${clientid}/b", "a/${clientid}/b"),
        ("x-${username}", "x-${username}"),
        ("${cert_common_name}/#", "${cn}/#"),
        ("a/${", "a/$${"),
        ("a b", "a b"),
    ],
)
def test_topics(topic: str, said: str) -> None:
    made = emqx(f'{{allow, all, publish, ["{topic}"]}}.')
    assert permissions(made) == [EVERYONE | {"publish": [said]}]
    assert losses(made) == []


@pytest.mark.parametrize(
    ("topic", "widened", "why"),
    [
        ('"a/b/%c/x"', "a/b/#", "%c is a placeholder of EMQX 4"),
        ('"%u"', "#", "%u is a placeholder of EMQX 4"),
        ('"a/${client_attrs.tier}"', "a/#", "the placeholder ${client_attrs.tier} is not known here"),
        ('"a/+${clientid}"', "a/#", "has a wildcard beside a placeholder"),
        ('"a/$${clientid}"', "a/#", "a `$` before a placeholder cannot be written here"),
        ('"a/#/${zone}"', "#", "the placeholder ${zone} is not known here"),
    ],
)
def test_topics_that_cannot_be_said(topic: str, widened: str, why: str) -> None:
    made = emqx(f"{{allow, all, publish, [{topic}]}}.")
    assert permissions(made) == []
    assert why in losses(made)[0]
    made = emqx(f'{{deny, all, publish, [{topic}]}}.\n{{allow, all, publish, ["#"]}}.')
    denied = [block["deny"]["publish"] for block in permissions(made) if "deny" in block]
    # Where everything would be denied, what is below it is left out, and the denial is not needed.
    assert denied == ([] if widened == "#" else [[widened]])
    assert why in " ".join(losses(made))


def test_a_filter_alone_is_granted_only_where_it_covers_no_other() -> None:
    made = emqx('{allow, all, subscribe, [{eq, "a/b"}, "eq c/${clientid}", {eq, "a/#"}]}.')
    assert permissions(made) == [EVERYONE | {"subscribe": ["a/b", "c/$${clientid}"]}]
    (lost,) = losses(made)
    assert lost.endswith('a grant of a/# lets through every narrower filter, too; if that may be, subscribe: ["a/#"]')


@pytest.mark.parametrize(
    "rule",
    [
        "{allow, all, publish, []}.",
        "{deny, {'or', []}, publish, [\"a\"]}.",
        '{allow, all, publish, [{eq, "a/#"}]}.',
        '{deny, all, publish, [{eq, "a/+"}]}.',
        '{deny, all, publish, ["$share/g/a"]}.',
        '{deny, all, subscribe, ["a/#/b"]}.',
    ],
)
def test_a_rule_that_never_matches_is_noted(rule: str) -> None:
    made = emqx(rule)
    assert permissions(made) == []
    assert (len(losses(made)), len(told(made, Sort.NOTE))) == (0, 1)


def test_a_grant_behind_a_prefix_is_left_out() -> None:
    made = emqx('{allow, all, subscribe, ["$queue/a"]}.')
    assert "grant the topic behind the prefix" in losses(made)[0]


def test_several_files_are_one_order() -> None:
    first = Original("one", '{deny, all, publish, ["a"]}.')
    made = import_acl([first, Original("two", '{allow, all, publish, ["#"]}.')])
    assert permissions(made) == [EVERYONE | {"publish": ["#"], "deny": {"publish": ["a"]}}]


def test_names_that_no_client_can_have_are_left_out() -> None:
    made = emqx('{allow, {user, ""}, publish, ["a"]}.')
    assert permissions(made) == []
    assert "an empty identity" in losses(made)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{permit, all}.", "1:1: no rule"),
        ("{allow}.", "1:1: no rule"),
        ("allow.", "1:1: no rule"),
        ('{allow, {user, "a"}}.', "1:9: a rule of two parts"),
        ('{allow, anna, publish, ["a"]}.', "1:9: no condition"),
        ("{allow, {user, 1}, publish, []}.", "1:16: no name"),
        ('{allow, all, write, ["a"]}.', "1:14: no action"),
        ('{allow, all, publish, "a"}.', "1:23: topics are a list"),
        ("{allow, all, publish, [a]}.", "1:24: no topic"),
    ],
)
def test_what_emqx_would_not_load_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        emqx(text)
    assert str(raised.value).startswith(f"acl.conf:{message}")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidPolicy) as raised:
        import_acl([Original("one", "{permit, all}.\n{allow, all}.\n{forbid, all}."), Original("two", "{")])
    assert [(error.file, error.line) for error in raised.value.errors] == [("one", 1), ("one", 3), ("two", 1)]
