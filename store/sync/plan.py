"""What would change in a store for it to say what a policy says. Reads the store, never writes it."""

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from store.changes import Operation
from store.connection import reading
from store.database import Database
from store.records import Instance, Record, Secret
from store.revocations import enforced_on
from store.sync.account_wording import by_name, by_value
from store.sync.affected import Losing, Readmitted, losing, readmitted
from store.sync.capacity import overfull
from store.sync.change import Change, checksum_of
from store.sync.counts import identities_in, records_in
from store.sync.device_keys import TakenKey, taken_keys
from store.sync.policy import IdentitySpec, KeySpec, Policy, Spec
from store.sync.references import SecretSources
from store.sync.stand_ins import Compared, IdentitySecrets
from store.sync.standing import Row, Standing, same
from store.sync.wanted import UnresolvedSecrets, WantedSecrets
from store.sync.wording import handle
from store.tables import (
    ACCESS_KEYS,
    BLACKLIST,
    DEVICE_CREDENTIALS,
    GROUPS,
    IDENTITIES,
    INSTANCES,
    PERMISSIONS,
    TABLES,
    WITH_SECRETS,
    Table,
)
from store.unavailable import told_clearly
from store.writing import OverQuota

__all__ = ["Foreign", "InUse", "Plan", "UnresolvedSecrets", "plan"]

_OWNED_ONCE: Final = (INSTANCES, GROUPS, IDENTITIES, ACCESS_KEYS, DEVICE_CREDENTIALS)
"""Kinds whose records have one owner; permissions and blacklist entries of several sources stand side by side."""

Wanted = Record | Spec


@dataclass(frozen=True, slots=True)
class Foreign:
    """A record of the policy that another source owns, and that `adopt` does not name."""

    wanted: Wanted
    owner: str

    @property
    def handle(self) -> str:
        return handle(self.wanted)


@dataclass(frozen=True, slots=True)
class InUse:
    """An instance that would be removed while it holds records of other sources."""

    instance: Instance
    others: Mapping[str, int]
    """Records by source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an apply would do, and what a person should know of it."""

    source: str
    prune: bool
    revision: int
    """The revision of the store that it was made against."""
    owned: int
    """How many records this source has in the store."""
    changes: tuple[Change, ...]
    """Additions and changes in the order of `store.tables.TABLES`, then removals the other way round."""
    moved: tuple[Record, ...]
    """Records that only stand in another line of a file now: clerical, no change."""
    kept: tuple[Record, ...]
    """Records of this source that left the policy and stay in force, since nothing is pruned."""
    foreign: tuple[Foreign, ...]
    in_use: tuple[InUse, ...]
    losing: tuple[Losing, ...]
    readmitted: tuple[Readmitted, ...]
    checksum: str
    compared: Compared = Compared.VALUE
    """By what secrets were told apart; only a plan by value has a checksum to apply by."""
    taken: tuple[TakenKey, ...] = ()
    """Device keys that it would give to a second credential."""
    overfull: tuple[OverQuota, ...] = ()
    """Instances that it would fill beyond their quota."""
    enforced: tuple[str, ...] = ()
    """Clusters where a running server takes what is lost from live sessions, too."""

    def count(self, operation: Operation) -> int:
        return sum(change.operation is operation for change in self.changes)

    @property
    def removals(self) -> tuple[Change, ...]:
        """What this source loses; what it takes over from another is not lost."""
        return tuple(one for one in self.changes if one.operation is Operation.REMOVE and one.source == self.source)

    @property
    def owners(self) -> frozenset[str]:
        """Whose records it concerns: those of its own source, and what it takes over."""
        return frozenset({self.source, *(change.old.source for change in self.changes if change.old is not None)})

    @property
    def clients_losing(self) -> int:
        """An estimate; see `store.sync.affected`."""
        return sum(one.clients for one in self.losing)


