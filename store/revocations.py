"""What is to be taken from live sessions, and how far that has come: part of the runtime file.

The rows that a stretch of the change log asks for are written in one transaction with the place that it was read
up to, so that a killed server neither forgets nor doubles any. Which clients were ended is written as it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple

from store.records import Grantee
from store.runtime import Runtime, lives, path_beside
from store.tables import OF_TOKEN_KEY, Subject
from store.unavailable import StoreUnavailable

EVERYBODY: Final = Subject("", "EVERYBODY", "")
"""Where nobody can say who lost something, everybody is looked at."""

BROAD: Final = frozenset({EVERYBODY.type, Grantee.ALL.value, "INSTANCE", OF_TOKEN_KEY})
"""Types of subjects that no name finds: all sessions of an instance, those that show tokens, or all."""

SAID: Final = "emqx "
"""Begin of the name under which the enforcer leaves word of a cluster in the runtime file."""

MOST_ATTEMPTS: Final = 8
"""After so many refusals of the broker's API (not failures to reach it), one has failed."""

RETRY_MS: Final = 500
"""How long the first refusal puts it off; each one after that twice as long."""

KEPT_DONE: Final = 1_000
"""How many that are done are kept for `exhook revocations`, by cluster."""

LONGEST_MS: Final = RETRY_MS << MOST_ATTEMPTS
"""Nothing is put off for so long: what is due later than that was put off before the clock was set back."""

OWNED_MS: Final = 10_000
"""Whoever has not said for so long that it works at this has lost it to the next server."""

_COLUMNS: Final = (
    "id, cluster, revision, at, instance, subject_type, subject, proof, state, due, attempts, ended_at, disconnected,"
    " unsubscribed, note, since"
)


_PLACES: Final = ", ".join("?" * len(BROAD))


def enforced_on(store: Path) -> tuple[str, ...]:
    """The clusters on which a server that runs on this store ends sessions; nothing where that cannot be told."""
    if not path_beside(store).exists():
        return ()
    try:
        with Runtime.open(store) as runtime:
            said = runtime.said()
    except StoreUnavailable:
        return ()
    return tuple(
        name.removeprefix(SAID) for name, word in said.items() if name.startswith(SAID) and lives(word.value["pid"])
    )


class State(StrEnum):
    WAITING = "waiting"
    AGAIN = "again"
    """Done, but for a second look: a client may have come in while the first was under way."""
    DONE = "done"
    FAILED = "failed"


