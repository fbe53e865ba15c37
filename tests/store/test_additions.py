"""Records that are known to be new: by the thousand they come to stand as one by one, change row for change row."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import INSTANCE, NOW, allow, blocked, client, deny, group, instance, secret, stored, user

from store import additions
from store.changes import Operation
from store.database import Database
from store.records import Record, SignMode
from store.seal import SealKeys, new_key
from store.tables import PERMISSIONS, TABLES
from store.writing import Writing

KEYS = SealKeys.from_text(new_key(), "the test")

RECORDS: tuple[Record, ...] = (
    instance(),
    instance(name="mqtt-other", record_quota=5, pin_client_ids=False, source="plant"),
    group("GID_Sensors", protect=True),
    user("alice", origin="policy.yaml:3", id="alice", expires_at=NOW + 1),
    user("bob", secret("old", id="1", expires_at=NOW), secret("new", id="2"), sign_mode=SignMode.SIGNED),
    client("carol", "c1", note="ünïcode"),
    user("dave", sign_mode=SignMode.EXTERNAL),
    allow("a/#", source="plant"),
    allow("a/#"),
    deny("a/secret", expires_at=NOW + 5),
    blocked("c9", reason="stolen"),
    blocked(username="eve"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", KEYS) as opened:
        yield opened


def filled(path: Path, write_it: Callable[[Database, Writing], None]) -> list[Any]:
    """All that stands in a new store after a write, but for what chance has a part in."""
    with Database.open(path, KEYS) as database:
        with database.writing(actor="tester", source="plant", now_ms=NOW) as write:
            write_it(database, write)
        tables = ("revisions", "changes", *(table.name for table in TABLES), "tallies")
        found: list[Any] = [
            [tuple(row) for row in database.connection.execute(f"SELECT * FROM {name}")]  # noqa: S608 - our own names
            for name in tables
        ]
        secrets = "SELECT identity, id, form, length(sealed), expires_at FROM identity_secrets"
        found.append([tuple(row) for row in database.connection.execute(secrets)])
        found.append([list(database.records(table)) for table in TABLES])
    return found


@pytest.mark.parametrize("full", [1, 3, 1000])
def test_they_stand_as_if_they_were_put_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int) -> None:
    monkeypatch.setattr(additions, "FULL", full)
    monkeypatch.setattr(Database, "fingerprint", lambda *_: "0123456789abcdef")

    def put_all(database: Database, write: Writing) -> None:
        for record in RECORDS:
            assert write.put(stored(database, record)) is Operation.ADD

    def add_all(database: Database, write: Writing) -> None:
        for record in RECORDS:
            write.add(stored(database, record))

    one_by_one, together = filled(tmp_path / "put.db", put_all), filled(tmp_path / "add.db", add_all)
    assert together == one_by_one
    assert len(together[1]) == len(RECORDS)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "remove"]), st.integers(0, 11)), max_size=15), st.integers(1, 4))
def test_whatever_else_the_write_does_keeps_its_place(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], full: int
) -> None:
    """A record that is new is added, or put: the log, the counts and the tables are the same."""

    def following(*, adding: bool) -> list[Any]:
        def write_it(_: Database, write: Writing) -> None:
            there: set[int] = set()
            for number, record in enumerate(RECORDS[:2]):
                write.put(record)
                there.add(number)
            for name, number in steps:
                if number < 2:
                    continue
                record = RECORDS[number]
                if name == "remove":
                    write.remove(record)
                    there.discard(number)
                elif adding and number not in there:
                    write.add(record)
                    there.add(number)
                else:
                    write.put(record)
                    there.add(number)

        return filled(tmp_path_factory.mktemp("store") / "exhook.db", write_it)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(additions, "FULL", full)
        assert following(adding=True) == following(adding=False)


def test_one_that_is_there_already_undoes_all(database: Database) -> None:
    with database.writing(actor="tester", source="api", now_ms=NOW) as write:
        write.put(instance())
        write.put(allow("a"))
    with pytest.raises(sqlite3.IntegrityError):
        _add(database, allow("b"), allow("a"))
    assert database.revision == 1
    assert [found.topic for found in database.records(PERMISSIONS)] == ["a"]


def test_one_of_an_unknown_instance_undoes_all(database: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        _add(database, allow("b", instance=INSTANCE))
    assert database.revision == 0


def test_the_plan_that_is_carried_out_is_noted(database: Database) -> None:
    with database.writing(actor="tester", source="api", now_ms=NOW, checksum="expected") as write:
        write.put(instance())
        write.planned("another")
    assert database.connection.execute("SELECT checksum FROM revisions").fetchall()[0][0] == "another"


def _add(database: Database, *records: Record) -> None:
    with database.writing(actor="tester", source="api", now_ms=NOW) as write:
        for record in records:
            write.add(record)
