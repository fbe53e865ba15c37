"""Killed at any moment, `exhook-sync apply` leaves the old revision or the new one, never something between."""

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from stores_under_test import Store

from store.changes import revisions

COMMAND = Path(sys.executable).with_name("exhook-sync")
KILLS = 10
AT_ONCE = 2
RECORDS = 600
SEED = 20_260_801


@dataclass
class Killing:
    """A store that is brought from one policy to the other and back, by applies that are killed."""

    store: Store
    documents: tuple[Path, Path]
    random: random.Random
    finished: int = 0
    undone: int = 0

    def start(self, document: Path) -> "subprocess.Popen[bytes]":
        command: list[str | Path] = [COMMAND, "apply", document, "--db", self.store.path]
        command += ["-q", "--max-removals", "9999"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, kills: int) -> None:
        began = time.monotonic()
        assert self.start(self.documents[0]).wait() == 0
        # The first part of the time goes into starting Python; kills shall strike the work.
        after = (time.monotonic() - began) * 0.8
        for _ in range(kills):
            undone = self.undone
            self.kill_one(after * self.random.uniform(0.9, 1.1))
            # The machine may be busier, or less so, than it was: come later after one that came too early.
            after *= 1.25 if self.undone > undone else 0.8

    def kill_one(self, seconds: float) -> None:
        before = self.state()
        wanted = self.documents[before[0] == "one"]
        process = self.start(wanted)
        time.sleep(seconds)
        process.kill()
        process.wait()
        after = self.state()
        if after == before:
            self.undone += 1
        else:
            self.finished += 1
            assert after == (wanted.stem, before[1] + 1)

    def state(self) -> tuple[str, int]:
        """Which policy the store holds, wholly, and its revision."""
        with self.store.open() as database:
            assert database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            assert database.connection.execute("PRAGMA foreign_key_check").fetchone() is None
            rows = database.connection.execute("SELECT topic FROM permissions").fetchall()
            names = {row[0].split("/")[0] for row in rows}
            assert (len(rows), len(names)) == (RECORDS, 1)
            [last] = revisions(database.connection, 1)
            logged = database.connection.execute(
                "SELECT count(*) FROM changes WHERE revision = ?", (last.revision,)
            ).fetchone()[0]
            assert logged == last.added + last.changed + last.removed
            [tally] = database.connection.execute("SELECT n FROM tallies WHERE kind = 'permission'").fetchone()
            assert tally == RECORDS
            return names.pop(), last.revision


def policy(name: str) -> str:
    topics = ", ".join(f"{name}/{number}" for number in range(RECORDS))
    return f"sync: {{prune: true}}\npermissions: [{{username: u, publish: [{topics}]}}]\n"


def killings(folder: Path) -> Sequence[Killing]:
    found = []
    for number in range(AT_ONCE):
        place = folder / str(number)
        place.mkdir()
        store = Store(place)
        documents = (store.write(policy("one"), "one.yaml"), store.write(policy("two"), "two.yaml"))
        found.append(Killing(store, documents, random.Random(SEED + number)))  # noqa: S311 - reproducible, no secret
    return found


@pytest.mark.timeout(300)
def test_a_kill_leaves_one_revision_or_the_other(tmp_path: Path) -> None:
    both = killings(tmp_path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda one: one.run(KILLS // AT_ONCE), both):
            pass
    assert sum(one.finished + one.undone for one in both) == KILLS
    # Else the kills came all too late to show anything.
    assert sum(one.undone for one in both) > 0
