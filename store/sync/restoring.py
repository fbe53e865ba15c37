"""What a rollback would do: the records of one source as they were at an earlier revision, as a plan.

Only what this source owns is touched, and no secret comes back: an identity keeps those that it has. What cannot be
brought back under these two rules is left out, and told.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from store.account_records import AccessKey
from store.connection import reading
from store.database import Database
from store.records import Identity, Instance, Record, Secret, SecretForm, SignMode
from store.sync.affected import losing, readmitted
from store.sync.capacity import overfull
from store.sync.change import Change, checksum_of
from store.sync.counts import identities_in, owned_by, records_in
from store.sync.device_keys import taken_keys
from store.sync.past import Key, NotRestorable, Trace, traces_since
from store.sync.phrases import counted
from store.sync.plan import Plan
from store.sync.recorded import UnreadableRecord, record_of
from store.sync.regrants import Regrant, regrants
from store.sync.wording import describe
from store.tables import (
    ACCESS_KEYS,
    BLACKLIST,
    BY_KIND,
    DEVICE_CREDENTIALS,
    IDENTITIES,
    PERMISSIONS,
    TABLES,
    WITH_SECRETS,
    RecordWithSecrets,
)
from store.unavailable import told_clearly

_SIDE_BY_SIDE: Final = frozenset({PERMISSIONS.kind, BLACKLIST.kind})
"""Kinds of which several sources may have the same record."""
_LETTING_IN: Final = (IDENTITIES, ACCESS_KEYS, DEVICE_CREDENTIALS, PERMISSIONS, BLACKLIST)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A record that is not brought back to what it said."""

    record: Record
    """As it was then; as it is now, where it was not there or another's."""
    why: str

    def __str__(self) -> str:
        return f"{describe(self.record)}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """A plan of the way back."""

    to: int
    """The revision whose state is restored."""
    plan: Plan
    regrants: tuple[Regrant, ...]
    """What becomes allowed again."""
    left_out: tuple[LeftOut, ...]
    empties: bool
    """Whether nothing would be left of the source that lets anybody in, or shuts anybody out."""


def plan_rollback(database: Database, source: str, to: int, *, now_ms: int) -> Rollback:
    """Compare what a source has in the store with what it had at revision `to`.

    Raises:
        UnknownRevision: the store never had it.
        NotRestorable: the change log does not tell that state.
        StoreUnavailable: the store cannot be read.
    """
    with told_clearly(database.path), reading(database.connection):
        return _Restoring(database, source, to).rollback(now_ms)


class _Restoring:
    """One way back, in the making."""

    def __init__(self, database: Database, source: str, to: int) -> None:
        self._database = database
        self._source = source
        self._to = to
        self._changes: list[Change] = []
        self._left_out: list[LeftOut] = []

    def rollback(self, now_ms: int) -> Rollback:
        traces = traces_since(self._database, self._to, self._source)
        taken = dict(_taken_over(traces, self._source))
        for (kind, key), trace in traces.items():
            if trace.owner_then == self._source:
                self._bring_back(kind, key, trace)
            elif trace.owner_now == self._source:
                self._take_away(kind, key, trace, taken.get((kind, key[:-1]), ""))
        self._keep_used_instances()
        self._leave_out_homeless()
        changes = tuple(_ordered(self._changes))
        return Rollback(
            to=self._to,
            plan=Plan(
                source=self._source,
                prune=True,
                revision=self._database.revision,
                owned=owned_by(self._database, self._source),
                changes=changes,
                moved=(),
                kept=(),
                foreign=(),
                in_use=(),
                losing=losing(changes, now_ms, lambda instance: identities_in(self._database, instance)),
                readmitted=readmitted(changes, now_ms),
                checksum=checksum_of(changes, source=self._source, prune=True, rollback=self._to),
                taken=taken_keys(self._database, changes),
                overfull=overfull(self._database, changes),
            ),
            regrants=regrants(changes, now_ms),
            left_out=tuple(sorted(self._left_out, key=str)),
            empties=self._empties(changes),
        )

    def _bring_back(self, kind: str, key: tuple[str, ...], trace: Trace) -> None:
        """A record that this source had then."""
        then, present = self._record(kind, trace), self._present(kind, key)
        if present is not None and present.source != self._source:
            self._left_out.append(LeftOut(then, f"{present.source} owns it now"))
            return
        if isinstance(then, WITH_SECRETS):
            secrets = present.secrets if isinstance(present, WITH_SECRETS) else ()
            if obstacle := _obstacle(then, secrets, present):
                self._left_out.append(LeftOut(then, obstacle))
                return
            then = replace(then, secrets=secrets)
        if isinstance(present, Instance):
            # Its place tells whether somebody wrote it down; the others' places tell of what is no longer so.
            then = replace(then, origin=present.origin)
        change = Change(present, then)
        if change.before != change.after:
            self._changes.append(change)

    def _take_away(self, kind: str, key: tuple[str, ...], trace: Trace, taken_from: str) -> None:
        """A record that this source did not have then."""
        present = self._present(kind, key)
        if present is None:
            raise AssertionError("a trace ends at what the store holds")
        owner = trace.owner_then or taken_from
        if owner:
            self._left_out.append(LeftOut(present, f"it was taken over from {owner} since, and stays"))
        else:
            self._changes.append(Change(present, None))

    def _record(self, kind: str, trace: Trace) -> Record:
        try:
            return record_of(kind, trace.said_then)
        except UnreadableRecord as wrong:
            raise NotRestorable(
                f"{self._database.path}: the change log holds what cannot be read ({wrong}); "
                f"the state at revision {self._to} cannot be told"
            ) from None

    def _present(self, kind: str, key: tuple[str, ...]) -> Record | None:
        table = BY_KIND[kind]
        where = " AND ".join(f"{column} = ?" for column in table.key)
        return next(self._database.find(table, where, key, unsealed=False), None)

    def _keep_used_instances(self) -> None:
        """An instance in which records stay, stays."""
        going = Counter(instance for change in self._changes if change.new is None and (instance := _home(change)))
        staying = {
            change.key[0]: sum(records_in(self._database, change.key[0]).values()) - (going[change.key[0]] - 1)
            for change in self._changes
            if change.new is None and isinstance(change.old, Instance)
        }
        self._leave_out(
            lambda change: change.new is None and isinstance(change.old, Instance) and staying[change.key[0]] > 0,
            lambda change: f"{counted(staying[change.key[0]], 'record')} in it would be left",
        )

    def _leave_out_homeless(self) -> None:
        """A record whose instance is gone, and was another's, cannot come back."""
        there = {row[0] for row in self._database.connection.execute("SELECT name FROM instances")}
        there |= {change.key[0] for change in self._changes if isinstance(change.new, Instance)}
        self._leave_out(
            lambda change: change.new is not None and _home(change) not in there | {""},
            lambda change: f"there is no instance {change.key[0]} any more",
        )

    def _leave_out(self, chosen: Callable[[Change], bool], why: Callable[[Change], str]) -> None:
        kept = []
        for change in self._changes:
            if chosen(change):
                self._left_out.append(LeftOut(change.record, why(change)))
            else:
                kept.append(change)
        self._changes = kept

    def _empties(self, changes: tuple[Change, ...]) -> bool:
        held = sum(
            self._database.connection.execute(
                f"SELECT count(*) FROM {table.name} WHERE source = ?",  # noqa: S608 - our own names
                (self._source,),
            ).fetchone()[0]
            for table in _LETTING_IN
        )
        kinds = {table.kind for table in _LETTING_IN}
        steps = [(change.old is None) - (change.new is None) for change in changes if change.kind in kinds]
        return bool(steps) and held + sum(steps) == 0


