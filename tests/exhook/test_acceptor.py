"""One process accepts and hands out: evenly, and to who is there; nobody is lost while a worker is replaced."""

import asyncio
import errno
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
from server_under_test import HOST, Asker, Server, becomes, until
from worker_under_test import Store, identity

from exhook import processes
from exhook.forking import Zygote
from exhook.processes import WorkerProcess
from exhook.settings import Settings
from exhook.transport.h2 import acceptor as acceptor_module
from exhook.transport.h2.acceptor import Acceptor, Intake

H2 = ("--carrier", "h2")


class Taker:
    """A worker's end."""

    def __init__(self, acceptor: Acceptor, name: str, left: list[str] | None = None) -> None:
        """Its name is added to `left` when the acceptor tells that it has left."""
        ours, theirs = socket.socketpair()
        self.taken: list[socket.socket] = []
        self.intake = Intake(theirs)
        self.missed = 0
        self.intake.start(self.taken.append, self._miss)
        acceptor.seat(name, ours, lambda: None if left is None else left.append(name))

    def _miss(self) -> None:
        self.missed += 1

    def close_one(self) -> None:
        self.taken.pop().close()
        self.intake.closed()

    def leave(self) -> None:
        self.intake.close()
        for one in self.taken:
            one.close()


@pytest.fixture
async def acceptor() -> AsyncIterator[Acceptor]:
    one = Acceptor((f"{HOST}:0",), ("0", "1", "2"))
    yield one
    one.close()


async def connect(port: int, count: int) -> list[socket.socket]:
    return [await asyncio.to_thread(socket.create_connection, (HOST, port)) for _ in range(count)]


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process has as many as it may have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()


