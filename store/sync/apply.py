"""A policy into a store: planned, let through or refused, and written under one revision. Prints nothing.

`exhook-sync apply` and `exhook serve --policy` both call `apply_policy`.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from store import clock
from store.clock import Clock
from store.connection import BUSY_MS
from store.credentials import hash_password
from store.database import Database
from store.records import Identity, Record, Secret, SecretForm
from store.seal import SealKeys
from store.sync.device_keys import hand_over
from store.sync.document import load_policy
from store.sync.hold import Hold, end_hold, holding
from store.sync.plan import Plan, plan
from store.sync.policy import Policy
from store.sync.provenance import actor as this_actor
from store.sync.provenance import commit_of
from store.sync.references import SecretSources
from store.sync.thresholds import Consent, Refused, refusals
from store.writing import Writing

Confirm = Callable[[Plan], bool]
"""Shows a plan and asks; false leaves everything as it is."""

Progress = Callable[[str, int, int], None]
"""Told of long work: what (``hash``, ``write``), how many are done, of how many."""

Warn = Callable[[Policy], None]
"""Told of the policy once it is read, for its warnings."""

HashKey = tuple[tuple[str, ...], str, str]
"""A secret that is to be hashed: key of its identity, its id, its fingerprint."""


class ChecksumDiffers(Exception):
    """What would be applied is not what was reviewed; nothing was written."""

    def __init__(self, expected: str, plan: Plan) -> None:
        super().__init__(
            f"the plan is not the reviewed one: its checksum is {plan.checksum}, not {expected or 'an empty one'}; "
            "the files or the store have changed since: plan again, review it, and apply with its checksum"
        )
        self.plan = plan


class Declined(Exception):
    """The person who was asked said no; nothing was written."""

    def __init__(self) -> None:
        super().__init__("not applied, as you said; nothing was written")


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply did."""

    plan: Plan
    policy: Policy
    revision: int
    """The revision that it made; the last one where nothing changed."""
    commit: str
    """The git commit that holds all its files as they were applied, included ones too; or nothing."""
    released: Hold | None = None
    """The hold that ended, since the policy says what the store says."""

    @property
    def changed(self) -> bool:
        return bool(self.plan.changes)


def apply_policy(
    path: Path,
    keys: SealKeys,
    documents: Sequence[Path],
    sources: SecretSources,
    *,
    consent: Consent | None = None,
    confirm: Confirm | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
    actor: str = "",
    now_ms: Clock = clock.now_ms,
    busy_ms: int = BUSY_MS,
) -> Applied:
    """Bring a store to what policy files say, in one transaction; made where there is none.

    `confirm` is asked where records would be removed, before anything is locked; what it was shown is then what
    is done, or nothing.

    Raises:
        InvalidPolicy: the files are no policy.
        UnresolvedSecrets: some secrets cannot be had.
        Refused, Declined: a threshold, a hold, or the person asked.
        ChecksumDiffers: not the plan that was reviewed.
        OverQuota: the final state exceeds an instance's quota.
        StoreUnavailable, SealError: as `Database.open`.
    """
    policy = load_policy(documents, commit=commit_of(documents))
    if warn is not None:
        warn(policy)
    with Database.open(path, keys, busy_ms=busy_ms) as database:
        applying = _Applying(
            database, policy, sources, consent or Consent(), progress=progress or _silent, now_ms=now_ms
        )
        done, revision = applying.run(confirm, actor or this_actor())
    return Applied(plan=done, policy=policy, revision=revision, commit=policy.commit, released=applying.released)


