from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_files_under_test import CANARY, error_of, errors, fixture, warnings, write

from store.records import Action
from store.sync.document import load_policy
from store.sync.findings import Findings
from store.sync.policy_tests import Status, run_tests
from store.sync.quoting import quoted
from store.sync.source import read_source
from store.sync.variables import MAX_TEXT, Vars, WrongVar

EVERYTHING = st.text(st.characters(codec="utf-8"), max_size=20)
SIGNS = st.text(alphabet="${}var.ab#", max_size=24)


def known(**values: str) -> Vars:
    text = "vars: {" + ", ".join(f"{name}: {quoted(value)}" for name, value in values.items()) + "}"
    root = read_source(text.encode()).root
    assert root is not None
    made = Vars(Findings())
    made.read("one.yaml", root)
    return made


def test_vars_stand_in_all_kinds_of_values() -> None:
    policy = fixture("vars")
    [identity] = policy.identities
    [instance] = policy.instances
    assert policy.default_instance == instance.name == "mqtt-plant-a"
    assert (instance.record_quota, instance.note) == (1000, "the hall of plant-a")
    assert [group.name for group in policy.groups] == ["GID_line1"]
    assert (identity.id, identity.username, identity.client_ids_prefix) == ("dash-1", "dashdash", "plant-a-")
    assert identity.protect
    assert identity.secrets[0].value == "EXHOOK_SECRET_dash"
    assert identity.note == "${var.root} and $${clientid} and ${clientid} stay"
    assert [(row.topic, row.action) for row in policy.permissions] == [
        ("plant-a/line1/${clientid}/up", Action.PUB),
        ("plant-a/$${var.line}", Action.PUB),
        ("plant-a/+/#", Action.SUB),
        ("plant-a/${clientid}", Action.SUB),
    ]
    assert policy.warnings == ()


def test_a_later_file_gives_another_value_to_all_files(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        base="vars: {root: base, kept: k}\npermissions: [{username: a, publish: ['${var.root}/${var.kept}']}]\n",
        prod="vars: {root: prod}\n",
    )
    assert [row.topic for row in load_policy([folder]).permissions] == ["prod/k"]
    reversed_order = load_policy([folder / "prod.yaml", folder / "base.yaml"])
    assert [row.topic for row in reversed_order.permissions] == ["base/k"]


def test_in_a_topic_a_value_is_read_as_one(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        one="vars: {own: 'dev/${clientid}', text: '$${clientid}', all: 'a/#'}\n"
        "permissions: [{id: p, username: u, publish: ['${var.own}/up', '${var.text}/x'], subscribe: ['${var.all}']}]\n"
        "tests:\n"
        "  - name: t\n"
        "    as: {username: u, client_id: c9}\n"
        "    can: {publish: [dev/c9/up], subscribe: [a/b]}\n"
        "    cannot: {publish: [dev/c8/up, c9/x]}\n"
        "identities: [{username: u, sign_mode: origin, secret: {env: EXHOOK_SECRET_U}}]\n",
    )
    [outcome] = run_tests(load_policy([folder]), now_ms=0)
    assert outcome.status is Status.PASSED, outcome


def test_a_value_is_text_and_no_yaml(tmp_path: Path) -> None:
    text = (
        'vars: {list: "[a, b]", nil: "null", key: "a: b", alias: "*x", flag: "true", line: "a\\nb"}\n'
        'identities: [{username: "${var.list}", note: "${var.line}", sign_mode: external, id: "${var.nil}"}]\n'
        'permissions: [{username: "${var.key}", publish: ["${var.alias}", "${var.flag}"]}]\n'
    )
    policy = load_policy([write(tmp_path / "p", one=text)])
    [identity] = policy.identities
    assert (identity.username, identity.note, identity.id) == ("[a, b]", "a\nb", "null")
    assert [(row.identity, row.topic) for row in policy.permissions] == [("a: b", "*x"), ("a: b", "true")]


def test_what_a_flag_or_count_takes_is_written_without_quotes(tmp_path: Path) -> None:
    text = 'vars: {yes: "true"}\nblacklist: [{client_id: a, protect: "${var.yes}"}]\n'
    assert "write it without quotes, a `${…}` outside of [ ] and { }" in error_of(tmp_path / "p", text)
    text = "vars: {yes: 'true'}\nblacklist:\n  - client_id: a\n    protect: ${var.yes}\n"
    [entry] = load_policy([write(tmp_path / "p", one=text)]).blacklist
    assert entry.protect