class TestSpreading:
    async def test_few_connections_are_spread_evenly(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        peers = await connect(port, 8)
        await becomes(lambda: sorted(len(taker.taken) for taker in takers) == [2, 3, 3])
        for taker in takers:
            taker.leave()
        close(*peers)

    async def test_who_has_fewest_gets_the_next(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        peers = await connect(port, 6)
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        takers[1].close_one()
        takers[1].close_one()
        await asyncio.sleep(0.05)
        peers += await connect(port, 2)
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        for taker in takers:
            taker.leave()
        close(*peers)

    async def test_one_at_a_time_goes_round(self, acceptor: Acceptor) -> None:
        """A probe that connects, asks and goes does not ask one worker alone."""
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        seen: Counter[int] = Counter()
        for _ in range(6):
            (peer,) = await connect(port, 1)
            await becomes(lambda: any(taker.taken for taker in takers))
            number = next(number for number, taker in enumerate(takers) if taker.taken)
            seen[number] += 1
            takers[number].close_one()
            peer.close()
            await asyncio.sleep(0.02)
        assert seen == {0: 2, 1: 2, 2: 2}
        for taker in takers:
            taker.leave()

    async def test_who_comes_before_the_workers_waits_for_all_of_them(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        peers = await connect(port, 6)
        takers = [Taker(acceptor, "0")]
        await becomes(lambda: len(takers[0].taken) == 2)
        takers += [Taker(acceptor, "1"), Taker(acceptor, "2")]
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        for taker in takers:
            taker.leave()
        close(*peers)


class TestReplacement:
    async def test_the_connections_of_who_died_wait_for_who_takes_its_place(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        peers = await connect(port, 6)
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        takers[1].leave()
        await asyncio.sleep(0.05)
        peers += await connect(port, 2)
        takers[1] = Taker(acceptor, "1")
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        for taker in takers:
            taker.leave()
        close(*peers)

    async def test_who_comes_too_late_does_not_get_them(
        self, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acceptor_module, "_REPLACEMENT_SECONDS", 0.1)
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        takers[1].leave()
        acceptor.lost("1")
        acceptor.lost("1")
        peers = await connect(port, 6)
        await becomes(lambda: [len(takers[number].taken) for number in (0, 2)] == [3, 3])
        for taker in (takers[0], takers[2]):
            taker.leave()
        close(*peers)

    async def test_who_comes_back_faster_than_the_news_waits_as_well(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        peers = await connect(port, 6)
        await becomes(lambda: [len(taker.taken) for taker in takers] == [2, 2, 2])
        takers[2].leave()
        ours, theirs = socket.socketpair()
        acceptor._spread(theirs)
        assert acceptor._seats["2"].held == [theirs]
        for taker in takers[:2]:
            taker.leave()
        close(*peers, ours)

    async def test_where_none_is_to_come_others_get_them_at_once(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        takers[1].leave()
        acceptor.lost("1")
        peers = await connect(port, 2)
        await becomes(lambda: len(acceptor._seats["1"].held) == 1)
        acceptor.lost("1", back=False)
        peers += await connect(port, 4)
        await becomes(lambda: [len(takers[number].taken) for number in (0, 2)] == [3, 3])
        for taker in (takers[0], takers[2]):
            taker.leave()
        close(*peers)

    async def test_where_nobody_is_they_wait_for_whoever_comes(
        self, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acceptor_module, "_REPLACEMENT_SECONDS", 0.05)
        port = acceptor.start()
        takers = [Taker(acceptor, name) for name in "012"]
        for taker in takers:
            taker.leave()
        peers = await connect(port, 3)
        await asyncio.sleep(0.2)
        late = Taker(acceptor, "2")
        await becomes(lambda: len(late.taken) == 3)
        late.leave()
        close(*peers)


class TestChannels:
    async def test_what_a_worker_has_no_descriptor_for_is_closed_and_not_counted(self, acceptor: Acceptor) -> None:
        port = acceptor.start()
        taker, other = Taker(acceptor, "0"), Taker(acceptor, "1")
        acceptor.lost("2", back=False)
        peers = await connect(port, 4)
        await becomes(lambda: (len(taker.taken), len(other.taken)) == (2, 2))
        with socket.create_connection((HOST, port)) as peer:
            await becomes(lambda: len(taker.taken) == 3)
            ours = acceptor._seats["0"].channel
            assert ours is not None
            with no_more_descriptors():
                socket.send_fds(ours, [b"+"], [peer.fileno()])
                acceptor._seats["0"].connections += 1
                await becomes(lambda: taker.missed == 1)
            await becomes(lambda: acceptor._seats["0"].connections == 3)
        for one in (taker, other):
            one.leave()
        close(*peers)

    async def test_what_passes_costs_no_worker_its_place(
        self, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel says so where a user has too many sockets on their way."""
        monkeypatch.setattr(acceptor_module, "_REPLACEMENT_SECONDS", 0.02)
        send, failures = socket.send_fds, iter(range(40))

        def crowded(*arguments: Any) -> int:
            if next(failures, None) is not None:
                raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
            return send(*arguments)

        monkeypatch.setattr(socket, "send_fds", crowded)
        port = acceptor.start()
        left: list[str] = []
        takers = [Taker(acceptor, name, left) for name in "012"]
        peers = await connect(port, 9)
        await becomes(lambda: sum(len(taker.taken) for taker in takers) == 9)
        assert not left
        assert next(failures, None) is None
        for taker in takers:
            taker.leave()
        await becomes(lambda: sorted(left) == ["0", "1", "2"])
        close(*peers)

    async def test_one_that_waits_wakes_as_often_as_many(
        self, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acceptor_module, "_REPLACEMENT_SECONDS", 0.02)
        sent: list[float] = []

        def crowded(*_: Any) -> int:
            sent.append(time.monotonic())
            raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")

        monkeypatch.setattr(socket, "send_fds", crowded)
        taker = Taker(acceptor, "0")
        peers = await connect(acceptor.start(), 8)
        await becomes(lambda: len(acceptor._waiting) == 8)
        sent.clear()
        await asyncio.sleep(0.2)
        assert len(sent) <= 3 * 10 * 8  # each seat's timer tries all that it holds, and others get them
        taker.leave()
        close(*peers)

    async def test_a_worker_that_lives_and_is_lost_is_replaced(
        self, filled: Store, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would serve nobody, and nobody would know."""
        monkeypatch.setattr(processes, "_DRAINED_SECONDS", 0.0)
        settings = Settings(db=filled.path, listen=f"{HOST}:0", drain_seconds=0.1, carrier="h2")
        zygote = Zygote()
        worker = WorkerProcess("0", settings, zygote, acceptor)
        await worker.start()
        keeping = asyncio.create_task(worker.keep())
        try:
            first, channel = worker.pid, acceptor._seats["0"].channel
            assert channel is not None
            channel.shutdown(socket.SHUT_RDWR)
            await becomes(lambda: worker.pid != first and acceptor._seats["0"].channel is not None)
        finally:
            keeping.cancel()
            await worker.stop(0)
            await zygote.stop()


@pytest.fixture
async def short(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Acceptor]:
    """It holds no more than four."""
    monkeypatch.setattr(acceptor_module, "_MOST_HELD", 4)
    one = Acceptor((f"{HOST}:0",), ("0",))
    yield one
    one.close()


async def is_let_go(peer: socket.socket) -> bool:
    peer.settimeout(5)
    return await asyncio.to_thread(peer.recv, 1) == b""


class TestWaiting:
    """Where no worker comes at all."""

    async def test_no_more_wait_than_there_is_room_for(self, short: Acceptor) -> None:
        port = short.start()
        first = await connect(port, 4)
        await becomes(lambda: len(short._waiting) == 4)
        (fifth,) = await connect(port, 1)
        assert await is_let_go(fifth)
        late = Taker(short, "0")
        await becomes(lambda: len(late.taken) == 4)
        assert not short._waiting
        late.leave()
        close(*first, fifth)

    async def test_who_has_gone_makes_room(self, short: Acceptor) -> None:
        """Whether it has said something before or not."""
        port = short.start()
        first = await connect(port, 4)
        first[0].sendall(b"PRI")
        await becomes(lambda: len(short._waiting) == 4)
        close(*first[:3])
        second = await connect(port, 3)
        late = Taker(short, "0")
        await becomes(lambda: len(late.taken) == 4)
        assert {one.getpeername() for one in late.taken} == {one.getsockname() for one in (first[3], *second)}
        late.leave()
        close(first[3], *second)

    async def test_nobody_waits_for_ever(self, short: Acceptor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acceptor_module, "_HELD_SECONDS", 0.1)
        peers = await connect(short.start(), 3)
        assert all([await is_let_go(peer) for peer in peers])
        assert not short._waiting
        assert not short._seats["0"].held
        close(*peers)


@pytest.fixture
def filled(store: Store) -> Store:
    store.put(identity("alice", b"right"))
    return store


@pytest.mark.usefixtures("filled")
class TestServer:
    def test_eight_connections_are_spread_evenly_and_come_back(self, tmp_path: Path) -> None:
        with Server(tmp_path, *H2, "--workers", "2", "--decisions", "all") as server, ExitStack() as stack:
            brokers = [stack.enter_context(Asker(server.port)) for _ in range(8)]
            assert self._asked(server, brokers) == {"0": 4, "1": 4}
            pid = server.workers()["0"]
            os.kill(pid, SIGKILL)
            died = time.monotonic()
            server.line("worker died; another takes its place", worker="0")
            assert self._asked(server, brokers) == {"0": 4, "1": 4}
            assert time.monotonic() - died < 10.0  # a third of a second on a machine of one's own
            assert server.workers()["0"] != pid

    def test_a_worker_that_is_asked_to_end_loses_no_call(self, tmp_path: Path) -> None:
        with Server(tmp_path, *H2, "--workers", "2") as server, ExitStack() as stack:
            brokers = [stack.enter_context(Asker(server.port)) for _ in range(4)]
            assert all(broker.connects("c", "alice", b"right") for broker in brokers)
            os.kill(server.workers()["0"], SIGTERM)
            for _ in range(50):
                assert all(broker.connects("c", "alice", b"right") for broker in brokers)

    def test_a_path_serves_as_well(self, tmp_path: Path) -> None:
        path = tmp_path / "exhook.sock"
        with Server(tmp_path, *H2, "--unix-socket", str(path)) as server, Asker(f"unix:{path}") as broker:
            assert broker.connects("c", "alice", b"right")
            second = Server(tmp_path, *H2, "--unix-socket", str(path))
            assert second.ended() == 64
            assert f"{path}: cannot listen there" in second.said
            assert "--unix-socket" in second.said
            assert broker.connects("c", "alice", b"right")
            server.tell(SIGTERM)
            assert server.ended() == 0
        assert not path.exists()

    @staticmethod
    def _asked(server: Server, brokers: list[Asker]) -> Counter[str]:
        """How many of these connections each worker answers."""
        since = len(server.lines)
        for number, broker in enumerate(brokers):
            assert not broker.connects(f"c{number}", "nobody", b"")
        until(lambda: len(server.events("decision", since)) >= len(brokers), what="their lines")
        return Counter(line["worker"] for line in server.events("decision", since))
