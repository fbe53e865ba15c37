"""`exhook status`: what store and runtime file tell of a server, and what of that is no good."""

import json
import os
from pathlib import Path

import pytest
from commands_under_test import Exhook
from server_under_test import Server, until
from worker_under_test import Store

from exhook.status import BEHIND_MS, LOOP_MS, SILENT_MS, Status
from exhook.words import BROKEN, GOOD, LOOPS
from store.database import Database
from store.runtime import Runtime
from store.sync.hold import Hold, set_hold


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def status_of(store: Store, now_ms: int) -> Status:
    with Database.open(store.path, store.keys) as database:
        return Status.of(database, now_ms)


def committed_at(store: Store) -> int:
    newest = status_of(store, 0).newest
    assert newest
    return newest.at


def report(store: Store, revision: int, at: int, pid: int = 0) -> None:
    with Runtime.open(store.path) as runtime:
        runtime.report("0", pid or os.getpid(), revision, at)


def test_a_server_that_is_well(store: Store) -> None:
    at = committed_at(store)
    report(store, 1, at + 10_000)
    found = status_of(store, at + 10_500)
    assert list(found.findings()) == []
    assert found.as_json()["ok"] is True
    assert found.as_json()["store"]["age_seconds"] == 10.5
    assert "revision   1, 10 seconds old, by test" in list(found.as_text())


def test_nobody_serves(store: Store) -> None:
    assert list(status_of(store, 0).findings()) == ["no server runs on this store"]
    assert not store.path.with_name("exhook.runtime.db").exists()
    report(store, 1, 0, pid=2**22 - 1)
    assert "no server runs on this store" in status_of(store, 0).findings()


def test_a_worker_that_dies_again_and_again(store: Store) -> None:
    at = committed_at(store)
    report(store, 1, at)
    with Runtime.open(store.path) as runtime:
        runtime.say(f"worker 1{LOOPS}", {"times": 7}, at)
    assert list(status_of(store, at + 1_000).findings()) == [
        "worker 1 dies again and again: 7 times without living for 10 s; the server's log says why"
    ]
    report(store, 1, at + LOOP_MS)
    assert list(status_of(store, at + LOOP_MS).findings()) == []


def test_a_worker_that_is_behind(store: Store) -> None:
    at = committed_at(store)
    report(store, 0, at + BEHIND_MS)
    assert list(status_of(store, at + BEHIND_MS).findings()) == []
    assert list(status_of(store, at + BEHIND_MS + 1).findings()) == ["worker 0 decides by revision 0, not 1"]


def test_a_worker_that_is_stuck(store: Store) -> None:
    at = committed_at(store)
    report(store, 1, at)
    assert list(status_of(store, at + SILENT_MS).findings()) == []
    (finding,) = status_of(store, at + SILENT_MS + 1).findings()
    assert finding.startswith(f"worker 0 (pid {os.getpid()}) lives, but last said so at ")


def test_an_empty_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "exhook.db")
    assert "the store is empty: every client is denied" in status_of(store, 0).findings()


def test_a_policy_that_is_broken_until_it_is_good(store: Store) -> None:
    at = committed_at(store)
    report(store, 1, at)
    with Runtime.open(store.path) as runtime:
        runtime.say(GOOD, {"policy": "p.yaml"}, 1_000)
        runtime.say(BROKEN, {"policy": "p.yaml", "why": "p.yaml:1: \x1b"}, 2_000)
        assert list(status_of(store, at).findings()) == ["the policy was not applied: p.yaml:1: \\x1b"]
        runtime.say(GOOD, {"policy": "p.yaml"}, 3_000)
    found = status_of(store, at)
    assert list(found.findings()) == []
    assert found.as_json()["policy"]["last_failed"]["at"] == "1970-01-01T00:00:02Z"


def test_a_hold(store: Store) -> None:
    hold = Hold(source="plant", actor="somebody", at=1_000, since=3, to=2)
    with Database.open(store.path, store.keys) as database, database.transaction():
        set_hold(database, hold)
    found = status_of(store, 0)
    assert f"hold       {hold.sentence}" in list(found.as_text())
    assert [one["source"] for one in found.as_json()["holds"]] == ["plant"]


def test_the_command_tells_a_script(store: Store, exhook: Exhook, tmp_path: Path) -> None:
    done = exhook("status", "--json", "--db", str(store.path))
    assert done.code == 1
    assert json.loads(done.out)["findings"] == ["no server runs on this store"]
    policy = tmp_path / "policy.yaml"
    policy.write_text("format: exhook/v1\nsource: plant\nblacklist: [{client_id: stolen}]\n", encoding="utf-8")
    with Server(tmp_path, "--policy", str(policy), "--workers", "2"):
        until(lambda: exhook("status", "--db", str(store.path)).code == 0)
        said = exhook("status", "--db", str(store.path)).out
    assert f"policy     {policy}: in force since " in said
    assert len([line for line in said.splitlines() if line.startswith("worker ")]) == 2
