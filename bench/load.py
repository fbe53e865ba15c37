"""Load on a server: closed loops, where the next call goes out when an answer is in, and open ones at a fixed rate."""

import gc
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from http2 import CallFailed
from line import Call, Line, prepare
from machine import cpu_seconds
from questions import Question
from servers import Server

CONNECTIONS: Final = 8
"""EMQX's pool for one ExHook server, by default."""
GIVE_UP_SECONDS: Final = 10.0
"""Longer than EMQX waits for any answer."""
LATE_SECONDS: Final = 0.5
"""A server that is so far behind the rate of an open loop does not keep up."""
SHED_CALLS: Final = 256
"""From so many calls under way on, a server may refuse some rather than answer all too late."""

_TIMER_SLACK: Final = Path("/proc/self/timerslack_ns")
_WARM_UP_SHARE: Final = 0.2
"""Of the run's length."""
_MS: Final = 1000


class Load(NamedTuple):
    """What one run came to."""

    calls_per_second: float
    cpu_us: float
    """CPU of the server's processes per call, in µs."""
    latencies: tuple[float, ...]
    """In seconds."""
    answers: int
    """All that came, those of the warm-up, too; each was the right one."""


def drive(server: Server, questions: Sequence[Question], streams: int, seconds: float) -> Load:
    """Keep `streams` calls of each connection under way for so long; every answer is compared with the right one.

    Raises:
        WrongAnswer: one is not right.
        CallFailed: one did not come.
    """
    calls = cycle([prepare(question) for question in questions])
    with _pool(server) as pool:
        pool.begin(calls, streams)
        pool.loop(calls, seconds * _WARM_UP_SHARE)
        before = [len(line.latencies) for line in pool.lines]
        cpu, began = _cpu(server), perf_counter()
        pool.loop(calls, seconds)
        cpu, took = _cpu(server) - cpu, perf_counter() - began
        latencies = tuple(
            late for line, first in zip(pool.lines, before, strict=True) for late in line.latencies[first:]
        )
        pool.drain(iter(()))
        answers = len(pool.latencies())
    return Load(len(latencies) / took, cpu / len(latencies) * 1e6, latencies, answers)


def ask_once(server: Server, questions: Sequence[Question], streams: int) -> Load:
    """Ask everything once, `streams` calls of each connection at a time.

    Raises:
        WrongAnswer: an answer is not right.
        CallFailed: one did not come.
    """
    calls = map(prepare, questions)
    with _pool(server) as pool:
        cpu, began = _cpu(server), perf_counter()
        pool.begin(calls, streams)
        pool.drain(calls)
        cpu, took = _cpu(server) - cpu, perf_counter() - began
        latencies = pool.latencies()
    return Load(len(latencies) / took, cpu / len(latencies) * 1e6, latencies, len(latencies))


def at_rate(server: Server, questions: Sequence[Question], rate: float, seconds: float) -> Load | None:
    """Make so many calls a second, whether answers come or not; latency counts from when a call was meant to go out.

    None where the server does not keep up: it is far behind, or refuses calls since too many are under way.
    Connections take turns.

    Raises:
        WrongAnswer: an answer is not right.
        CallFailed: one did not come.
    """
    count = max(1, round(rate * seconds))
    calls = cycle([prepare(question) for question in questions])
    with _pool(server) as pool, _exact_timers():
        cpu, began = _cpu(server), perf_counter()
        try:
            if not _keep_rate(pool, calls, rate, count):
                return None
        except CallFailed:
            if pool.under_way > SHED_CALLS:
                return None
            raise
        cpu, took = _cpu(server) - cpu, perf_counter() - began
        latencies = pool.latencies()
    return Load(count / took, cpu / count * 1e6, latencies, count)


class _Pool:
    """The connections of one run."""

    def __init__(self, server: Server) -> None:
        self.lines = [Line(server.name, server.port) for _ in range(CONNECTIONS)]
        self._name = server.name
        self._by_number = {line.fileno(): line for line in self.lines}
        self._poll = select.poll()
        for line in self.lines:
            self._poll.register(line, select.POLLIN)

    @property
    def under_way(self) -> int:
        return sum(line.under_way for line in self.lines)

    def latencies(self) -> tuple[float, ...]:
        return tuple(late for line in self.lines for late in line.latencies)

    def begin(self, calls: Iterator[Call], streams: int) -> None:
        for line in self.lines:
            _ask(line, calls, streams)

    def loop(self, calls: Iterator[Call], seconds: float) -> None:
        until = perf_counter() + seconds
        while perf_counter() < until:
            self._turn(calls)

    def drain(self, calls: Iterator[Call], until: float = inf) -> bool:
        """Until all is answered; or, that is False, until this time of `perf_counter`."""
        while self.under_way and perf_counter() < until:
            self._turn(calls, until)
        return not self.under_way

    def _turn(self, calls: Iterator[Call], until: float = inf) -> None:
        """Read what is there, and ask as many questions as were answered."""
        wait = min(GIVE_UP_SECONDS, max(0.0, until - perf_counter()))
        readable = self._poll.poll(wait * _MS)
        if not readable and wait == GIVE_UP_SECONDS:
            raise CallFailed(f"{self._name} did not answer in {GIVE_UP_SECONDS:.0f} s")
        for number, _ in readable:
            line = self._by_number[number]
            _ask(line, calls, line.read())


def _keep_rate(pool: _Pool, calls: Iterator[Call], rate: float, count: int) -> bool:
    """Whether the server kept up."""
    order, began, made = cycle(pool.lines), perf_counter(), 0
    while made < count:
        due = min(count, int((perf_counter() - began) * rate) + 1)
        for number in range(made, due):
            line = next(order)
            line.ask(next(calls), began + number / rate)
            line.flush()
        made = due
        # select takes its time in µs; poll and epoll in ms.
        readable, _, _ = select.select(pool.lines, (), (), max(0.0, made / rate - (perf_counter() - began)))
        for line in readable:
            line.read()
            line.flush()
        if pool.under_way > rate * LATE_SECONDS + CONNECTIONS:
            return False
    return pool.drain(iter(()), perf_counter() + LATE_SECONDS)


@contextmanager
def _pool(server: Server) -> Iterator[_Pool]:
    pool = _Pool(server)
    # A collection of this process's garbage would show as the server's latency.
    gc.disable()
    try:
        yield pool
    finally:
        gc.enable()
        for line in pool.lines:
            line.close()


def _ask(line: Line, calls: Iterator[Call], count: int) -> None:
    began = perf_counter()
    for _, call in zip(range(count), calls, strict=False):
        line.ask(call, began)
    line.flush()


def _cpu(server: Server) -> float:
    return sum(map(cpu_seconds, server.all_pids))


@contextmanager
def _exact_timers() -> Iterator[None]:
    """The kernel may wake a process 50 µs late, for the sake of its battery; where it may not be told, it does."""
    with suppress(OSError):
        _TIMER_SLACK.write_text("1")
    try:
        yield
    finally:
        with suppress(OSError):
            _TIMER_SLACK.write_text("0")  # the default again