def plan(
    database: Database,
    policy: Policy,
    sources: SecretSources | IdentitySecrets,
    *,
    prune: bool | None,
    now_ms: int,
    adopt: Collection[str] = (),
) -> Plan:
    """Compare the policy with what its source has in the store, at one revision.

    `prune` overrides what the policy says, where it is not None; `adopt` adds to what the policy adopts: owners,
    or ids of records. `sources` may be stand-ins for secrets that are not at hand.

    Raises:
        UnresolvedSecrets: some secrets cannot be had.
        StoreUnavailable: the store cannot be read.
    """
    pruning = policy.sync.prune if prune is None else prune
    secrets = WantedSecrets(database, sources) if isinstance(sources, SecretSources) else sources
    with told_clearly(database.path), reading(database.connection):
        return _Planning(database, policy, secrets, pruning, frozenset({*policy.sync.adopt, *adopt})).plan(now_ms)


class _Planning:
    """One comparison, in the making."""

    def __init__(
        self, database: Database, policy: Policy, secrets: IdentitySecrets, prune: bool, adopt: frozenset[str]
    ) -> None:
        self._database = database
        self._policy = policy
        self._secrets = secrets
        self._prune = prune
        self._adopt = adopt
        self._owned = 0
        self._puts: list[list[Change]] = []
        self._removals: list[list[Change]] = []
        self._moved: list[Record] = []
        self._kept: list[Record] = []
        self._foreign: list[Foreign] = []
        self._in_use: list[InUse] = []

    def plan(self, now_ms: int) -> Plan:
        fresh = next(self._database.contents(INSTANCES), None) is None
        revision = self._database.revision
        for table in TABLES:
            self._compare_table(table)
        if self._secrets.errors:
            raise UnresolvedSecrets(tuple(self._secrets.errors))
        ordered = [*self._puts, *reversed(self._removals)]
        changes = tuple(change for kind in ordered for change in sorted(kind, key=lambda change: change.record.key))
        compared = self._secrets.compared
        told_by = by_name if compared is Compared.NAME else by_value
        more = {} if compared is Compared.VALUE else {"secrets": compared}
        return Plan(
            source=self._policy.source,
            prune=self._prune,
            revision=revision,
            owned=self._owned,
            changes=changes,
            moved=tuple(self._moved),
            kept=tuple(self._kept),
            foreign=tuple(self._foreign),
            in_use=tuple(self._in_use),
            losing=() if fresh else losing(filter(self._takes_away, changes), now_ms, self._identities_in, told_by),
            readmitted=readmitted(changes, now_ms),
            checksum=checksum_of(changes, source=self._policy.source, prune=self._prune, **more),
            compared=compared,
            taken=taken_keys(self._database, changes),
            overfull=overfull(self._database, changes),
            enforced=enforced_on(self._database.path),
        )

    def _takes_away(self, change: Change) -> bool:
        """Not so the removal of another owner's record that says what one of this source says."""
        return change.new is not None or change.source == self._policy.source

    def _compare_table(self, table: Table[Any]) -> None:
        """Everything that is wanted beside what stands; then what stands and is not wanted."""
        self._puts.append([])
        self._removals.append([])
        standing = Standing(self._database, table)
        owned = standing.count(self._policy.source)
        twins = {} if table in _OWNED_ONCE else self._twins(table)
        wanted_still = array("q")
        for asked, row in standing.beside(self._wanted(table)):
            own = row is not None and standing.owner(row) == self._policy.source
            if row is not None and own:
                wanted_still.append(row.number)
                if not self._prune and self._implicit(asked):
                    continue
                self._compare(standing, row, asked)
                self._removals[-1] += [Change(twin, None) for twin in twins.get(asked.key, ())]
            elif asked.key in twins:
                first, *others = twins[asked.key]
                self._compare_record(first, asked)
                self._removals[-1] += [Change(twin, None) for twin in others]
            else:
                self._not_ours(standing, row, asked)
        if len(wanted_still) < owned:
            for stored in standing.others(self._policy.source, wanted_still):
                self._left(stored)
        self._owned += owned

    def _wanted(self, table: Table[Any]) -> Collection[Wanted]:
        policy = self._policy
        if table is INSTANCES:
            # No origin: nobody wrote it down, so that it may go or stay with what it holds.
            return [replace(one, origin="") if self._implicit(one) else one for one in policy.instances]
        chosen: Mapping[str, Collection[Wanted]] = {
            GROUPS.name: policy.groups,
            IDENTITIES.name: policy.identities,
            ACCESS_KEYS.name: policy.access_keys,
            DEVICE_CREDENTIALS.name: policy.device_credentials,
            PERMISSIONS.name: policy.permissions,
            BLACKLIST.name: policy.blacklist,
        }
        return chosen[table.name]

    def _implicit(self, wanted: Wanted) -> bool:
        return isinstance(wanted, Instance) and wanted.name in self._policy.implicit_instances

    def _compare(self, standing: Standing, row: Row, asked: Wanted) -> None:
        """A record that both sides have."""
        secrets = self._secrets.secrets(asked, row.secrets) if isinstance(asked, Spec) else ()
        if secrets is None:
            return
        if not (standing.says(row, asked) and same(row.secrets, secrets)):
            self._puts[-1].append(Change(standing.record(row), _record(asked, secrets)))
        elif standing.origin(row) != asked.origin and "@" not in standing.origin(row):
            self._moved.append(_record(asked, secrets))

    def _compare_record(self, stored: Record, asked: Wanted) -> None:
        """A record that comes to this source under another key."""
        record = self._record(asked, stored)
        if record is not None:
            self._puts[-1].append(Change(stored, record))

    def _not_ours(self, standing: Standing, row: Row | None, asked: Wanted) -> None:
        """A record that this source does not have yet; another one may."""
        if row is None:
            record = self._record(asked, None)
            if record is not None:
                self._puts[-1].append(Change(None, record))
            return
        if self._implicit(asked):
            return
        found = standing.record(row)
        if self._adopt.isdisjoint({found.source, handle(found), handle(asked)}):
            self._foreign.append(Foreign(asked, found.source))
        else:
            self._compare(standing, row, asked)

    def _twins(self, table: Table[Any]) -> dict[tuple[str, ...], list[Record]]:
        """Records that the policy adopts, by the key that they have once it owns them.

        Permissions and blacklist entries of several sources stand side by side: if the old owner kept his, what
        later leaves the policy would still be in force.
        """
        if not self._adopt:
            return {}
        names = ", ".join("?" * len(self._adopt))
        where = f"source <> ? AND (source IN ({names}) OR record_id IN ({names}))"
        found: dict[tuple[str, ...], list[Record]] = {}
        for twin in self._database.find(table, where, (self._policy.source, *self._adopt, *self._adopt)):
            found.setdefault((*twin.key[:-1], self._policy.source), []).append(twin)
        return found

    def _left(self, stored: Record) -> None:
        """A record of this source that the policy names no longer."""
        if isinstance(stored, Instance) and (others := self._others_in(stored)):
            if not stored.origin:
                return
            if self._prune:
                self._in_use.append(InUse(stored, others))
        if self._prune:
            self._removals[-1].append(Change(stored, None))
        else:
            self._kept.append(stored)

    def _others_in(self, instance: Instance) -> dict[str, int]:
        """How many records of other sources an instance holds."""
        counts = records_in(self._database, instance.name)
        counts.pop(self._policy.source, None)
        return counts

    def _record(self, asked: Wanted, stored: Record | None) -> Record | None:
        """The wanted record, or None where its secrets cannot be had."""
        if not isinstance(asked, Spec):
            return asked
        secrets = self._secrets.secrets(asked, stored.secrets if isinstance(stored, WITH_SECRETS) else ())
        return None if secrets is None else _record(asked, secrets)

    def _identities_in(self, instance: str) -> int:
        return identities_in(self._database, instance)


def _record(asked: Wanted, secrets: tuple[Secret, ...]) -> Record:
    if isinstance(asked, IdentitySpec):
        return asked.identity(secrets)
    return asked.record(secrets) if isinstance(asked, KeySpec) else asked
