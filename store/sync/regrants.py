"""What becomes allowed by a change: what a rollback must not bring back unnoticed. Pure; errs towards yes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from store.names import fewer_parent_topics
from store.records import (
    Action,
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Group,
    Identity,
    IdentityType,
    Instance,
    NoMatch,
    Permission,
    Record,
)
from store.sync.account_wording import account_gains
from store.sync.change import Change
from store.sync.wording import describe


@dataclass(frozen=True, slots=True)
class Regrant:
    """A record by which somebody may do more than now."""

    record: Record
    why: str

    def __str__(self) -> str:
        return f"{describe(self.record)}: {self.why}"


def regrants(changes: Iterable[Change], now_ms: int) -> tuple[Regrant, ...]:
    """What becomes allowed, in the order of the changes."""
    return tuple(Regrant(change.record, why) for change in changes for why in _gains(change, now_ms))


def _gains(change: Change, now_ms: int) -> Iterator[str]:
    old, new = change.old, change.new
    match change.record:
        case Identity():
            yield from _identity_gains(old, new, now_ms)
        case Permission(effect=Effect.ALLOW):
            if _actions(new, now_ms) - _actions(old, now_ms):
                yield "is granted again"
            elif _longer(old, new, now_ms):
                yield "is granted for longer"
        case Permission() | BlacklistEntry():
            yield from _returns(old, new, now_ms)
        case Group():
            if _holds(new, now_ms) and (not _holds(old, now_ms) or _longer(old, new, now_ms)):
                yield "its client ids are admitted again"
        case Instance():
            yield from _instance_gains(old, new)
        case _:
            yield from account_gains(old, new, now_ms)


def _returns(old: Record | None, new: Record | None, now_ms: int) -> Iterator[str]:
    """What a DENY or a blacklist entry ceases to shut out."""
    blacklisted = isinstance(old, BlacklistEntry)
    if _actions(old, now_ms) - _actions(new, now_ms) or (
        blacklisted and _holds(old, now_ms) and not _holds(new, now_ms)
    ):
        yield "is let back in" if blacklisted else "is denied no longer"
    elif _longer(new, old, now_ms):
        yield "is let back in sooner" if blacklisted else "is denied for a shorter time"


def _identity_gains(old: Record | None, new: Record | None, now_ms: int) -> Iterator[str]:
    if isinstance(old, Identity) and new is None and old.identity_type is IdentityType.CLIENT:
        # It owned the client id, in force or not.
        yield "its client id is free for others again"
    if not isinstance(new, Identity) or not new.in_force(now_ms):
        return
    if not isinstance(old, Identity) or not old.in_force(now_ms):
        yield "may connect again"
        return
    if _longer(old, new, now_ms):
        yield "may connect for longer"
    if old.sign_mode is not new.sign_mode:
        yield "may connect by another proof"
    if not _prefix(new).startswith(_prefix(old)):
        yield "more client ids may use it"


def _instance_gains(old: Record | None, new: Record | None) -> Iterator[str]:
    if not isinstance(new, Instance):
        return
    before = old if isinstance(old, Instance) else None
    if new.no_match is NoMatch.PASS and (before is None or before.no_match is not NoMatch.PASS):
        yield "what nothing matches is left to the broker again"
    if before and before.client_id_rule is ClientIdRule.GROUP and new.client_id_rule is not ClientIdRule.GROUP:
        yield "client ids need not follow the group rule"
    if before and before.pin_client_ids and not new.pin_client_ids:
        yield "client ids are not pinned"
    if before and fewer_parent_topics(new.parent_topics, before.parent_topics):
        yield "more parent topics may be used"


def _prefix(identity: Identity) -> str:
    """A group of clients is a prefix, too: `GID_x@@@`."""
    return f"{identity.client_ids_group}@@@" if identity.client_ids_group else identity.client_ids_prefix


def _actions(record: Record | None, now_ms: int) -> frozenset[Action]:
    if not isinstance(record, Permission) or not record.in_force(now_ms):
        return frozenset()
    return frozenset(action for action in (Action.PUB, Action.SUB) if record.action.includes(action))


def _holds(record: Record | None, now_ms: int) -> bool:
    return record is not None and record.in_force(now_ms)


def _longer(old: Record | None, new: Record | None, now_ms: int) -> bool:
    """Whether a record that is in force both ways holds for longer the new way."""
    if old is None or new is None or not (old.in_force(now_ms) and new.in_force(now_ms)):
        return False
    return old.expires_at is not None and (new.expires_at is None or new.expires_at > old.expires_at)
