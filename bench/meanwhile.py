"""CONNECTs while a large policy is applied: what they wait, beside what they wait on the same machine without."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Final

from http2 import Connection
from machine import load_core, pinned
from policies import make_policy
from questions import Question, connect
from servers import Server
from steps import COMMAND
from tables import Table, WrongAnswer, percentile

CONNECTIONS: Final = 8
_MOST: Final = 20_000
"""Different clients that connect; after these, the first come again."""
_SPIN: Final = "while True: pass"


def connecting(server: Server, db: Path, key_file: Path, records: int, seconds: float) -> Table:
    """Connect alone, beside a process that only computes, and beside an apply."""
    table = Table(
        f"CONNECTs while {2 * records:,} records are applied in one transaction, {len(server.pids)} workers",
        ("what", "connects/s", "p50 ms", "p99 ms", "max ms", "p50, times beside computing", "seconds"),
        f"{CONNECTIONS} connections, a call each, most clients for the first time. What computes, and the apply, run "
        "on the core of the load: beside computing is what an apply costs that takes its core and no lock.",
    )
    numbers = Random(4).sample(range(records), min(records, _MOST))  # noqa: S311 - no secret
    questions = cycle([connect(number) for number in numbers])
    policy = make_policy(db.parent / "other", records, source="other", prefix="other-")
    command = [str(COMMAND), "apply", str(policy), "--db", str(db), "--seal-key-file", str(key_file), "--quiet"]
    found = {}
    with pinned(load_core()):
        alone = _Clock(seconds)
        found["alone"] = asyncio.run(_connect(table, server, questions, alone.runs))
        with subprocess.Popen([sys.executable, "-c", _SPIN], stdin=subprocess.DEVNULL) as spinning:
            try:
                computing = _Clock(seconds)
                found["beside a process that computes"] = asyncio.run(
                    _connect(table, server, questions, computing.runs)
                )
            finally:
                spinning.kill()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as applying:
            found["beside the apply"] = asyncio.run(_connect(table, server, questions, lambda: applying.poll() is None))
    table.check([applying.returncode], [0])
    beside = percentile(found["beside a process that computes"][1], 0.5)
    for name, (took, latencies) in found.items():
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        table.add(name, len(latencies) / took, p50 * 1e3, p99 * 1e3, max(latencies) * 1e3, p50 / beside, took)
    return table


class _Clock:
    """Runs for so long from when it is first asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def runs(self) -> bool:
        if self._until is None:
            self._until = perf_counter() + self._seconds
        return perf_counter() < self._until


async def _connect(
    table: Table, server: Server, questions: Iterator[Question], runs: Callable[[], bool]
) -> tuple[float, list[float]]:
    """Seconds that it took, and those of each call."""
    connections = [await Connection.open(server.port) for _ in range(CONNECTIONS)]
    latencies: list[float] = []
    began = perf_counter()

    async def one_after_the_other(connection: Connection) -> None:
        while runs():
            question = next(questions)
            asked = perf_counter()
            answer = await connection.ask(question)
            latencies.append(perf_counter() - asked)
            if answer != question.answer:
                raise WrongAnswer(f"{table.title}: {answer!r} to {question}")

    await asyncio.gather(*(one_after_the_other(connection) for connection in connections))
    took = perf_counter() - began
    for connection in connections:
        connection.close()
    table.answers += len(latencies)
    return took, latencies
