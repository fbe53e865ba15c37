"""Who loses something by a change, and who is let back in. Pure; an estimate that errs towards yes.

It counts grantees and identities, not connections: one user name may stand for a million devices, and only the
broker knows which of them are connected.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from store.changes import Operation
from store.names import fewer_parent_topics
from store.records import (
    Action,
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Grantee,
    Group,
    Identity,
    IdentityType,
    Instance,
    NoMatch,
    Permission,
    Record,
    Secret,
)
from store.sync.account_wording import account_losses, by_value, secrets_lost
from store.sync.change import Change
from store.tables import Subject, subject_of

FEWER_CALLS: Final = "may sign fewer API calls"
SECRET_GOES: Final = "a secret goes"  # noqa: S105 - words
_NARROWER: Final = frozenset(
    {
        "a grant goes",
        "a denial comes",
        "what nothing matches is denied",
        "fewer parent topics are registered",
        "is not allowed all topics",
    }
)
"""Losses that leave the right to connect as it was."""
_EVERYONE: Final = (Grantee.ALL.value, "INSTANCE")


@dataclass(frozen=True, slots=True)
class Losing:
    """A subject that loses something."""

    subject: Subject
    why: tuple[str, ...]
    clients: int
    """How many clients that is at least: 1, or, for all of an instance, its identities."""

    @property
    def felt(self) -> str:
        """What befalls its live sessions where somebody sees to it, in words for the plan; nothing for nothing."""
        felt = [why for why in self.why if why != FEWER_CALLS]
        harder = [why for why in felt if why not in _NARROWER]
        if not harder:
            return "subscriptions that are no longer allowed end" if felt else ""
        return "whoever connected by it is disconnected" if harder == [SECRET_GOES] else "disconnected"


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A subject that a DENY or a blacklist entry ceases to shut out."""

    subject: Subject
    record: Record
    at: int | None
    """When, in milliseconds since the epoch; None where the change itself lets it back in."""


def losing(
    changes: Iterable[Change],
    now_ms: int,
    identities_of: Callable[[str], int],
    told_by: Callable[[Secret], str] = by_value,
) -> tuple[Losing, ...]:
    """Who loses something, in the order of the changes.

    `identities_of` counts an instance's identities; `told_by` says what tells a secret from another.
    """
    found: dict[Subject, dict[str, None]] = {}
    new_users: set[Subject] = set()
    for change in changes:
        subject = subject_of(change.record)
        if change.operation is Operation.ADD and _is_user(change.record):
            new_users.add(subject)
        for why in _losses(change, now_ms, told_by):
            found.setdefault(subject, {})[why] = None
    return tuple(
        Losing(subject, tuple(why), max(1, identities_of(subject.instance)) if subject.type in _EVERYONE else 1)
        for subject, why in found.items()
        if subject not in new_users
    )


def readmitted(changes: Iterable[Change], now_ms: int) -> tuple[Readmitted, ...]:
    """Who is let back in by a DENY or a blacklist entry that goes, or that will expire."""
    found = []
    for change in changes:
        old, new = change.old, change.new
        if not _shuts_out(change.record):
            continue
        subject = subject_of(change.record)
        if new is not None and new.in_force(now_ms):
            if new.expires_at is not None and (old is None or old.expires_at != new.expires_at):
                found.append(Readmitted(subject, new, new.expires_at))
        elif old is not None and old.in_force(now_ms):
            found.append(Readmitted(subject, new or old, None))
    return tuple(found)


def _losses(change: Change, now_ms: int, told_by: Callable[[Secret], str]) -> Iterator[str]:
    """What a change takes away, in words for the plan."""
    old, new = change.old, change.new
    match change.record:
        case Identity():
            yield from _identity_losses(old, new, now_ms, told_by)
        case Permission() as permission:
            yield from _permission_losses(permission.effect, _reaches(old, now_ms), _reaches(new, now_ms))
        case BlacklistEntry():
            if _holds(new, now_ms) and not _holds(old, now_ms):
                yield "is blacklisted"
        case Group():
            if _holds(old, now_ms) and not _holds(new, now_ms):
                yield "its group goes"
        case Instance():
            yield from _instance_losses(old, new)
        case _:
            yield from account_losses(old, new, now_ms, told_by)


def _identity_losses(
    old: Record | None, new: Record | None, now_ms: int, told_by: Callable[[Secret], str]
) -> Iterator[str]:
    if not isinstance(old, Identity) or not old.in_force(now_ms):
        return
    if not isinstance(new, Identity):
        yield "its identity goes"
        return
    if not new.in_force(now_ms):
        yield "its identity has expired"
    if old.sign_mode is not new.sign_mode:
        yield "its sign mode changes"
    if secrets_lost(old.secrets, new.secrets, now_ms, told_by):
        yield SECRET_GOES
    narrowed = bool(new.client_ids_group) and new.client_ids_group != old.client_ids_group
    # A group of clients is a prefix, too: `GID_x@@@`.
    prefix = f"{old.client_ids_group}@@@" if old.client_ids_group else old.client_ids_prefix
    if narrowed or not prefix.startswith(new.client_ids_prefix):
        yield "fewer client ids may use it"


def _permission_losses(effect: Effect, before: frozenset[Action], after: frozenset[Action]) -> Iterator[str]:
    if effect is Effect.ALLOW and not before <= after:
        yield "a grant goes"
    if effect is Effect.DENY and not after <= before:
        yield "a denial comes"


def _instance_losses(old: Record | None, new: Record | None) -> Iterator[str]:
    if not isinstance(old, Instance) or not isinstance(new, Instance):
        return
    if new.client_id_rule is ClientIdRule.GROUP and old.client_id_rule is not ClientIdRule.GROUP:
        yield "client ids must follow the group rule"
    if new.pin_client_ids and not old.pin_client_ids:
        yield "client ids are pinned"
    if new.no_match is NoMatch.DENY and old.no_match is NoMatch.PASS:
        yield "what nothing matches is denied"
    if fewer_parent_topics(old.parent_topics, new.parent_topics):
        yield "fewer parent topics are registered"


def _reaches(record: Record | None, now_ms: int) -> frozenset[Action]:
    """What a permission grants or denies now."""
    if not isinstance(record, Permission) or not record.in_force(now_ms):
        return frozenset()
    return frozenset(action for action in (Action.PUB, Action.SUB) if record.action.includes(action))


def _holds(record: Record | None, now_ms: int) -> bool:
    return record is not None and record.in_force(now_ms)


def _shuts_out(record: Record) -> bool:
    return isinstance(record, BlacklistEntry) or (isinstance(record, Permission) and record.effect is Effect.DENY)


def _is_user(record: Record) -> bool:
    return isinstance(record, Identity) and record.identity_type is IdentityType.USER
