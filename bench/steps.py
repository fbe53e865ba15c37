"""The steps of a sync, each as a process of its own: its time, and the most memory that it took."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from policies import make_policy
from tables import Table, WrongAnswer

from store.changes import revisions
from store.database import Database
from store.seal import SealKeys

COMMAND: Final = Path(sys.executable).with_name("exhook-sync")
_BARE: Final = Path(__file__).with_name("bare.py")
_KIB_A_MIB: Final = 1024
_PENDING: Final = 2


@dataclass(frozen=True)
class Ran:
    """One process that ended."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    code: int


def run(*command: str | Path) -> Ran:
    """Run a command to its end."""
    began = perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = perf_counter() - began
    return Ran(took, used.ru_utime + used.ru_stime, used.ru_maxrss / _KIB_A_MIB, process.returncode)


class Steps:
    """The table of steps, filled as the run comes by."""

    def __init__(self, folder: Path, key_file: Path, records: int, changes: int) -> None:
        self.db = folder / "store.db"
        self.table = Table(
            f"Sync: a policy of {records:,} identities and {records:,} permissions (JSON lines)",
            ("what", "s", "records/s", "CPU µs/record", "times bare", "peak MiB"),
            "Each step is a process of its own, its start counted in. Times bare: CPU beside that of `json.loads` of "
            "each line, run before and after the step; an apply beside `json.loads` and bare inserts into two tables.",
        )
        self._folder = folder
        self._key_file = key_file
        self._records = records
        self._changes = min(changes, records)

    def run(self, keys: SealKeys) -> None:
        """Every step once, in the order of a policy's life.

        Raises:
            WrongAnswer: one did not do what it should.
        """
        folder, count = self._folder / "policy", self._records
        policy = make_policy(folder, count)
        self._add("bare: json.loads", self._read())
        self._add("bare: json.loads and inserts", self._load())
        self._step("validate", self._read, "validate", policy)
        self._step("apply, the first one", self._load, *self._sync("apply", policy))
        self._stands(keys, (2 * count + 1, 0))
        self._step("plan, no change", self._read, *self._sync("plan", policy))
        make_policy(folder, count, changed=self._changes)
        named = f"{self._changes:,} changes"
        self._step(f"plan, {named}", self._read, *self._sync("plan", policy), code=_PENDING)
        self._step(f"apply, {named}", self._load, *self._sync("apply", policy))
        self._stands(keys, (0, self._changes))

    def _read(self) -> Ran:
        return run(sys.executable, _BARE, self._folder / "policy")

    def _load(self) -> Ran:
        database = self._folder / "bare.db"
        database.unlink(missing_ok=True)
        return run(sys.executable, _BARE, self._folder / "policy", database)

    def _sync(self, name: str, policy: Path) -> tuple[str | Path, ...]:
        return name, policy, "--db", self.db, "--seal-key-file", self._key_file, "--quiet"

    def _step(self, name: str, bare: Callable[[], Ran], *command: str | Path, code: int = 0) -> None:
        """Run a step between two runs of what it is compared with: others may use the machine, now more, now less."""
        before = bare()
        ran = run(COMMAND, *command)
        beside = (before.cpu_seconds + bare().cpu_seconds) / 2
        self._add(name, ran, ran.cpu_seconds / beside, code)

    def _add(self, name: str, ran: Ran, ratio: float = 1.0, code: int = 0) -> None:
        self.table.check([ran.code], [code])
        records = 2 * self._records
        self.table.add(name, ran.seconds, records / ran.seconds, ran.cpu_seconds / records * 1e6, ratio, ran.peak_mib)

    def _stands(self, keys: SealKeys, added_and_changed: tuple[int, int]) -> None:
        """See that the last revision did what it should, and that all is there."""
        with Database.open(self.db, keys, create=False) as database:
            (last,) = revisions(database.connection, 1)
            held = dict(database.connection.execute("SELECT kind, n FROM tallies").fetchall())
        if (last.added, last.changed) != added_and_changed:
            raise WrongAnswer(f"{self.table.title}: the last revision added {last.added}, changed {last.changed}")
        self.table.check([held["identity"], held["permission"]], [self._records, self._records])
