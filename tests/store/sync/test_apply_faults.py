"""`exhook-sync apply` as a process, and what befalls one: the right sentence, the right exit code, the store whole."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stores_under_test import Store

from store.changes import revisions
from store.sync.exit_codes import ExitCode

COMMAND = Path(sys.executable).with_name("exhook-sync")
PATIENCE = 120
SMALL = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"


def large(name: str, records: int = 3_000) -> str:
    """A policy of permissions whose topics all begin with the name."""
    topics = ", ".join(f"{name}/{number}/{'x' * 100}" for number in range(records))
    return f"{SMALL}sync: {{prune: true}}\npermissions: [{{username: u, publish: [{topics}]}}]\n"


def applying(store: Store, document: Path, *more: str) -> "subprocess.Popen[str]":
    command = [str(COMMAND), "apply", str(document), "--db", str(store.path), "-q", "--max-removals", "9999", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def applied(store: Store, document: Path, *more: str) -> tuple[int, str]:
    """Exit code, and the errors that were told."""
    with applying(store, document, *more) as process:
        _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, "\n".join(line for line in said.splitlines() if "literal" not in line)


def assert_whole(store: Store) -> tuple[int, set[str]]:
    """Revision and names of the topics of a store in which everything fits together."""
    with store.open() as database:
        ask = database.connection.execute
        assert ask("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert ask("PRAGMA foreign_key_check").fetchone() is None
        for made in revisions(database.connection):
            (logged,) = ask("SELECT count(*) FROM changes WHERE revision = ?", (made.revision,)).fetchone()
            assert logged == made.added + made.changed + made.removed
        (counted,) = ask("SELECT count(*) FROM permissions").fetchone()
        tallied = ask("SELECT n FROM tallies WHERE kind = 'permission'").fetchone()
        assert counted == (tallied[0] if tallied else 0)
        topics = {row[0].split("/")[0] for row in ask("SELECT topic FROM permissions")}
        return database.revision, topics


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.apply(SMALL)
    return made


def test_two_at_once_come_one_after_the_other(store: Store) -> None:
    documents = [store.write(large(name), f"{name}.yaml") for name in ("one", "two")]
    processes = [applying(store, document) for document in documents]
    said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    revision, topics = assert_whole(store)
    assert revision == 3
    assert len(topics) == 1


DYING = """
import os, signal, sys
from pathlib import Path
from store.database import Database
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.references import SecretSources
opening = Database._prepare
def prepare(self, busy_ms):
    opening(self, busy_ms)
    self.connection.execute("PRAGMA cache_size = 10")
Database._prepare = prepare
def progress(what, done, total):
    if (what, done) == ("write", int(sys.argv[3])):
        wal = Path(sys.argv[1] + "-wal")
        print(wal.stat().st_size, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
apply_policy(Path(sys.argv[1]), SealKeys(), [Path(sys.argv[2])], SecretSources({}, None), progress=progress)
"""


@pytest.mark.parametrize("at", [1, 1_500, 3_000])
def test_one_that_is_killed_in_the_middle_leaves_the_old_revision(store: Store, at: int) -> None:
    """Its pages may be in the log already; without the commit they count for nothing."""
    before = assert_whole(store)
    document = store.write(large("one"), "one.yaml")
    done = subprocess.run(
        [sys.executable, "-c", DYING, store.path, document, str(at)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == -9
    assert int(done.stdout) > (500_000 if at > 1 else -1)
    assert assert_whole(store) == before
    assert applied(store, document) == (0, "")
    assert assert_whole(store) == (before[0] + 1, {"one"})


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A small disk of its own."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root of a Linux may mount a small disk")
def test_a_disk_that_is_full_is_told_and_room_mends_it(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "2m") as folder:
        store = Store(tmp_path)
        store.path = folder / "exhook.db"
        store.apply(SMALL)
        before = assert_whole(store)
        document = store.write(large("one"), "one.yaml")
        code, said = applied(store, document)
        assert code == ExitCode.STORE
        assert said == (
            f"{store.path}: cannot grow: the disk is full; nothing was written, free some space and try again"
        )
        assert assert_whole(store) == before
        remount = ["mount", "-o", "remount,size=64m", str(folder)]
        subprocess.run(remount, check=True)
        assert applied(store, document) == (0, "")
        assert assert_whole(store) == (2, {"one"})


AS_NOBODY = """
import os, sys
from store.sync.cli import app, main
try:
    app(["plan", *sys.argv[2:], "--exit-zero"])  # imports what nobody else may read
except SystemExit:
    pass
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.argv = ["exhook-sync", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o444, 0o555])
def test_a_store_that_may_not_be_written_is_told(mode: int) -> None:
    """As a user who is not root, to whom no file is read-only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        store = Store(folder)
        store.apply(SMALL)
        document = store.write(large("one", 3), "one.yaml")
        document.chmod(0o644)
        store.path.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "apply", document, "--db", store.path, "-q"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == ExitCode.STORE, done.stderr
        assert done.stderr.endswith("is read-only; give its user the right to write to the file and its folder\n")
        store.path.chmod(0o600)
        assert assert_whole(store)[0] == 1


def test_a_document_edited_after_its_plan_is_not_applied(store: Store) -> None:
    document = store.write(large("one", 3), "one.yaml")
    reviewed = store.plan(document.read_text()).checksum
    document.write_text(document.read_text().replace("one/2", "one/3"))
    code, said = applied(store, document, "--checksum", reviewed)
    assert code == ExitCode.CHECKSUM
    assert "the plan is not the reviewed one" in said
    assert assert_whole(store) == (1, set())
    document.write_text(document.read_text().replace("one/3", "one/2"))
    assert applied(store, document, "--checksum", reviewed) == (0, "")