def test_keys_are_not_looked_at(tmp_path: Path) -> None:
    text = 'vars: {a: b}\ninstances: {"${var.a}": {note: "${var.a}"}}\n'
    assert error_of(tmp_path / "p", text).startswith("3:13: '${var.a}' is no instance id")


def test_an_aliased_value_is_expanded_once(tmp_path: Path) -> None:
    text = (
        'vars: {a: "${var.a}"}\n'
        'permissions: [{username: u, publish: &t ["x/$${var.a}", "y"]}, {username: v, publish: *t}]\n'
        'identities: [{username: "${var.a}", sign_mode: external}]\n'
    )
    policy = load_policy([write(tmp_path / "p", one=text)])
    assert [row.topic for row in policy.permissions] == ["x/$${var.a}", "y"] * 2
    assert policy.identities[0].username == "${var.a}"


def test_unused_vars_are_told_wherever_they_stand(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a="vars: {one: a, two: b}\n", b="vars: {two: c}\ngroups: ['GID_${var.one}aa']\n")
    assert warnings(folder) == [f"{folder}/b.yaml:2:8: the var 'two' is not used; leave it out"]


def test_no_secret_is_quoted(tmp_path: Path) -> None:
    text = f'identities: [{{username: a, sign_mode: origin, secret: {{literal: "${{var.{CANARY}}}"}}}}]\n'
    assert error_of(tmp_path / "p", text) == "2:65: a var that is not defined; add it to `vars`"


def test_what_vars_make_of_a_text_is_bounded(tmp_path: Path) -> None:
    text = f"vars: {{a: {'a' * 1024}}}\nblacklist: [{{client_id: a, note: '{'${var.a}' * 1025}'}}]\n"
    assert error_of(tmp_path / "p", text) == "3:34: a text that its vars make too long; shorten it"
    with pytest.raises(WrongVar):
        known(a="a" * 1024).put("${var.a}" * 1024 + "a", topic=False)
    assert len(known(a="a" * 1024).put("${var.a}" * 1016, topic=False)) < MAX_TEXT


def test_what_vars_make_of_a_file_is_bounded(tmp_path: Path) -> None:
    uses = "\n".join(f"  - {{client_id: c{number}, note: '{'${var.a}' * 1000}'}}" for number in range(70))
    found = errors(write(tmp_path / "p", one=f"vars: {{a: {'a' * 1000}}}\nblacklist:\n{uses}\n"))
    assert 1 <= len(found) < 10
    assert "vars that make more of this file" in found[0]


@given(EVERYTHING, EVERYTHING, EVERYTHING)
def test_a_var_is_put_in_as_it_is(before: str, value: str, behind: str) -> None:
    """Whatever it holds: a reference to itself, a dollar, a brace."""
    text = f"{before.replace('$', '')}${{var.a}}{behind.replace('$', '')}"
    assert known(a=value).put(text, topic=False) == text.replace("${var.a}", value)


@given(SIGNS, SIGNS)
def test_any_text_is_expanded_by_the_rules(text: str, value: str) -> None:
    """Against a reader of one character after the other."""
    try:
        made = known(a=value, b="").put(text, topic=False)
    except WrongVar:
        assert slowly(text, {"a": value, "b": ""}) is None
    else:
        assert made == slowly(text, {"a": value, "b": ""})


def slowly(text: str, values: dict[str, str]) -> str | None:
    """The text with its vars, or None where one is not known."""
    made = ""
    while text:
        if text.startswith("$${var."):
            made, text = made + "${var.", text[7:]
        elif text.startswith("${var."):
            name, closed, rest = text[6:].partition("}")
            if not closed or name not in values:
                return None
            made, text = made + values[name], rest
        else:
            made, text = made + text[0], text[1:]
    return made


@given(SIGNS)
def test_a_text_can_always_be_written(text: str) -> None:
    """A dollar more before each sign."""
    assert known().put(text.replace("${var.", "$${var."), topic=False) == text


@given(SIGNS)
def test_in_topics_what_is_literal_stays_for_the_topic(text: str) -> None:
    written = text.replace("${var.", "$${var.")
    assert known().put(written, topic=True) == written
