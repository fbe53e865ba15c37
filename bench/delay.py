"""From a commit to the first decision that follows it, in every worker."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

from filling import permission
from http2 import Connection
from machine import owner_of_connection
from questions import DENY, Question, publish
from servers import Server
from tables import Table, WrongAnswer, percentile

from exhook.settings import Settings
from store.clock import now_ms
from store.database import Database
from store.seal import SealKeys

NUMBER: Final = 0
"""Whose permission comes and goes."""
GIVE_UP_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.001
_MOST_CONNECTIONS: Final = 200


def following(server: Server, db: Path, keys: SealKeys, commits: int) -> Table:
    """Commit here, ask each worker there until its answer follows."""
    poll_ms = Settings().poll_ms
    table = Table(
        f"From commit to decision, {len(server.pids)} workers",
        ("what", "p50 ms", "p99 ms", "max ms"),
        f"{commits} commits, a permission that comes and goes; poll_ms = {poll_ms}. Each worker is asked over its own "
        "connection every millisecond, from when COMMIT returned until it answers by the new revision.",
    )
    # Anywhere between two polls.
    dice = Random(3)  # noqa: S311 - no secret
    pauses = [dice.random() * poll_ms / 1000 for _ in range(commits)]
    with Database.open(db, keys) as database:
        committing, first, last = asyncio.run(_following(table, server, database, pauses))
    table.add("the commit itself (fsync)", *_spread(committing))
    table.add("first worker follows", *_spread(first))
    table.add("all workers follow", *_spread(last))
    return table


async def _following(
    table: Table, server: Server, database: Database, pauses: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    workers = await _one_connection_each(server)
    allowed = publish(NUMBER, allowed=True)
    figures: tuple[list[float], list[float], list[float]] = ([], [], [])
    for turn, pause in enumerate(pauses):
        removed = turn % 2 == 0
        wanted = Question(allowed.path, allowed.message, DENY) if removed else allowed
        await asyncio.sleep(pause)
        committing = perf_counter()
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            (write.remove if removed else write.put)(permission(NUMBER))
        committed = perf_counter()
        delays = await asyncio.gather(*(_until(worker, wanted, committed) for worker in workers))
        # It stays so: a worker that answers by the old revision again would be no follower.
        table.check([await worker.ask(wanted) for worker in workers], [wanted.answer] * len(workers))
        for figure, taken in zip(figures, (committed - committing, min(delays), max(delays)), strict=True):
            figure.append(taken)
    for worker in workers:
        worker.close()
    return figures


async def _until(worker: Connection, wanted: Question, committed: float) -> float:
    while await worker.ask(wanted) != wanted.answer:
        if perf_counter() - committed > GIVE_UP_SECONDS:
            raise WrongAnswer(f"a worker did not follow a commit in {GIVE_UP_SECONDS} s")
        await asyncio.sleep(_PAUSE_SECONDS)
    return perf_counter() - committed


async def _one_connection_each(server: Server) -> list[Connection]:
    """The kernel spreads connections over the workers as it likes: open some until each has one."""
    found: dict[int, Connection] = {}
    for _ in range(_MOST_CONNECTIONS):
        connection = await Connection.open(server.port)
        await connection.ask(publish(NUMBER, allowed=True))
        owner = owner_of_connection(connection.own_port, server.port, list(server.pids))
        if owner is None or owner in found:
            connection.close()
        else:
            found[owner] = connection
        if len(found) == len(server.pids):
            return list(found.values())
    raise RuntimeError(f"{_MOST_CONNECTIONS} connections, and a worker has none")


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    return median(seconds) * 1e3, percentile(seconds, 0.99) * 1e3, max(seconds) * 1e3
