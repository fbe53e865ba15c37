"""Callers at a steady pace, each on a connection of its own, and what came of their calls."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any, Final

from http2 import CallFailed, Connection
from questions import ALLOW, DENY, Question
from soak_fleet import Asked, Fleet, InForce

TIMEOUT_SECONDS: Final = 5.0
"""As EMQX's `request_timeout`."""
_AFTERMATH_SECONDS: Final = 0.5
_MOST_TOLD: Final = 20


@dataclass
class Counts:
    """Of one stretch of time."""

    answered: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    failed_at_kills: int = 0
    failed: int = 0
    """At other moments."""
    seconds: list[float] = field(default_factory=list)
    """What each answer took."""
    quiet_seconds: list[float] = field(default_factory=list)
    """The same, of those when nothing was being killed."""


class _Caller(Connection):
    """A connection that knows when it is gone."""

    gone = False

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        super().connection_lost(error)


class Load:
    """The callers of one server."""

    def __init__(self, port: int, sources: tuple[tuple[Fleet, InForce], ...], settings: InForce, seed: int) -> None:
        self.port = port
        self.counts = Counts()
        self.last_answers: dict[int, float] = {}
        """When each caller last got one."""
        self.connections: dict[int, _Caller] = {}
        self._sources = sources
        self._settings = settings
        self._seed = seed
        self._disturbed = [(0.0, 0.0)]

    def taken(self) -> Counts:
        """What was counted since the last time."""
        counts, self.counts = self.counts, Counts()
        return counts

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """What fails from here to the end, and shortly after, failed because of what is done here."""
        self._disturbed.append((monotonic(), float("inf")))
        try:
            yield
        finally:
            self._disturbed[-1] = (self._disturbed[-1][0], monotonic() + _AFTERMATH_SECONDS)
            del self._disturbed[:-10]

    async def warm(self) -> None:
        """Ask about everybody on each connection, so that what a worker remembers is remembered."""
        for number in self.connections:
            for fleet, version in self._sources:
                for asked in fleet.everyone():
                    await self._ask(number, asked, version)

    async def connect(self, callers: int) -> None:
        for number in range(callers):
            await self._connection(number)

    async def call(self, number: int, pause: float) -> None:
        """Ask for ever, every `pause` seconds."""
        dice = Random(f"{self._seed} {number}")  # noqa: S311 - a mixture, no secret
        due = monotonic() + dice.random() * pause
        try:
            while True:
                fleet, version = dice.choice(self._sources)
                await self._ask(number, fleet.ask(dice), version)
                due = max(due + pause, monotonic() - pause)
                await asyncio.sleep(max(0.0, due - monotonic()))
        finally:
            last = self.connections.pop(number, None)  # none, where the end comes between a failure and the next call
            if last is not None:
                last.close()

    async def _ask(self, number: int, asked: Asked, version: InForce) -> None:
        began = monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                connection = await self._connection(number)
                answer = await connection.ask(Question(asked.path, asked.message, b""))
        except (CallFailed, OSError) as failed:  # as is TimeoutError
            self._failed(number, began, failed)
            await asyncio.sleep(0.02)
            return
        ended = self.last_answers[number] = monotonic()
        self._judge(asked, answer, version, began, ended)

    async def _connection(self, number: int) -> _Caller:
        connection = self.connections.get(number)
        if connection is None or connection.gone:
            opened = await _Caller.open(self.port)
            assert isinstance(opened, _Caller)
            self.connections[number] = connection = opened
        return connection

    def _failed(self, number: int, began: float, failed: Exception) -> None:
        broken = self.connections.pop(number, None)
        if broken is not None:
            broken.close()
        if self._was_disturbed(began, monotonic()):
            self.counts.failed_at_kills += 1
        else:
            self.counts.failed += 1
            print(f"failed after {monotonic() - began:.3f} s: {failed!r}", flush=True)

    def _judge(self, asked: Asked, answer: bytes, version: InForce, began: float, ended: float) -> None:
        versions, settings = version.between(began, ended), self._settings.between(began, ended)
        right = {asked.right(one, other) for one in versions for other in settings}
        given = {ALLOW: True, DENY: False}.get(answer)
        counts = self.counts
        counts.answered += 1
        if given not in right and len(counts.wrong) < _MOST_TOLD:
            told = {"kind": asked.kind, "message": asked.message.hex(), "answer": answer.hex()}
            counts.wrong.append(told | {"versions": versions, "settings": settings})
        counts.seconds.append(ended - began)
        if not self._was_disturbed(began, ended):
            counts.quiet_seconds.append(ended - began)

    def _was_disturbed(self, began: float, ended: float) -> bool:
        return any(since <= ended and until >= began for since, until in self._disturbed)
