"""The machine's clock is moved by an hour, one way and the other, while a server runs."""

import os
import platform
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from emqx_api_under_test import EmqxApiUnderTest, Session
from enforcer_under_test import enforcing, make_haste, settled
from server_under_test import Asker, Server, becomes, until
from worker_under_test import INSTANCE, Serve, Store, identity, permission

from store.clock import now_ms
from store.records import BlacklistEntry
from store.revocations import Revocations
from store.runtime import Runtime

HOUR_MS = 3_600_000
LIBRARY = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1")


class Clock:
    """The time, and by how much the clock was moved."""

    def __init__(self) -> None:
        self.moved = 0

    def __call__(self) -> int:
        return now_ms() + self.moved


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


async def test_what_holds_is_decided_by_the_clock_as_it_is(store: Store, serve: Serve, clock: Clock) -> None:
    half = clock() + HOUR_MS // 2
    store.put(identity("alice", b"right"), identity("guest", b"right", expires_at=half), permission("alice", "a"))
    store.put(BlacklistEntry(instance=INSTANCE, client_id="barred", expires_at=half))
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve(clock=clock, decisions="none"))
        for moved, guest in ((0, True), (HOUR_MS, False), (0, True), (-HOUR_MS, True), (0, True), (HOUR_MS, False)):
            clock.moved = moved
            assert await served.authenticate("c", "alice", b"right")
            assert not await served.authenticate("c", "alice", b"wrong")
            assert await served.authorize("c", "alice", "PUBLISH", "a")
            assert not await served.authorize("c", "alice", "PUBLISH", "b")
            assert await served.authenticate("g", "guest", b"right") is guest
            assert await served.authenticate("barred", "alice", b"right") is not guest


@pytest.mark.parametrize("moved", [HOUR_MS, -HOUR_MS])
async def test_no_revocation_waits_for_the_hour(
    store: Store, broker: EmqxApiUnderTest, clock: Clock, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """Not the first look, not the second one, which was put off before the clock was moved, nor one refused once."""
    make_haste(monkeypatch)
    monkeypatch.setattr("exhook.enforcer.lane.AGAIN_MS", 2_000)
    monkeypatch.setattr("store.revocations.RETRY_MS", 500)
    store.put(*(identity(name, b"right") for name in ("alice", "bob")))
    broker.join(Session("a1", "alice"), Session("b1", "bob"))
    refused: list[str] = []

    def refuse_once(method: str, path: str) -> tuple[int, object] | None:
        if method == "DELETE" and path.endswith("b1") and not refused:
            refused.append(path)
            return 400, {"code": "BAD"}
        return None

    async with enforcing(store, broker, clock=clock):
        await becomes(lambda: bool(broker.counted("GET", "/api/v5/clients")))
        broker.fail = refuse_once
        store.remove(identity("bob", b"right"))
        await becomes(lambda: bool(refused))
        store.remove(identity("alice", b"right"))
        await becomes(lambda: "a1" in broker.disconnected)
        clock.moved = moved
        await becomes(lambda: settled(store))
        assert sorted(broker.disconnected) == ["a1", "b1"]
        store.put(identity("carol", b"right"))
        broker.join(Session("c1", "carol"))
        store.remove(identity("carol", b"right"))
        await becomes(lambda: "c1" in broker.disconnected)
        clock.moved = 0
        await becomes(lambda: settled(store))


def test_who_works_at_them_keeps_none_from_it_for_an_hour(store: Store) -> None:
    with Runtime.open(store.path) as runtime:
        revocations = Revocations(runtime)
        assert revocations.claim(os.getppid(), now_ms() + HOUR_MS)
        assert revocations.claim(os.getpid(), now_ms())


@pytest.mark.skipif(not LIBRARY.exists(), reason="libfaketime is not installed")
def test_a_real_server_whose_clock_is_moved(store: Store, tmp_path: Path) -> None:
    half = now_ms() + HOUR_MS // 2
    store.put(identity("alice", b"right"), identity("guest", b"right", expires_at=half))
    moved = tmp_path / "moved"
    moved.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(moved),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Server(tmp_path, **faked) as server, Asker(server.port) as broker:
        for by, guest in (("+0", True), ("+3600", False), ("-3600", True), ("+0", True)):
            moved.write_text(by)
            until(lambda guest=guest: broker.connects("g", "guest", b"right") is guest, what=by)  # type: ignore[misc]
            assert broker.connects("c", "alice", b"right")
            assert not broker.connects("c", "alice", b"wrong")
            if by == "+3600":
                assert server.line("expired")["records"] == 1
        store.put(identity("late", b"right"))
        until(lambda: broker.connects("l", "late", b"right"), what="a commit after it was moved back")
        assert not server.events("store unavailable")
        assert server.events("worker died; another takes its place") == []
