"""The reader: what a view costs that is in its cache, and one that is not."""

from pathlib import Path
from random import Random
from statistics import median

from filling import INSTANCE, client_id, topic_of, username
from tables import Table, median_ratio, timed

from store.clock import now_ms
from store.connection import connect
from store.decision import authorize
from store.reader import Reader
from store.records import Action
from store.seal import SealKeys
from store.view import Client, Listener, View


def reading(path: Path, keys: SealKeys, records: int, rounds: int) -> Table:
    """A view of a client, cold and warm, beside one point look-up in the same file."""
    table = Table(
        f"Reader: one client's view, store of {2 * records:,} records",
        ("what", "µs", "times a look-up"),
        "By CPU time. Cold: not in the reader's cache, though in the kernel's; a known user's secret is unsealed.",
    )
    sample = min(2_000, records // (rounds + 1))
    numbers = Random(1).sample(range(records), sample * (rounds + 1))  # noqa: S311 - no secret
    figures: dict[str, list[float]] = {}
    reader = Reader(path, keys)
    try:
        for turn in range(rounds + 1):
            asked = numbers[turn * sample : (turn + 1) * sample]
            taken = _round(table, reader, path, asked, turn)
            # The first round fills SQLite's own cache, and the kernel's.
            for name, seconds in taken.items() if turn else ():
                figures.setdefault(name, []).append(seconds)
    finally:
        reader.close()
    looked_up = figures["look-up of a row by its key"]
    for name, seconds_each in figures.items():
        table.add(name, median(seconds_each) * 1e6, median_ratio(seconds_each, looked_up))
    return table


def _round(table: Table, reader: Reader, path: Path, numbers: list[int], turn: int) -> dict[str, float]:
    known = [(number, _client(username(number), client_id(number))) for number in numbers]
    strangers = [(number, _client(f"stranger-{turn}-{number}", f"s-{turn}-{number}")) for number in numbers]
    taken = {}
    misses = reader.misses
    taken["view, cold"] = _views(table, reader, known, allowed=True)
    taken["view, warm"] = _views(table, reader, known, allowed=True)
    taken["view of an unknown user, cold"] = _views(table, reader, strangers, allowed=False)
    # Two subjects a client are its own: user name and client id.
    assert reader.misses - misses >= 4 * len(numbers), "what was to be cold was cached"
    taken["poll, nothing committed"], moved = timed(lambda _: reader.poll(), numbers)
    table.check(moved, [False] * len(numbers))
    taken["look-up of a row by its key"] = _look_ups(table, path, numbers)
    return taken


def _views(table: Table, reader: Reader, clients: list[tuple[int, Client]], *, allowed: bool) -> float:
    seconds, views = timed(lambda asked: reader.view(INSTANCE, asked[1]), clients)
    table.check([_may_publish(view, *one) for view, one in zip(views, clients, strict=True)], [allowed] * len(views))
    return seconds


def _may_publish(view: View, number: int, client: Client) -> bool:
    return authorize(view, client, Action.PUB, topic_of(number), now_ms()).allow


def _look_ups(table: Table, path: Path, numbers: list[int]) -> float:
    connection = connect(path, create=False, busy_ms=1_000)
    statement = (
        "SELECT row, sign_mode, expires_at FROM identities"
        " WHERE instance = ? AND identity_type = 'USER' AND username = ? AND client_id = ''"
    )
    try:
        connection.execute(statement, (INSTANCE, username(0))).fetchone()
        seconds, rows = timed(
            lambda number: connection.execute(statement, (INSTANCE, username(number))).fetchone(), numbers
        )
    finally:
        connection.close()
    table.check([row["row"] for row in rows], [number + 1 for number in numbers])
    return seconds


def _client(name: str, own_id: str) -> Client:
    return Client(name, own_id, Listener("default", INSTANCE))
