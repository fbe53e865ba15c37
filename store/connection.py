"""An SQLite file of ours: opened, put into shape, written in transactions, told from one that took its place."""

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from store.unavailable import StoreUnavailable, told_clearly

BUSY_MS: Final = 5_000
"""How long a writer waits for another one, in milliseconds."""

LOG_BYTES: Final = 64 * 1024 * 1024
"""What the write-ahead log may keep of the disk once what it holds is in the file."""

SHORTEN_MS: Final = 1_000
"""How long other writers may be kept waiting for the log to become short, in milliseconds."""

Step = Callable[[sqlite3.Connection], None]
"""One change of the shape of a file. It is within a transaction."""

FileId = tuple[int, int]
"""Device and inode: what tells a file from another of its name."""

_RETRY_SECONDS: Final = 0.01
_SIDECARS: Final = ("-wal", "-shm")


def _shared(folder: Path) -> bool:
    """Whether a folder is its group's to write to, and hands the group on to what is made there (mode 2770, say)."""
    shared = stat.S_ISGID | stat.S_IWGRP
    return folder.stat().st_mode & shared == shared


def connect(path: Path, *, create: bool, busy_ms: int) -> sqlite3.Connection:
    """Open the file itself; a new one is its owner's alone (0600), or also that of the group that shares its folder.

    Raises:
        StoreUnavailable: it does not exist and may not be made, or cannot be opened.
    """
    try:
        exists = path.exists()
        if exists and not path.is_file():
            raise StoreUnavailable(f"{path}: is a folder or a device; name a file")
        if not exists and not create:
            raise StoreUnavailable(
                f"{path}: there is no store; `exhook-sync apply` or `exhook serve --policy` makes one"
            )
        if not exists:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o660 if _shared(path.parent) else 0o600))
    except FileExistsError:
        pass  # another process made it in between
    except OSError as error:
        done = "cannot be made" if create else "cannot be opened"
        raise StoreUnavailable(f"{path}: {done} ({error.strerror}); see that its folder exists") from None
    with told_clearly(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=busy_ms / 1000, cached_statements=256)
    connection.row_factory = sqlite3.Row
    return connection


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a kind of file, as named steps, each applied once and in the order in which it is defined."""

    name: str
    """Of the set, within the table of `sqlite_utils.Migrations`."""
    _steps: dict[str, Step] = field(default_factory=dict)

    def step(self, step: Step) -> Step:
        """Add a step, as a decorator."""
        self._steps[step.__name__] = step
        return step

    @property
    def steps(self) -> AbstractSet[str]:
        """The names of all steps: a file that has others was written by a newer version."""
        return self._steps.keys()

    def applied(self, connection: sqlite3.Connection) -> set[str]:
        """The steps that a file has."""
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
            return set()
        rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (self.name,))
        return {name for (name,) in rows}

    def apply(self, connection: sqlite3.Connection) -> None:
        """Apply the steps that a file lacks."""
        from sqlite_utils import Database, Migrations  # noqa: PLC0415 - most files have their shape, and this takes long

        migrations = Migrations(self.name)
        for name, step in self._steps.items():
            migrations(name=name)(lambda database, step=step: step(database.conn))
        migrations.apply(Database(connection, execute_plugins=False))


def put_into_shape(path: Path, connection: sqlite3.Connection, shape: Shape, *, busy_ms: int) -> None:
    """Turn the file to WAL and apply the steps that it lacks.

    Raises:
        StoreUnavailable: a newer version wrote it, or another program.
    """
    applied = shape.applied(connection)
    if newer := sorted(applied - shape.steps):
        raise StoreUnavailable(f"{path}: written by a newer exhook (it has {', '.join(newer)}); upgrade this one")
    if not applied and connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table'").fetchone():
        raise StoreUnavailable(f"{path}: is an SQLite file of another program, or for another purpose; name another")
    _turn_to_wal(connection, busy_ms)
    if applied != shape.steps:
        with transaction(connection):
            shape.apply(connection)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, so that what is read inside is what gets changed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """One read transaction around all that is read, so that it is of one revision; unless one stands already."""
    begun = not connection.in_transaction
    if begun:
        connection.execute("BEGIN")
    try:
        yield
    finally:
        # A failed read may have ended it.
        if begun and connection.in_transaction:
            connection.execute("ROLLBACK")


def shorten_log(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the file and give its disk back; readers are never kept waiting.

    Where a reader goes on reading in the log, or the disk is full, it stays: nothing is lost, and the next writer
    that comes to its begin cuts it to `LOG_BYTES`.
    """
    (busy_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {min(busy_ms, SHORTEN_MS)}")
    try:
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {busy_ms}")


def file_at(path: Path) -> FileId | None:
    """Which file stands at a path; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def sidecars_of(path: Path) -> frozenset[FileId]:
    """The write-ahead log and its index that stand beside a file now."""
    return frozenset(found for sidecar in _sidecars(path) if (found := file_at(sidecar)))


@contextmanager
def without_sidecars(path: Path, stale: AbstractSet[FileId]) -> Iterator[None]:
    """Remove the sidecars of the file that stood here before; keep other processes from doing so meanwhile.

    SQLite takes whatever log it finds beside a file for that file's own, and would read the pages of the old
    store into the new one.

    Raises:
        StoreUnavailable: the folder cannot be changed.
    """
    folder = None
    try:
        try:
            folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(folder, fcntl.LOCK_EX)
            for sidecar in _sidecars(path):
                if file_at(sidecar) in stale:
                    sidecar.unlink()
        except OSError as error:
            raise StoreUnavailable(
                f"{path}: another file took its place, but the log of the old one cannot be removed "
                f"({error.strerror}); give its user the right to write to the folder"
            ) from None
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _sidecars(path: Path) -> list[Path]:
    real = path.resolve()
    return [real.with_name(real.name + suffix) for suffix in _SIDECARS]


def _turn_to_wal(connection: sqlite3.Connection, busy_ms: int) -> None:
    """SQLite does not wait for the lock of this one step, so that processes that open a new file at once collide."""
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