def _taken_over(traces: dict[Key, Trace], source: str) -> Iterator[tuple[Key, str]]:
    """Records that other sources had and that are gone, by what is left of their key without its owner.

    One of this source in such a place took it over: without it, what was in force then would be in force no more.
    """
    for (kind, key), trace in traces.items():
        if kind in _SIDE_BY_SIDE and trace.now is None and trace.owner_then not in (None, source):
            yield (kind, key[:-1]), str(trace.owner_then)


def _home(change: Change) -> str:
    """The instance that a record stands in, or is; an access key stands in none."""
    return "" if isinstance(change.record, AccessKey) else change.key[0]


def _obstacle(then: RecordWithSecrets, secrets: tuple[Secret, ...], present: Record | None) -> str:
    """Why a record cannot come back with the secrets that it has now; nothing where it can."""
    external = isinstance(then, Identity) and then.sign_mode is SignMode.EXTERNAL
    if present is None:
        return "" if external else "its secrets went with it, and are not in the change log; an apply brings it back"
    if not isinstance(then, Identity):
        return ""
    hashed = then.sign_mode is SignMode.HASHED
    fits = external is not bool(secrets) and all((secret.form is SecretForm.HASH) is hashed for secret in secrets)
    return "" if fits else f"the secrets that it has now do not go with the sign mode {then.sign_mode.lower()}"


def _ordered(changes: list[Change]) -> Iterator[Change]:
    """Additions and changes in the order of `store.tables.TABLES`, then removals the other way round."""
    place = {table.kind: number for number, table in enumerate(TABLES)}
    puts = [change for change in changes if change.new is not None]
    removals = [change for change in changes if change.new is None]
    yield from sorted(puts, key=lambda change: (place[change.kind], change.key))
    yield from sorted(removals, key=lambda change: (-place[change.kind], change.key))
