"""A policy in a store of its own, made for the moment, so that what it would decide is decided by the one core."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from store import clock
from store.database import Database
from store.names import group_of
from store.reader import Reader
from store.records import Grantee, Record
from store.seal import SealKeys
from store.sync.policy import Policy, Spec
from store.tables import subject_of

Who = tuple[str, str]
"""User name and client id."""

WithSecrets = Callable[[Spec], Record]
"""Gives a record its secrets, or what stands in for them; none is PLAIN."""


@contextmanager
def rehearsal(policy: Policy, clients: Iterable[Who], secrets: WithSecrets) -> Iterator[Reader]:
    """A reader of a store that holds what a policy says of some clients; gone afterwards.

    Raises:
        StoreUnavailable: no temporary file can be written.
    """
    concerns = _Concerning(clients)
    with tempfile.TemporaryDirectory(prefix="exhook-rehearsal-") as folder:
        path = Path(folder) / "rehearsal.db"
        with (
            Database.open(path, SealKeys()) as database,
            database.writing(actor="rehearsal", source=policy.source, now_ms=clock.now_ms()) as write,
        ):
            for record in concerns.records(policy, secrets):
                write.add(record)
        with closing(Reader(path, SealKeys())) as reader:
            yield reader


class _Concerning:
    """What is in the view of some clients: of a million devices, those that are asked about."""

    def __init__(self, clients: Iterable[Who]) -> None:
        self._names: dict[str, set[str]] = {Grantee.USER: set(), Grantee.CLIENT: set(), Grantee.GROUP: set()}
        for username, client_id in clients:
            self._names[Grantee.USER].add(username)
            self._names[Grantee.CLIENT].add(client_id)
            self._names[Grantee.GROUP].add(group_of(client_id))

    def records(self, policy: Policy, secrets: WithSecrets) -> Iterator[Record]:
        """The records, in an order in which they may be written."""
        # How many records there may be decides nothing.
        yield from (replace(instance, record_quota=None) for instance in policy.instances)
        yield from filter(self._concerned, policy.groups)
        for spec in policy.identities:
            # A client's own identity owns its client id, whatever the user name that asks.
            if spec.client_id in self._names[Grantee.CLIENT] or (
                not spec.client_id and spec.username in self._names[Grantee.USER]
            ):
                yield secrets(spec)
        for key in (*policy.access_keys, *policy.device_credentials):
            if self._concerned(key.asked):
                yield secrets(key)
        yield from filter(self._concerned, policy.permissions)
        yield from filter(self._concerned, policy.blacklist)

    def _concerned(self, record: Record) -> bool:
        subject = subject_of(record)
        names = self._names.get(subject.type)
        return names is None or subject.name in names