class Place(NamedTuple):
    """Up to where the change log was read."""

    store_id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One subject that lost something, on one cluster."""

    id: int
    cluster: str
    revision: int
    at: int
    """When that was committed, in milliseconds since the epoch."""
    subject: Subject
    proof: bool
    """What it connected with proves nothing any more: its sessions end, whatever they may.

    Of everybody: whose it is stands in the change log, after `since`.
    """
    state: State
    due: int
    """Not before this, in milliseconds since the epoch."""
    attempts: int
    ended_at: int
    disconnected: int
    unsubscribed: int
    note: str
    since: int = 0
    """The revision after which the log was read for it, up to `revision`."""


class Revocations:
    """The revocations in an open runtime file. Not to be shared between threads.

    Every method may raise StoreUnavailable.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def claim(self, pid: int, now_ms: int) -> bool:
        """Whether this process is the one that works at them; to be said again at least every few seconds."""
        with self._runtime.writing() as connection:
            row = connection.execute("SELECT pid, at FROM revocation_owner").fetchone()
            if row and row["pid"] != pid and lives(row["pid"]) and 0 <= now_ms - row["at"] < OWNED_MS:
                return False
            connection.execute("DELETE FROM revocation_owner")
            connection.execute("INSERT INTO revocation_owner VALUES (?, ?)", (pid, now_ms))
            return True

    def release(self, pid: int) -> None:
        """Let the next server have them."""
        with self._runtime.writing() as connection:
            connection.execute("DELETE FROM revocation_owner WHERE pid = ?", (pid,))

    def place(self, cluster: str) -> Place | None:
        rows = self._runtime.read("SELECT store_id, revision FROM revocation_places WHERE cluster = ?", (cluster,))
        return Place(*rows[0]) if rows else None

    def note(
        self, cluster: str, place: Place, at: int, losers: Mapping[Subject, bool], *,
        since: Place | None = None, pid: int | None = None,
    ) -> bool:  # fmt: skip
        """Losers, each with whether its proof is lost; and that the log was read from one place up to another.

        False, and nothing is written, where that took the process `pid` so long that another one has taken over.
        """
        with self._runtime.writing() as connection:
            if pid is not None:
                row = connection.execute("SELECT pid FROM revocation_owner").fetchone()
                if row is None or row["pid"] != pid or self.place(cluster) != since:
                    return False
            after = since.revision if since else 0
            connection.executemany(
                "INSERT INTO revocations (cluster, revision, at, instance, subject_type, subject, proof, since)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(cluster, place.revision, at, *subject, proof, after) for subject, proof in losers.items()],
            )
            connection.execute(
                "INSERT INTO revocation_places (cluster, store_id, revision) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET store_id = excluded.store_id, revision = excluded.revision",
                (cluster, *place),
            )
        return True

    def due(self, cluster: str, now_ms: int, limit: int, *, broad: bool) -> list[Revocation]:
        """What is to be done now, the oldest first: of broad subjects, or of the others."""
        return self._select(
            "cluster = ? AND state IN ('waiting', 'again') AND due NOT BETWEEN ? AND ?"
            f" AND (subject_type IN ({_PLACES})) = ?"
            " ORDER BY id LIMIT ?",
            (cluster, now_ms + 1, now_ms + LONGEST_MS, *sorted(BROAD), broad, limit),
        )

    def ended(self, revocations: Iterable[int]) -> dict[tuple[int, str], int]:
        """Which clients were ended for which revocations, by number, and when: milliseconds since the epoch."""
        found: dict[tuple[int, str], int] = {}
        for number in revocations:
            rows = self._runtime.read("SELECT client_id, at FROM revoked_clients WHERE revocation = ?", (number,))
            found |= {(number, client_id): at for client_id, at in rows}
        return found

    def note_ended(self, pairs: Sequence[tuple[int, str]], now_ms: int) -> None:
        """Clients that were ended, each with the revocation that asked for it."""
        with self._runtime.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO revoked_clients (revocation, client_id, at) VALUES (?, ?, ?)",
                [(*pair, now_ms) for pair in pairs],
            )
            connection.executemany(
                "UPDATE revocations SET disconnected = disconnected + 1 WHERE id = ?", [(pair[0],) for pair in pairs]
            )

    def looked(self, done: Mapping[int, int], now_ms: int, again_ms: int) -> None:
        """Dealt with, each with the subscriptions that were ended; a second look is due after `again_ms`."""
        with self._runtime.writing() as connection:
            _settle(connection, done, State.AGAIN, now_ms, now_ms + again_ms)

    def finish(self, cluster: str, done: Mapping[int, int], now_ms: int) -> None:
        """Done, each with the subscriptions that were ended; the oldest that are done make room."""
        with self._runtime.writing() as connection:
            _settle(connection, done, State.DONE, now_ms, 0)
            connection.executemany("DELETE FROM revoked_clients WHERE revocation = ?", [(number,) for number in done])
            connection.execute("UPDATE revocation_places SET done = done + ? WHERE cluster = ?", (len(done), cluster))
            connection.execute(
                "DELETE FROM revocations WHERE cluster = ?1 AND state = 'done' AND id <= ("
                "SELECT id FROM revocations WHERE cluster = ?1 AND state = 'done' ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (cluster, KEPT_DONE),
            )

    def refused(self, number: int, note: str, now_ms: int) -> bool:
        """The broker's API would not do it; whether that was once too often."""
        with self._runtime.writing() as connection:
            (attempts,) = connection.execute(
                "UPDATE revocations SET attempts = attempts + 1, note = ?, ended_at = ?, due = ? + (? << attempts),"
                " state = CASE WHEN attempts + 1 >= ? THEN 'failed' ELSE state END WHERE id = ? RETURNING attempts",
                (note, now_ms, now_ms, RETRY_MS, MOST_ATTEMPTS, number),
            ).fetchone()
        return int(attempts) >= MOST_ATTEMPTS

    def retry(self) -> int:
        """Let all that failed wait again; how many."""
        with self._runtime.writing() as connection:
            return connection.execute(
                "UPDATE revocations SET state = 'waiting', attempts = 0, due = 0 WHERE state = 'failed'"
            ).rowcount

    def counts(self) -> dict[str, dict[State, int]]:
        """How many there are in each state, by cluster; of those that are done, all there ever were."""
        found: dict[str, dict[State, int]] = {}
        for cluster, done in self._runtime.read("SELECT cluster, done FROM revocation_places ORDER BY cluster"):
            found[cluster] = dict.fromkeys(State, 0) | {State.DONE: done}
        rows = self._runtime.read(
            "SELECT cluster, state, count(*) FROM revocations WHERE state <> 'done' GROUP BY cluster, state"
        )
        for cluster, state, count in rows:
            found.setdefault(cluster, dict.fromkeys(State, 0))[State(state)] = count
        return found

    def last(self, limit: int) -> list[Revocation]:
        """The last, newest first."""
        return self._select("TRUE ORDER BY id DESC LIMIT ?", (limit,))

    def _select(self, where: str, values: Sequence[object]) -> list[Revocation]:
        rows = self._runtime.read(f"SELECT {_COLUMNS} FROM revocations WHERE {where}", values)  # noqa: S608 - ours
        return [
            Revocation(
                id=row["id"],
                cluster=row["cluster"],
                revision=row["revision"],
                at=row["at"],
                subject=Subject(row["instance"], row["subject_type"], row["subject"]),
                proof=bool(row["proof"]),
                state=State(row["state"]),
                due=row["due"],
                attempts=row["attempts"],
                ended_at=row["ended_at"],
                disconnected=row["disconnected"],
                unsubscribed=row["unsubscribed"],
                note=row["note"],
                since=row["since"],
            )
            for row in rows
        ]


def _settle(connection: Connection, done: Mapping[int, int], state: State, now_ms: int, due: int) -> None:
    connection.executemany(
        "UPDATE revocations SET state = ?, due = ?, ended_at = ?, unsubscribed = unsubscribed + ?, note = ''"
        " WHERE id = ?",
        [(state, due, now_ms, unsubscribed, number) for number, unsubscribed in done.items()],
    )
