"""Watching policy files: edited, replaced, swapped behind a link, broken and mended; a real process, a real store."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.database import Database
from store.seal import SealKeys
from store.sync.watching import files_state, watch
from store.tables import PERMISSIONS

POLICY = """format: exhook/v1
sync: {prune: true}
identities:
  - {username: u, sign_mode: origin, secret: {literal: a-word}}
permissions:
  - {username: u, publish: ["TOPIC"]}
"""


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def topics(db: Path) -> list[str]:
    if not db.exists():
        return []
    with Database.open(db, SealKeys()) as database:
        return [permission.topic for permission in database.records(PERMISSIONS)]


class Watching:
    def __init__(self, folder: Path, path: Path) -> None:
        self.db, self.metrics, self.out = folder / "exhook.db", folder / "sync.prom", folder / "out.txt"
        command = [
            sys.executable, "-c", "from store.sync.cli import main; main()",
            "watch", str(path), "--db", str(self.db), "--metrics-file", str(self.metrics),
        ]  # fmt: skip
        with self.out.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)

    def shows(self, *wanted: str) -> None:
        until(lambda: topics(self.db) == list(wanted))


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[[Path], Watching]]:
    started: list[Watching] = []

    def start(path: Path) -> Watching:
        started.append(Watching(tmp_path, path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_edits_breaks_and_mends(tmp_path: Path, watching: Callable[[Path], Watching]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("TOPIC", "a"))
    watched = watching(policy)
    watched.shows("a")
    policy.write_text(POLICY.replace("TOPIC", "b"))
    watched.shows("b")
    policy.write_text("format: exhook/v1\nidentitties: []\n")
    until(lambda: "policy_broken 1.0" in watched.metrics.read_text())
    assert topics(watched.db) == ["b"]
    assert "policy.yaml:2:1: unknown key" in watched.out.read_text()
    (tmp_path / "new").write_text(POLICY.replace("TOPIC", "c"))
    (tmp_path / "new").replace(policy)
    watched.shows("c")
    until(lambda: "policy_broken 0.0" in watched.metrics.read_text())
    assert 'exhook_sync_applies_total{result="good"} 3.0' in watched.metrics.read_text()
    assert watched.process.poll() is None


def test_a_checkout_that_is_swapped_behind_a_link(tmp_path: Path, watching: Callable[[Path], Watching]) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "policies").mkdir(parents=True)
        (tmp_path / name / "policies" / "policy.yaml").write_text(POLICY.replace("TOPIC", name))
    link = tmp_path / "current"
    link.symlink_to("one")
    watched = watching(link / "policies")
    watched.shows("one")
    (tmp_path / "turned").symlink_to("two")
    os.replace(tmp_path / "turned", link)  # noqa: PTH105 - of a link itself, as git-sync does it
    watched.shows("two")


def test_the_store_in_the_same_folder_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    before = files_state([tmp_path])
    (tmp_path / "exhook.db").write_bytes(b"x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.yaml").write_text("x")
    assert files_state([tmp_path]) == before
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "one.jsonl").write_text("{}")
    assert files_state([tmp_path]) != before


def test_what_could_not_be_done_is_tried_again(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    tries: list[int] = []

    def act() -> bool:
        tries.append(len(tries))
        if len(tries) == 3:
            raise Enough
        return False

    with pytest.raises(Enough):
        watch([tmp_path / "missing.yaml"], act, sleep=lambda _: None)
    assert tries == [0, 1, 2]


def test_files_that_stay_the_same_are_acted_on_once(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    looks, acts = 0, 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 50:
            raise Enough

    def act() -> bool:
        nonlocal acts
        acts += 1
        return True

    (tmp_path / "policy.yaml").write_text(POLICY)
    with pytest.raises(Enough):
        watch([tmp_path], act, sleep=sleep)
    assert acts == 1
