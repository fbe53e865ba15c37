"""kill -9 in the midst of writing: the store stands wholly at one revision, and no reader ever sees two."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from records_under_test import INSTANCE, PUB, SUB, asking
from writer_under_test import CLIENT_ID, GRANTEES, TOPICS, USERNAME, records, write_one

from store.changes import Operation, changes_of, revisions
from store.database import Database
from store.reader import Reader
from store.records import Identity, Permission
from store.seal import SealKeys
from store.tables import TABLES
from store.view import View

KEYS = SealKeys()
KILLS = 14
ASKER = asking(USERNAME, CLIENT_ID)
GOLDEN = 0.618
"""Its multiples are spread evenly: every kill falls at another moment."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "exhook.db"
    with Database.open(path, KEYS) as database:
        write_one(database)
    return path


@pytest.fixture
def nursery(path: Path) -> Iterator["Nursery"]:
    command = [sys.executable, str(Path(__file__).with_name("writer_under_test.py")), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Nursery(process)


class Nursery:
    """Makes writers, and sees them die."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def writer(self) -> int:
        """A process that wrote one revision and goes on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return int(self._line())

    def kill(self, writer: int) -> None:
        os.kill(writer, signal.SIGKILL)
        assert self._line() == "dead"


def moments() -> Iterator[float]:
    """Some milliseconds each: a revision takes about ten."""
    for number in range(1, KILLS + 1):
        yield 0.08 * (number * GOLDEN % 1)


def stands_at(path: Path) -> int:
    """The one revision that everything in the store was written by."""
    with Database.open(path, KEYS) as database:
        revision = database.revision
        found = [record for table in TABLES for record in database.records(table)]
        expected = {(record.kind, record.key) for record in records(revision)}
        assert {(record.kind, record.key) for record in found} == expected
        assert {(record.note, record.revision) for record in found} == {(str(revision), revision)}
        secrets = {secret.value for record in found if isinstance(record, Identity) for secret in record.secrets}
        assert secrets == {f"secret {revision}".encode()}
        changes = list(changes_of(database.connection, revision))
        assert {(change.kind, change.key) for change in changes} == expected
        assert all(change.after and change.after["note"] == str(revision) for change in changes)
        (last,) = revisions(database.connection, 1)
        counts = {Operation.ADD: last.added, Operation.CHANGE: last.changed}
        assert counts[changes[0].operation] == len(changes)
        assert database.connection.execute("SELECT max(revision) FROM changes").fetchone()[0] == revision
        tallied = dict(database.connection.execute("SELECT kind, n FROM tallies WHERE kind NOT LIKE 'work:%'"))
        assert tallied == {"identity": 2, "permission": sum(isinstance(record, Permission) for record in found)}
        assert database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    return revision


def test_a_killed_writer_leaves_one_whole_revision(path: Path, nursery: Nursery) -> None:
    reached = [1]
    for moment in moments():
        writer = nursery.writer()
        time.sleep(moment)
        nursery.kill(writer)
        reached.append(stands_at(path))
    assert reached == sorted(reached)
    assert reached[-1] > KILLS


def test_a_reader_never_sees_two_revisions_in_one_view(path: Path, nursery: Nursery) -> None:
    """One reader has room for one view, one for two parts alone, so that it reads anew all the time."""
    readers = [Reader(path, KEYS), Reader(path, KEYS, max_subjects=2)]
    seen: list[set[int]] = [set() for _ in readers]
    for moment in moments():
        writer = nursery.writer()
        until = time.monotonic() + moment
        while time.monotonic() < until:
            for reader, at in zip(readers, seen, strict=True):
                at.add(revision_of(reader.view(INSTANCE, ASKER)))
                reader.poll()
        nursery.kill(writer)
        revision = stands_at(path)
        for reader in readers:
            reader.poll()
            assert revision_of(reader.view(INSTANCE, ASKER)) == revision
    assert all(len(at) > KILLS // 2 for at in seen)
    for reader in readers:
        reader.close()


def revision_of(view: View) -> int:
    """The one revision that every record of the view was written by."""
    grants = (view.user_grants, view.client_grants, view.group_grants, view.all_grants)
    assert len(grants) == len(GRANTEES)
    found = [
        grant.allowing(tuple(topic.split("/")), action, 0)
        for grant in grants
        for topic in TOPICS
        for action in (PUB, SUB)
    ]
    records_seen = [view.instance, view.group, view.user, *view.owners, *found]
    notes = {record.note if record else "missing" for record in records_seen}
    assert notes == {str(view.revision)}
    secrets = {secret.value for identity in (view.user, *view.owners) if identity for secret in identity.secrets}
    assert secrets == {f"secret {view.revision}".encode()}
    return view.revision
