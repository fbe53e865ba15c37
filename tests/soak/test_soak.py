"""What only real time shows: minutes of idling as EMQX idles, and minutes of load."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import argon2
import h2.events
import pytest
from server_under_test import HOST, Asker, Server
from test_hostile import AUTHENTICATE, ENDED, Raw, raw
from worker_under_test import INSTANCE, Served, Store, identity, instance, permission

from protos import exhook_v3_pb2
from store.records import BlacklistEntry, Grantee, SignMode

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PINGS = 6
PING_SECONDS = 60.0
"""As EMQX; grpc-core's default says GOAWAY at the third or fourth."""
CONNECTIONS = 8

LOAD_SECONDS = 300.0
WARM_SECONDS = 60.0
CALLS_PER_SECOND = 400
THREADS = 4
CLIENTS = 2_000
MOST_GROWTH_KIB = 8 * 1024
"""Of one process, in four minutes; a kilobyte lost by each call would be ten times that."""


async def test_an_idle_broker_that_pings_each_minute_is_never_sent_away(tmp_path: Path) -> None:
    Store(tmp_path / "exhook.db").put(instance(), identity("alice", b"right"))
    with Server(tmp_path, "--workers", "2") as server:
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(raw(server.port)) for _ in range(CONNECTIONS)]
            for number in range(PINGS):
                for peer in peers:
                    await _ping(peer, number)
                await asyncio.sleep(PING_SECONDS)
            for peer in peers:
                await _ping(peer, PINGS)
                assert await _connects(peer)
        assert not server.events("worker died; another takes its place")


async def _ping(peer: Raw, number: int) -> None:
    peer.connection.ping(number.to_bytes(8))
    peer.flush()
    event = await peer.until(h2.events.PingAckReceived, h2.events.ConnectionTerminated, seconds=20)
    assert isinstance(event, h2.events.PingAckReceived), event


async def _connects(peer: Raw) -> bool:
    info = exhook_v3_pb2.ClientInfo(clientid=b"c", username=b"alice", password=b"right")
    message = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=info).SerializeToString()
    peer.headers(1, AUTHENTICATE, "5S")
    peer.connection.send_data(1, b"\0" + len(message).to_bytes(4) + message, end_stream=True)
    peer.flush()
    event = await peer.until(h2.events.DataReceived, h2.events.ConnectionTerminated, *ENDED, seconds=20)
    assert isinstance(event, h2.events.DataReceived), event
    return Served.verdict(event.data[5:])


async def test_memory_stays_flat_under_mixed_load(tmp_path: Path) -> None:
    store = _filled(tmp_path / "exhook.db")
    arguments = ("--workers", "2", "--metrics", f"{HOST}:0", "--decisions", "none")
    with Server(tmp_path, *arguments, EXHOOK_VERIFIED_SECONDS="5") as server:
        end = time.monotonic() + LOAD_SECONDS
        load = asyncio.gather(*(asyncio.to_thread(_ask, server.port, seed, end) for seed in range(THREADS)))
        beside = asyncio.gather(asyncio.to_thread(_commit, store, end), _half_open(server.port, end))
        await asyncio.sleep(WARM_SECONDS)
        before = {pid: _held(pid) for pid in server.alive()}
        calls = sum(await load)
        await beside
        after = {pid: _held(pid) for pid in server.alive()}
        assert set(after) == set(before), server.said[-2000:]
        for pid, (resident, files) in after.items():
            assert resident - before[pid][0] < MOST_GROWTH_KIB, (before, after)
            assert files - before[pid][1] < 20, (before, after)
        assert calls > LOAD_SECONDS * CALLS_PER_SECOND / 2
        metrics = server.metrics()
        assert metrics["exhook_hook_errors_total"] == 0
        assert metrics["exhook_half_open_calls_total"] > 0


def _filled(db: Path) -> Store:
    store = Store(db)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(b"right").encode()
    store.put(
        instance(),
        identity("alice", b"right"),
        identity("hashed", hashed, mode=SignMode.HASHED),
        permission("alice", "a/${clientid}/#"),
        permission("", "all/#", to=Grantee.ALL),
        *(permission(f"c{number}", f"own/{number}/+", to=Grantee.CLIENT) for number in range(0, CLIENTS, 2)),
        *(BlacklistEntry(instance=INSTANCE, client_id=f"c{number}") for number in range(0, CLIENTS, 10)),
    )
    return store


def _ask(port: int, seed: int, end: float) -> int:
    """Calls of every kind, at a steady pace; how many."""
    dice = random.Random(seed)  # noqa: S311 - a mixture, no secret
    with Asker(port) as broker:
        kinds: tuple[Callable[[str], bool], ...] = (
            lambda client: broker.connects(client, "alice", b"right"),
            lambda client: broker.connects(client, "alice", b"wrong"),
            lambda client: broker.connects(client, f"stranger-{client}", b"right"),
            lambda client: broker.publishes(client, "alice", f"a/{client}/up"),
            lambda client: broker.publishes(client, "alice", f"own/{client[1:]}/up"),
            lambda client: broker.subscribes(client, "alice", f"a/{client}/#"),
            lambda client: broker.subscribes(client, "alice", "#"),
            lambda client: broker.publishes(client, "alice", "a/#/b"),
        )
        for number in itertools.count():
            due = end - LOAD_SECONDS + number * THREADS / CALLS_PER_SECOND
            now = time.monotonic()
            if now >= end:
                return number
            time.sleep(max(0.0, due - now))
            client = f"c{dice.randrange(CLIENTS)}"
            if number % 50:
                dice.choice(kinds)(client)
            else:
                broker.connects(client, "hashed", dice.choice((b"right", b"wrong")))
    raise AssertionError


def _commit(store: Store, end: float) -> None:
    for number in itertools.count():
        if time.monotonic() >= end:
            return
        store.put(permission("alice", "changing/#", note=str(number)))
        time.sleep(0.5)


async def _half_open(port: int, end: float) -> None:
    """Calls without their message, as EMQX makes them for what is not UTF-8."""
    while time.monotonic() < end:
        async with raw(port) as peer:
            for number in range(20):
                peer.headers(1 + 2 * number, AUTHENTICATE, "200m")
            for _ in range(20):
                await peer.until(*ENDED, seconds=20)
        await asyncio.sleep(2.0)


def _held(pid: int) -> tuple[int, int]:
    """Resident memory in KiB, and open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * (os.sysconf("SC_PAGE_SIZE") // 1024), len(list(Path(f"/proc/{pid}/fd").iterdir()))
