"""The way of somebody new: a Mosquitto with 200 users, taken over into git, changed by merge request, rolled back.

Every step is a command that the documentation names; the questions go to a running server.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from mosquitto_reference import READ, WRITE, AclLine, acl_allows
from server_under_test import HOST, Asker, Server, until
from test_adopting_mosquitto import USERS, hash_of
from typer.testing import CliRunner, Result

from store.sync.cli import app

LINES: Final = [
    *(
        line
        for number in range(USERS)
        for line in (
            AclLine(f"user-{number:03}", "readwrite", f"house/room-{number % 12}/user-{number:03}/#"),
            AclLine(f"user-{number:03}", "read", f"house/room-{number % 12}/temperature"),
        )
    ),
    AclLine("user-005", "deny", "house/room-5/user-005/locked"),
    AclLine("", "readwrite", "device/%c/#"),
    AclLine("", "read", "inbox/%u"),
]

EXPECTED: Final = (
    # user, client id, access, topic, Mosquitto's answer
    ("user-003", "c1", WRITE, "house/room-3/user-003/lamp", True),
    ("user-003", "c1", WRITE, "house/room-3/user-003", True),
    ("user-003", "c1", READ, "house/room-3/temperature", True),
    ("user-003", "c1", WRITE, "house/room-3/temperature", False),
    ("user-003", "c1", READ, "house/room-4/temperature", False),
    ("user-003", "c1", WRITE, "house/room-4/user-004/lamp", False),
    ("user-005", "c1", WRITE, "house/room-5/user-005/lamp", True),
    ("user-005", "c1", WRITE, "house/room-5/user-005/locked", False),
    ("user-005", "c1", READ, "house/room-5/user-005/locked", False),
    ("user-199", "c7", WRITE, "device/c7/up", True),
    ("user-199", "c7", WRITE, "device/c8/up", False),
    ("user-199", "c7", READ, "inbox/user-199", True),
    ("user-199", "c7", READ, "inbox/user-198", False),
    ("user-199", "c7", WRITE, "inbox/user-199", False),
    ("user-199", "c7", READ, "$SYS/broker/uptime", False),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Mosquitto's files, and a repository to come."""
    monkeypatch.chdir(tmp_path)
    names = [f"user-{number:03}" for number in range(USERS)]
    made_by_mosquitto = shutil.which("mosquitto_passwd")
    if made_by_mosquitto:
        Path("passwd").write_text("".join(f"{name}:secret {number}\n" for number, name in enumerate(names)))
        Path("passwd").chmod(0o600)
        subprocess.run([made_by_mosquitto, "-U", "passwd"], check=True, capture_output=True)
    else:
        lines = [f"{name}:{hash_of(f'secret {number}', number)}\n" for number, name in enumerate(names)]
        Path("passwd").write_text("".join(lines))
    Path("acl").write_text("\n\n".join(map(str, LINES)) + "\n")
    git("init", "-q", "-b", "main")
    git("config", "user.name", "newcomer")
    git("config", "user.email", "newcomer@example.org")
    return tmp_path


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def sync(line: str, code: int = 0, given: str = "") -> Result:
    done = CliRunner().invoke(app, line.split(), input=given, prog_name="exhook-sync")
    assert done.exit_code == code, done.output
    return done


def test_from_mosquitto_to_merge_requests(folder: Path) -> None:
    taken_over()
    with Server(folder, "--metrics", f"{HOST}:0") as server, Asker(server.port) as broker:
        it_decides_as_mosquitto_does(broker)
        sync("snapshot -o published.snapshot")
        proposed()
        merged_and_applied()
        until(lambda: broker.connects("c1", "anna", b"anna's own"), what="anna")
        it_decides_as_merged(broker)

        rolled_back()
        until(lambda: not broker.connects("c1", "anna", b"anna's own"), what="the way back")
        assert not broker.subscribes("c1", "user-001", "house/+/temperature")
        assert broker.subscribes("c1", "user-001", "house/room-1/temperature")

        undone_in_git()
        until(lambda: broker.connects("c1", "user-007", b"secret 7"), what="user-007, back again")
        it_decides_as_mosquitto_does(broker)


