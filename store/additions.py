"""Records that the store does not have yet, on their way into its tables many at a time."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from store.changes import Operation, log_changes
from store.credentials import work_of
from store.records import Record, SecretForm
from store.seal import SealKeys
from store.tables import ALL_TABLES, IDENTITIES, RecordWithSecrets, Table

FULL: Final = 1_000
"""So many records go in at once: more would take memory, and no less time."""


class Additions:
    """Records that wait, and the statements that put them in under one revision, each with its change row."""

    def __init__(self, connection: sqlite3.Connection, keys: SealKeys, *, revision: int, now_ms: int) -> None:
        self._connection = connection
        self._keys = keys
        self._revision = revision
        self._stamps = {"created_at": now_ms, "updated_at": now_ms, "revision": revision}
        self._waiting: list[Record] = []

    def add(self, record: Record) -> None:
        """Let a record wait for others.

        Raises:
            sqlite3.IntegrityError: as `flush`.
        """
        self._waiting.append(record)
        if len(self._waiting) >= FULL:
            self.flush()

    def flush(self) -> None:
        """Put in what waits.

        Raises:
            sqlite3.IntegrityError: the store has one of them already, or not the instance of one.
        """
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for table in ALL_TABLES:
            records = [record for record in waiting if type(record) is table.record]
            if table.has_secrets and records:
                self._insert_with_secrets(table, records)
            elif records:
                self._connection.executemany(_inserting(table), (self._row(table, record) for record in records))
        log_changes(self._connection, self._revision, ((Operation.ADD, None, record) for record in waiting))

    def _insert_with_secrets(self, table: Table[Any], records: Sequence[Any]) -> None:
        """Numbered here, since their secrets need the numbers; nobody else writes meanwhile."""
        first = 1 + int(self._connection.execute(f"SELECT coalesce(max(row), 0) FROM {table.name}").fetchone()[0])  # noqa: S608 - our own names
        numbered = list(enumerate(records, first))
        if table is IDENTITIES:
            self._connection.executemany(
                _inserting(table, "row", "work"),
                ([*self._row(table, one), number, work_of(one.sign_mode, one.secrets)] for number, one in numbered),
            )
        else:
            self._connection.executemany(
                _inserting(table, "row"), ([*self._row(table, one), number] for number, one in numbered)
            )
        self._connection.executemany(
            inserting_secret(table),
            (row for number, one in numbered for row in secret_rows(self._keys, table, number, one)),
        )

    def _row(self, table: Table[Any], record: Record) -> list[Any]:
        values = table.values(record)
        for name, stamp in self._stamps.items():
            values[_place(table, name)] = stamp
        return values


def secret_rows(keys: SealKeys, table: Table[Any], number: int, record: RecordWithSecrets) -> Iterator[tuple[Any, ...]]:
    """The rows of the secrets of the record of a row, sealed."""
    for secret in record.secrets:
        if secret.form is SecretForm.PLAIN:
            raise AssertionError("a password is hashed before it is stored")
        sealed = keys.seal(secret.value, table.secret_place(record.key, secret.id))
        yield number, secret.id, secret.form.value, sealed, secret.fingerprint, secret.expires_at


@cache
def inserting_secret(table: Table[Any]) -> str:
    """A statement that takes what `secret_rows` gives."""
    return f"INSERT INTO {table.secrets} VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names


@cache
def _inserting(table: Table[Any], *more: str) -> str:
    """A statement that takes the values of a record, and those of `more` columns."""
    names = (*table.names, *more)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - our own names


@cache
def _place(table: Table[Any], name: str) -> int:
    return table.names.index(name)
