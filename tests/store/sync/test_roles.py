from pathlib import Path

from policy_files_under_test import FIXTURES, errors, fixture, warnings, write

from store.records import Action, Effect
from store.sync.document import load_policy


def test_topics_of_roles_are_the_block_s_at_the_role_s_place() -> None:
    path = FIXTURES / "roles.yaml"
    lines = path.read_text().splitlines()

    def origin(start: str) -> str:
        (number,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(start)]
        return f"{path}:{number}"

    policy = fixture("roles")
    viewer, deny, device = origin("subscribe:"), origin("deny:"), origin('publish: ["plant/${')
    assert [(row.id, row.identity, row.topic, row.action, row.effect, row.origin) for row in policy.permissions] == [
        ("one", "one", "plant/#", Action.SUB, Effect.ALLOW, viewer),
        ("one", "one", "announce/#", Action.PUB_SUB, Effect.ALLOW, viewer),
        ("one", "one", "plant/secret/#", Action.SUB, Effect.DENY, deny),
        ("one", "one", "plant/${clientid}/up", Action.PUB, Effect.ALLOW, device),
        ("two", "two", "plant/#", Action.PUB_SUB, Effect.ALLOW, origin('publish: ["plant/#')),
        ("two", "two", "announce/#", Action.SUB, Effect.ALLOW, viewer),
        ("two", "two", "plant/secret/#", Action.SUB, Effect.DENY, deny),
    ]
    assert [row.expires_at for row in policy.permissions] == [1_798_761_600_000] * 4 + [None] * 3
    assert [row.protect for row in policy.permissions] == [False] * 4 + [True] * 3


def test_a_role_may_stand_in_another_file_with_its_commit(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="permissions: [{username: u, roles: [r]}]\n",
        b="roles: {r: {publish: [t]}}\n",
    )
    [row] = load_policy([folder], commit="0a1b2c3").permissions
    assert row.origin == f"{folder}/b.yaml:2@0a1b2c3"


def test_blocks_that_take_a_role_twice_for_one_grantee_are_told_at_the_block(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="roles: {r: {publish: [t]}}\npermissions:\n  - {username: u, roles: [r]}\n  - {username: u, roles: [r]}\n",
    )
    assert errors(folder) == [
        (
            f"{folder}/a.yaml:5:27: 't' is granted to user 'u' already, at {folder}/a.yaml:4; "
            "leave one out, or make one entry of both"
        )
    ]


def test_a_later_file_replaces_a_role_where_it_says_so(tmp_path: Path) -> None:
    base = "roles: {r: {publish: [t]}}\npermissions: [{username: u, roles: [r]}]\n"
    folder = write(tmp_path / "p", a=base, b="roles: {r: {subscribe: [s], override: true}}\n")
    assert [(row.topic, row.origin) for row in load_policy([folder]).permissions] == [("s", f"{folder}/b.yaml:2")]
    write(folder, b="roles: {r: {subscribe: [s]}}\n")
    assert errors(folder) == [
        (
            f"{folder}/b.yaml:2:9: the role 'r' is given already, at {folder}/a.yaml:2; "
            "leave one out, or replace it, `override: true`"
        )
    ]


def test_a_role_that_replaces_nothing_is_an_error(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p", a="roles: {r: {publish: [t], override: true}}\npermissions: [{username: u, roles: [r]}]\n"
    )
    assert errors(folder) == [
        f"{folder}/a.yaml:2:9: `override: true`, and no earlier file has the role 'r'; leave `override` out"
    ]


def test_roles_are_a_mapping(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a="roles: [r]\n")
    assert errors(folder) == [f"{folder}/a.yaml:2:8: `roles` is a mapping; write `NAME: {{…}}`, one for each role"]


def test_a_role_used_by_rows_alone_is_used(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a="roles: {r: {publish: [t]}}\ninclude: [{permissions: rows.jsonl}]\n")
    (folder / "rows.jsonl").write_text('{"username": "u", "roles": ["r"]}\n')
    assert warnings(folder) == []
