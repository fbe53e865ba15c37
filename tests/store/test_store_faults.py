"""Every way in which a store file can fail: one clear sentence that names it, and nothing lost."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from records_under_test import INSTANCE, allow, asking, instance, user, written

from store.database import Database
from store.reader import Reader
from store.seal import SealKeys
from store.tables import PERMISSIONS, TABLES
from store.unavailable import StoreUnavailable

KEYS = SealKeys()
BUSY_MS = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of some hundred pages, whole in its one file."""
    path = tmp_path / "exhook.db"
    with Database.open(path, KEYS) as database:
        written(database, instance(), user("u"), *(allow(f"t/{number}/{'x' * 400}") for number in range(300)))
    assert [found.name for found in tmp_path.iterdir()] == ["exhook.db"]
    return path


def told(path: Path) -> str:
    """What is said of a store that cannot be used, by whichever way it is noticed first."""
    with pytest.raises(StoreUnavailable) as refused:
        _use(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


def _use(path: Path) -> None:
    with Database.open(path, KEYS, busy_ms=BUSY_MS) as database:
        for table in TABLES:
            list(database.records(table))
            list(database.contents(table))
        written(database, allow("new"))


def topics(path: Path) -> set[str]:
    with Database.open(path, KEYS) as database:
        return {record.topic for record in database.records(PERMISSIONS)}


class TestWhatStandsThere:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="there is no store; `exhook-sync apply`"):
            Database.open(tmp_path / "exhook.db", KEYS, create=False)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        assert told(tmp_path / "nowhere" / "exhook.db") == (
            "cannot be made (No such file or directory); see that its folder exists"
        )

    def test_a_file_in_place_of_the_folder(self, path: Path) -> None:
        assert "cannot be made (Not a directory)" in told(path / "exhook.db")

    def test_a_name_that_no_file_can_have(self, tmp_path: Path) -> None:
        assert "(File name too long)" in told(tmp_path / ("x" * 300))

    def test_a_folder_in_place_of_the_file(self, tmp_path: Path) -> None:
        assert told(tmp_path) == "is a folder or a device; name a file"
        with pytest.raises(StoreUnavailable, match="is a folder"):
            Reader(tmp_path, KEYS)

    def test_a_device_in_place_of_the_file(self) -> None:
        assert told(Path(os.devnull)) == "is a folder or a device; name a file"

    @pytest.mark.parametrize(
        "content", [b"{}\n", b"format: exhook/v1\n" * 400, b"\0" * 5000, b"SQLite format 4\0" * 300]
    )
    def test_no_database(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "exhook.db"
        path.write_bytes(content)
        assert told(path) == "is no store: not an SQLite file; name another file, or restore a copy"
        assert path.read_bytes() == content

    def test_a_database_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "exhook.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE mine (x)")
        connection.close()
        before = path.read_bytes()
        assert told(path) == "is an SQLite file of another program, or for another purpose; name another"
        assert path.read_bytes() == before

    def test_a_store_of_a_newer_version(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("INSERT INTO _sqlite_migrations VALUES (99, 'exhook-store', 'm999_later', 'now')")
        connection.close()
        assert told(path) == "written by a newer exhook (it has m999_later); upgrade this one"


class TestDamage:
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_a_truncated_file(self, path: Path, share: float) -> None:
        os.truncate(path, int(path.stat().st_size * share))
        assert told(path) == "is damaged; restore a copy, or move the file away and apply the policy anew"

    def test_a_file_cut_within_its_header(self, path: Path) -> None:
        os.truncate(path, 60)
        assert told(path).startswith(("is no store", "is damaged"))

    @pytest.mark.parametrize("page", [1, 2, 40])
    def test_pages_of_rubbish(self, path: Path, page: int) -> None:
        with path.open("r+b") as file:
            file.seek(page * 4096)
            file.write(b"\xff" * 4096 * 30)
        assert told(path).startswith("is damaged")

    def test_a_reader_is_told_too(self, path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(2 * 4096)
            file.write(b"\xff" * (path.stat().st_size - 2 * 4096))
        with pytest.raises(StoreUnavailable, match=r"exhook\.db: is damaged"):
            Reader(path, KEYS).view(INSTANCE, asking("u"))


class TestLocks:
    @pytest.fixture
    def holder(self, path: Path) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.close()

    def test_another_writer(self, path: Path, holder: sqlite3.Connection) -> None:
        assert told(path) == "is locked by another writer; try again when its work is done"
        holder.execute("ROLLBACK")
        _use(path)
        assert "new" in topics(path)

    def test_readers_do_not_wait_for_a_writer(self, path: Path, holder: sqlite3.Connection) -> None:
        assert holder.in_transaction
        reader = Reader(path, KEYS)
        assert reader.view(INSTANCE, asking("u")).user is not None
        assert not reader.poll()
        reader.close()

    def test_a_writer_that_is_done_in_time_is_waited_for(self, path: Path, holder: sqlite3.Connection) -> None:
        waiting = subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "opened\n"
        holder.execute("ROLLBACK")
        assert waiting.communicate(timeout=20)[0] == "written\n"
        assert "new" in topics(path)


class TestFull:
    """Nothing was written: the old revision stands, and the next write goes on."""

    def test_no_page_left(self, path: Path) -> None:
        with Database.open(path, KEYS) as database:
            before = topics(path)
            pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
            database.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
            with pytest.raises(StoreUnavailable) as refused:
                written(database, *(allow(f"more/{number}/{'x' * 400}") for number in range(300)))
            assert str(refused.value) == (
                f"{path}: cannot grow: the disk is full; nothing was written, free some space and try again"
            )
            assert (database.revision, topics(path)) == (1, before)
            database.connection.execute("PRAGMA max_page_count = 1000000")
            written(database, allow("after"))
            assert database.revision == 2

    def test_the_operating_system_says_no(self, path: Path) -> None:
        before = topics(path)
        done = subprocess.run(
            [sys.executable, "-c", FULL, path], stdout=subprocess.PIPE, text=True, timeout=30, check=True
        )
        said = json.loads(done.stdout)
        assert said["why"].startswith(f"{path}: cannot ")
        assert "nothing was written" in said["why"]
        assert said["revision"] == 1
        assert topics(path) == before | {"after"}


class TestRights:
    """As an ordinary user; root is let through everywhere."""

    @pytest.fixture
    def open_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            yield folder
            folder.chmod(0o755)

    @pytest.mark.parametrize(
        ("file_mode", "folder_mode", "sentence"),
        [
            (0o444, 0o777, "is read-only; give its user the right to write to the file and its folder"),
            (0o666, 0o555, "is read-only; give its user the right to write to the file and its folder"),
            (0o444, 0o555, "is read-only; give its user the right to write to the file and its folder"),
            (0o000, 0o777, "cannot be opened; see that its folder exists and that its user may write there"),
            (0o666, 0o000, "cannot be made (Permission denied); see that its folder exists"),
            (None, 0o555, "cannot be made (Permission denied); see that its folder exists"),
        ],
    )
    def test_no_right_to_it(self, open_folder: Path, file_mode: int | None, folder_mode: int, sentence: str) -> None:
        path = open_folder / "exhook.db"
        if file_mode is not None:
            with Database.open(path, KEYS) as database:
                written(database, instance())
            path.chmod(file_mode)
        open_folder.chmod(folder_mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, path], stdout=subprocess.PIPE, text=True, timeout=30, check=True
        )
        if done.stdout == "cannot become another user\n":
            pytest.skip("this user can neither be refused nor become another")
        assert done.stdout == f"{path}: {sentence}\n"
        open_folder.chmod(0o755)
        if file_mode is not None:
            path.chmod(0o600)
            with Database.open(path, KEYS) as database:
                assert database.revision == 1


def test_what_is_wrong_with_a_record_is_not_said_of_the_file(path: Path) -> None:
    with Database.open(path, KEYS) as database, pytest.raises(sqlite3.IntegrityError):
        written(database, allow("a", instance="mqtt-nowhere"))


def test_a_closed_store_says_so(path: Path) -> None:
    database = Database.open(path, KEYS)
    database.close()
    with pytest.raises(StoreUnavailable, match=r"exhook\.db: cannot be used \(Cannot operate on a closed database"):
        written(database, allow("a"))


_HEAD = f"""
import json, os, resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from records_under_test import allow, written
from store.database import Database
from store.seal import SealKeys
from store.unavailable import StoreUnavailable
path = Path(sys.argv[1])
"""

WRITE = f"""{_HEAD}
with Database.open(path, SealKeys()) as database:
    print("opened", flush=True)
    written(database, allow("new"))
    print("written")
"""

FULL = f"""{_HEAD}
with Database.open(path, SealKeys()) as database:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, hard))
    try:
        written(database, *(allow(f"more/{{number}}/{{'x' * 400}}") for number in range(900)))
    except StoreUnavailable as error:
        why = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    revision = database.revision
    written(database, allow("after"))
print(json.dumps({{"why": why, "revision": revision}}))
"""

AS_NOBODY = f"""{_HEAD}
if os.getuid() == 0:
    try:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    except OSError:
        print("cannot become another user")
        sys.exit()
try:
    with Database.open(path, SealKeys(), busy_ms=100) as database:
        written(database, allow("new"))
except StoreUnavailable as error:
    print(error)
"""
