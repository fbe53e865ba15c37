import re
from pathlib import Path

import pytest
from policy_files_under_test import error_of, errors, write

from store.records import Instance
from store.sync.document import load_policy
from store.sync.policy import SyncRules

BASE = """\
sync: {environment: test, limits: {removals: 10%}}
instances: {mqtt-default: {record_quota: 10}}
groups: [GID_Sensors]
identities:
  - {id: a, username: a, sign_mode: external, note: base}
  - {id: b, username: b, sign_mode: external}
permissions:
  - {id: grants, username: a, publish: [x, y]}
blacklist:
  - {id: stolen, client_id: s}
"""
PROD = """\
sync: {override: true, environment: prod}
instances: {mqtt-default: {record_quota: 99, override: true}}
groups: [{id: GID_Sensors, note: prod, override: true}]
identities:
  - {id: a, override: true, username: aa, sign_mode: external}
permissions:
  - {id: grants, override: true, username: aa, subscribe: [z]}
blacklist:
  - {id: stolen, override: true, client_id: t}
"""


def test_an_environment_replaces_entries_of_the_base(tmp_path: Path) -> None:
    base, env = write(tmp_path / "base", one=BASE), write(tmp_path / "env", prod=PROD)
    policy = load_policy([base, env / "prod.yaml"])
    assert [(one.username, one.note) for one in policy.identities] == [("b", ""), ("aa", "")]
    assert [(one.identity, one.topic) for one in policy.permissions] == [("aa", "z")]
    assert [one.client_id for one in policy.blacklist] == ["t"]
    assert [one.note for one in policy.groups] == ["prod"]
    [instance] = policy.instances
    assert isinstance(instance, Instance)
    assert instance.record_quota == 99
    assert policy.sync == SyncRules(environment="prod", removals_percent=10)
    assert policy.identities[1].origin == f"{env}/prod.yaml:6"


def test_the_other_way_round_nothing_is_replaced(tmp_path: Path) -> None:
    base, env = write(tmp_path / "base", one=BASE), write(tmp_path / "env", prod=PROD)
    found = errors(env / "prod.yaml", base)
    assert sum("and no earlier file has" in error for error in found) == 5
    assert any("`sync.environment` differs" in error for error in found)


def test_the_last_of_several_layers_counts(tmp_path: Path) -> None:
    layer = "identities: [{{id: a, username: {}, sign_mode: external, override: {}}}]\n"
    folder = write(
        tmp_path / "p", a=layer.format("one", "false"), b=layer.format("two", "true"), c=layer.format("three", "true")
    )
    assert [one.username for one in load_policy([folder]).identities] == ["three"]


def test_without_the_word_an_id_is_taken(tmp_path: Path) -> None:
    entry = "identities: [{id: a, username: USER, sign_mode: external}]\n"
    folder = write(tmp_path / "p", a=entry.replace("USER", "one"), b=entry.replace("USER", "two"))
    assert errors(folder) == [
        f"{folder}/b.yaml:2:19: the id 'a' is taken, at {folder}/a.yaml:2; choose another, or say `override: true`"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "identities: [{id: a, username: a, sign_mode: external, override: true}]\n",
            "2:19: .* no earlier file has 'a' ",
        ),
        (
            "identities: [{username: a, sign_mode: external, override: true}]\n",
            "2:14: `override: true` without an `id`",
        ),
        ("groups: [{id: GID_abc, override: true}]\n", "2:10: .* no earlier file has 'GID_abc' under groups"),
        ("instances: {one: {override: true}}\n", "2:13: .* no earlier file has 'one' under instances"),
        ("identities: [{id: a, username: a, sign_mode: external, override: yes}]\n", "2:66: true or false is wanted"),
    ],
)
def test_an_override_that_replaces_nothing_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    assert re.match(said, error_of(tmp_path / "p", text))


