"""What servers write while they run: a second file beside the store, without revisions.

A long apply holds the store's write lock; nothing that a CONNECT needs to write may wait for it. The file may
be deleted while no server runs.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sqlite_utils import Database as SqliteDatabase
from sqlite_utils import Migrations

from store.connection import connect, put_into_shape, transaction
from store.unavailable import told_clearly

BUSY_MS: Final = 1_000

runtime_migrations: Final = Migrations("exhook-runtime")


@runtime_migrations()
def m001_workers(database: SqliteDatabase) -> None:
    """Deciding processes, and the revision that each decides by."""
    database.conn.execute(
        "CREATE TABLE workers (worker TEXT PRIMARY KEY, pid INTEGER NOT NULL, revision INTEGER NOT NULL,"
        " at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )


STEPS: Final = frozenset({m001_workers.__name__})


@dataclass(frozen=True, slots=True)
class Worker:
    """One deciding process, as it last reported."""

    worker: str
    pid: int
    revision: int
    at: int
    """Milliseconds since the epoch."""


class Runtime:
    """The open runtime file. Not to be shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, store: Path) -> Self:
        """Open the runtime file of a store; made where there is none.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        path = store.with_name(f"{store.stem}.runtime{store.suffix}")
        runtime = cls(path, connect(path, create=True, busy_ms=BUSY_MS))
        with told_clearly(path):
            put_into_shape(path, runtime._connection, runtime_migrations, STEPS, busy_ms=BUSY_MS)
            runtime._connection.execute("PRAGMA synchronous = NORMAL")
        return runtime

    def close(self) -> None:
        self._connection.close()

    def report(self, worker: str, pid: int, revision: int, now_ms: int) -> None:
        """Say that a process lives, and by which revision it decides."""
        with told_clearly(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)", (worker, pid, revision, now_ms)
            )

    def forget(self, worker: str) -> None:
        """Say that a process ends."""
        with told_clearly(self.path), transaction(self._connection):
            self._connection.execute("DELETE FROM workers WHERE worker = ?", (worker,))

    def workers(self) -> list[Worker]:
        """The deciding processes that live."""
        with told_clearly(self.path):
            rows = self._connection.execute("SELECT worker, pid, revision, at FROM workers ORDER BY worker").fetchall()
        return [worker for row in rows if _lives((worker := Worker(*row)).pid)]

    def in_force(self, revision: int) -> bool:
        """Whether every living process decides by this revision or a later one."""
        return all(worker.revision >= revision for worker in self.workers())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
