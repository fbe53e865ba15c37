"""How a server is: its workers, its store, its policy, its clusters. What `exhook status` prints."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from exhook.certificate_state import STALE_MS, WORD, findings
from exhook.revoking import Revoking
from exhook.words import BROKEN, GOOD, LOOPS
from store.changes import Revision, revisions
from store.database import Database
from store.runtime import Runtime, Said, Worker, path_beside
from store.sync.hold import Hold, holds_of
from store.sync.phrases import counted, moment
from store.sync.printable import printable
from store.unavailable import told_clearly

BEHIND_MS: Final = 2_000
"""A worker that decides by an old revision for so long is a finding; each follows within 50 ms."""

LOOP_MS: Final = 20_000
"""It is said at each death, and these come at least so often."""

SILENT_MS: Final = 10_000
"""A worker that lives and has not said so for so long is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that is known from the two files; nobody is asked."""

    at: int
    store: str
    environment: str
    newest: Revision | None
    holds: tuple[Hold, ...]
    workers: tuple[Worker, ...]
    revoking: Revoking | None
    said: dict[str, Said]

    @classmethod
    def of(cls, database: Database, now_ms: int) -> Self:
        """Read it.

        Raises:
            StoreUnavailable: one of the two files cannot be read.
        """
        with told_clearly(database.path):
            newest = next(iter(revisions(database.connection, 1)), None)
        workers, said, revoking = [], {}, None
        if path_beside(database.path).exists():
            with Runtime.open(database.path) as runtime:
                workers, said, revoking = runtime.workers(), runtime.said(), Revoking.of(runtime, 0)
        return cls(
            at=now_ms,
            store=str(database.path),
            environment=database.environment,
            newest=newest,
            holds=tuple(holds_of(database).values()),
            workers=tuple(workers),
            revoking=revoking,
            said=said,
        )

    @property
    def revision(self) -> int:
        return self.newest.revision if self.newest else 0

    @property
    def policy_broken(self) -> Said | None:
        """What is wrong with the policy files, where the last look at them found something wrong."""
        good, broken = self.said.get(GOOD), self.said.get(BROKEN)
        return broken if broken and (not good or good.at < broken.at) else None

    def findings(self) -> Iterator[str]:
        """What somebody should look at."""
        if not self.workers:
            yield "no server runs on this store"
        settled = self.newest is not None and self.at - self.newest.at > BEHIND_MS
        for worker in self.workers:
            if self.at - worker.at > SILENT_MS:
                yield f"worker {worker.worker} (pid {worker.pid}) lives, but last said so at {moment(worker.at)}"
            elif settled and worker.revision < self.revision:
                yield f"worker {worker.worker} decides by revision {worker.revision}, not {self.revision}"
        for name, said in self.said.items():
            if name.endswith(LOOPS) and self.at - said.at < LOOP_MS:
                yield f"{name}: {said.value['times']} times without living for 10 s; the server's log says why"
        if not self.revision:
            yield "the store is empty: every client is denied"
        if broken := self.policy_broken:
            yield f"the policy was not applied: {printable(str(broken.value.get('why', '')))}"
        if self.revoking:
            yield from self.revoking.findings()
        yield from (said for wrong, said in self._certificates() if wrong)

    def advice(self) -> Iterator[str]:
        """What will be a finding one day."""
        yield from (said for wrong, said in self._certificates() if not wrong)

    def _certificates(self) -> Iterator[tuple[bool, str]]:
        for name, said in self.said.items():
            if name.startswith(WORD) and self.at - said.at <= STALE_MS:
                yield from findings(name.removeprefix(WORD), said.value, self.at)

    def as_json(self) -> dict[str, Any]:
        newest = self.newest
        return {
            "ok": not list(self.findings()),
            "findings": list(self.findings()),
            "advice": list(self.advice()),
            "store": {
                "path": self.store,
                "environment": self.environment or None,
                "revision": self.revision,
                "committed_at": moment(newest.at) if newest else None,
                "age_seconds": (self.at - newest.at) / 1000 if newest else None,
                "actor": newest.actor if newest else None,
                "commit": newest.commit or None if newest else None,
            },
            "workers": [
                {"worker": one.worker, "pid": one.pid, "revision": one.revision, "at": moment(one.at)}
                for one in self.workers
            ],
            "policy": {"last_good": _word(self.said.get(GOOD)), "last_failed": _word(self.said.get(BROKEN))},
            "clusters": self.revoking.as_json()["clusters"] if self.revoking else {},
            "holds": [hold.as_json() for hold in self.holds],
        }

    def as_text(self) -> Iterator[str]:
        label = f" ({printable(self.environment)})" if self.environment else ""
        yield f"store      {self.store}{label}"
        if newest := self.newest:
            commit = f", commit {printable(newest.commit)}" if newest.commit else ""
            yield (
                f"revision   {newest.revision}, {_age(self.at - newest.at)} old, by {printable(newest.actor)}{commit}"
            )
        for worker in self.workers:
            yield f"worker {worker.worker:<3} pid {worker.pid}, revision {worker.revision}"
        if good := self.said.get(GOOD):
            yield f"policy     {printable(str(good.value.get('policy')))}: in force since {moment(good.at)}"
        if failed := self.said.get(BROKEN):
            yield f"           last found broken at {moment(failed.at)}"
        for hold in self.holds:
            yield f"hold       {hold.sentence}"
        for line in self.revoking.as_text() if self.revoking else ():
            yield f"cluster    {line}"
        for finding in self.findings():
            yield f"!          {finding}"
        for advice in self.advice():
            yield f"-          {advice}"


def _word(said: Said | None) -> dict[str, Any] | None:
    return None if said is None else said.value | {"at": moment(said.at)}


def _age(ms: int) -> str:
    seconds = max(ms, 0) // 1000
    for length, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * length:
            return counted(seconds // length, noun)
    return counted(seconds, "second")
