"""A Mosquitto with 200 users, taken over: imported, planned, applied, and asked the same questions."""

import base64
import hashlib
import random
from pathlib import Path

import pytest
from imports_under_test import PUB, SUB, Stored
from mosquitto_reference import READ, WRITE, AclLine, acl_allows
from typer.testing import CliRunner

from store.sync.cli import app

USERS = 200
ROOMS = 12


def hash_of(password: str, number: int) -> str:
    """As `mosquitto_passwd` makes them: most of version 2, some of version 1."""
    salt = number.to_bytes(12, "big")
    scheme, raw = "$6$", hashlib.sha512(password.encode() + salt).digest()
    if number % 10:
        scheme, raw = "$7$101$", hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
    return f"{scheme}{base64.b64encode(salt).decode()}${base64.b64encode(raw).decode()}"


def lines_of(number: int) -> list[AclLine]:
    name, room = f"user-{number:03}", f"house/room-{number % ROOMS}"
    lines = [AclLine(name, "readwrite", f"{room}/{name}/#"), AclLine(name, "read", f"{room}/temperature")]
    if number % 20 == 0:
        lines += [AclLine(name, "read", "house/+/alarm"), AclLine(name, "deny", f"{room}/{name}/locked")]
    return lines


PATTERNS = [AclLine("", "readwrite", "device/%c/#"), AclLine("", "read", "inbox/%u")]
LINES = [*(line for number in range(USERS) for line in lines_of(number)), *PATTERNS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    users = [f"user-{number:03}:{hash_of(f'secret {number}', number)}" for number in range(USERS)]
    (tmp_path / "passwd").write_text("\n".join(users) + "\n", encoding="utf-8")
    (tmp_path / "acl").write_text("\n\n".join(map(str, LINES)) + "\n", encoding="utf-8")
    (tmp_path / "policy").mkdir()
    return tmp_path


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments), prog_name="exhook-sync")
    return done.exit_code, done.stdout, done.stderr


def test_adopting_it(folder: Path) -> None:
    code, said, told = run("import", "mosquitto-passwords", "passwd", "-o", "policy/users.yaml", "--source", "house")
    assert (code, said.split(";")[0]) == (0, "policy/users.yaml: 200 identities, 0 permissions, 0 blacklist entries")
    code, said, told = run("import", "mosquitto-acl", "acl", "-o", "policy/acl.yaml", "--source", "house")
    # The ten users with a denial may not subscribe to the whole of their grant any more.
    assert (code, said.split("; ", 1)[1]) == (10, "not all of it could be carried over: 10 lines stricter\n")
    assert [line.split(": ")[1] for line in told.splitlines()[:10]] == ["stricter"] * 10

    assert run("validate", "policy")[0] == 0
    code, plan, _ = run("plan", "policy", "--all")
    assert code == 2
    grants = 2 * USERS + 2 * (USERS // 20) + len(PATTERNS)
    assert plan.count("\n  + ") == 1 + USERS + grants  # the instance is new, too
    assert "0 to change, 0 to remove" in plan
    assert run("apply", "policy", "--yes")[0] == 0
    assert run("plan", "policy")[0] == 0
    assert run("drift", "policy")[0] == 0
    ask_the_same(folder)


def ask_the_same(folder: Path) -> None:
    draw = random.Random(7)  # noqa: S311 - cases, no keys
    with Stored(folder / "exhook.db", emqx=False) as store:
        for number in draw.sample(range(USERS), 40):
            name = f"user-{number:03}"
            assert store.connects(name, "c1", f"secret {number}".encode())
            assert not store.connects(name, "c1", f"secret {number + 1}".encode())
            for topic in topics_around(number):
                assert store.may(name, "c1", PUB, topic) == acl_allows(LINES, name, "c1", WRITE, topic), (name, topic)
                assert store.may(name, "c1", SUB, topic) == acl_allows(LINES, name, "c1", READ, topic), (name, topic)


def topics_around(number: int) -> list[str]:
    name, room = f"user-{number:03}", f"house/room-{number % ROOMS}"
    return [
        room,
        f"{room}/{name}",
        f"{room}/{name}/up",
        f"{room}/{name}/locked",
        f"{room}/temperature",
        f"house/room-{(number + 1) % ROOMS}/temperature",
        "house/room-1/alarm",
        "device/c1/x",
        "device/c2/x",
        f"inbox/{name}",
        "inbox/user-007",
        "$SYS/broker",
    ]
