"""Expiry as a change: what ran out is committed, for eviction, revocation and audit.

Decisions need no sweeper: they test `expires_at` by themselves, at the very millisecond.
"""

from typing import Any, Final

from store.database import Database
from store.expiry import ran_out
from store.tables import ACCESS_KEYS, BLACKLIST, DEVICE_CREDENTIALS, GROUPS, IDENTITIES, PERMISSIONS, TOKENS, Table
from store.unavailable import told_clearly

ACTOR: Final = "sweeper"

MAX_PER_REVISION: Final = 5_000
"""Longer writes would keep others waiting."""

SET_BACK_MS: Final = 60_000
"""How long ago, at most, the clock is taken to have been set back when a sweep finds that it was."""

TOKENS_KEPT_MS: Final = 24 * 3_600_000
_AT_ONCE_MS: Final = 3_600_000

_SWEPT: Final[tuple[Table[Any], ...]] = (
    GROUPS,
    IDENTITIES,
    PERMISSIONS,
    BLACKLIST,
    ACCESS_KEYS,
    DEVICE_CREDENTIALS,
    TOKENS,
)
_ROTATING: Final[tuple[Table[Any], ...]] = (IDENTITIES, ACCESS_KEYS)
"""Those whose secrets may run out."""


def sweep(database: Database, now_ms: int) -> int:
    """Commit an EXPIRE change for each record that ran out since the last sweep; how many there were.

    An identity counts when one of its secrets ran out, too. What was written with an expiry in the past is no
    news: its own change row told of it. What is changed or removed after it ran out is told of by that write.
    Killed half-way, or where the clock was set back, a sweep may tell of some records again.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    with told_clearly(database.path):
        since = database.swept_until
        if since > now_ms:
            # The clock was set back: what runs out from now on must not be taken for swept, nor what ran out since.
            since = now_ms - SET_BACK_MS
            with database.transaction():
                database.swept_until = since
        due = _passed(database, since, now_ms)
    swept = 0
    while due:
        batch, due = due[:MAX_PER_REVISION], due[MAX_PER_REVISION:]
        with database.writing(actor=ACTOR, source=ACTOR, now_ms=now_ms) as write:
            for table, row in batch:
                for record in database.find(table, "row = ?", (row,), unsealed=False):
                    if ran_out(record, since, now_ms):
                        write.expire(record)
                        swept += 1
            if not due:
                database.swept_until = now_ms
    return swept


def forget_tokens(database: Database, now_ms: int) -> int:
    """Remove tokens that ended `TOKENS_KEPT_MS` ago: their strings say themselves that they did. How many there were.

    Nothing is done before some are `_AT_ONCE_MS` overdue, since each removal is a revision.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    # The condition, which every token meets, lets the index answer.
    oldest = database.connection.execute("SELECT min(expires_at) FROM tokens WHERE expires_at IS NOT NULL").fetchone()[
        0
    ]
    if oldest is None or oldest > now_ms - TOKENS_KEPT_MS - _AT_ONCE_MS:
        return 0
    with database.writing(actor=ACTOR, source=ACTOR, now_ms=now_ms) as write:
        found = database.find(TOKENS, "expires_at <= ? LIMIT ?", (now_ms - TOKENS_KEPT_MS, MAX_PER_REVISION))
        return sum(write.remove(token) is not None for token in found)


def next_expiry(database: Database) -> int | None:
    """When the next record runs out, in milliseconds since the epoch; in the past where a sweep is due.

    Raises:
        StoreUnavailable: the file cannot be read.
    """
    with told_clearly(database.path):
        found = [
            row[0]
            for tables, expiring, _ in _sources()
            for row in database.connection.execute(
                f"SELECT {expiring}.expires_at FROM {tables} "  # noqa: S608 - our own names
                f"WHERE {expiring}.expires_at > ? AND updated_at < {expiring}.expires_at "
                f"ORDER BY {expiring}.expires_at LIMIT 1",
                (database.swept_until,),
            )
        ]
    return min(found, default=None)


def _passed(database: Database, since: int, now_ms: int) -> list[tuple[Table[Any], int]]:
    """Tables and rows with an expiry between the two."""
    due = {}
    for tables, expiring, table in _sources():
        for (row,) in database.connection.execute(
            f"SELECT row FROM {tables} "  # noqa: S608 - our own names
            f"WHERE {expiring}.expires_at > ? AND {expiring}.expires_at <= ? ORDER BY {expiring}.expires_at",
            (since, now_ms),
        ):
            due[table.name, row] = (table, row)
    return list(due.values())


def _sources() -> list[tuple[str, str, Table[Any]]]:
    """What to select from, the table whose `expires_at` is meant, and the table of the record."""
    return [
        *((table.name, table.name, table) for table in _SWEPT),
        *(
            (
                f"{table.secrets} JOIN {table.name} ON {table.name}.row = {table.secrets}.{table.kind}",
                table.secrets,
                table,
            )
            for table in _ROTATING
        ),
    ]
