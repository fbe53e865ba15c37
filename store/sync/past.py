"""What the records of a source said at an earlier revision, read backwards from the change log.

The log must be whole from there on: every revision, every change of it, and each change beginning where the one
before it ended. What does not fit is refused, for half a past is none.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from store.database import Database
from store.tables import BY_KIND, content_json

Key = tuple[str, tuple[str, ...]]
"""Kind and key of a record."""

_COUNTS: Final = "added + changed + removed + expired"


class UnknownRevision(ValueError):
    """There is no such revision; the message names those that there are."""


class NotRestorable(Exception):
    """An earlier state cannot be told any more; the message says what is missing."""


@dataclass(slots=True)
class Trace:
    """One record that was written since: as it was then, and as it is now; None where it was, or is, not there."""

    then: str | None
    now: str | None

    @property
    def owner_then(self) -> str | None:
        return _owner(self.then)

    @property
    def owner_now(self) -> str | None:
        return _owner(self.now)

    @property
    def said_then(self) -> dict[str, Any]:
        """What it said, in the words of `store.tables.content`."""
        return _said(self.then or "{}")


def traces_since(database: Database, revision: int, source: str) -> dict[Key, Trace]:
    """The records that were written after a revision, by kind and key.

    Raises:
        UnknownRevision: the store never had it.
        NotRestorable: the log is not whole for the records of `source`.
    """
    _check_revisions(database, revision)
    traces: dict[Key, Trace] = {}
    for number, kind, key, before, after in _rows(database, revision):
        trace = traces.get((kind, key))
        if trace is None:
            traces[kind, key] = Trace(before, after)
            continue
        if trace.now != before and source in (_owner(trace.now), _owner(before)):
            raise NotRestorable(
                f"{database.path}: the change log of revision {number} does not go on from what was logged before; "
                f"the state at revision {revision} cannot be told"
            )
        trace.now = after
    for (kind, key), trace in traces.items():
        if source in (trace.owner_then, trace.owner_now):
            _check_present(database, revision, kind, key, trace)
    return traces


def _check_revisions(database: Database, revision: int) -> None:
    last = database.revision
    if not 0 <= revision <= last:
        held = f"its revisions go from 0, which is empty, to {last}" if last else "it has none yet"
        raise UnknownRevision(f"{database.path}: there is no revision {revision}; {held}")
    row = database.connection.execute(
        "SELECT count(*), coalesce(min(revision), 0) FROM revisions WHERE revision > ?", (revision,)
    ).fetchone()
    if row[0] != last - revision:
        raise NotRestorable(
            f"{database.path}: some revisions between {revision} and {last} are no longer in the change log; "
            "name a later one, or apply the policy of that time from git"
        )
    incomplete = database.connection.execute(
        f"SELECT revision FROM revisions WHERE revision > ? AND {_COUNTS} <> "  # noqa: S608 - our own words
        "(SELECT count(*) FROM changes WHERE changes.revision = revisions.revision) LIMIT 1",
        (revision,),
    ).fetchone()
    if incomplete:
        raise NotRestorable(
            f"{database.path}: some changes of revision {incomplete[0]} are no longer in the change log; "
            "name a later one, or apply the policy of that time from git"
        )


def _rows(database: Database, revision: int) -> Iterator[tuple[int, str, tuple[str, ...], str | None, str | None]]:
    for number, kind, key, before, after in database.connection.execute(
        "SELECT revision, kind, record_key, before, after FROM changes WHERE revision > ? ORDER BY id", (revision,)
    ):
        yield number, kind, tuple(json.loads(key)), before, after


def _check_present(database: Database, revision: int, kind: str, key: tuple[str, ...], trace: Trace) -> None:
    """See that the log ends at what the store says."""
    table = BY_KIND[kind]
    where = " AND ".join(f"{column} = ?" for column in table.key)
    found = next(database.find(table, where, key, unsealed=False), None)
    if (None if found is None else json.loads(content_json(found))) != (
        None if trace.now is None else _said(trace.now)
    ):
        raise NotRestorable(
            f"{database.path}: a record was written past the change log ({kind} {' '.join(filter(None, key))}); "
            f"the state at revision {revision} cannot be told"
        )


def _said(text: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(text)
    return said


def _owner(text: str | None) -> str | None:
    return None if text is None else str(_said(text).get("source", "api"))
