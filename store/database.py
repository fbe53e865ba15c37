"""The store file: open, migrate, read, and write under a new revision.

Every write is one transaction under one new revision, with a change row for each record it touched; killed at
any moment, the file stands at the old revision or at the new one.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from store.connection import BUSY_MS, LOG_BYTES, connect, file_at, put_into_shape, shorten_log, transaction
from store.migrations import STORE
from store.records import Record, Secret, SecretForm
from store.seal import PLAIN, SealError, SealKeys, fingerprint, missing_key
from store.tables import ALL_TABLES, Table
from store.unavailable import StoreUnavailable, told_clearly
from store.writing import Writing

R = TypeVar("R", bound=Record)

LARGE: Final = 10_000
"""A write of so many changes may leave a log that is longer than the file."""

_FINGERPRINT_KEY_PLACE: Final = "fingerprint key"


class Database:
    """An open store. Not to be shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection, keys: SealKeys) -> None:
        self.path = path
        self.connection = connection
        self.keys = keys
        self._fingerprint_key = b""
        self.file = file_at(path)
        """Which file it is; another may have come to stand at the path."""

    @classmethod
    def open(cls, path: Path, keys: SealKeys, *, create: bool = True, busy_ms: int = BUSY_MS) -> Self:
        """Open a store, bring its shape up to date; a new one is made readable by its owner alone (0600).

        Raises:
            StoreUnavailable: missing, locked, read-only, damaged, full disk, or written by a newer version.
            SealError: its secrets are sealed under a key that is not at hand.
        """
        database = cls(path, connect(path, create=create, busy_ms=busy_ms), keys)
        try:
            with told_clearly(path):
                database._prepare(busy_ms)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def revision(self) -> int:
        """The last revision; 0 for an empty store."""
        return last_revision(self.connection)

    @property
    def store_id(self) -> str:
        """What tells this store from another that took its place."""
        return str(self._meta("store_id"))

    @property
    def environment(self) -> str:
        """The label of this store (``prod``, say), or nothing; a policy may ask for it."""
        return str(self._meta("environment") or "")

    @property
    def swept_until(self) -> int:
        """Until when expired records have been committed as such, in milliseconds since the epoch."""
        return int(self._meta("swept_until") or 0)

    @swept_until.setter
    def swept_until(self, now_ms: int) -> None:
        self._set_meta("swept_until", now_ms)

    def label(self, environment: str) -> None:
        """Set the label of this store, in the transaction that stands, if one does."""
        with told_clearly(self.path), nullcontext() if self.connection.in_transaction else self.transaction():
            self._set_meta("environment", environment)

    def fingerprint(self, form: SecretForm, value: bytes) -> str:
        """The fingerprint of a secret in this store."""
        return fingerprint(self._fingerprint_key, form.value, value)

    @property
    def draw_key(self) -> bytes:
        """Key of the draw of dummy verifications; the same in every worker."""
        return self._fingerprint_key

    def records(self, table: Table[R], source: str | None = None) -> Iterator[R]:
        """All records of a kind, of one source where it is given, secrets unsealed."""
        yield from self.find(table, "TRUE" if source is None else "source = ?", () if source is None else (source,))

    def contents(self, table: Table[Any], source: str | None = None) -> Iterator[tuple[str, Record]]:
        """Owner and record of a kind, secrets by fingerprint alone: what a plan compares. Nothing is unsealed."""
        where, values = ("TRUE", ()) if source is None else ("source = ?", (source,))
        with told_clearly(self.path):
            for row in self.connection.execute(table.select(where), values):
                record = table.from_row(row, self._secrets(table, row, unsealed=False) if table.has_secrets else ())
                yield record.source, record

    def find(self, table: Table[R], where: str, values: tuple[Any, ...], *, unsealed: bool = True) -> Iterator[R]:
        """Records of a kind by a condition of ours; their secrets unsealed, or by fingerprint alone."""
        with told_clearly(self.path):
            for row in self.connection.execute(table.select(where), values).fetchall():
                yield table.from_row(row, self._secrets(table, row, unsealed=unsealed) if table.has_secrets else ())

    def get(self, table: Table[R], key: tuple[str, ...]) -> R | None:
        """The record of a key, or None."""
        where = " AND ".join(f"{column} = ?" for column in table.key)
        return next(self.find(table, where, tuple(map(str, key))), None)

    @contextmanager
    def writing(
        self, *, actor: str, source: str, now_ms: int, commit: str = "", checksum: str = ""
    ) -> Iterator[Writing]:
        """One transaction under a new revision; nothing at all where an exception ends it or nothing changed.

        Raises:
            StoreUnavailable: locked, read-only, full.
            OverQuota: the final state exceeds an instance's `record_quota` and is larger than before.
        """
        with told_clearly(self.path), self.transaction():
            self._note_key()
            write = Writing(self, actor=actor, source=source, now_ms=now_ms, commit=commit, checksum=checksum)
            yield write
            write.finish()
        if write.counts.total() >= LARGE:
            shorten_log(self.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, so that what is read inside is what gets changed.

        Raises:
            StoreUnavailable: the file was removed or replaced; what were written to it now, nobody would read.
        """
        if file_at(self.path) != self.file:
            raise StoreUnavailable(
                f"{self.path}: was removed or replaced by another file while it was open; "
                "nothing was written, open it anew"
            )
        with transaction(self.connection):
            yield

    def reseal(self) -> int:
        """Seal every secret anew under the first key; the number of secrets. No revision: nothing changed but keys.

        Raises:
            SealError: a secret is sealed under a key that is not at hand; nothing is changed.
        """
        count = 0
        with told_clearly(self.path), self.transaction():
            for table in ALL_TABLES:
                count += self._reseal(table) if table.has_secrets else 0
            self._set_meta("fingerprint_key", self.keys.seal(self._fingerprint_key, _FINGERPRINT_KEY_PLACE))
            self._set_meta("seal_keys", self.keys.primary)
        return count

    def _reseal(self, table: Table[Any]) -> int:
        count = 0
        for row in self.connection.execute(table.select("TRUE")).fetchall():
            for secret in self._secrets(table, row):
                sealed = self.keys.seal(secret.value, table.secret_place(table.key_of(row), secret.id))
                self.connection.execute(
                    f"UPDATE {table.secrets} SET sealed = ? WHERE {table.kind} = ? AND id = ?",  # noqa: S608 - our own names
                    (sealed, row["row"], secret.id),
                )
                count += 1
        return count

    @property
    def sealed_under(self) -> tuple[str, ...]:
        """Ids of the keys that secrets are sealed under; `plain` where some stand in the clear."""
        return tuple(str(self._meta("seal_keys") or "").split())

    def _prepare(self, busy_ms: int) -> None:
        put_into_shape(self.path, self.connection, STORE, busy_ms=busy_ms)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        self.connection.execute("PRAGMA foreign_keys = ON")
        if self._meta("fingerprint_key") is None:
            with self.transaction():
                self._set_up_once()
        for named in self.sealed_under:
            if named not in (PLAIN, *self.keys.ids):
                raise SealError(f"{self.path}: {missing_key(named)}")
        self._fingerprint_key = self.keys.unseal(bytes(self._meta("fingerprint_key")), _FINGERPRINT_KEY_PLACE)

    def _set_up_once(self) -> None:
        """What a new store is given; asked again inside the transaction, since another process may have been first."""
        if self._meta("fingerprint_key") is None:
            self._set_meta("store_id", secrets.token_hex(16))
            self._set_meta("fingerprint_key", self.keys.seal(secrets.token_bytes(32), _FINGERPRINT_KEY_PLACE))
            self._set_meta("seal_keys", self.keys.primary)

    def _note_key(self) -> None:
        """Remember that secrets may from now on be sealed under this key, too."""
        if self.keys.primary not in self.sealed_under:
            self._set_meta("seal_keys", " ".join([*self.sealed_under, self.keys.primary]))

    def _secrets(self, table: Table[Any], row: sqlite3.Row, *, unsealed: bool = True) -> tuple[Secret, ...]:
        """The secrets of the record of a row."""
        key = table.key_of(row)
        rows = self.connection.execute(
            f"SELECT id, form, sealed, fingerprint, expires_at FROM {table.secrets} "  # noqa: S608 - our own names
            f"WHERE {table.kind} = ? ORDER BY id",
            (row["row"],),
        )
        return tuple(
            Secret(
                id=name,
                value=self.keys.unseal(sealed, table.secret_place(key, name)) if unsealed else b"(sealed)",
                form=SecretForm(form),
                fingerprint=printed,
                expires_at=expires_at,
            )
            for name, form, sealed, printed, expires_at in rows
        )

    def _meta(self, name: str) -> Any:
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _set_meta(self, name: str, value: str | bytes | int) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def last_revision(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(revision), 0) FROM revisions").fetchone()[0])
