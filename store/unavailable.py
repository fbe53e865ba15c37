"""One clear sentence for each way in which a store file can fail."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SENTENCES: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another writer; try again when its work is done",
    sqlite3.SQLITE_LOCKED: "is locked by another writer; try again when its work is done",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; nothing was written, free some space and try again",
    sqlite3.SQLITE_READONLY: "is read-only; give its user the right to write to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see that its folder exists and that its user may write there",
    sqlite3.SQLITE_PERM: "cannot be opened; give its user the right to read and write it",
    sqlite3.SQLITE_NOTADB: "is no store: not an SQLite file; name another file, or restore a copy",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a copy, or move the file away and apply the policy anew",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error; nothing was written",
}


class StoreUnavailable(Exception):
    """The store cannot be used now. The message names the file, what is wrong and what to do."""


@contextmanager
def told_clearly(path: Path) -> Iterator[None]:
    """Turn what SQLite reports into a `StoreUnavailable`."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_CONSTRAINT:
            raise
        raise StoreUnavailable(f"{path}: {_SENTENCES.get(code, f'cannot be used ({error})')}") from error
