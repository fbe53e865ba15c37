"""The file under a reader: restored, replaced, broken, gone. What answers is one store, never a mixture."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from records_under_test import INSTANCE, NOW, PUB, access_key, allow, asking, instance, user, written

from store.account_records import TokenActions
from store.database import Database
from store.decision import authorize
from store.reader import Reader
from store.records import Grantee
from store.seal import SealKeys
from store.token_text import named_key
from store.tokens import issue, retire_token_key
from store.unavailable import StoreUnavailable

KEYS = SealKeys()
U = asking("u")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A store of many pages, all of them still in its log."""
    with Database.open(path, KEYS) as opened:
        written(opened, instance(), user("u"), allow("old/#"))
        for number in range(30):
            written(opened, allow(f"filler/{number}/{'x' * 900}"))
        yield opened


@pytest.fixture
def reader(database: Database, path: Path) -> Iterator[Reader]:
    assert database.revision == 31
    opened = Reader(path, KEYS)
    assert may(opened, "old/x")
    yield opened
    opened.close()


def other_store(path: Path, topic: str = "new/#") -> Path:
    """Another store, complete in one file."""
    with Database.open(path, KEYS) as database:
        written(database, instance(), user("u"))
        written(database, allow(topic))
    return path


def may(reader: Reader, topic: str) -> bool:
    return authorize(reader.view(INSTANCE, U), U, PUB, topic, NOW).allow


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    finally:
        connection.close()


def test_a_copy_restored_in_place_drops_all(reader: Reader, path: Path, tmp_path: Path) -> None:
    """SQLite's own backup writes the old state into the same file: the revision goes back."""
    copy = sqlite3.connect(other_store(tmp_path / "copy.db"))
    target = sqlite3.connect(path)
    copy.backup(target)
    copy.close()
    target.close()
    assert reader.poll()
    assert reader.revision == 2
    assert may(reader, "new/x")
    assert not may(reader, "old/x")


def test_an_older_copy_of_the_same_store_restored_in_place(
    reader: Reader, database: Database, path: Path, tmp_path: Path
) -> None:
    copy = sqlite3.connect(tmp_path / "copy.db")
    database.connection.backup(copy)
    written(database, allow("late/#"))
    reader.poll()
    assert may(reader, "late/x")
    target = sqlite3.connect(path)
    copy.backup(target)
    copy.close()
    target.close()
    assert reader.poll()
    assert reader.revision == 31
    assert not may(reader, "late/x")


def test_another_store_with_as_many_revisions_is_another_store(path: Path, tmp_path: Path) -> None:
    other_store(path, "old/#")
    reader = Reader(path, KEYS)
    assert may(reader, "old/x")
    copy, target = sqlite3.connect(other_store(tmp_path / "copy.db")), sqlite3.connect(path)
    copy.backup(target)
    copy.close()
    target.close()
    assert reader.poll()
    assert reader.revision == 2
    assert (may(reader, "old/x"), may(reader, "new/x")) == (False, True)
    reader.close()


def test_another_store_with_more_revisions_is_not_caught_up_with(path: Path, tmp_path: Path) -> None:
    other_store(path, "old/#")
    reader = Reader(path, KEYS)
    assert may(reader, "old/x")
    with Database.open(other_store(tmp_path / "copy.db"), KEYS) as database:
        written(database, allow("late/#", to=(Grantee.USER, "v")))
    copy, target = sqlite3.connect(tmp_path / "copy.db"), sqlite3.connect(path)
    copy.backup(target)
    copy.close()
    target.close()
    assert reader.poll()
    assert reader.revision == 3
    assert (may(reader, "old/x"), may(reader, "new/x")) == (False, True)
    reader.close()


