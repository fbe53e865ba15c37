"""The store file: who may read it, what SQLite keeps of it, sealing at rest, and opening at once."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from records_under_test import INSTANCE, NOW, allow, client, group, instance, user, written

from store.database import Database
from store.records import SecretForm, SignMode
from store.seal import PLAIN, SealError, SealKeys, new_key
from store.tables import IDENTITIES, INSTANCES, PERMISSIONS, TABLES
from store.unavailable import StoreUnavailable

OLD, NEW = (SealKeys.from_text(new_key(), "keys") for _ in range(2))
BOTH = SealKeys({**NEW._keys, **OLD._keys})
NONE = SealKeys()
SECRET = "canary-8f1d"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database.open(path, NONE) as opened:
        yield opened


def bytes_of(path: Path) -> bytes:
    """Everything that stands on the disk."""
    return b"".join(found.read_bytes() for found in sorted(path.parent.iterdir()))


class TestFile:
    def test_it_is_its_owners_alone_whatever_the_umask(self, path: Path) -> None:
        before = os.umask(0)
        try:
            with Database.open(path, NONE) as database:
                written(database, instance())
                modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
        finally:
            os.umask(before)
        assert modes == {"exhook.db": 0o600, "exhook.db-wal": 0o600, "exhook.db-shm": 0o600}

    def test_a_mode_that_its_owner_chose_stays(self, path: Path) -> None:
        Database.open(path, NONE).close()
        path.chmod(0o640)
        Database.open(path, NONE).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_how_sqlite_keeps_it(self, database: Database) -> None:
        settings = {
            name: database.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

    def test_a_missing_store_is_made_only_where_it_may_be(self, path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"exhook\.db: there is no store; .*makes one"):
            Database.open(path, NONE, create=False)
        assert not path.exists()

    def test_opening_again_keeps_everything(self, path: Path) -> None:
        with Database.open(path, NONE) as first:
            written(first, instance(), user("u"))
            kept = (first.store_id, first.revision, first.draw_key, list(first.records(IDENTITIES)))
        with Database.open(path, NONE, create=False) as second:
            assert (second.store_id, second.revision, second.draw_key, list(second.records(IDENTITIES))) == kept

    def test_two_stores_are_told_apart(self, tmp_path: Path) -> None:
        with Database.open(tmp_path / "a.db", NONE) as one, Database.open(tmp_path / "b.db", NONE) as other:
            assert one.store_id != other.store_id
            assert one.fingerprint(SecretForm.KEY, b"x") != other.fingerprint(SecretForm.KEY, b"x")
            assert one.draw_key != other.draw_key

    def test_a_label_is_no_revision(self, path: Path) -> None:
        with Database.open(path, NONE) as database:
            assert database.environment == ""
            database.label("prod")
        with Database.open(path, NONE) as database:
            assert database.environment == "prod"
            assert database.revision == 0


class TestStrictness:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE permissions SET expires_at = 'never'",
            "UPDATE permissions SET expires_at = 1.5",
            "UPDATE permissions SET topic = x'00'",
            "UPDATE permissions SET topic = NULL",
            "UPDATE permissions SET instance = 'mqtt-nowhere'",
            "UPDATE identity_secrets SET sealed = 'text'",
            "INSERT INTO identity_secrets VALUES (99, '1', 'KEY', x'00', '', NULL)",
            (
                "INSERT INTO changes (revision, operation, kind, instance, subject_type, subject, record_key)"
                " VALUES (99, 'add', '', '', '', '', '')"
            ),
            "DELETE FROM instances",
            (
                "INSERT INTO groups SELECT NULL, instance, name, source, record_id, origin, note, protect, expires_at,"
                " created_at, updated_at, revision FROM groups"
            ),
        ],
    )
    def test_wrong_types_strangers_and_doubles_are_refused(self, database: Database, statement: str) -> None:
        written(database, instance(), group("GID_Press"), user("u"), allow("a"))
        with pytest.raises(sqlite3.IntegrityError):
            database.connection.execute(statement)

    def test_every_table_is_strict(self, database: Database) -> None:
        tables = database.connection.execute("PRAGMA table_list").fetchall()
        loose = {row["name"] for row in tables if not row["strict"] and not row["name"].startswith(("sqlite_", "_"))}
        assert loose == set()

    def test_a_write_that_breaks_a_rule_leaves_nothing(self, database: Database) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            written(database, instance(), allow("a", instance="mqtt-nowhere"))
        assert database.revision == 0
        assert list(database.records(INSTANCES)) == []


class TestReading:
    def test_records_come_back_as_they_were_written(self, database: Database) -> None:
        kept = written(
            database,
            instance(record_quota=9, pin_client_ids=False),
            group("GID_Press", note="presses", protect=True),
            user("u", "one", id="users", origin="a.yaml:3", source="plant", client_ids_prefix="m-"),
            client("c", "c1", sign_mode=SignMode.EXTERNAL, expires_at=NOW),
            allow("a/${clientid}/#"),
        )
        found = [record for table in TABLES for record in database.records(table)]
        assert sorted(map(repr, found)) == sorted(map(repr, kept))

    def test_a_registry_of_parent_topics_comes_back_sorted(self, database: Database) -> None:
        written(database, instance(parent_topics=("meters", "halle \u00e9")))
        (found,) = database.records(INSTANCES)
        assert found.parent_topics == ("halle \u00e9", "meters")

    def test_an_instance_of_an_older_file_registers_nothing(self, path: Path) -> None:
        with Database.open(path, NONE) as database:
            written(database, instance(record_quota=9))
            database.connection.execute("ALTER TABLE instances DROP COLUMN parent_topics")
            database.connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm005_parent_topics'")
        with Database.open(path, NONE) as database:
            (found,) = database.records(INSTANCES)
            assert (found.record_quota, found.parent_topics) == (9, ())
            before = database.revision
            written(database, instance(record_quota=9))
            assert database.revision == before

    def test_records_of_one_source(self, database: Database) -> None:
        written(database, instance(), allow("a", source="plant"), allow("b"))
        assert [record.topic for record in database.records(PERMISSIONS, "plant")] == ["a"]
        assert [owner for owner, _ in database.contents(PERMISSIONS, "api")] == ["api"]
        assert list(database.records(PERMISSIONS, "nobody")) == []

    def test_get_finds_by_key_alone(self, database: Database) -> None:
        written(database, instance(), user("u"))
        assert database.get(IDENTITIES, (INSTANCE, "USER", "u", "")) is not None
        assert database.get(IDENTITIES, (INSTANCE, "USER", "U", "")) is None
        assert database.get(IDENTITIES, (INSTANCE, "CLIENT", "u", "")) is None

    def test_contents_unseal_nothing(self, path: Path) -> None:
        with Database.open(path, OLD) as database:
            written(database, instance(), user("u", SECRET))
            database.connection.execute("UPDATE identity_secrets SET sealed = x'01'")
            ((owner, record),) = database.contents(IDENTITIES)
            assert owner == "api"
            assert record.key == (INSTANCE, "USER", "u", "")
            with pytest.raises(SealError, match="altered, or moved"):
                list(database.records(IDENTITIES))


class TestSealing:
    def test_sealed_secrets_stand_nowhere_on_the_disk(self, path: Path) -> None:
        with Database.open(path, OLD) as database:
            written(database, instance(), user("u", SECRET), client("c", "c1", SECRET + "2"))
            assert database.sealed_under == (OLD.primary,)
            assert SECRET.encode() not in bytes_of(path)
            assert database.draw_key not in bytes_of(path)
        with Database.open(path, OLD) as database:
            values = {record.secrets[0].value for record in database.records(IDENTITIES)}
            assert values == {SECRET.encode(), SECRET.encode() + b"2"}

    def test_without_a_key_they_stand_in_the_clear_and_the_store_says_so(self, path: Path) -> None:
        with Database.open(path, NONE) as database:
            written(database, instance(), user("u", SECRET))
            assert database.sealed_under == (PLAIN,)
            assert SECRET.encode() in bytes_of(path)

    @pytest.mark.parametrize("keys", [NONE, NEW])
    def test_a_missing_key_is_named(self, path: Path, keys: SealKeys) -> None:
        Database.open(path, OLD).close()
        with pytest.raises(SealError) as missing:
            Database.open(path, keys)
        assert str(missing.value) == (
            f"{path}: secrets are sealed under key {OLD.primary}, which is not at hand; "
            "give the file that holds it by --seal-key-file or EXHOOK_SEAL_KEY_FILE"
        )

    def test_a_key_may_come_later(self, path: Path) -> None:
        with Database.open(path, NONE) as database:
            written(database, instance(), user("early", SECRET))
        with Database.open(path, NEW) as database:
            written(database, user("late", SECRET))
            assert set(database.sealed_under) == {PLAIN, NEW.primary}
            assert {found.secrets[0].value for found in database.records(IDENTITIES)} == {SECRET.encode()}
        with pytest.raises(SealError, match=NEW.primary):
            Database.open(path, NONE)

    @pytest.mark.parametrize("keys", [OLD, NONE])
    def test_reseal_moves_everything_under_the_first_key(self, path: Path, keys: SealKeys) -> None:
        with Database.open(path, keys) as database:
            written(database, instance(), user("u", SECRET), client("c", "c1"))
            printed = database.fingerprint(SecretForm.KEY, b"x")
            drawn, revision = database.draw_key, database.revision
        with Database.open(path, BOTH) as database:
            assert database.reseal() == 2
            assert database.sealed_under == (NEW.primary,)
        with Database.open(path, NEW) as database:
            assert database.fingerprint(SecretForm.KEY, b"x") == printed
            assert (database.draw_key, database.revision) == (drawn, revision)
            assert {found.secrets[0].value for found in database.records(IDENTITIES)} == {SECRET.encode(), b"password"}
        with pytest.raises(SealError):
            Database.open(path, keys)

    def test_reseal_with_a_damaged_secret_changes_nothing(self, path: Path) -> None:
        with Database.open(path, OLD) as database:
            written(database, instance(), user("u", SECRET), user("v"))
            database.connection.execute("UPDATE identity_secrets SET sealed = x'01' WHERE identity = 2")
        with Database.open(path, BOTH) as database:
            before = database.connection.execute("SELECT sealed FROM identity_secrets").fetchall()
            with pytest.raises(SealError):
                database.reseal()
            assert database.connection.execute("SELECT sealed FROM identity_secrets").fetchall() == before
            assert database.sealed_under == (OLD.primary,)

    def test_a_sealed_secret_does_not_open_in_another_identity(self, path: Path) -> None:
        """Who can write to the file cannot give himself a secret that he knows from elsewhere."""
        with Database.open(path, OLD) as database:
            written(database, instance(), user("admin"), user("mallory", "known"))
            database.connection.execute(
                "UPDATE identity_secrets SET sealed = (SELECT sealed FROM identity_secrets WHERE identity = 2)"
            )
            with pytest.raises(SealError, match="altered, or moved from another record"):
                database.get(IDENTITIES, (INSTANCE, "USER", "admin", ""))
            assert database.get(IDENTITIES, (INSTANCE, "USER", "mallory", "")) is not None


OPEN_AT = """
import sys, time
from pathlib import Path
from store.database import Database
from store.seal import SealKeys
while time.time() < float(sys.argv[2]):
    pass
