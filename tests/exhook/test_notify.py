"""What systemd is told: that the server serves, that it lives, that it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_under_test import PATIENCE, Asker, Server

from exhook.systemd import Systemd


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd's, at an abstract address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0exhook-test-{os.getpid()}-{id(monkeypatch)}")
        listening.settimeout(PATIENCE)
        yield listening


def address_of(manager: socket.socket) -> str:
    return f"@{manager.getsockname()[1:].decode()}"


def next_said(manager: socket.socket, *, but: str = "WATCHDOG=1") -> list[str]:
    while (said := manager.recv(4096).decode().splitlines()) == [but]:
        pass
    return said


def test_a_server_says_that_it_serves_lives_and_ends(tmp_path: Path, manager: socket.socket) -> None:
    with Server(tmp_path, NOTIFY_SOCKET=address_of(manager), WATCHDOG_USEC="200000") as server:
        ready, status = next_said(manager)
        assert (ready, status) == ("READY=1", f"STATUS=serving at 127.0.0.1:{server.port}")
        with Asker(server.port) as broker:
            assert not broker.connects("c", "nobody", b"")
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        server.tell(signal.SIGTERM)
        assert next_said(manager)[0] == "STOPPING=1"
        assert server.ended() == 0


def test_nothing_is_said_before_it_serves(tmp_path: Path, manager: socket.socket) -> None:
    """A start that fails is no start."""
    (tmp_path / "policy.yaml").write_text("format: exhook/v2\n")
    done = subprocess.run(
        [sys.executable, "-m", "exhook", "serve", "--policy", "policy.yaml", "--listen", "127.0.0.1:0"],
        cwd=tmp_path, env={**os.environ, "NOTIFY_SOCKET": address_of(manager)}, capture_output=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 3
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_that_is_asked_for(environ: dict[str, str], seconds: float | None) -> None:
    assert Systemd(dict(environ)).watchdog_seconds == seconds


async def test_where_nobody_asked_or_nobody_listens_nothing_happens() -> None:
    Systemd({}).say("READY=1")
    await Systemd({"WATCHDOG_USEC": "1"}).stay_alive()
    Systemd({"NOTIFY_SOCKET": "@nobody-listens-here"}).say("READY=1")
