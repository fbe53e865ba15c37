"""A store's records in a file that may leave the machine: no secrets, no hashes of them, no fingerprints.

JSON lines: a head that names format, revision and label, a line for each record, and an end that counts them and holds
the SHA-256 of all lines above it, so that no half file and no edited one is taken for what the store said. A plan is
made against it as against the store, but that secrets are told apart by id and expiry alone.
"""

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from store.clock import Clock, now_ms
from store.connection import reading
from store.database import Database
from store.records import Record
from store.seal import SealKeys
from store.sync.filling import Filling
from store.sync.hold import Hold, holds_of, set_hold
from store.sync.phrases import moment
from store.sync.recorded import UnreadableRecord, record_of, without_fingerprints
from store.tables import TABLES, content
from store.unavailable import StoreUnavailable, told_clearly

FORMAT: Final = "exhook-snapshot/v1"
_FAMILY: Final = "exhook-snapshot/"
_MEND: Final = "make one by exhook-sync snapshot -o store.snapshot, and name that"
"""No other name: what was named for a snapshot may be a policy, and be dear to somebody."""
_HEAD: Final = b'{"format":"exhook-snapshot/'
_HOLD: Final = {"source": str, "actor": str, "at": int, "since": int, "to": int}

Said = dict[str, Any]


class UnusableSnapshot(StoreUnavailable):
    """A file is no snapshot, or not a whole one. The message names file and line, and what to do."""


def write_snapshot(database: Database, stream: TextIO, *, clock: Clock = now_ms) -> int:
    """Write the records of a store, all of one revision; how many there were.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    count = 0
    with told_clearly(database.path), reading(database.connection):
        head = {
            "format": FORMAT,
            "revision": database.revision,
            "environment": database.environment,
            "at": moment(clock()),
            "holds": [_hold_said(hold) for hold in holds_of(database).values()],
        }
        digest = hashlib.sha256()
        _write_line(stream, head, digest)
        for table in TABLES:
            for _, record in database.contents(table):
                _write_line(
                    stream,
                    {"kind": record.kind, "record": without_fingerprints(content(record)), "origin": record.origin},
                    digest,
                )
                count += 1
    _write_line(stream, {"end": True, "records": count, "sha256": digest.hexdigest()}, digest)
    return count


def may_be_replaced(path: Path) -> bool:
    """Whether nothing would be lost but an older snapshot, or what one was to be.

    Raises:
        OSError: what is there cannot be read.
    """
    if not path.is_file():
        return True  # what is no file, a pipe say, holds nothing; nor does what is not there
    with path.open("rb") as stream:
        first = stream.read(len(_HEAD))
    return not first or first == _HEAD


@contextmanager
def snapshot_store(path: Path) -> Iterator[Database]:
    """A store for the moment that holds what the snapshot says; its identities have stand-ins for secrets.

    Raises:
        UnusableSnapshot: it cannot be read, is no snapshot, is not whole, or was written by a newer version.
    """
    with (
        tempfile.TemporaryDirectory(prefix="exhook-snapshot-") as folder,
        Database.open(Path(folder, "snapshot.db"), SealKeys()) as database,
    ):
        try:
            with path.open("rb") as stream:
                _Reading(path, database).read(stream)
        except OSError as error:
            raise UnusableSnapshot(f"{path}: cannot be read ({error.strerror}); {_MEND}") from None
        yield database


class _Reading:
    """One snapshot, on its way into a store."""

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        self._database = database
        self._number = 0
        self._digest = hashlib.sha256()
        self._above = ""
        """The digest of the lines above the one that was read last."""

    def read(self, stream: Any) -> None:
        lines = self._lines(stream)
        head = self._head(next(lines, None))
        with told_clearly(self._database.path), self._database.transaction():
            self._records(lines)
            for hold in _holds(head):
                set_hold(self._database, hold)
            if head["environment"]:
                self._database.label(head["environment"])

    def _lines(self, stream: Any) -> Iterator[Said]:
        while line := stream.readline():
            self._number += 1
            self._above = self._digest.hexdigest()
            # A checkout may have turned the ends of lines into those of its system.
            self._digest.update(line.rstrip(b"\r\n") + b"\n")
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                raise self._no_json(line) from None
            if not isinstance(said, dict):
                raise self._no_json(line)
            yield said

    def _no_json(self, line: bytes) -> UnusableSnapshot:
        whole = line.endswith(b"\n") or self._number == 1
        return self._unusable("is no snapshot" if whole else "ends in the middle of a line")

    def _head(self, said: Said | None) -> Said:
        written = str((said or {}).get("format", ""))
        if written.startswith(_FAMILY) and written != FORMAT:
            raise UnusableSnapshot(
                f"{self._path}: was written by a newer exhook-sync ({written}, and this one reads {FORMAT}); "
                "upgrade this one, or make the snapshot with the same version"
            )
        if said is None or written != FORMAT:
            raise self._unusable("is no snapshot")
        holds = said.get("holds")
        if not (isinstance(said.get("environment"), str) and isinstance(holds, list) and all(map(_is_hold, holds))):
            raise self._unusable("is no head of a snapshot")
        return said

    def _records(self, lines: Iterator[Said]) -> None:
        filling = Filling(self._database)
        for said in lines:
            if said.get("end") is True:
                if said.get("records") != filling.count:
                    raise self._unusable(f"counts {said.get('records')!r} records, and holds {filling.count}")
                if said.get("sha256") != self._above:
                    raise self._unusable("was edited: its lines are not those that its end vouches for")
                if next(lines, None) is not None:
                    raise self._unusable("goes on after its end")
                return
            try:
                filling.put(self._record(said))
            except sqlite3.IntegrityError:
                raise self._unusable("holds a record twice, or one before its instance") from None
        raise self._unusable("is not whole: its end is missing")

    def _record(self, said: Said) -> Record:
        kind, record, origin = said.get("kind"), said.get("record"), said.get("origin", "")
        if not (isinstance(kind, str) and isinstance(record, dict) and isinstance(origin, str)):
            raise self._unusable("is no snapshot")
        try:
            return record_of(kind, record, origin=origin)
        except UnreadableRecord as wrong:
            raise self._unusable(f"holds no record here ({wrong})") from None

    def _unusable(self, what: str) -> UnusableSnapshot:
        return UnusableSnapshot(f"{self._path}:{max(1, self._number)}: {what}; {_MEND}")


def _hold_said(hold: Hold) -> Said:
    return {name: getattr(hold, name) for name in _HOLD}


def _is_hold(said: Any) -> bool:
    return isinstance(said, dict) and {name: type(value) for name, value in said.items()} == _HOLD


def _holds(head: Said) -> list[Hold]:
    return [Hold(**said) for said in head["holds"]]


def _write_line(stream: TextIO, said: Said, digest: "hashlib._Hash") -> None:
    line = json.dumps(said, ensure_ascii=True, separators=(",", ":")) + "\n"
    digest.update(line.encode())
    stream.write(line)
