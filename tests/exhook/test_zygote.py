"""Workers are forked from a process that has their modules loaded: replaced at once, whoever else dies with them."""

import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from signal import SIGKILL

import pytest
import structlog
from server_under_test import HOST, Asker, Server, becomes, until
from worker_under_test import CARRIERS, Store, identity

from exhook import forking as forking_module
from exhook import processes, zygote
from exhook.forking import Forked, Zygote
from exhook.processes import LOOP_DEATHS, ServingProcess, WorkerProcess
from exhook.settings import Settings
from exhook.spawning import answer, first_line
from exhook.status import Status
from exhook.words import LOOPS
from store.clock import now_ms
from store.database import Database
from store.runtime import Runtime

EXCHANGED = "the process that forks workers died; another takes its place"


@pytest.fixture
def filled(store: Store) -> Store:
    store.put(identity("alice", b"right"))
    return store


@pytest.fixture
async def forking() -> AsyncIterator[Zygote]:
    one = Zygote()
    yield one
    await one.stop()


def descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def threads(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pipes_of(pid: int) -> set[str]:
    return {target for one in descriptors(pid) if (target := str(one.readlink())).startswith("pipe:")}


def settings_of(store: Store) -> Settings:
    return Settings(db=store.path, listen=f"{HOST}:0", drain_seconds=0.1, carrier="h2")


async def serving(zygote_: Zygote, name: str, settings: Settings) -> Forked:
    """A worker that has said that it serves."""
    worker = await zygote_.fork(name)
    worker.stdin.write(settings.model_dump_json().encode() + b"\n")
    assert "ready" in answer(await first_line(worker))
    return worker


class TestForking:
    async def test_workers_come_and_end_with_their_codes(self, filled: Store, forking: Zygote) -> None:
        settings = settings_of(filled)
        killed, ended = [await serving(forking, name, settings) for name in "01"]
        killed.kill()
        assert await killed.wait() == killed.returncode == -SIGKILL
        assert ended.returncode is None
        ended.stdin.close()
        assert await ended.wait() == 0
        killed.kill()  # which is nobody's process any more

    async def test_one_that_is_told_nothing_ends_without_a_word(self, forking: Zygote) -> None:
        worker = await forking.fork("0")
        worker.stdin.close()
        assert await worker.wait() == 0

    async def test_one_that_cannot_start_says_why(self, tmp_path: Path, forking: Zygote) -> None:
        broken = tmp_path / "exhook.db"
        broken.write_bytes(b"no SQLite file\n" * 1000)
        worker = await forking.fork("0")
        worker.stdin.write(Settings(db=broken).model_dump_json().encode() + b"\n")
        assert "not an SQLite file" in answer(await first_line(worker))["failed"]
        assert await worker.wait() == 1

    async def test_one_that_dies_before_anybody_heard_of_it_is_one_that_died(self, forking: Zygote) -> None:
        """Both words are there at once where the supervisor was busy meanwhile."""
        await forking.start()
        await forking._there()
        assert forking._process is not None
        pid = forking._process.pid
        before = len(descriptors(os.getpid()))
        asked = asyncio.create_task(forking.fork("0"))
        await asyncio.sleep(0)  # one turn of the loop, which sends the order; from then on it is busy
        os.kill(until(lambda: children(pid))[0], SIGKILL)
        until(lambda: not children(pid), what="its end told")
        worker = await asked
        assert await worker.wait() == -SIGKILL
        await becomes(lambda: len(descriptors(os.getpid())) == before)

    async def test_workers_outlive_it_and_their_end_is_seen(self, filled: Store, forking: Zygote) -> None:
        left = await serving(forking, "0", settings_of(filled))
        assert forking._process is not None
        forking._process.kill()
        await forking._process.wait()
        other = await serving(forking, "1", settings_of(filled))
        assert left.returncode is None
        os.kill(left.pid, 0)
        left.kill()
        assert await left.wait() == 255
        other.stdin.close()
        assert await other.wait() == 0

    async def test_it_hands_over_no_more_than_the_worker_s_own(self, filled: Store, forking: Zygote) -> None:
        """Another's pipe in a worker would keep that other from seeing its supervisor's end."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            first = await forking.fork("0", theirs)
            second = await serving(forking, "1", settings_of(filled))
        shared = pipes_of(first.pid) & pipes_of(second.pid)
        assert len(shared) <= 1  # standard error, where that is a pipe
        for worker in (first, second):
            worker.kill()
            await worker.wait()

    @pytest.mark.parametrize("carrier", CARRIERS)
    async def test_it_has_one_thread_and_no_file_of_the_store(self, filled: Store, carrier: str) -> None:
        """A fork of more would hold locks that nobody opens, and a store that two processes think they have opened."""
        settings = settings_of(filled).model_copy(update={"carrier": carrier})
        one = Zygote(zygote.preloaded(carrier))
        worker = await serving(one, "0", settings)
        assert one._process is not None
        pid = one._process.pid
        assert len(threads(pid)) == 1
        assert not [file for file in descriptors(pid) if "exhook" in str(file.readlink())]
        worker.kill()
        await worker.wait()
        await one.stop()

    def test_a_fork_that_fails_is_told(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def short_of_memory() -> int:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        monkeypatch.setattr(os, "fork", short_of_memory)
        descriptor = os.open(os.devnull, os.O_RDONLY)
        assert zygote._fork(zygote.Order("0", (descriptor,))) is False
        assert json.loads(capsys.readouterr().out) == {"refused": errno.ENOMEM}
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.close(descriptor)

    async def test_one_that_cannot_fork_is_an_error_of_the_system(
        self, forking: Zygote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refused() -> dict[str, int]:
            return {"refused": errno.EAGAIN}

        await forking.start()
        await forking._there()
        monkeypatch.setattr(forking, "_answer", refused)
        before = len(descriptors(os.getpid()))
        with pytest.raises(BlockingIOError):
            await forking.fork("0")
        assert len(descriptors(os.getpid())) == before


async def test_it_is_tried_again_whatever_kept_it_from_starting(
    forking: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = forking.start, iter((KeyError(7), OSError(errno.EMFILE, "Too many open files")))

    async def fails_twice() -> None:
        for failure in failures:
            raise failure
        await start()

    await start()
    first = forking._process
    assert first is not None
    monkeypatch.setattr(forking_module, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(forking, "start", fails_twice)
    keeping = asyncio.create_task(forking.keep())
    try:
        with structlog.testing.capture_logs() as lines:
            first.kill()
            await becomes(lambda: forking._process is not first)
        whys = [line["why"] for line in lines if line["event"] == "the process that forks workers did not start"]
        assert whys[0].startswith("KeyError at ")
        assert "Too many open files" in whys[1]
    finally:
        keeping.cancel()


async def test_a_loop_of_failed_starts_is_told_and_ends_by_itself(
    filled: Store, forking: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_FIRST_BACKOFF", 0.001)
    loops: list[int] = []

    def looping(process: ServingProcess) -> None:
        loops.append(process.failed_starts)

    worker = WorkerProcess("0", settings_of(filled), forking, on_loop=looping)
    await worker.start()
    aside = filled.path.rename(filled.path.with_name("aside.db"))
    filled.path.write_bytes(b"no SQLite file\n" * 1000)
    keeping = asyncio.create_task(worker.keep())
    try:
        assert worker.pid is not None
        with structlog.testing.capture_logs() as lines:
            os.kill(worker.pid, SIGKILL)
            await becomes(lambda: len(loops) >= 2)
        assert loops[:2] == [LOOP_DEATHS, LOOP_DEATHS + 1]
        told = [line for line in lines if line["event"] == "worker dies again and again"]
        assert {line["log_level"] for line in told} == {"critical"}
        assert [line["times"] for line in told] == loops[: len(told)]
        aside.replace(filled.path)
        last = worker.pid
        await becomes(lambda: worker.pid != last and serves(worker))
    finally:
        keeping.cancel()
        await worker.stop(0)


def serves(worker: WorkerProcess) -> bool:
    return worker.pid is not None and Path(f"/proc/{worker.pid}/cmdline").exists()


def zygote_of(server: Server, than: int = 0) -> int:
    """The process that forks the server's workers, once it is another one."""
    return until(lambda: _zygote_of(server, than), what="a zygote")


def _zygote_of(server: Server, than: int) -> int:
    workers = set(server.workers().values())
    for pid in server.alive() - workers:
        if pid != than and Path(f"/proc/{pid}/comm").read_text() == "exhook-zygote\n":
            return pid
    return 0


@pytest.fixture
def server(filled: Store) -> Iterator[Server]:
    with Server(filled.path.parent, "--workers", "2", "--decisions", "all") as one:
        yield one


class TestServer:
    def test_its_death_disturbs_nobody(self, server: Server) -> None:
        workers, first = server.workers(), zygote_of(server)
        with ExitStack() as stack:
            brokers = [stack.enter_context(Asker(server.port)) for _ in range(4)]
            assert all(broker.connects("c", "alice", b"right") for broker in brokers)
            os.kill(first, SIGKILL)
            server.line(EXCHANGED, exit_code=-SIGKILL)
            assert all(broker.connects("c", "alice", b"right") for broker in brokers)
            assert server.workers() == workers
            zygote_of(server, than=first)
            os.kill(workers["1"], SIGKILL)
            until(lambda: server.workers().get("1", workers["1"]) != workers["1"], what="another worker 1")
            assert all(broker.connects("c", "alice", b"right") for broker in brokers)

    def test_all_at_once(self, server: Server) -> None:
        """As the kernel does when memory runs out."""
        workers = server.workers()
        for pid in (zygote_of(server), *workers.values()):
            os.kill(pid, SIGKILL)
        with Asker(server.port) as broker:
            assert broker.connects("c", "alice", b"right")
        until(lambda: set(server.workers()) == set(workers), what="both")
        assert not set(server.workers().values()) & set(workers.values())

    def test_a_loop_of_deaths_is_told_and_found(self, filled: Store, server: Server) -> None:
        worker = server.workers()["0"]
        for _ in range(LOOP_DEATHS):
            os.kill(worker, SIGKILL)
            worker = until(partial(another, server, "0", worker), what="another worker 0")
        assert server.line("worker dies again and again", worker="0")["times"] == LOOP_DEATHS
        with Database.open(filled.path, filled.keys) as database:
            status = partial(Status.of, database)
            until(lambda: f"worker 0{LOOPS}" in str(list(status(now_ms()).findings())), what="the finding")


def another(server: Server, name: str, than: int) -> int:
    """The process of this worker, once it is another and answers."""
    with Runtime.open(server.db) as runtime:
        pids = {worker.worker: worker.pid for worker in runtime.workers()}
    return pids[name] if pids.get(name, than) != than else 0
