"""The one writer of the API: calls that wait at the same time share a transaction, those of one key a revision."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from store.clock import Clock
from store.standing import StandingStore
from store.unavailable import StoreUnavailable
from store.writing import Writing

SOURCE: Final = "api"
"""The owner of every record that the API writes."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One call's write; `actor` stands in the revision for whoever asks later who it was."""

    actor: str
    write: Callable[[Writing], Body]


@dataclass(frozen=True, slots=True)
class Written:
    """What a call answers, and the revision that must be in force before it does."""

    body: Body
    revision: int


class Writer:
    """Writes to the store. Used by one thread."""

    def __init__(self, store: StandingStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def write(self, jobs: Sequence[Job]) -> list[Written | Exception]:
        """Do the jobs, each with its result or its exception; one that fails is undone, and leaves the others be."""
        done: list[Written | Exception] = []
        for actor, group in groupby(jobs, key=lambda job: job.actor):
            same = list(group)
            try:
                done += self._write_as(actor, same)
            except Exception as error:  # noqa: BLE001 - what other keys wrote stands, and is told to them
                done += [error] * len(same)
        return done

    def _write_as(self, actor: str, jobs: list[Job]) -> list[Written | Exception]:
        database = self._store.database
        with database.writing(actor=actor, source=SOURCE, now_ms=self._clock()) as write:
            found = [_attempt(write, job) for job in jobs]
        # Where nothing changed, someone else made it so before: that revision, too, must be in force everywhere.
        revision = write.revision if write.counts else write.revision - 1
        return [one if isinstance(one, Exception) else Written(one, revision) for one in found]


def _attempt(write: Writing, job: Job) -> Body | Exception:
    try:
        with write.attempt():
            return job.write(write)
    except (sqlite3.OperationalError, StoreUnavailable):
        raise  # no matter of this job alone
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's
        return error
