"""Commits what expired, so that caches, revocation and audit learn of it.

Decisions need no sweep: they test the time themselves, and stop honouring a record at its millisecond.
"""

from typing import Any, Final

from store.database import Database
from store.records import Record
from store.tables import BLACKLIST, GROUPS, IDENTITIES, PERMISSIONS, Table

MOST_AT_ONCE: Final = 5_000
"""Records in one revision, so that no sweep holds the write lock for long."""

_SWEPT: Final[tuple[Table[Any], ...]] = (GROUPS, IDENTITIES, PERMISSIONS, BLACKLIST)
_BETWEEN: Final = "expires_at > ? AND expires_at <= ?"
_BY_SECRET: Final = f"row IN (SELECT identity FROM identity_secrets WHERE {_BETWEEN})"  # noqa: S608 - our own words


def sweep(database: Database, now_ms: int) -> int:
    """Commit an `expire` change for every record, or secret, whose time ran out since the last sweep; how many.

    Raises:
        StoreUnavailable: the store cannot be written now; the next sweep catches up.
    """
    since = database.swept_until
    expired = _expired(database, since, now_ms)
    for first in range(0, len(expired), MOST_AT_ONCE):
        with database.writing(actor="sweeper", source="sweeper", now_ms=now_ms) as write:
            for record in expired[first : first + MOST_AT_ONCE]:
                write.expire(record)
            if first + MOST_AT_ONCE >= len(expired):
                database.swept_until = now_ms
    return len(expired)


def _expired(database: Database, since: int, now_ms: int) -> list[Record]:
    """Records whose time ran out after `since`; one written with a time long past was never in force."""
    found: list[Record] = []
    for table in _SWEPT:
        found += database.find(table, f"{_BETWEEN} AND updated_at < expires_at", (since, now_ms), unsealed=False)
    found += database.find(IDENTITIES, _BY_SECRET, (since, now_ms), unsealed=False)
    return found