class _Applying:
    """One apply, in the making."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        sources: SecretSources,
        consent: Consent,
        *,
        progress: Progress,
        now_ms: Clock,
    ) -> None:
        self._database = database
        self._policy = policy
        self._sources = sources
        self._consent = consent
        self._progress = progress
        self._now_ms = now_ms
        self._expected = consent.checksum
        self._hashes: dict[HashKey, bytes] = {}
        self.released: Hold | None = None

    def run(self, confirm: Confirm | None, actor: str) -> tuple[Plan, int]:
        """Plan and ask without a lock, hash what is to be hashed, then write."""
        first = self._plan()
        self._check(first)
        if confirm is not None and first.removals:
            if not confirm(first):
                raise Declined
            self._expected = first.checksum
        labels = bool(self._consent.label) and not self._database.environment
        if not (first.changes or first.moved or labels or self._holds(first)):
            return first, first.revision
        self._hash(first)
        with self._database.writing(
            actor=actor,
            source=self._policy.source,
            now_ms=self._now_ms(),
            commit=self._policy.commit,
            checksum=first.checksum,
        ) as write:
            last = self._last_plan(first, write)
            self._write(last, write)
            if labels:
                self._database.label(self._consent.label)
            # What is held and would change was refused; so nothing changes, and git agrees.
            self.released = end_hold(self._database, self._policy.source)
        return last, self._database.revision

    def _last_plan(self, first: Plan, write: Writing) -> Plan:
        """The plan as of now, within the transaction: the first one, if nobody wrote since it was made."""
        last = first
        if first.revision != write.revision - 1:
            last = self._plan()
            write.planned(last.checksum)
        self._check(last)
        return last

    def _plan(self) -> Plan:
        return plan(
            self._database,
            self._policy,
            self._sources,
            prune=self._consent.prune,
            now_ms=self._now_ms(),
            adopt=self._consent.adopt,
        )

    def _check(self, made: Plan) -> None:
        if self._expected is not None and self._expected.lower() != made.checksum:
            raise ChecksumDiffers(self._expected, made)
        holds = self._holds(made)
        if found := refusals(made, self._policy, self._database.environment, self._consent, holds):
            raise Refused(found, made)

    def _holds(self, made: Plan) -> tuple[Hold, ...]:
        return holding(self._database, made.owners)

    def _write(self, made: Plan, write: Writing) -> None:
        total = len(made.changes)
        hand_over(made.changes, write)
        for done, change in enumerate(made.changes):
            if change.old is not None and (change.new is None or change.new.key != change.old.key):
                write.remove(change.old)
            if change.new is not None:
                # What is added was seen not to be there when the plan was made, at the revision before this one.
                (write.add if change.old is None else write.put)(self._storable(change.new))
            self._progress("write", done + 1, total)
        write.relocate(made.moved)

    def _hash(self, made: Plan) -> None:
        """Hash the passwords that are new, on all cores, before the store is locked."""
        plain = [found for change in made.changes if change.new for found in _plain(change.new)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            hashed = pool.map(lambda found: hash_password(found[1].value), plain)
            for done, ((key, secret), text) in enumerate(zip(plain, hashed, strict=True)):
                self._hashes[_hash_key(key, secret)] = text.encode()
                self._progress("hash", done + 1, len(plain))

    def _storable(self, record: Record) -> Record:
        """The record with its passwords hashed; the fingerprint stays that of the password."""
        if not isinstance(record, Identity):
            return record
        return replace(record, secrets=tuple(self._hashed(record.key, secret) for secret in record.secrets))

    def _hashed(self, key: tuple[str, ...], secret: Secret) -> Secret:
        if secret.form is not SecretForm.PLAIN:
            return secret
        # Someone removed the stored one meanwhile: hash it now, which is rare.
        value = self._hashes.get(_hash_key(key, secret)) or hash_password(secret.value).encode()
        return replace(secret, value=value, form=SecretForm.HASH)


def _plain(record: Record) -> list[tuple[tuple[str, ...], Secret]]:
    """The secrets of a record that are still to be hashed."""
    if not isinstance(record, Identity):
        return []
    return [(record.key, secret) for secret in record.secrets if secret.form is SecretForm.PLAIN]


def _hash_key(key: tuple[str, ...], secret: Secret) -> HashKey:
    return key, secret.id, secret.fingerprint


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody wants to know."""