with Database.open(Path(sys.argv[1]), SealKeys()) as database:
    print(database.store_id)
"""


def test_processes_that_open_a_new_store_at_once_open_the_same(tmp_path: Path) -> None:
    for attempt in range(4):
        path = tmp_path / f"{attempt}.db"
        start = str(time.time() + 0.9)
        processes = [
            subprocess.Popen([sys.executable, "-c", OPEN_AT, path, start], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        said = [process.communicate(timeout=30)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert len(set(said)) == 1
        assert said[0].strip()


def test_a_new_file_that_another_process_is_about_to_fill_is_waited_for(path: Path) -> None:
    """SQLite itself does not wait when it turns a file to WAL."""
    filling = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    filling.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked by another writer"):
        Database.open(path, NONE, busy_ms=50)
    done = threading.Timer(0.2, filling.execute, ("ROLLBACK",))
    done.start()
    with Database.open(path, NONE) as database:
        assert database.store_id
    done.join()
    filling.close()


@pytest.mark.parametrize("end", ["removed", "replaced"])
def test_nothing_is_written_to_a_file_that_nobody_reads(path: Path, tmp_path: Path, end: str) -> None:
    with Database.open(path, NONE) as database:
        written(database, instance())
        if end == "removed":
            path.unlink()
        else:
            Database.open(tmp_path / "other.db", NONE).close()
            (tmp_path / "other.db").replace(path)
        with pytest.raises(StoreUnavailable, match=r"was removed or replaced .*nothing was written, open it anew"):
            written(database, allow("a"))
        with pytest.raises(StoreUnavailable, match="was removed or replaced"):
            database.label("prod")
        with pytest.raises(StoreUnavailable, match="was removed or replaced"):
            database.reseal()
