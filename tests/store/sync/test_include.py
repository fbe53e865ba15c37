import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from policy_files_under_test import FIXTURES, error_of, errors, fixture, warnings, write

from store.records import Action, Effect, Grantee, IdentityType, SignMode
from store.sync import files, findings, included
from store.sync.document import Policy, load_policy
from store.sync.policy import Records
from store.sync.provenance import commit_of

ROW = '{"username": "a", "sign_mode": "external"}\n'
INCLUDE = "include: [{identities: rows.jsonl}]\n"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return fixture("include")


def place(name: str, line: int) -> str:
    return f"{FIXTURES}/rows/{name}:{line}"


def test_identities_of_rows(policy: Policy) -> None:
    one, two, three, four, anna, ben = policy.identities
    assert (one.username, one.sign_mode, one.client_ids_group) == ("d1", SignMode.SIGNED, "GID_Sensors")
    assert (one.origin, one.source, one.instance) == (place("devices-1.jsonl", 1), "plant", "mqtt-default")
    assert [(secret.id, secret.kind, secret.value) for secret in two.secrets] == [
        ("new", "env", "EXHOOK_SECRET_D2"),
        ("old", "file", "d2.txt"),
    ]
    assert (two.id, two.expires_at, two.secrets[1].expires_at) == ("d2", 1_830_297_600_000, 1_798_761_600_000)
    assert two.secrets[0].origin == two.origin == place("devices-1.jsonl", 3)
    assert (three.username, three.client_ids_prefix, three.note) == ("plant-é", "é-", "two\nlines")
    assert three.secrets[0].value == "EXHOOK_SECRET_plant"
    assert (four.sign_mode, four.secrets, four.protect, four.instance) == (SignMode.EXTERNAL, (), True, "mqtt-other")
    assert (anna.username, anna.sign_mode, anna.note, anna.protect) == ("anna", SignMode.HASHED, "", True)
    assert (ben.username, ben.note, ben.origin) == ("ben, the\nsecond", 'says "hello"', place("legacy.csv", 3))
    assert {one.identity_type for one in policy.identities} == {IdentityType.USER}


def test_permissions_of_rows(policy: Policy) -> None:
    role = f"{FIXTURES}/include.yaml:19"
    grants, topics = "grants.jsonl", "topics.csv"
    assert [(row.id, row.identity, row.topic, row.action, row.effect, row.origin) for row in policy.permissions] == [
        ("", "d1", "plant/${clientid}/up", Action.PUB, Effect.ALLOW, role),
        ("g2", "d2", "a/b", Action.PUB_SUB, Effect.ALLOW, place(grants, 2)),
        ("g2", "d2", "a/c", Action.SUB, Effect.DENY, place(grants, 2)),
        ("g2", "d2", "plant/${clientid}/up", Action.PUB, Effect.ALLOW, role),
        ("", "", "announce/#", Action.SUB, Effect.ALLOW, place(grants, 3)),
        ("", "", "plant/${clientid}/up", Action.PUB, Effect.ALLOW, role),
        ("", "d1", "a/1", Action.PUB, Effect.ALLOW, place(topics, 2)),
        ("", "d1", "a/2", Action.PUB, Effect.ALLOW, place(topics, 2)),
        ("", "d2", "a/1", Action.PUB, Effect.ALLOW, place(topics, 3)),
        ("", "d2", "a/#", Action.SUB, Effect.DENY, place(topics, 3)),
        ("", "d2", "b/#", Action.SUB, Effect.DENY, place(topics, 3)),
    ]
    assert [row.protect for row in policy.permissions][-3:] == [True] * 3
    assert policy.permissions[1].identity_type is Grantee.CLIENT


def test_blacklist_of_rows(policy: Policy) -> None:
    assert [(one.client_id, one.reason, one.expires_at) for one in policy.blacklist] == [
        ("GID_Sensors@@@0007", "reported stolen", None),
        ("GID_Sensors@@@0008", "", 1_798_761_600_000),
    ]


def test_instances_of_rows_are_made(policy: Policy) -> None:
    assert [one.name for one in policy.instances] == ["mqtt-default", "mqtt-other", "mqtt-legacy"]
    assert policy.implicit_instances == {"mqtt-default", "mqtt-other", "mqtt-legacy"}
    assert policy.instances[2].origin == place("legacy.csv", 2)


def test_records_can_be_asked_again_and_again(policy: Policy) -> None:
    records = policy.identities
    assert isinstance(records, Records)
    assert list(records) == list(records)
    assert len(records) == len(list(records)) == 6
    assert records[-1] == list(records)[5] == records[5]
    assert records[1:3] == tuple(records)[1:3]
    assert list(reversed(records)) == list(records)[::-1]
    assert records[2] in records
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            records[wrong]
    assert not policy.empty
    assert "EXHOOK" not in repr(policy)
    assert "$argon2id" not in repr(policy)


