"""A large write leaves no long log behind, and waits for no reader to get there."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from records_under_test import NOW, allow, instance

from store import connection as connections
from store import database as databases
from store.database import Database
from store.reader import Reader
from store.seal import SealKeys

KEYS = SealKeys()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def database(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(databases, "LARGE", 100)
    monkeypatch.setattr(connections, "SHORTEN_MS", 50)
    with Database.open(path, KEYS) as opened:
        yield opened


def write(database: Database, count: int, turn: int = 0) -> None:
    with database.writing(actor="tester", source="api", now_ms=NOW) as writing:
        writing.put(instance())
        for number in range(count):
            writing.add(allow(f"t/{turn}/{number}"))


def log_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def test_a_large_write_leaves_no_log(database: Database, path: Path) -> None:
    write(database, 5)
    assert log_bytes(path) > 0
    write(database, 100, turn=1)
    assert log_bytes(path) == 0


def test_a_reader_in_the_log_goes_on_and_keeps_it_for_a_while(database: Database, path: Path) -> None:
    write(database, 5)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM permissions").fetchone() == (5,)
    began = time.monotonic()
    write(database, 100, turn=1)
    assert time.monotonic() - began < 5
    assert log_bytes(path) > 0
    assert reader.execute("SELECT count(*) FROM permissions").fetchone() == (5,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM permissions").fetchone() == (105,)
    # The busy handler is as it was: the next writer waits as long as it should.
    assert database.connection.execute("PRAGMA busy_timeout").fetchone()[0] > 50
    write(database, 100, turn=2)
    assert log_bytes(path) == 0
    reader.close()


def test_a_reader_of_the_server_follows_over_the_cut(database: Database, path: Path) -> None:
    write(database, 5)
    reader = Reader(path, KEYS)
    write(database, 100, turn=1)
    assert reader.poll()
    assert reader.revision == 2
    reader.close()


def test_the_log_is_bounded_even_where_it_could_not_be_cut(database: Database) -> None:
    (limit,) = database.connection.execute("PRAGMA journal_size_limit").fetchone()
    assert limit == connections.LOG_BYTES