class TestReplaced:
    """`mv copy.db exhook.db` under running readers, while the log of the old file still lies beside it."""

    def test_every_reader_goes_over_to_the_new_file(self, reader: Reader, path: Path, tmp_path: Path) -> None:
        others = [Reader(path, KEYS) for _ in range(2)]
        assert path.with_name("exhook.db-wal").stat().st_size > 0
        other_store(tmp_path / "other.db").replace(path)
        for each in (reader, *others):
            assert each.poll()
            assert each.revision == 2
            assert (may(each, "old/x"), may(each, "new/x")) == (False, True)
            assert not each.poll()
        with Database.open(path, KEYS) as database:
            written(database, allow("later/#"))
        for each in (reader, *others):
            assert each.poll()
            assert (may(each, "new/x"), may(each, "later/x")) == (True, True)
        assert sound(path)
        for each in others:
            each.close()

    def test_what_tokens_are_good_for_is_the_new_files(self, path: Path, tmp_path: Path) -> None:
        """Its token keys, and whether there are tokens at all: once none was, once one was retired with its key."""
        other_store(path)
        reader = Reader(path, KEYS)
        has_tokens = [reader.has_tokens]
        with Database.open(other_store(tmp_path / "issuing.db"), KEYS) as database:
            written(database, access_key(all_topics=True))
            shown = issue(
                database, "YYYYY", instance=INSTANCE, actions=TokenActions.R, resources=["a"], actor="tester",
                expires_at=NOW + 3_600_000, now_ms=NOW,
            ).text  # fmt: skip
            copy = sqlite3.connect(tmp_path / "retired.db")
            database.connection.backup(copy)
            copy.close()
        with Database.open(tmp_path / "retired.db", KEYS) as database:
            assert retire_token_key(database, named_key(shown), now_ms=NOW, actor="tester")
        (tmp_path / "issuing.db").replace(path)
        assert reader.poll()
        has_tokens.append(reader.has_tokens)
        assert has_tokens == [False, True]
        assert reader.token_keys([shown]).verified(shown)
        (tmp_path / "retired.db").replace(path)
        assert reader.poll()
        assert reader.token_keys([shown]).verified(shown) is None
        reader.close()

    def test_until_it_is_noticed_the_old_one_answers(self, reader: Reader, path: Path, tmp_path: Path) -> None:
        other_store(tmp_path / "other.db").replace(path)
        assert may(reader, "old/x")
        stranger = asking("u", "c2")
        assert authorize(reader.view(INSTANCE, stranger), stranger, PUB, "old/x", NOW).allow

    def test_a_new_file_with_its_own_log_keeps_it(self, reader: Reader, path: Path, tmp_path: Path) -> None:
        with Database.open(tmp_path / "other.db", KEYS) as database:
            written(database, instance(), user("u"), allow("new/#"))
            for suffix in ("", "-wal"):
                shutil.copy(tmp_path / f"other.db{suffix}", tmp_path / f"copy.db{suffix}")
        for suffix in ("-wal", ""):
            (tmp_path / f"copy.db{suffix}").replace(f"{path}{suffix}")
        assert reader.poll()
        assert may(reader, "new/x")

    @pytest.mark.parametrize("broken", [b"", b"no store at all", b"SQLite format 3\0" + b"\xff" * 4096])
    def test_a_broken_file_leaves_the_last_good_one_in_force(self, reader: Reader, path: Path, broken: bytes) -> None:
        bad = path.with_name("bad")
        bad.write_bytes(broken)
        bad.replace(path)
        for _ in range(2):
            if broken:
                with pytest.raises(StoreUnavailable, match=r"exhook\.db: is (no store|damaged)"):
                    reader.poll()
                assert may(reader, "old/x")
                assert reader.revision == 31
            else:
                # Nothing at all is a new store: it lets nobody in.
                reader.poll()
                assert not may(reader, "old/x")
        other_store(path.with_name("other.db")).replace(path)
        assert reader.poll()
        assert may(reader, "new/x")

    def test_a_store_of_a_newer_version_leaves_the_old_one_in_force(self, reader: Reader, path: Path) -> None:
        newer = other_store(path.with_name("other.db"))
        connection = sqlite3.connect(newer)
        with connection:
            connection.execute("INSERT INTO _sqlite_migrations VALUES (99, 'exhook-store', 'm999_later', 'now')")
        connection.close()
        newer.replace(path)
        with pytest.raises(StoreUnavailable, match="written by a newer exhook"):
            reader.poll()
        assert may(reader, "old/x")


def test_a_deleted_file_goes_on_answering(reader: Reader, path: Path) -> None:
    for found in path.parent.iterdir():
        found.unlink()
    assert not reader.poll()
    assert may(reader, "old/x")
    stranger = asking("u", "c2")
    assert authorize(reader.view(INSTANCE, stranger), stranger, PUB, "old/x", NOW).allow
    other_store(path)
    assert reader.poll()
    assert may(reader, "new/x")


def test_a_missing_store_makes_no_reader(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no store"):
        Reader(path, KEYS)
    assert not path.exists()


def test_a_store_behind_a_link_is_followed_when_the_link_moves(tmp_path: Path) -> None:
    """As Kubernetes mounts files."""
    link = tmp_path / "exhook.db"
    link.symlink_to(other_store(tmp_path / "first.db", "old/#"))
    reader = Reader(link, KEYS)
    assert may(reader, "old/x")
    moved = tmp_path / "moved"
    moved.symlink_to(other_store(tmp_path / "second.db"))
    moved.replace(link)
    assert reader.poll()
    assert (may(reader, "old/x"), may(reader, "new/x")) == (False, True)
    reader.close()
    with Database.open(tmp_path / "first.db", KEYS) as first:
        assert first.revision == 2
