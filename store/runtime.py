"""What servers write while they run, in a file of its own beside the store, so that no long apply blocks it.

It has no revisions, and may be deleted while no server runs: who decides by which revision, the last denials,
the tokens that are bound to clients (`store.bindings`), and the nonces of signed calls (`store.nonces`): without
them a call of the last minutes could be sent again.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from store.connection import Shape, connect, put_into_shape, transaction
from store.unavailable import told_clearly

MAX_PER_CLIENT: Final = 100
"""How many denials of one client are kept."""

MAX_DENIALS: Final = 100_000
"""How many denials are kept in all."""

MAX_TEXT: Final = 256
"""What clients name is kept up to so many characters: a topic may have 65,535 bytes, and is not worth them here."""

_BUSY_MS: Final = 1_000
"""Every write here is short; a worker's event loop waits for it."""

RUNTIME: Final = Shape("exhook-runtime")


@dataclass(frozen=True, slots=True)
class Worker:
    """A deciding process, and the revision that it decides by."""

    worker: str
    pid: int
    revision: int
    at: int
    """When it said so, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal, for `exhook why`; text alone, no secret."""

    at: int
    """Milliseconds since the epoch."""
    client_id: str
    username: str
    hook: str
    topic: str
    reason: str
    rule: str
    revision: int
    decision_id: str
    node: str
    rule_revision: int = 0
    """The revision that wrote the rule; 0 where no rule decided."""
    nearest: str = ""
    """The grant that came closest."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one part of a server said of itself last."""

    value: dict[str, Any]
    at: int
    """Milliseconds since the epoch."""


_COLUMNS: Final = ", ".join(field.name for field in fields(Denial))
_PLACES: Final = ", ".join("?" for _ in fields(Denial))


class Runtime:
    """An open runtime file. Not to be shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def open(cls, store: Path) -> Self:
        """Open the runtime file of a store, or make it (0600).

        Raises:
            StoreUnavailable: locked, read-only, damaged, full disk, or written by a newer version.
        """
        path = path_beside(store)
        runtime = cls(path, connect(path, create=True, busy_ms=_BUSY_MS))
        try:
            with told_clearly(path):
                put_into_shape(path, runtime.connection, RUNTIME, busy_ms=_BUSY_MS)
                # What is lost with the power is of no use after it.
                runtime.connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            runtime.close()
            raise
        return runtime

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self, worker: str, pid: int, revision: int, now_ms: int) -> None:
        """Say by which revision a worker decides.

        Raises:
            StoreUnavailable: as `open`; so of every method here.
        """
        with self.writing():
            self.connection.execute(
                "INSERT OR REPLACE INTO workers (worker, pid, revision, at) VALUES (?, ?, ?, ?)",
                (worker, pid, revision, now_ms),
            )

    def forget(self, worker: str) -> None:
        """A worker ended."""
        with self.writing():
            self.connection.execute("DELETE FROM workers WHERE worker = ?", (worker,))

    def workers(self) -> list[Worker]:
        """The workers whose processes live; those of dead ones are forgotten."""
        with told_clearly(self.path):
            rows = self.connection.execute("SELECT worker, pid, revision, at FROM workers ORDER BY worker")
            known = [Worker(*row) for row in rows]
        alive = {worker.pid: lives(worker.pid) for worker in known}
        for worker in known:
            if not alive[worker.pid]:
                self._forget_dead(worker)
        return [worker for worker in known if alive[worker.pid]]

    def in_force(self, revision: int) -> bool:
        """Whether every worker that lives decides by this revision, or a later one."""
        return all(worker.revision >= revision for worker in self.workers())

    def note_denials(self, denials: Iterable[Denial]) -> None:
        """Keep denials, the oldest first; older ones of the same clients make room, then the oldest of all."""
        newest = _newest(denials)
        if not newest:
            return
        with self.writing():
            self.connection.executemany(
                f"INSERT INTO denials ({_COLUMNS}) VALUES ({_PLACES})",  # noqa: S608 - our own names
                [tuple(map(_cut, astuple(denial))) for denial in newest],
            )
            added = len(newest)
            for client_id in {_cut(denial.client_id) for denial in newest}:
                added -= self.connection.execute(
                    "DELETE FROM denials WHERE client_id = ?1 AND id <= ("
                    "SELECT id FROM denials WHERE client_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    (client_id, MAX_PER_CLIENT),
                ).rowcount
            self._make_room(added)

    def denials_of(self, client_id: str, limit: int = MAX_PER_CLIENT) -> list[Denial]:
        """The last denials of a client, newest first."""
        with told_clearly(self.path):
            rows = self.connection.execute(
                f"SELECT {_COLUMNS} FROM denials WHERE client_id = ? ORDER BY id DESC LIMIT ?",  # noqa: S608
                (_cut(client_id), limit),
            )
            return [Denial(*row) for row in rows]

    def say(self, name: str, value: Mapping[str, Any], now_ms: int) -> None:
        """Leave a word for `exhook status`, in place of the last one of that name."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", (name, json.dumps(value), now_ms))

    def said(self) -> dict[str, Said]:
        """The last words, by name."""
        rows = self.read("SELECT name, value, at FROM said ORDER BY name")
        return {name: Said(json.loads(value), at) for name, value, at in rows}

    def read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with told_clearly(self.path):
            return self.connection.execute(query, values).fetchall()

    def _make_room(self, added: int) -> None:
        """Count by difference: a COUNT over all would cost more than the insert."""
        (kept,) = self.connection.execute("UPDATE denial_count SET n = n + ? RETURNING n", (added,)).fetchone()
        if kept > MAX_DENIALS:
            self.connection.execute(
                "DELETE FROM denials WHERE id IN (SELECT id FROM denials ORDER BY id LIMIT ?)", (kept - MAX_DENIALS,)
            )
            self.connection.execute("UPDATE denial_count SET n = ?", (MAX_DENIALS,))

    def _forget_dead(self, worker: Worker) -> None:
        with self.writing():
            # A new process may have taken its name in between.
            self.connection.execute("DELETE FROM workers WHERE worker = ? AND pid = ?", (worker.worker, worker.pid))

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with told_clearly(self.path), transaction(self.connection):
            yield self.connection


