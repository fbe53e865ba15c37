"""The change log: what each revision did, in rows that name record and subject, never a secret.

One log serves cache eviction, audit, revocation, drift and replication.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from store.records import Record
from store.tables import Subject, content_json, key_json, subject_of


class Operation(StrEnum):
    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    EXPIRE = "expire"
    """A record's time ran out; the record still stands until someone removes it."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit to the store."""

    revision: int
    at: int
    """Milliseconds since the epoch."""
    actor: str
    source: str
    commit: str
    checksum: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One record that a revision touched."""

    revision: int
    operation: Operation
    kind: str
    subject: Subject
    key: tuple[str, ...]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def marks_of(connection: sqlite3.Connection, revision: int) -> tuple[object, ...]:
    """What tells a revision from another of its number: when it was, by whom, of what size, its first change."""
    row = connection.execute(
        "SELECT r.*, c.kind, c.record_key FROM revisions AS r LEFT JOIN changes AS c ON c.revision = r.revision"
        " WHERE r.revision = ? ORDER BY c.id LIMIT 1",
        (revision,),
    ).fetchone()
    return tuple(row or ())


def log_change(
    connection: sqlite3.Connection, revision: int, operation: Operation, before: Record | None, after: Record | None
) -> None:
    """Append a row; `before` and `after` are the record as it was and as it is."""
    log_changes(connection, revision, ((operation, before, after),))


def log_changes(
    connection: sqlite3.Connection,
    revision: int,
    changes: Iterable[tuple[Operation, Record | None, Record | None]],
) -> None:
    """Append a row for each operation, with the record before and after it."""
    connection.executemany(
        "INSERT INTO changes (revision, operation, kind, instance, subject_type, subject, record_key, before, after)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_row(revision, *change) for change in changes),
    )


def _row(revision: int, operation: Operation, before: Record | None, after: Record | None) -> tuple[Any, ...]:
    record = after or before
    if record is None:
        raise AssertionError("a change of no record")
    return (
        revision,
        operation.value,
        record.kind,
        *subject_of(record),
        key_json(record),
        content_json(before) if before else None,
        content_json(after) if after else None,
    )


def subjects_since(connection: sqlite3.Connection, revision: int, limit: int) -> set[Subject] | None:
    """Whose views the revisions after `revision` touched; None where they are more than `limit` changes, or a gap."""
    first, last, count = connection.execute(
        "SELECT min(revision), max(revision), count(*) FROM revisions WHERE revision > ?", (revision,)
    ).fetchone()
    if count and (first != revision + 1 or last - first + 1 != count):
        return None
    rows = connection.execute(
        "SELECT instance, subject_type, subject FROM changes WHERE revision > ? LIMIT ?", (revision, limit + 1)
    ).fetchall()
    return None if len(rows) > limit else {Subject(*row) for row in rows}


def changes_of(connection: sqlite3.Connection, revision: int) -> Iterator[Change]:
    """The changes of one revision, in the order in which they were made."""
    for row in connection.execute(
        "SELECT operation, kind, instance, subject_type, subject, record_key, before, after FROM changes"
        " WHERE revision = ? ORDER BY id",
        (revision,),
    ):
        operation, kind, instance, subject_type, subject, key, before, after = row
        yield Change(
            revision,
            Operation(operation),
            kind,
            Subject(instance, subject_type, subject),
            tuple(json.loads(key)),
            json.loads(before) if before else None,
            json.loads(after) if after else None,
        )


def revisions(connection: sqlite3.Connection, limit: int = 20) -> list[Revision]:
    """The last revisions, newest first."""
    rows = connection.execute(
        "SELECT revision, at, actor, source, commit_id, checksum, added, changed, removed, expired"
        " FROM revisions ORDER BY revision DESC LIMIT ?",
        (limit,),
    )
    return [Revision(*row) for row in rows]
