"""End to end: calls per second, CPU per call and latency of a running server, beside servers that decide nothing."""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

from http2 import Connection
from machine import cpu_seconds, load_core, pinned
from questions import ALLOW, Question, connect, publish
from servers import Server
from tables import Table, WrongAnswer, median_ratio, percentile

CONNECTIONS: Final = 8
"""EMQX's pool for one ExHook server, by default."""
STREAMS: Final = 32
CLIENTS: Final = 1_000

_WARM_UP_SHARE: Final = 0.2
"""Of the run's length."""


class Load(NamedTuple):
    """What one run came to."""

    calls_per_second: float
    cpu_us: float
    """CPU of the server's processes per call, in µs."""
    latencies: tuple[float, ...]
    """In seconds."""
    answers: int


@dataclass
class Rounds:
    """The runs of one server with one kind of call."""

    busy: list[Load] = field(default_factory=list)
    calm: list[Load] = field(default_factory=list)


def kinds(records: int) -> dict[str, list[Question]]:
    """The calls that are benched, of a thousand clients, by name."""
    # The last one's neighbour does not exist.
    numbers = Random(2).sample(range(records - 1), min(CLIENTS, records - 1))  # noqa: S311 - no secret
    return {
        "authorize, allowed": [publish(number, allowed=True) for number in numbers],
        "authorize, refused and logged": [publish(number, allowed=False) for number in numbers],
        "authenticate, SIGNED": [connect(number) for number in numbers],
    }


def carrying(servers: Sequence[Server], asked: dict[str, list[Question]], rounds: int, seconds: float) -> Table:
    """Every kind of call to every server, in turn; the first server of `servers` is the one all are compared to."""
    table = Table(
        "End to end through the carrier, one worker",
        ("call, server", "calls/s", "CPU µs/call", "times first", "CPU µs/call calm", "times first calm", "p50 ms",
         "p99 ms"),
        f"{CONNECTIONS} connections of {STREAMS} calls at once; calm and latency: {CONNECTIONS} of 1. "
        "CPU of the server's process alone, load on another core where there is one. No-op: a constant answer. "
        "Times first: CPU against the first row, round by round.",
    )  # fmt: skip
    found = {(kind, server.name): Rounds() for kind in asked for server in servers}
    with pinned(load_core()):
        for server in servers:
            asyncio.run(_warm(server, next(iter(asked.values()))))
        for turn in range(rounds):
            for kind, questions in asked.items():
                for server in (*servers[turn % len(servers) :], *servers[: turn % len(servers)]):
                    right = (
                        questions
                        if server.name.startswith("exhook")
                        else [_constant(question) for question in questions]
                    )
                    runs = found[kind, server.name]
                    runs.busy.append(drive(server, cycle(right), STREAMS, seconds))
                    runs.calm.append(drive(server, cycle(right), 1, seconds * 0.7))
    for kind in asked:
        base = found[kind, servers[0].name]
        for server in servers:
            runs = found[kind, server.name]
            table.answers += sum(load.answers for load in (*runs.busy, *runs.calm))
            table.add(f"{kind}: {server.name}", *_figures(runs, base))
    return table


def drive(server: Server, questions: Iterator[Question], streams: int, seconds: float) -> Load:
    """Keep `streams` calls of each connection under way for so long; every answer is compared with the right one.

    Raises:
        WrongAnswer: one is not right.
        CallFailed: one did not come.
    """
    # A collection of this process's garbage would show as the server's latency.
    gc.disable()
    try:
        return asyncio.run(_drive(server, questions, streams, seconds))
    finally:
        gc.enable()


async def _drive(server: Server, questions: Iterator[Question], streams: int, seconds: float) -> Load:
    connections = [await Connection.open(server.port) for _ in range(CONNECTIONS)]
    loops = [_Closed(connection, questions) for connection in connections]
    for loop in loops:
        loop.start(streams)
    await _sleep(seconds * _WARM_UP_SHARE, connections)
    before = [len(loop.latencies) for loop in loops]
    cpu, began = sum(map(cpu_seconds, server.pids)), perf_counter()
    await _sleep(seconds, connections)
    cpu, took = sum(map(cpu_seconds, server.pids)) - cpu, perf_counter() - began
    latencies = [
        late for loop, first in zip(loops, before, strict=True) for late in loop.latencies[first : len(loop.latencies)]
    ]
    for loop in loops:
        loop.going = False
    while any(connection.under_way for connection in connections):
        await _sleep(0.005, connections)
    for connection in connections:
        connection.close()
    for loop in loops:
        if loop.wrong is not None:
            raise WrongAnswer(f"{server.name} answered {loop.wrong[1]!r} to {loop.wrong[0]}")
    answers = sum(len(loop.latencies) for loop in loops)
    return Load(len(latencies) / took, cpu / len(latencies) * 1e6, tuple(latencies), answers)


async def _warm(server: Server, questions: Sequence[Question]) -> None:
    """Ask everything once, so that every view is cached when time is taken."""
    connection = await Connection.open(server.port)
    for first in range(0, len(questions), STREAMS):
        await asyncio.gather(*(connection.ask(question) for question in questions[first : first + STREAMS]))
    connection.close()


class _Closed:
    """A closed loop on one connection: the next question goes out when an answer is in."""

    def __init__(self, connection: Connection, questions: Iterator[Question]) -> None:
        self.going = True
        self.latencies: list[float] = []
        self.wrong: tuple[Question, bytes] | None = None
        self._connection = connection
        self._questions = questions

    def start(self, streams: int) -> None:
        for _ in range(streams):
            self._ask()
        self._connection.flush()

    def _ask(self) -> None:
        question = next(self._questions)

        def done(answer: bytes, took: float) -> None:
            if answer != question.answer:
                self.wrong = (question, answer)
            self.latencies.append(took)
            if self.going:
                self._ask()

        self._connection.send(question, done)


async def _sleep(seconds: float, connections: list[Connection]) -> None:
    await asyncio.sleep(seconds)
    for connection in connections:
        if connection.failed:
            raise connection.failed


def _constant(question: Question) -> Question:
    return Question(question.path, question.message, ALLOW)


def _figures(runs: Rounds, base: Rounds) -> tuple[float, ...]:
    busy, calm = [load.cpu_us for load in runs.busy], [load.cpu_us for load in runs.calm]
    return (
        median(load.calls_per_second for load in runs.busy),
        median(busy),
        median_ratio(busy, [load.cpu_us for load in base.busy]),
        median(calm),
        median_ratio(calm, [load.cpu_us for load in base.calm]),
        median(percentile(load.latencies, 0.5) for load in runs.calm) * 1e3,
        median(percentile(load.latencies, 0.99) for load in runs.calm) * 1e3,
    )
