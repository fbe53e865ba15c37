"""Back to an earlier revision: planned, let through or refused, written under a new revision, and held.

A hold keeps the policy that was rolled back from being applied again a minute later; see `store.sync.hold`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from store import clock
from store.clock import Clock
from store.connection import BUSY_MS
from store.database import Database
from store.seal import SealKeys
from store.sync.apply import Declined
from store.sync.device_keys import hand_over
from store.sync.hold import Hold, set_hold
from store.sync.phrases import counted, some
from store.sync.policy import SyncRules
from store.sync.provenance import actor as this_actor
from store.sync.restoring import Rollback, plan_rollback
from store.sync.scalars import API_SOURCE
from store.sync.thresholds import Consent, Refusal, Refused, limits, over_quota, taken
from store.writing import Writing

Confirm = Callable[[Rollback], bool]
"""Shows the way back and asks; false leaves everything as it is."""


class StoreChanged(Exception):
    """What would be done is not what was confirmed; nothing was written."""

    def __init__(self) -> None:
        super().__init__("not rolled back: the store has changed since you were asked; try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback did."""

    rollback: Rollback
    revision: int
    """The revision that it made; the last one where nothing changed."""
    hold: Hold | None
    """The hold that it set; none where nothing changed, and none on the API, which applies no policy."""


def roll_back(
    path: Path,
    keys: SealKeys,
    source: str,
    to: int,
    *,
    consent: Consent | None = None,
    allow_regrant: bool = False,
    confirm: Confirm | None = None,
    reason: str = "",
    actor: str = "",
    now_ms: Clock = clock.now_ms,
    busy_ms: int = BUSY_MS,
) -> RolledBack:
    """Bring the records of a source back to what they said at revision `to`, in one transaction, and hold it.

    `confirm` is asked before anything is locked; what it was shown is then what is done, or nothing.

    Raises:
        UnknownRevision, NotRestorable: as `plan_rollback`.
        Refused, Declined: a threshold, or the person asked.
        StoreChanged: not what was confirmed.
        OverQuota: the earlier state exceeds an instance's quota.
        StoreUnavailable, SealError: as `Database.open`.
    """
    who = actor or this_actor()
    consent = consent or Consent()
    with Database.open(path, keys, create=False, busy_ms=busy_ms) as database:
        first = plan_rollback(database, source, to, now_ms=now_ms())
        _check(first, consent, allow_regrant)
        if not first.plan.changes:
            return RolledBack(rollback=first, revision=first.plan.revision, hold=None)
        if confirm is not None and not confirm(first):
            raise Declined
        at = now_ms()
        with database.writing(
            actor=f"{who} rollback to revision {to}", source=source, now_ms=at, checksum=first.plan.checksum
        ) as write:
            last = first
            if first.plan.revision != write.revision - 1:
                last = plan_rollback(database, source, to, now_ms=at)
                _check(last, consent, allow_regrant)
                if last.plan.checksum != first.plan.checksum:
                    raise StoreChanged
            _write(last, write)
            hold = None
            if source != API_SOURCE:
                hold = Hold(source=source, actor=who, at=at, since=write.revision - 1, to=to, reason=reason)
                set_hold(database, hold)
        return RolledBack(rollback=last, revision=database.revision, hold=hold)


def refusals(rollback: Rollback, consent: Consent, *, allow_regrant: bool) -> tuple[Refusal, ...]:
    """All reasons at once why a way back is not gone."""
    return (
        *_empty(rollback, consent),
        *taken(rollback.plan),
        *over_quota(rollback.plan),
        *limits(rollback.plan, SyncRules(), consent),
        *_regrants(rollback, allow_regrant),
    )


def _empty(rollback: Rollback, consent: Consent) -> Iterator[Refusal]:
    if rollback.empties and not consent.allow_empty:
        yield Refusal(
            "empty",
            f"{rollback.plan.source} had no identity, no permission and no blacklist entry at revision "
            f"{rollback.to}; if nobody shall be let in, say --allow-empty",
        )


def _regrants(rollback: Rollback, allow_regrant: bool) -> Iterator[Refusal]:
    if rollback.regrants and not allow_regrant:
        yield Refusal(
            "regrant",
            f"{counted(len(rollback.regrants), 'record')} would allow something again: "
            f"{some([str(one) for one in rollback.regrants])}; if it shall be so, say --allow-regrant",
        )


def _check(rollback: Rollback, consent: Consent, allow_regrant: bool) -> None:
    if found := refusals(rollback, consent, allow_regrant=allow_regrant):
        raise Refused(found, rollback.plan)


def _write(rollback: Rollback, write: Writing) -> None:
    hand_over(rollback.plan.changes, write)
    for change in rollback.plan.changes:
        if change.new is not None:
            write.put(change.new)
        elif change.old is not None:
            write.remove(change.old)