def path_beside(store: Path) -> Path:
    """The runtime file of a store: ``exhook.db`` has ``exhook.runtime.db``."""
    return store.with_name(f"{store.stem}.runtime{store.suffix}")


@RUNTIME.step
def m001_workers(database: sqlite3.Connection) -> None:
    """Deciding processes, and the revision that each decides by."""
    database.execute(
        "CREATE TABLE workers (worker TEXT PRIMARY KEY, pid INTEGER NOT NULL, revision INTEGER NOT NULL,"
        " at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )


@RUNTIME.step
def m002_denials(database: sqlite3.Connection) -> None:
    """The last denials, and how many they are."""
    database.execute(
        "CREATE TABLE denials (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, client_id TEXT NOT NULL,"
        " username TEXT NOT NULL, hook TEXT NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL,"
        " revision INTEGER NOT NULL, decision_id TEXT NOT NULL, node TEXT NOT NULL) STRICT"
    )
    database.execute("CREATE INDEX denials_by_client ON denials (client_id, id)")
    database.execute("CREATE TABLE denial_count (n INTEGER NOT NULL) STRICT")
    database.execute("INSERT INTO denial_count VALUES (0)")


@RUNTIME.step
def m003_bindings(database: sqlite3.Connection) -> None:
    """The tokens of connected clients in Token mode: ids and ends, no token."""
    database.execute(
        "CREATE TABLE bindings (listener TEXT NOT NULL, client_id TEXT NOT NULL, instance TEXT NOT NULL,"
        " access_key_id TEXT NOT NULL, tokens TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL,"
        " ends_at INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (listener, client_id)) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX bindings_by_client ON bindings (client_id)")
    database.execute("CREATE INDEX bindings_by_end ON bindings (ends_at)")


@RUNTIME.step
def m004_nonces(database: sqlite3.Connection) -> None:
    """Nonces of signed calls, as digests, and until when each is kept."""
    database.execute("CREATE TABLE nonces (nonce BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID")
    database.execute("CREATE INDEX nonces_by_time ON nonces (until)")


@RUNTIME.step
def m005_said(database: sqlite3.Connection) -> None:
    """What the parts of a server say of themselves, and more about each denial."""
    database.execute(
        "CREATE TABLE said (name TEXT PRIMARY KEY, value TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    database.execute("ALTER TABLE denials ADD COLUMN rule_revision INTEGER NOT NULL DEFAULT 0")
    database.execute("ALTER TABLE denials ADD COLUMN nearest TEXT NOT NULL DEFAULT ''")


@RUNTIME.step
def m006_revocations(database: sqlite3.Connection) -> None:
    """What is to be taken from live sessions, by cluster; how far the change log was read for it, and by whom."""
    database.execute(
        "CREATE TABLE revocations (id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, revision INTEGER NOT NULL,"
        " at INTEGER NOT NULL, instance TEXT NOT NULL, subject_type TEXT NOT NULL, subject TEXT NOT NULL,"
        " proof INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', due INTEGER NOT NULL DEFAULT 0,"
        " attempts INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0,"
        " disconnected INTEGER NOT NULL DEFAULT 0, unsubscribed INTEGER NOT NULL DEFAULT 0,"
        " note TEXT NOT NULL DEFAULT '') STRICT"
    )
    database.execute("CREATE INDEX revocations_by_state ON revocations (cluster, state, id)")
    database.execute(
        "CREATE TABLE revoked_clients (revocation INTEGER NOT NULL, client_id TEXT NOT NULL,"
        " PRIMARY KEY (revocation, client_id)) STRICT, WITHOUT ROWID"
    )
    database.execute(
        "CREATE TABLE revocation_places (cluster TEXT PRIMARY KEY, store_id TEXT NOT NULL, revision INTEGER NOT NULL,"
        " done INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE TABLE revocation_owner (pid INTEGER NOT NULL, at INTEGER NOT NULL) STRICT")


@RUNTIME.step
def m007_ended_at(database: sqlite3.Connection) -> None:
    """When a client was ended, so that one that was let in before is told from one that came back."""
    database.execute("ALTER TABLE revoked_clients ADD COLUMN at INTEGER NOT NULL DEFAULT 0")


@RUNTIME.step
def m008_since(database: sqlite3.Connection) -> None:
    """Since which revision the change log was read for a revocation."""
    database.execute("ALTER TABLE revocations ADD COLUMN since INTEGER NOT NULL DEFAULT 0")


def _newest(denials: Iterable[Denial]) -> list[Denial]:
    """What of a batch could be kept at all, in its order."""
    seen: Counter[str] = Counter()
    newest = []
    for denial in reversed(list(denials)):
        seen[denial.client_id] += 1
        if seen[denial.client_id] <= MAX_PER_CLIENT:
            newest.append(denial)
    return newest[::-1]


def _cut(value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    text = value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + "…"
    return text.encode(errors="replace").decode()


def lives(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
