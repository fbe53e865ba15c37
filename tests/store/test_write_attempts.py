"""Parts of one write that succeed and fail by themselves."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_under_test import INSTANCE

from store.changes import Operation, changes_of
from store.database import Database
from store.records import BlacklistEntry, Instance
from store.seal import SealKeys
from store.tables import BLACKLIST
from store.unavailable import StoreUnavailable
from store.writing import OverQuota, Writing

NOW = 1_800_000_000_000


class Failed(Exception):
    pass


def entry(client_id: str) -> BlacklistEntry:
    return BlacklistEntry(instance=INSTANCE, client_id=client_id)


def opened(path: Path, quota: int | None = None) -> Database:
    database = Database.open(path, SealKeys())
    with database.writing(actor="test", source="api", now_ms=NOW) as write:
        write.put(Instance(name=INSTANCE, record_quota=quota))
    return database


def there(database: Database) -> set[str]:
    return {entry.client_id for entry in database.records(BLACKLIST)}


def put_and_fail(write: Writing, *client_ids: str) -> None:
    with suppress(Failed), write.attempt():
        for client_id in client_ids:
            write.put(entry(client_id))
        raise Failed


def test_a_part_that_fails_leaves_no_record_no_change_and_no_count(tmp_path: Path) -> None:
    with opened(tmp_path / "exhook.db") as database:
        with database.writing(actor="test", source="api", now_ms=NOW) as write:
            with write.attempt():
                write.put(entry("a"))
            put_and_fail(write, "b", "c")
            with write.attempt():
                write.put(entry("d"))
        assert there(database) == {"a", "d"}
        changes = list(changes_of(database.connection, database.revision))
        assert [change.subject.name for change in changes] == ["a", "d"]
        assert write.counts == {Operation.ADD: 2}


def test_where_every_part_fails_there_is_no_revision(tmp_path: Path) -> None:
    with opened(tmp_path / "exhook.db") as database:
        before = database.revision
        with database.writing(actor="test", source="api", now_ms=NOW) as write:
            put_and_fail(write, "a")
            put_and_fail(write, "b")
        assert database.revision == before


def test_what_the_store_itself_refuses_fails_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "exhook.db") as database:
        with database.writing(actor="test", source="api", now_ms=NOW) as write:
            with pytest.raises(sqlite3.IntegrityError), write.attempt():
                write.put(BlacklistEntry(instance="mqtt-unknown", client_id="a"))
            with write.attempt():
                write.put(entry("b"))
        assert there(database) == {"b"}


def break_half_way(database: Database) -> None:
    with database.writing(actor="test", source="api", now_ms=NOW) as write:
        with write.attempt():
            write.put(entry("a"))
        with write.attempt():
            raise sqlite3.OperationalError("an error of the disk, by a test")


def test_a_failure_of_the_file_ends_the_whole_write(tmp_path: Path) -> None:
    with opened(tmp_path / "exhook.db") as database:
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            break_half_way(database)
        assert there(database) == set()


@given(quota=st.integers(0, 6), parts=st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6))
def test_the_quota_is_judged_part_by_part(
    tmp_path_factory: pytest.TempPathFactory, quota: int, parts: list[list[str]]
) -> None:
    kept: set[str] = set()
    with opened(tmp_path_factory.mktemp("quota") / "exhook.db", quota) as database:
        with database.writing(actor="test", source="api", now_ms=NOW) as write:
            for part in parts:
                try:
                    with write.attempt():
                        for client_id in part:
                            write.put(entry(client_id))
                except OverQuota:
                    assert len(kept | set(part)) > quota
                else:
                    kept |= set(part)
                    assert len(kept) <= quota
        assert there(database) == kept