def test_the_files_are_named(policy: Policy) -> None:
    names = [str(one.relative_to(FIXTURES)) for one in policy.files]
    rows = ("devices-1.jsonl", "devices-2.jsonl", "legacy.csv", "grants.jsonl", "topics.csv", "stolen.csv")
    assert names == ["include.yaml", *(f"rows/{name}" for name in rows)]


def test_what_changes_behind_a_policy_does_not_change_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", one=INCLUDE)
    (folder / "rows.jsonl").write_text(ROW)
    policy = load_policy([folder])
    (folder / "rows.jsonl").write_text("no JSON")
    assert [one.username for one in policy.identities] == ["a"]
    (folder / "rows.jsonl").unlink()
    assert [one.username for one in policy.identities] == ["a"]


def test_rows_stand_behind_the_entries_of_their_file(tmp_path: Path) -> None:
    entry = "identities: [{username: %s, sign_mode: external}]\n"
    folder = write(tmp_path / "p", a=INCLUDE + entry % "first", b=entry % "last")
    (folder / "rows.jsonl").write_text(ROW)
    assert [one.username for one in load_policy([folder]).identities] == ["first", "a", "last"]


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "p", one="include: [{identities: 'below/**/*.jsonl'}]\n")
    for name in ("below/b/c", "below/a", "below/.hidden"):
        (folder / name).mkdir(parents=True)
        (folder / name / "rows.jsonl").write_text(ROW.replace('"a"', f'"{name}"'))
    (folder / "below" / ".rows.jsonl").write_text("hidden")
    (folder / "below" / "folder.jsonl").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [one.origin for one in load_policy([Path("p")]).identities] == [
        "p/below/a/rows.jsonl:1",
        "p/below/b/c/rows.jsonl:1",
    ]


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "rows.jsonl").write_text(ROW)
    folder = write(tmp_path / "p", one="include: [{identities: rows.jsonl}, {identities: 'up/*.jsonl'}]\n")
    (folder / "rows.jsonl").symlink_to(secrets / "rows.jsonl")
    (folder / "up").symlink_to(secrets)
    found = errors(folder)
    assert [error.removeprefix(f"{folder}/one.yaml:") for error in found] == [
        f"2:24: '{folder}/rows.jsonl' leads out of the folder of this file; put the file itself there",
        f"2:50: '{folder}/up/rows.jsonl' leads out of the folder of this file; put the file itself there",
    ]


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    """So are mounted config maps laid out."""
    data = write(tmp_path / "p", one="").joinpath("..2026")
    data.mkdir()
    (data / "policy.yaml").write_text(f"format: exhook/v1\n{INCLUDE}")
    (data / "rows.jsonl").write_text(ROW)
    folder = tmp_path / "p"
    (folder / "one.yaml").unlink()
    (folder / "..data").symlink_to("..2026")
    for name in ("policy.yaml", "rows.jsonl"):
        (folder / name).symlink_to(f"..data/{name}")
    assert [one.username for one in load_policy([folder / "policy.yaml"]).identities] == ["a"]


def test_what_is_no_file_of_rows_is_not_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        one="include: [{identities: folder.csv}, {identities: pipe.csv}, {identities: loop.csv}]\n",
    )
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    found = [error.removeprefix(f"{folder}/") for error in errors(folder)]
    assert found == [
        "one.yaml:2:74: cannot be read (a loop of links); name files that can",
        "folder.csv: no file of rows; name a file",
        "pipe.csv: no file of rows; name a file",
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "p", one=INCLUDE)
    (folder / "rows.jsonl").write_text(ROW)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root reads whatever it likes, so that permissions cannot be taken away for real.
    monkeypatch.setattr("store.sync.inclusion.read_rows", denied)
    assert errors(folder) == [
        f"{folder}/rows.jsonl: cannot be read (Permission denied); make it readable, or leave it out"
    ]