def test_an_entry_of_the_same_file_is_not_replaced(tmp_path: Path) -> None:
    text = (
        "identities:\n  - {id: a, username: a, sign_mode: external}\n"
        "  - {id: a, username: b, sign_mode: external, override: true}\n"
    )
    folder = write(tmp_path / "p", one=text)
    found = errors(folder)
    assert len(found) == 2
    assert found[0].startswith(f"{folder}/one.yaml:4:10: `override: true`, and no earlier file has 'a'")
    assert found[1] == f"{folder}/one.yaml:4:10: the id 'a' is taken, at {folder}/one.yaml:3; choose another"


def test_an_entry_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="identities: [{id: x, username: a, sign_mode: external}]\n",
        b="permissions: [{id: x, username: a, publish: [t], override: true}]\n",
    )
    assert errors(folder) == [
        (
            f"{folder}/b.yaml:2:20: `override: true`, and no earlier file has 'x' under permissions; "
            f"it stands under identities, at {folder}/a.yaml:2"
        ),
        f"{folder}/b.yaml:2:20: the id 'x' is taken, at {folder}/a.yaml:2; choose another",
    ]


def test_what_replaces_must_not_clash_itself(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="identities: [{id: a, username: a, sign_mode: external}, {id: b, username: b, sign_mode: external}]\n",
        b="identities: [{id: a, username: b, sign_mode: external, override: true}]\n",
    )
    assert errors(folder) == [
        (
            f"{folder}/b.yaml:2:14: the identity 'b' is given already, at {folder}/a.yaml:2; "
            "leave one out, or make one entry of both"
        )
    ]


def test_rows_replace_and_are_replaced(tmp_path: Path) -> None:
    base = write(tmp_path / "base", one="include: [{identities: rows.jsonl}, {permissions: grants.csv}]\n")
    (base / "rows.jsonl").write_text(
        '{"id": "a", "username": "a", "sign_mode": "external"}\n'
        '{"id": "b", "username": "b", "sign_mode": "external"}\n'
        '{"id": "c", "username": "c", "sign_mode": "external"}\n'
    )
    (base / "grants.csv").write_text("id,username,publish\ng,a,one\nh,a,two\n")
    env = write(
        tmp_path / "env",
        prod="include: [{identities: rows.jsonl}, {permissions: grants.csv}]\n"
        "identities: [{id: c, username: cc, sign_mode: external, override: true}]\n",
    )
    (env / "rows.jsonl").write_text('{"id": "b", "username": "bb", "sign_mode": "external", "override": true}\n')
    (env / "grants.csv").write_text("id,username,publish,override\ng,a,three,true\n")
    policy = load_policy([base, env / "prod.yaml"])
    assert [one.username for one in policy.identities] == ["a", "cc", "bb"]
    assert [one.topic for one in policy.permissions] == ["two", "three"]
    assert (len(policy.identities), len(policy.permissions)) == (3, 2)
    assert [one.username for one in policy.identities] == ["a", "cc", "bb"]


def test_rows_that_replace_nothing_are_told(tmp_path: Path) -> None:
    base = write(tmp_path / "base", one="include: [{identities: rows.jsonl}]\n")
    (base / "rows.jsonl").write_text(
        '{"id": "a", "username": "a", "sign_mode": "external"}\n'
        '{"id": "\\ud83d\\ude00", "username": "b", "sign_mode": "external", "override": true}\n'
        '{"username": "c", "sign_mode": "external", "override": true}\n'
    )
    assert [error.removeprefix(f"{base}/rows.jsonl:") for error in errors(base)] == [
        (
            "2:1: `override: true`, and no earlier file has '😀' under identities; "
            "leave `override` out, or name the files in their order"
        ),
        "3:1: `override: true` without an `id`; give that of the entry which this one replaces",
    ]


def test_defaults_may_be_replaced(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="defaults: {instance: one}\ngroups: [GID_abc]\n",
        b="defaults: {instance: two, override: true}\n",
    )
    assert load_policy([folder]).groups[0].instance == "two"


def test_a_source_is_not_replaced(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a="source: one\n", b="source: two\nsync: {override: true}\n")
    assert len(errors(folder)) == 1
