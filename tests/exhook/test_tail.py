"""`exhook tail`: decisions on their way to whoever listens; a slow listener misses some, and holds up nobody."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_under_test import PATIENCE, Asker, Server, becomes, until
from worker_under_test import Serve, Store, identity, permission

from exhook.tail import Tails, Wanted, folder_beside, listening, received

DECISION = {"hook": "publish", "result": "deny", "reason": "no_match", "client_id": "c", "username": "alice"}


def all_of(receiving: socket.socket) -> Iterator[dict[str, object]]:
    receiving.settimeout(0)
    while True:
        try:
            yield received(receiving)
        except BlockingIOError:
            return


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (Wanted(), True),
        (Wanted(client_id="c", username="alice", reason="no_match", hook="publish", denials=True), True),
        (Wanted(client_id="d"), False),
        (Wanted(username="bob"), False),
        (Wanted(reason="denied"), False),
        (Wanted(hook="subscribe"), False),
    ],
    ids=str,
)
def test_what_is_wanted(wanted: Wanted, admitted: bool) -> None:
    assert wanted.admits(DECISION) is admitted


def test_no_allows() -> None:
    assert not Wanted(denials=True).admits({**DECISION, "result": "allow"})
    assert Wanted(denials=True).admits({**DECISION, "result": "pass"})
    assert not Wanted(client_id="c").admits({name: DECISION[name] for name in ("hook", "result", "reason")})


def test_a_listener_comes_hears_and_goes(tmp_path: Path) -> None:
    store = tmp_path / "exhook.db"
    tails = Tails(store)
    tails.look()
    assert not tails.listening
    with listening(store, Wanted(reason="no_match")) as receiving, listening(store, Wanted(hook="none")) as other:
        assert folder_beside(store).stat().st_mode & 0o777 == 0o700
        tails.look()
        assert sum(1 for _ in tails.listening) == 2
        tails.tell(DECISION)
        tails.tell({**DECISION, "reason": "denied"})
        assert list(all_of(receiving)) == [{**DECISION, "dropped": 0, "pid": os.getpid()}]
        assert list(all_of(other)) == []
    tails.look()
    assert not len(tails.listening)
    assert not folder_beside(store).exists()


def test_a_slow_listener_misses_some_and_is_told(tmp_path: Path) -> None:
    store, missed = tmp_path / "exhook.db", 0

    def count() -> None:
        nonlocal missed
        missed += 1

    tails = Tails(store, on_dropped=count)
    with listening(store, Wanted()) as receiving:
        tails.look()
        for _ in range(5_000):
            tails.tell(DECISION)
        assert 0 < missed < 5_000
        heard = list(all_of(receiving))
        assert len(heard) == 5_000 - missed
        tails.tell(DECISION)
        (last,) = all_of(receiving)
        assert last["dropped"] == missed
    tails.close()


def test_one_that_was_killed_is_cleared_away(tmp_path: Path) -> None:
    store = tmp_path / "exhook.db"
    tails, later = Tails(store), Tails(store)
    with listening(store, Wanted()) as receiving:
        tails.look()
        receiving.close()
        tails.tell(DECISION)
        assert tails.listening == ()
        assert list(folder_beside(store).iterdir()) == []
        later.look()
        assert later.listening == ()


def test_what_is_no_listener_is_let_be(tmp_path: Path) -> None:
    store = tmp_path / "exhook.db"
    folder_beside(store).mkdir()
    (folder_beside(store) / "x.sock").write_text("no socket")
    (folder_beside(store) / "x.json").write_text('{"no": "such field"}')
    tails = Tails(store)
    tails.look()
    assert tails.listening == ()


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    tails = Tails(folder / "exhook.db")
    with listening(folder / "exhook.db", Wanted()) as receiving:
        tails.look()
        tails.tell(DECISION)
        assert len(list(all_of(receiving))) == 1
    tails.close()


async def test_a_worker_tells(serve: Serve, store: Store) -> None:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    with listening(store.path, Wanted()) as receiving:
        async with serve(decisions="none") as served:
            await becomes(lambda: bool(served.worker.tails.listening))
            await served.authenticate("c", "alice", b"right")
            await served.authorize("c", "alice", "PUBLISH", "b")
        heard = list(all_of(receiving))
    assert [(one["hook"], one["result"]) for one in heard] == [("authenticate", "allow"), ("publish", "deny")]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where the tests run in the background of a shell, Ctrl-C is ignored, and would be by what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_command_follows_every_worker(store: Store, tmp_path: Path) -> None:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    with Server(tmp_path, "--workers", "2") as server:
        command = [sys.executable, "-m", "exhook", "tail", "--db", str(store.path), "--denials", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
            try:
                assert tail.stdout
                until(lambda: folder_beside(store.path).exists() and list(folder_beside(store.path).glob("*.sock")))
                lines: list[dict[str, object]] = []

                def asked() -> bool:
                    with Asker(server.port) as broker:
                        broker.publishes("c", "alice", "a/\x1b")
                        broker.publishes("c", "alice", "b/\x1b")
                    return len(server.events("decision", topic="b/\\x1b")) > 20

                until(asked)
                lines = [json.loads(tail.stdout.readline()) for _ in range(5)]
                tail.send_signal(signal.SIGINT)
                tail.stdout.read()
                assert tail.wait(PATIENCE) == 0
            finally:
                tail.kill()
    assert {(one["topic"], one["reason"]) for one in lines} == {("b/\x1b", "no_match")}
    assert not list(folder_beside(store.path).parent.glob("*.tail/*"))
