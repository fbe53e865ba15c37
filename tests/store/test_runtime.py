"""The runtime file: who decides by which revision, and the last denials, whatever the store is doing."""

import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import NOW, allow, instance, written

from store.database import Database
from store.runtime import MAX_DENIALS, MAX_PER_CLIENT, MAX_TEXT, Denial, Runtime, Worker, path_beside
from store.seal import SealKeys
from store.unavailable import StoreUnavailable

ME = os.getpid()
DENIAL = Denial(
    at=NOW,
    client_id="c1",
    username="u",
    hook="client.authorize",
    topic="a/b",
    reason="no_match",
    rule="",
    revision=7,
    decision_id="d-1",
    node="emqx@127.0.0.1",
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def runtime(store: Path) -> Iterator[Runtime]:
    with Runtime.open(store) as opened:
        yield opened


@pytest.fixture
def dead() -> int:
    """The number of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=20)
    return process.pid


def denials(*client_ids: str) -> list[Denial]:
    """One for each, numbered."""
    return [
        replace(DENIAL, client_id=client_id, decision_id=f"d-{number}") for number, client_id in enumerate(client_ids)
    ]


class TestFile:
    @pytest.mark.parametrize(
        ("store", "beside"),
        [
            ("/x/exhook.db", "/x/exhook.runtime.db"),
            ("a.b.sqlite", "a.b.runtime.sqlite"),
            ("/x/store", "/x/store.runtime"),
        ],
    )
    def test_its_name(self, store: str, beside: str) -> None:
        assert path_beside(Path(store)) == Path(beside)

    def test_it_is_its_owners_alone(self, store: Path) -> None:
        before = os.umask(0)
        try:
            with Runtime.open(store) as runtime:
                runtime.report("0", ME, 1, NOW)
                modes = {stat.S_IMODE(found.stat().st_mode) for found in store.parent.iterdir()}
        finally:
            os.umask(before)
        assert modes == {0o600}

    def test_how_sqlite_keeps_it(self, runtime: Runtime) -> None:
        modes = [runtime.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert modes == ["wal", 1]

    def test_it_outlives_its_servers_and_may_be_deleted(self, store: Path) -> None:
        with Runtime.open(store) as runtime:
            runtime.note_denials([DENIAL])
        with Runtime.open(store) as runtime:
            assert runtime.denials_of("c1") == [DENIAL]
        path_beside(store).unlink()
        with Runtime.open(store) as runtime:
            assert runtime.denials_of("c1") == []

    def test_it_needs_no_store(self, runtime: Runtime, store: Path) -> None:
        assert runtime.path.exists()
        assert not store.exists()

    def test_a_long_apply_never_blocks_it(self, runtime: Runtime, store: Path) -> None:
        with Database.open(store, SealKeys()) as database:
            written(database, instance())
            with database.writing(actor="a", source="s", now_ms=NOW) as write:
                write.put(allow("a"))
                runtime.report("0", ME, 1, NOW)
                runtime.note_denials([DENIAL])
                assert runtime.denials_of("c1") == [DENIAL]


class TestFaults:
    @pytest.mark.parametrize("method", ["report", "forget", "note_denials"])
    def test_locked(self, runtime: Runtime, method: str) -> None:
        holder = sqlite3.connect(runtime.path, isolation_level=None)
        runtime.connection.execute("PRAGMA busy_timeout = 50")
        holder.execute("BEGIN IMMEDIATE")
        arguments = {"report": ("0", ME, 1, NOW), "forget": ("0",), "note_denials": ([DENIAL],)}[method]
        with pytest.raises(StoreUnavailable, match=r"exhook\.runtime\.db: is locked by another writer"):
            getattr(runtime, method)(*arguments)
        holder.close()
        getattr(runtime, method)(*arguments)

    def test_rubbish(self, store: Path) -> None:
        path_beside(store).write_bytes(b"rubbish" * 1000)
        with pytest.raises(StoreUnavailable, match=r"exhook\.runtime\.db: is no store"):
            Runtime.open(store)

    def test_a_newer_version(self, store: Path) -> None:
        with Runtime.open(store) as runtime:
            runtime.connection.execute("INSERT INTO _sqlite_migrations VALUES (99, 'exhook-runtime', 'm999', 'now')")
        with pytest.raises(StoreUnavailable, match="written by a newer exhook"):
            Runtime.open(store)

    def test_it_is_no_store_and_a_store_is_no_runtime_file(self, store: Path) -> None:
        Runtime.open(store).close()
        with pytest.raises(StoreUnavailable, match="of another program, or for another purpose"):
            Database.open(path_beside(store), SealKeys())
        Database.open(store, SealKeys()).close()
        store.replace(path_beside(store))
        with pytest.raises(StoreUnavailable, match="of another program, or for another purpose"):
            Runtime.open(store)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="see that its folder exists"):
            Runtime.open(tmp_path / "nowhere" / "exhook.db")

    def test_full(self, runtime: Runtime) -> None:
        runtime.note_denials([DENIAL])
        pages = runtime.connection.execute("PRAGMA page_count").fetchone()[0]
        runtime.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            runtime.note_denials(denials(*(f"c-{number}" for number in range(999))))
        assert runtime.denials_of("c1") == [DENIAL]


class TestWorkers:
    def test_the_last_word_of_each_counts(self, runtime: Runtime) -> None:
        runtime.report("1", ME, 4, NOW)
        runtime.report("0", ME, 3, NOW)
        runtime.report("0", ME, 5, NOW + 1)
        assert runtime.workers() == [Worker("0", ME, 5, NOW + 1), Worker("1", ME, 4, NOW)]

    def test_a_revision_is_in_force_once_every_worker_has_it(self, runtime: Runtime) -> None:
        assert runtime.in_force(99)  # nobody decides by an older one
        runtime.report("0", ME, 4, NOW)
        runtime.report("1", ME, 5, NOW)
        assert [runtime.in_force(revision) for revision in (3, 4, 5, 6)] == [True, True, False, False]
        runtime.report("0", ME, 5, NOW)
        assert runtime.in_force(5)

    def test_a_store_that_went_back_is_reported_as_it_is(self, runtime: Runtime) -> None:
        runtime.report("0", ME, 9, NOW)
        runtime.report("0", ME, 2, NOW)
        assert not runtime.in_force(3)

    def test_a_worker_that_ended_is_waited_for_no_more(self, runtime: Runtime) -> None:
        runtime.report("0", ME, 1, NOW)
        runtime.report("1", ME, 9, NOW)
        runtime.forget("0")
        runtime.forget("unheard of")
        assert runtime.in_force(9)
        assert [worker.worker for worker in runtime.workers()] == ["1"]

    def test_nor_is_one_that_was_killed(self, runtime: Runtime, dead: int) -> None:
        runtime.report("0", dead, 1, NOW)
        runtime.report("1", ME, 9, NOW)
        assert runtime.in_force(9)
        assert [worker.worker for worker in runtime.workers()] == ["1"]
        left = runtime.connection.execute("SELECT worker FROM workers").fetchall()
        assert [tuple(row) for row in left] == [("1",)]

    def test_a_process_of_another_user_lives(self, runtime: Runtime) -> None:
        runtime.report("0", 1, 1, NOW)
        assert not runtime.in_force(2)

    def test_a_name_taken_over_in_between_is_kept(self, runtime: Runtime, dead: int) -> None:
        runtime._forget_dead(Worker("0", dead, 1, NOW))
        runtime.report("0", ME, 2, NOW)
        runtime._forget_dead(Worker("0", dead, 1, NOW))
        assert [worker.pid for worker in runtime.workers()] == [ME]

    def test_two_processes_share_it(self, runtime: Runtime, store: Path) -> None:
        with Runtime.open(store) as other:
            other.report("0", ME, 3, NOW)
            runtime.report("1", ME, 4, NOW)
            assert runtime.workers() == other.workers()
            assert len(runtime.workers()) == 2


class TestDenials:
    def test_newest_first_as_they_were(self, runtime: Runtime) -> None:
        noted = denials("c1", "c2", "c1", "c1")
        runtime.note_denials(noted[:2])
        runtime.note_denials(noted[2:])
        runtime.note_denials([])
        assert runtime.denials_of("c1") == [noted[3], noted[2], noted[0]]
        assert runtime.denials_of("c1", 2) == [noted[3], noted[2]]
        assert runtime.denials_of("c2") == [noted[1]]
        assert runtime.denials_of("c") == []

    @pytest.mark.parametrize("size", [1, 30, 250])
    def test_a_client_keeps_its_last_hundred(self, runtime: Runtime, size: int) -> None:
        noted = denials(*["c1"] * 250)
        runtime.note_denials(denials("c2"))
        for start in range(0, len(noted), size):
            runtime.note_denials(iter(noted[start : start + size]))
        assert runtime.denials_of("c1", 999) == noted[:-101:-1]
        assert len(runtime.denials_of("c2")) == 1
        assert counted(runtime) == (101, 101)

    def test_in_all_the_oldest_make_room(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.runtime.MAX_DENIALS", 50)
        noted = denials(*(f"c-{number}" for number in range(130)))
        for start in range(0, len(noted), 40):
            runtime.note_denials(noted[start : start + 40])
            assert counted(runtime)[0] <= 50
        kept = [denial for denial in noted if runtime.denials_of(denial.client_id)]
        assert kept == noted[-50:]
        assert counted(runtime) == (50, 50)

    def test_one_noisy_client_pushes_nobody_else_out(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.runtime.MAX_DENIALS", 150)
        runtime.note_denials(denials("quiet"))
        for _ in range(20):
            runtime.note_denials(denials(*["noisy"] * 90))
        assert len(runtime.denials_of("quiet")) == 1
        assert len(runtime.denials_of("noisy", 999)) == MAX_PER_CLIENT

    def test_the_bounds(self) -> None:
        assert (MAX_PER_CLIENT, MAX_DENIALS) == (100, 100_000)

    def test_a_hundred_thousand_are_kept_and_one_more_is_cheap(self, runtime: Runtime) -> None:
        names = [f"c-{number}" for number in range(MAX_DENIALS + 500)]
        for start in range(0, len(names), 20_000):
            runtime.note_denials(denials(*names[start : start + 20_000]))
        assert counted(runtime) == (MAX_DENIALS, MAX_DENIALS)
        started = time.process_time()
        runtime.note_denials([DENIAL])
        assert time.process_time() - started < 0.02
        assert counted(runtime) == (MAX_DENIALS, MAX_DENIALS)
        assert not runtime.denials_of("c-500")
        assert runtime.denials_of("c-501")

    def test_long_texts_are_cut_so_that_denials_stay_small(self, runtime: Runtime) -> None:
        long = "x" * 65_535
        runtime.note_denials([replace(DENIAL, client_id=long, topic=long, username=long)])
        (kept,) = runtime.denials_of(long)
        assert (len(kept.client_id), len(kept.topic), len(kept.username)) == (MAX_TEXT,) * 3
        assert kept.topic.endswith("x…")
        exact = "y" * MAX_TEXT
        runtime.note_denials([replace(DENIAL, client_id=exact)])
        assert runtime.denials_of(exact)[0].client_id == exact

    @pytest.mark.parametrize(
        "client_id", ["", "caf\u00e9", "\U0001f512", "a\0b", "'; DROP TABLE denials; --", "\ud800"]
    )
    def test_any_text_can_be_kept(self, runtime: Runtime, client_id: str) -> None:
        runtime.note_denials([replace(DENIAL, client_id=client_id)])
        assert len(runtime.denials_of(client_id)) == 1

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(st.sampled_from("abcd"), max_size=9), max_size=8))
    def test_against_a_model(self, tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]) -> None:
        store = tmp_path_factory.mktemp("runtime") / "exhook.db"
        kept: list[Denial] = []
        with pytest.MonkeyPatch.context() as patched, Runtime.open(store) as runtime:
            patched.setattr("store.runtime.MAX_PER_CLIENT", 3)
            patched.setattr("store.runtime.MAX_DENIALS", 8)
            for number, batch in enumerate(batches):
                noted = [replace(denial, at=number) for denial in denials(*batch)]
                runtime.note_denials(noted)
                kept = [*kept, *noted]
                kept = [
                    denial
                    for place, denial in enumerate(kept)
                    if sum(later.client_id == denial.client_id for later in kept[place:]) <= 3
                ][-8:]
                for client_id in "abcd":
                    mine = [denial for denial in reversed(kept) if denial.client_id == client_id]
                    assert runtime.denials_of(client_id) == mine
                assert counted(runtime) == (len(kept), len(kept))


def counted(runtime: Runtime) -> tuple[int, int]:
    """How many denials there are, and how many the file says there are."""
    connection = runtime.connection
    (real,) = connection.execute("SELECT count(*) FROM denials").fetchone()
    (said,) = connection.execute("SELECT n FROM denial_count").fetchone()
    return real, said
