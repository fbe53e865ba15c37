"""Memory of a worker, its start, and the file, at a million identities and as many permissions."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from filling import fill, put_rate
from http2 import Connection
from load import CONNECTIONS
from machine import forget_file, load_core, pinned, resident_mib, server_core
from questions import Question, publish
from servers import Server, exhook
from tables import Table, WrongAnswer, median_ratio, percentile

from store.seal import SealKeys

_MIB: Final = 2**20
_STREAMS: Final = 16


class Sizes:
    """The table of sizes, filled as the run comes by."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.table = Table(
            f"Memory and start, store of {records:,} identities and {records:,} permissions",
            ("what", "figure", "unit"),
            "Memory: VmRSS of the worker, shared pages included. Start: `exhook serve` to its first right answer, the "
            "store dropped from the kernel's cache before.",
        )

    def of_file(self, folder: Path, db: Path, keys: SealKeys, *, sample: int) -> None:
        """Fill the store; say how fast, and how fast the door is that `apply` uses."""
        seconds = fill(db, keys, self.records)
        per_second, bytes_each = put_rate(folder / "sample.db", keys, sample)
        add = self.table.add
        add("file, records without their change log", db.stat().st_size / _MIB, "MiB")
        add("filling in bulk (this bench's own way)", 2 * self.records / seconds, "records/s")
        add(f"Writing.put, {sample:,} records in one revision", per_second, "records/s")
        add("file by Writing.put, with its change log", bytes_each, "bytes/record")

    def of_start(self, folder: Path, db: Path, key_file: Path, keys: SealKeys, *, rounds: int) -> None:
        """Start the server on this store and on a store of one identity, in turn."""
        small = folder / "small.db"
        fill(small, keys, 1)
        taken: dict[Path, list[float]] = {db: [], small: []}
        for _ in range(rounds):
            for path, figure in taken.items():
                forget_file(path)
                began = perf_counter()
                with exhook(path, key_file, cores=(server_core(),)) as server:
                    asyncio.run(self._first_answer(server))
                    figure.append(perf_counter() - began)
        self.table.add("start to first answer", median(taken[db]), "s")
        self.table.add("… of a store of one identity", median(taken[small]), "s")
        self.table.add("… ratio", median_ratio(taken[db], taken[small]), "times")

    def of_worker(self, server: Server, active: int) -> None:
        """Let so many different clients publish once."""
        (pid,) = server.pids
        self.table.add("worker after its start", resident_mib(pid), "MiB")
        with pinned(load_core()):
            seconds, latencies = asyncio.run(self._activate(server, active))
        self.table.add(f"worker after {active:,} active clients", resident_mib(pid), "MiB")
        self.table.add("first call of each, view cold", active / seconds, "calls/s")
        self.table.add("… p99", percentile(latencies, 0.99) * 1e3, "ms")
        self.table.add("… longest", max(latencies) * 1e3, "ms")

    async def _first_answer(self, server: Server) -> None:
        connection = await Connection.open(server.port)
        question = publish(0, allowed=True)
        self.table.check([await connection.ask(question)], [question.answer])
        connection.close()

    async def _activate(self, server: Server, active: int) -> tuple[float, list[float]]:
        step = self.records // active
        questions = (publish(number * step, allowed=True) for number in range(active))
        connections = [await Connection.open(server.port) for _ in range(CONNECTIONS)]
        latencies: list[float] = []
        began = perf_counter()
        await asyncio.gather(
            *(self._ask_all(connection, questions, latencies) for connection in connections for _ in range(_STREAMS))
        )
        took = perf_counter() - began
        for connection in connections:
            connection.close()
        self.table.answers += active
        return took, latencies

    async def _ask_all(self, connection: Connection, questions: Iterator[Question], latencies: list[float]) -> None:
        for question in questions:
            began = perf_counter()
            answer = await connection.ask(question)
            latencies.append(perf_counter() - began)
            if answer != question.answer:
                raise WrongAnswer(f"{self.table.title}: {answer!r} to {question}")
