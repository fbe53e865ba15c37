"""The two files as the enforcer sees them: what the change log says, and what is still to be done about it.

All of it is slow enough to be done in a thread of its own, one thing after the other.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from exhook.brokers.emqx import LiveClient
from exhook.enforcer.verdicts import Verdict, concerns, instances_of, is_broad, judge, names_of
from exhook.logs import logger
from exhook.settings import Settings
from store.bindings import Bindings
from store.clock import Clock
from store.reader import Reader
from store.revocations import EVERYBODY, Place, Revocation, Revocations
from store.runtime import Runtime
from store.seal import AlteredSecret, SealKeys
from store.tables import Subject
from store.view import Listener

CLAIM_MS: Final = 1_000
MOST_AT_ONCE: Final = 10_000
"""Revocations that are worked at together."""


LET_IN_MS: Final = 1_000
"""How long after it was ended a client may still turn up that was let in before; EMQX tells its clock in seconds."""


@dataclass(frozen=True, slots=True)
class Session:
    """A live session, the listeners that may be its, and the filters that it holds."""

    client: LiveClient
    listeners: tuple[Listener, ...]
    topics: tuple[str, ...] = ()


class Ledger:
    """Store and runtime file of one server. Every method may raise StoreUnavailable or SealError."""

    def __init__(self, settings: Settings, keys: SealKeys, clock: Clock) -> None:
        self._reader = Reader(settings.db, keys)
        self._runtime = Runtime.open(settings.db)
        self._clusters = tuple(cluster.name for cluster in settings.emqx)
        self._clock = clock
        self._claimed_at: int | None = None
        self._read_up_to: dict[str, Place] = {}
        self._looked_up: dict[tuple[int, int], frozenset[Subject]] = {}
        self._bindings = Bindings(self._runtime)
        self.revocations = Revocations(self._runtime)

    def close(self) -> None:
        if self._claimed_at is not None:
            self.revocations.release(os.getpid())
        self._reader.close()
        self._runtime.close()

    def follow(self) -> bool | None:
        """Read the change log on; whether there is anything new, or None where another server does all this."""
        now = self._clock()
        if self._claimed_at is None or not 0 <= now - self._claimed_at < CLAIM_MS:
            mine = self.revocations.claim(os.getpid(), now)
            if not mine or self._claimed_at is None:
                # Whoever did this before may have read on.
                self._read_up_to.clear()
            self._claimed_at = now if mine else None
            if not mine:
                return None
        self._reader.poll()
        wanted = Place(self._reader.store_id, self._reader.revision)
        moved = [cluster for cluster in self._clusters if self._read_up_to.get(cluster) != wanted]
        return sum(self._read_on(cluster, wanted) for cluster in moved) > 0

    def in_force(self, revision: int) -> bool:
        """Whether every worker decides by a revision."""
        return self._runtime.in_force(revision)

    def default_instance(self) -> str:
        return self._reader.only_instance()

    def concerned(
        self, batch: Sequence[Revocation], sessions: Iterable[Session]
    ) -> list[tuple[Session, Sequence[Revocation]]]:
        """The sessions that a batch means, each with what means it.

        Whoever was ended for it before and came back is decided anew, and has proven who it is anew.
        """
        broad: list[Revocation] = []
        named: dict[tuple[str, str], list[Revocation]] = {}
        for one in batch:
            if is_broad(one.subject):
                broad.append(one)
            else:
                named.setdefault((one.subject.type, one.subject.name), []).append(one)
        ended = self.revocations.ended(one.id for one in batch)
        found: list[tuple[Session, Sequence[Revocation]]] = []
        for session in sessions:
            client = session.client
            maybe = [*broad, *(one for name in names_of(client) for one in named.get(name, ()))]
            if not maybe:
                continue
            instances = instances_of(client, session.listeners)
            means = [
                replace(one, proof=one.proof and not _came_back(client, ended.get((one.id, client.client_id))))
                for one in maybe
                if concerns(one.subject, client, instances)
            ]
            if means:
                found.append((session, means))
        return found

    def judge(self, found: Sequence[tuple[Session, Sequence[Revocation]]]) -> list[Verdict]:
        """What befalls each."""
        now = self._clock()
        verdicts = [self._judged(session, means, now) for session, means in found]
        self._looked_up.clear()
        return verdicts

    def _judged(self, session: Session, means: Sequence[Revocation], now: int) -> Verdict:
        proofs = frozenset[Subject]().union(*(self._proofs(one, session) for one in means))
        try:
            return judge(
                self._reader, self._bindings, session.client, session.listeners, session.topics,
                proofs=proofs, now_ms=now,
            )  # fmt: skip
        except AlteredSecret:
            # The workers deny it whatever it asks for; and the others must not wait for it.
            return Verdict(disconnect=True)

    def say(self, name: str, value: Mapping[str, object]) -> None:
        self._runtime.say(name, value, self._clock())

    def _read_on(self, cluster: str, wanted: Place) -> bool:
        """Note who lost something since a cluster's place; whether anybody did."""
        place, now = self.revocations.place(cluster), self._clock()
        lost: frozenset[Subject] | None = None
        is_whole, at = False, now
        if place is not None and place.store_id == wanted.store_id and place.revision <= wanted.revision:
            is_whole = True
            lost = self._reader.losses(place.revision, wanted.revision, now)
            at = self._reader.committed_after(place.revision) or now
        if lost is None:
            why = "no place yet" if place is None else "more changes, or others, than can be told one by one"
            logger.warning("everybody's sessions are checked", cluster=cluster, why=why, revision=wanted.revision)
            # Those whose proof went are looked up in the log, where it is whole: a row for each might be a million.
            losers = {EVERYBODY: is_whole}
        else:
            proofs = self._reader.lost_proofs(place.revision, wanted.revision) if place and lost else frozenset()
            losers = {subject: subject in proofs for subject in lost}
        if not self.revocations.note(cluster, wanted, at, losers, since=place, pid=os.getpid()):
            # It took so long that another server has taken over; whatever there is, that one has noted.
            self._claimed_at = None
            return False
        self._read_up_to[cluster] = wanted
        return bool(losers)

    def _proofs(self, one: Revocation, session: Session) -> frozenset[Subject]:
        """The subjects of a session whose proof was lost by what a revocation tells of."""
        if not one.proof:
            return frozenset()
        if one.subject != EVERYBODY:
            return frozenset((one.subject,))
        instances = {"", *instances_of(session.client, session.listeners)}
        own = {Subject(instance, *name) for instance in instances for name in names_of(session.client)}
        return self._all_proofs(one) & own

    def _all_proofs(self, one: Revocation) -> frozenset[Subject]:
        stretch = (one.since, one.revision)
        if stretch not in self._looked_up:
            self._looked_up[stretch] = self._reader.lost_proofs(*stretch)
        return self._looked_up[stretch]


def _came_back(client: LiveClient, ended_at: int | None) -> bool:
    """Whether a client was let in after it had been ended, and not just before."""
    return ended_at is not None and client.connected_at is not None and client.connected_at > ended_at + LET_IN_MS