def test_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ROWS_BYTES", 1024 * 1024)
    folder = write(tmp_path / "p", one=INCLUDE)
    (folder / "rows.jsonl").write_text(ROW * (1024 * 1024 // len(ROW) + 1))
    assert errors(folder) == [f"{folder}/rows.jsonl: a file of more than 1 MiB; split it"]


def test_a_file_with_many_mistakes_is_given_up(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", one=INCLUDE)
    (folder / "rows.jsonl").write_text("{}\n" * 1000 + "not even JSON\n")
    found = errors(folder)
    assert len(found) == included.MAX_MISTAKES + 1
    assert found[-1] == (
        f"{folder}/rows.jsonl:100:1: 100 mistakes by here, and the file was not read on; mend these first"
    )


def test_mistakes_among_rows_are_counted_where_they_are_many(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", one=INCLUDE)
    (folder / "rows.jsonl").write_text(ROW * 3001)
    found = errors(folder)
    assert len(found) == findings.MAX_TOLD + 1
    assert found[-1] == f"{folder}/rows.jsonl:1001:1: and 2,000 more mistakes in this file"


def test_clashes_of_rows_with_entries_are_told_at_their_places(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        one="include: [{identities: rows.jsonl}, {permissions: grants.csv}]\n"
        "identities: [{id: i, username: a, sign_mode: external}]\n",
    )
    (folder / "rows.jsonl").write_text(
        ROW + '{"id": "i", "username": "b", "sign_mode": "external"}\n{"username": "A", "sign_mode": "external"}\n'
    )
    (folder / "grants.csv").write_text("username,publish\nb,t\nb,t\n")
    assert [error.removeprefix(f"{folder}/") for error in errors(folder)] == [
        (
            f"rows.jsonl:1:1: the identity 'a' is given already, at {folder}/one.yaml:3; "
            "leave one out, or make one entry of both"
        ),
        f"rows.jsonl:2:1: the id 'i' is taken, at {folder}/one.yaml:3; choose another",
        (
            f"grants.csv:3:1: 't' is granted to user 'b' already, at {folder}/grants.csv:2; "
            "leave one out, or make one entry of both"
        ),
    ]
    (folder / "rows.jsonl").write_text('{"username": "A", "sign_mode": "external"}\n')
    (folder / "grants.csv").write_text("username,publish\nB,t\nb,t\n")
    assert warnings(folder) == [
        (
            f"{folder}/rows.jsonl:1:1: the user name 'A' is not 'a', at {folder}/one.yaml:3; "
            "write both alike if one is meant"
        ),
        (
            f"{folder}/grants.csv:3:1: the user name 'b' is not 'B', at {folder}/grants.csv:2; "
            "write both alike if one is meant"
        ),
    ]


def test_defaults_with_mistakes_are_told_once(tmp_path: Path) -> None:
    text = "include: [{permissions: rows.jsonl, defaults: {publish: ['#/a']}}]\n"
    folder = write(tmp_path / "p", one=text)
    (folder / "rows.jsonl").write_text('{"username": "a"}\n' * 100)
    assert error_of(folder, text).startswith("2:58: '#/a' has '#'")


def test_a_default_secret_gives_way_to_the_row_s_own(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        one="include: [{identities: rows.jsonl, defaults: {sign_mode: signed, secret: {env: SHARED}}}]\n",
    )
    (folder / "rows.jsonl").write_text(
        '{"username": "a"}\n{"username": "b", "secrets": [{"id": "x", "env": "X"}, {"id": "y", "env": "Y"}]}\n'
    )
    found = [[secret.value for secret in one.secrets] for one in load_policy([folder]).identities]
    assert found == [["SHARED"], ["X", "Y"]]


def test_a_commit_holds_for_what_is_in_it(tmp_path: Path, repository: Path) -> None:
    folder = write(repository / "p", one=INCLUDE + "groups: [GID_abc]\n")
    (folder / "rows.jsonl").write_text(ROW)
    commit = committed(repository)
    policy = load_policy([folder], commit=commit)
    assert policy.commit == commit
    assert policy.identities[0].origin == f"{folder}/rows.jsonl:1@{commit}"
    (folder / "rows.jsonl").write_text(ROW + "\n")
    assert commit_of([folder]) == commit, "the policy file itself is as it was"
    policy = load_policy([folder], commit=commit)
    assert policy.commit == ""
    assert policy.identities[0].origin == f"{folder}/rows.jsonl:1"
    assert policy.groups[0].origin == f"{folder}/one.yaml:3@{commit}"
    assert tmp_path.exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def committed(repository: Path) -> str:
    git(repository, "add", "-A")
    git(repository, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")
    return commit_of([repository / "p"])


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def test_rows_are_not_held_as_objects(tmp_path: Path) -> None:
    """Beside the bytes of its files, a policy takes a few hundred kilobytes, however many rows there are."""
    count = 5_000
    folder = write(tmp_path / "p", one="include: [{identities: ids.jsonl}, {permissions: grants.jsonl}]\n")
    secret = '"sign_mode": "signed", "secret": {"env": "EXHOOK_SECRET_FLEET"}'
    (folder / "ids.jsonl").write_text(
        "".join(f'{{"id": "d{n}", "username": "d{n}", "client_id": "c{n}", {secret}}}\n' for n in range(count))
    )
    (folder / "grants.jsonl").write_text(
        "".join(f'{{"client_id": "c{n}", "publish": ["t/{n}"]}}\n' for n in range(count))
    )
    held = sum(file.stat().st_size for file in folder.glob("*.jsonl"))
    load_policy([folder])
    tracemalloc.start()
    policy = load_policy([folder])
    now, peak = tracemalloc.get_traced_memory()
    assert len(policy.identities) == len(policy.permissions) == count
    for _ in policy.identities:
        pass
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now - held < 50 * count
    assert after - now < 10 * count
    assert peak - held < 400 * count
