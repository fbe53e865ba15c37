"""A hold on a source: since a rollback, its policy is not applied, until git agrees or somebody releases it.

It stands in the store beside the records, so that it is set in the same transaction as the rollback, and holds for
whoever applies: `exhook-sync apply`, a watcher, and `exhook serve --policy`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from store.database import Database
from store.sync.phrases import moment
from store.sync.printable import printable
from store.unavailable import told_clearly

_PREFIX: Final = "hold:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who holds a source, since when, and why."""

    source: str
    actor: str
    at: int
    """Since when, in milliseconds since the epoch."""
    since: int
    """The revision that was rolled back from."""
    to: int
    """The revision whose state was restored."""
    reason: str = ""

    @property
    def sentence(self) -> str:
        why = f" ({printable(self.reason)})" if self.reason else ""
        return (
            f"{self.source} is held since {moment(self.at // 1000 * 1000)} by {self.actor}, who rolled it back from "
            f"revision {self.since} to {self.to}{why}"
        )

    @property
    def mend(self) -> str:
        return (
            "let the files say what the store says (an apply that finds nothing to change ends the hold), "
            f"or say exhook-sync release --source {self.source}"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"at": moment(self.at)}


def holds_of(database: Database) -> dict[str, Hold]:
    """All holds, by source.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    with told_clearly(database.path):
        rows = database.connection.execute(
            "SELECT value FROM meta WHERE name >= ? AND name < ? ORDER BY name", (_PREFIX, _PREFIX[:-1] + ";")
        ).fetchall()
    return {hold.source: hold for hold in (Hold(**json.loads(value)) for (value,) in rows)}


def holding(database: Database, sources: Iterable[str]) -> tuple[Hold, ...]:
    """The holds on some of the sources, by name."""
    held = holds_of(database)
    return tuple(held[source] for source in sorted(set(sources)) if source in held)


def set_hold(database: Database, hold: Hold) -> None:
    """Hold a source, in the transaction that stands; a hold that it has is replaced."""
    database.connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (_PREFIX + hold.source, json.dumps(asdict(hold)))
    )


def end_hold(database: Database, source: str) -> Hold | None:
    """End the hold on a source, in the transaction that stands; the hold, if there was one."""
    held = holds_of(database).get(source)
    database.connection.execute("DELETE FROM meta WHERE name = ?", (_PREFIX + source,))
    return held


def release(database: Database, source: str) -> Hold | None:
    """End the hold on a source; the hold, if there was one.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    with told_clearly(database.path), database.transaction():
        return end_hold(database, source)
