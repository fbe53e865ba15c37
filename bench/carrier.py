"""End to end: calls per second, CPU per call and latency of a running server, beside servers that decide nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, TypeVar

import grpc
from h2load import press
from load import CONNECTIONS, Load, ask_once, drive
from machine import load_core, pinned
from questions import ALLOW, Question, connect, publish
from servers import Server
from tables import Table, WrongAnswer, median_ratio, percentile

T = TypeVar("T")

STREAMS: Final = 32
CLIENTS: Final = 1_000
CHECKED: Final = 50
"""Calls of each kind that a real gRPC client makes to each server before it is measured, and after."""
ANSWER_SECONDS: Final = 20.0

ALLOWED: Final = "authorize, allowed"
REFUSED: Final = "authorize, refused and logged"
CONNECTING: Final = "authenticate, SIGNED"

_COLUMNS: Final = (
    "calls/s", "CPU µs/call", "times first", "CPU µs/call calm", "times first calm", "p50 ms", "p99 ms",
)  # fmt: skip
_METHOD: Final = (
    f"{CONNECTIONS} connections of {STREAMS} calls at once; calm and latency: {CONNECTIONS} of 1. "
    "CPU of all of the server's processes, load on another core where there is one. "
    "Times first: CPU against the first row, round by round."
)


@dataclass
class Rounds:
    """The runs of one server with one kind of call."""

    busy: list[Load] = field(default_factory=list)
    calm: list[Load] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return sum(load.answers for load in (*self.busy, *self.calm))


def kinds(records: int) -> dict[str, list[Question]]:
    """The calls that are benched, of a thousand clients, by name."""
    # The last one's neighbour does not exist.
    numbers = Random(2).sample(range(records - 1), min(CLIENTS, records - 1))  # noqa: S311 - no secret
    return {
        ALLOWED: [publish(number, allowed=True) for number in numbers],
        REFUSED: [publish(number, allowed=False) for number in numbers],
        CONNECTING: [connect(number) for number in numbers],
    }


def carrying(servers: Sequence[Server], asked: dict[str, list[Question]], rounds: int, seconds: float) -> Table:
    """The first kind of call to every server, in turn; the others to those that decide, and to the first server, which
    all are compared to.

    Raises:
        WrongAnswer: a server did not answer right.
    """
    table = Table(
        "End to end through the carrier, one worker",
        ("call, server", *_COLUMNS),
        f"{_METHOD} Calls of {CLIENTS:,} clients in turn, every answer compared. No-op: a constant answer.",
    )
    first = next(iter(asked))
    cells = {
        (kind, server): right_answers(server, questions)
        for kind, questions in asked.items()
        for server in servers
        if kind == first or server.decides or server is servers[0]
    }
    for (_, server), questions in cells.items():
        table.answers += check(server, questions[:CHECKED])
        # So that every view is cached when time is taken.
        table.answers += ask_once(server, questions, STREAMS).answers
    runs = _in_turn({cell: partial(_drive, cell[1], questions, seconds) for cell, questions in cells.items()}, rounds)
    for (kind, server), found in runs.items():
        table.answers += found.answers + check(server, cells[kind, server][:CHECKED])
        table.add(f"{kind}: {server.name}", *_figures(found, runs[kind, servers[0]]))
    return table


def pressing(servers: Sequence[Server], question: Question, rounds: int, seconds: float, folder: Path) -> Table:
    """The same by h2load, which repeats one call.

    Raises:
        WrongAnswer: a server did not answer right.
    """
    table = Table("By h2load", ("server", *_COLUMNS), f"{_METHOD} One client's publish, again and again.")
    runs = _in_turn({server: partial(_press, server, question, seconds, folder) for server in servers}, rounds)
    for server, found in runs.items():
        table.answers += found.answers + check(server, right_answers(server, [question]))
        table.add(server.name, *_figures(found, runs[servers[0]]))
    return table


def check(server: Server, questions: Sequence[Question]) -> int:
    """Ask by grpcio, as any client does; how many answers were right.

    Raises:
        WrongAnswer: one was not, or did not come.
    """
    if not server.speaks_grpc:
        return 0
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        for question in questions:
            try:
                answer = channel.unary_unary(question.path, None, None)(question.message, timeout=ANSWER_SECONDS)
            except grpc.RpcError as error:
                raise WrongAnswer(f"{server.name} did not answer {question}: {error}") from error
            if answer != question.answer:
                raise WrongAnswer(f"{server.name} answered {answer!r} to {question}")
    return len(questions)


def right_answers(server: Server, questions: Sequence[Question]) -> Sequence[Question]:
    """The questions, with the answer that is right for a server: one that does not decide allows everything."""
    if server.decides:
        return questions
    return [Question(question.path, question.message, ALLOW) for question in questions]


def _in_turn(cells: dict[T, Callable[[], tuple[Load, Load]]], rounds: int) -> dict[T, Rounds]:
    """Every cell once a round, each round begun by another: whatever disturbs the machine disturbs all alike."""
    found = {cell: Rounds() for cell in cells}
    order = list(cells)
    with pinned(load_core()):
        for turn in range(rounds):
            start = turn % len(order)
            for cell in (*order[start:], *order[:start]):
                busy, calm = cells[cell]()
                found[cell].busy.append(busy)
                found[cell].calm.append(calm)
    return found


def _drive(server: Server, questions: Sequence[Question], seconds: float) -> tuple[Load, Load]:
    return drive(server, questions, STREAMS, seconds), drive(server, questions, 1, seconds * 0.7)


def _press(server: Server, question: Question, seconds: float, folder: Path) -> tuple[Load, Load]:
    return press(server, question, STREAMS, seconds, folder), press(server, question, 1, seconds * 0.7, folder)


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