def taken_over() -> None:
    said = sync("import mosquitto-passwords passwd -o policy/users.yaml --source house")
    assert "200 identities" in said.stdout
    assert "all of it was carried over" in said.stdout
    said = sync("import mosquitto-acl acl -o policy/acl.yaml --source house", code=10)
    assert "1 line stricter" in said.stdout  # the subscription to the whole of what is partly denied
    users = Path("policy/users.yaml")
    users.write_text(users.read_text().replace("\nidentities:", "\nsync: {prune: true}\n\nidentities:"))
    sync("schema -o policy/policy.schema.json")
    assert "ok: 200 identities, 403 permissions" in sync("validate policy").stdout
    git("add", "policy")
    git("commit", "-q", "-m", "The house, from Mosquitto")
    assert "604 to add, 0 to change, 0 to remove" in sync("plan policy", code=2).stdout
    assert "applied as revision 1 (commit " in sync("apply policy").stdout
    sync("drift policy")


def it_decides_as_mosquitto_does(broker: Asker) -> None:
    for number in (0, 7, 101, 199):
        name = f"user-{number:03}"
        assert broker.connects("c1", name, f"secret {number}".encode())
        assert not broker.connects("c1", name, f"secret {number + 1}".encode())
    assert not broker.connects("c1", "nobody", b"secret 1")
    for name, client_id, access, topic, allowed in EXPECTED:
        assert acl_allows(LINES, name, client_id, access, topic) is allowed, (name, topic)
        ask = broker.publishes if access == WRITE else broker.subscribes
        assert ask(client_id, name, topic) is allowed, (name, topic)


def proposed() -> None:
    """A branch: user-001 may read all rooms, user-007 leaves, anna comes."""
    git("checkout", "-q", "-b", "rooms")
    acl, users = Path("policy/acl.yaml"), Path("policy/users.yaml")
    acl.write_text(acl.read_text().replace('["house/room-1/temperature"]', '["house/+/temperature"]', 1))
    before, _, rest = users.read_text().partition("  - username: user-007\n")
    _, _, behind = rest.partition("  - username: user-008\n")
    users.write_text(f"{before}  - username: user-008\n{behind}")
    added = "user add anna --file policy/users.yaml --password-stdin --subscribe house/#"
    assert "anna is added" in sync(added, given="anna's own\n").stdout

    shown = sync("diff main policy", code=2).stdout
    for line in (
        "  + user anna (mqtt-default)  [anna]  policy/users.yaml:",
        "  - user user-007 (mqtt-default)  policy/users.yaml:",
        "  + user user-001 may subscribe house/+/temperature (mqtt-default)",
        "  user user-007 (mqtt-default): its identity goes",
    ):
        assert line in shown
    git("commit", "-q", "-a", "-m", "user-001 reads all rooms, user-007 leaves, anna comes")
    planned = sync("plan policy --against published.snapshot --output text --output markdown=plan.md", code=2)
    assert "3 to add, 0 to change, 2 to remove" in planned.stdout
    assert "user-007" in Path("plan.md").read_text()


def merged_and_applied() -> None:
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "Merge rooms", "rooms")
    planned = sync("plan policy", code=2).stdout
    (checksum,) = [line.split()[1] for line in planned.splitlines() if line.startswith("checksum ")]
    sync(f"apply policy --yes --checksum {'0' * 64}", code=5)
    assert "applied as revision 2 (commit " in sync(f"apply policy --yes --checksum {checksum}").stdout


def it_decides_as_merged(broker: Asker) -> None:
    assert broker.subscribes("c1", "user-001", "house/+/temperature")
    assert not broker.subscribes("c1", "user-001", "house/#")
    assert not broker.connects("c1", "user-007", b"secret 7")
    assert not broker.publishes("c1", "user-007", "house/room-7/user-007/lamp")
    assert broker.subscribes("c1", "anna", "house/#")
    assert broker.connects("c1", "user-000", b"secret 0")


def rolled_back() -> None:
    sync("rollback 1", code=4)  # something would be allowed again
    done = sync("rollback 1 --allow-regrant --reason panic")
    assert "rolled back to revision 1, as revision 3" in done.stdout
    # Its password is in no history; git has it.
    assert "user user-007" in done.stdout.partition("is not restored")[2]
    assert "house is held" in sync("history").stdout
    refused = sync("apply policy --yes", code=4).stderr
    assert "(panic)" in refused
    assert "exhook-sync release --source house" in refused


def undone_in_git() -> None:
    git("revert", "-m", "1", "--no-edit", "HEAD")
    assert "house is no longer held" in sync("release").stdout
    sync("apply policy --yes")
    sync("drift policy")
    assert [line.split()[0] for line in sync("history").stdout.splitlines()[1:]] == ["4", "3", "2", "1"]
