"""Lint: what a policy says that is seldom meant. Reads the policy alone; each finding has an id.

A finding is turned off in a file, with a reason::

    lint:
      - {off: everything, record: operators, reason: operators see all lines}
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from store.placeholders import NAMES
from store.records import Action, Effect, Grantee, IdentityType, Permission, Record
from store.sync.lint_off import Off
from store.sync.phrases import moment
from store.sync.policy import IdentitySpec, Policy
from store.sync.wording import describe, handle
from store.topics import Levels, levels_cover, levels_overlap

SOON_MS: Final = 30 * 24 * 3600 * 1000
"""What expires within 30 days is reported."""

MOST_COMPARED: Final = 2_000
"""Permissions of one grantee that are compared with each other; of more, only the single ones are looked at."""

_UNUSED_OFF: Final = "unused-off"
_SPECIMENS: Final = {name: f"\ue000{name}" for name in NAMES}
"""What stands for a placeholder's value: like no level that anybody writes, and like no other placeholder's."""


@dataclass(frozen=True, slots=True, order=True)
class LintFinding:
    """One finding about one record."""

    file: str
    line: int
    rule: str
    record: str
    """What a flag, or an `off`, calls the record."""
    message: str
    column: int = 0
    """From 1; 0 where the whole entry in this line is meant."""

    def __str__(self) -> str:
        column = f":{self.column}" if self.column else ""
        return f"{self.file}:{self.line}{column}: {self.rule}: {self.message}"


def lint(policy: Policy, now_ms: int) -> list[LintFinding]:
    """All findings that the files do not turn off, in order of place; what validation warns of is among them."""
    # Rows of included files are read anew whenever they are asked for; those compared with each other are held anyway.
    policy = replace(policy, permissions=tuple(policy.permissions))
    found = [finding for rule in _RULES for finding in rule(policy, now_ms)]
    found += [LintFinding(one.file, one.line, one.rule, one.record, one.message, one.column) for one in policy.warnings]
    used = set(policy.silencing)
    kept = list(_not_off(found, policy.off, used))
    unused = [_unused(one) for one in policy.off if one not in used and one.rule != _UNUSED_OFF]
    kept += _not_off(unused, policy.off, used)
    # A rule against superfluous lines may be superfluous itself.
    kept += [_unused(one) for one in policy.off if one not in used and one.rule == _UNUSED_OFF]
    return sorted(set(kept))


def _not_off(found: Iterable[LintFinding], off: Sequence[Off], used: set[Off]) -> Iterator[LintFinding]:
    """The findings that are not turned off; what turns one off is noted in `used`."""
    for finding in found:
        covering = [one for one in off if one.covers(finding.rule, finding.record)]
        used.update(covering)
        if not covering:
            yield finding


def _unused(off: Off) -> LintFinding:
    about = f" for {off.record}" if off.record else ""
    message = f"{off.rule} is turned off{about} and finds nothing; take the line out"
    return LintFinding(off.file, off.line, _UNUSED_OFF, off.record, message)


def _finding(record: Record | IdentitySpec, rule: str, message: str) -> LintFinding:
    file, _, line = record.origin.partition("@")[0].rpartition(":")
    return LintFinding(file, int(line or 1), rule, handle(record), message)


def _by_grantee(policy: Policy) -> Mapping[tuple[str, str, str], list[Permission]]:
    groups: dict[tuple[str, str, str], list[Permission]] = defaultdict(list)
    for permission in policy.permissions:
        groups[permission.instance, permission.identity_type, permission.identity].append(permission)
    return groups


def _relations(policy: Policy, _: int) -> Iterator[LintFinding]:
    """Permissions of one grantee against each other, and against what everyone is denied."""
    groups = _by_grantee(policy)
    told: set[tuple[str, ...]] = set()
    for (instance, grantee, _name), group in groups.items():
        if len(group) > MOST_COMPARED:
            message = f"{len(group)} permissions of one grantee; more than {MOST_COMPARED} are not compared"
            yield _finding(group[0], "not-compared", message)
            continue
        denied = _denied(groups, instance) if grantee != Grantee.ALL else ()
        if len(group) == 1 and not denied:
            continue
        levels = [(permission, _levels(permission)) for permission in group]
        for permission, own in levels:
            for other, wide in levels:
                if other is not permission:
                    yield from _relation(permission, own, other, wide)
        yield from _denied_to_everyone(levels, denied, told)


def _denied(groups: Mapping[tuple[str, str, str], Sequence[Permission]], instance: str) -> Sequence[Permission]:
    """What everyone is denied in an instance."""
    everyones = groups.get((instance, Grantee.ALL, ""), ())
    return [one for one in everyones if one.effect is Effect.DENY][:MOST_COMPARED]


def _levels(permission: Permission) -> Levels:
    """The filter of any one client, placeholders filled."""
    return permission.pattern().substitute(_SPECIMENS) or permission.pattern().widest


def _relation(permission: Permission, own: Levels, other: Permission, wide: Levels) -> Iterator[LintFinding]:
    if permission.effect is other.effect:
        if (
            _outlasts(other, permission)
            and levels_cover(wide, own)
            and not (levels_cover(own, wide) and other.topic >= permission.topic)
        ):
            yield _finding(permission, "shadowed", f"{describe(permission)} is included in {other.topic}; leave it out")
    elif permission.effect is Effect.ALLOW:
        yield from _taken_back(permission, own, other, wide)


def _denied_to_everyone(
    granted: Sequence[tuple[Permission, Levels]], denied: Sequence[Permission], told: set[tuple[str, ...]]
) -> Iterator[LintFinding]:
    """What everyone is denied against one grantee's grants; `told` holds what blocks a grant, which is said once."""
    for deny in denied:
        wide = _levels(deny)
        for allow, own in granted:
            for finding in _taken_back(allow, own, deny, wide) if allow.effect is Effect.ALLOW else ():
                if finding.rule != "deny-blocks-grant" or deny.key not in told:
                    yield finding
                if finding.rule == "deny-blocks-grant":
                    told.add(deny.key)


def _taken_back(allow: Permission, own: Levels, deny: Permission, wide: Levels) -> Iterator[LintFinding]:
    """A grant that a deny takes back, wholly or where it is subscribed to as a whole."""
    whom = " to everyone" if deny.identity_type is Grantee.ALL else ""
    if levels_cover(wide, own):
        if _outlasts(deny, allow):
            message = f"{describe(allow)}, but {deny.topic} is denied{whom}; a DENY wins"
            yield _finding(allow, "unreachable", message)
    elif deny.action.includes(Action.SUB) and allow.action.includes(Action.SUB) and levels_overlap(wide, own):
        yield _finding(
            deny,
            "deny-blocks-grant",
            f"{describe(deny)}: a subscription to {allow.topic} as a whole, granted at {allow.origin}, is refused "
            "because of it; grant narrower filters, or put what is denied elsewhere",
        )


def _outlasts(other: Permission, permission: Permission) -> bool:
    """Whether the other one speaks of all that this one does, for as long."""
    return other.action.includes(permission.action) and other.expires_at in (None, permission.expires_at)


def _everything(policy: Policy, _: int) -> Iterator[LintFinding]:
    for permission in policy.permissions:
        if permission.effect is Effect.DENY or not permission.topic.endswith("#"):
            continue
        if _levels(permission) in (("#",), ("+", "#")):
            yield _finding(
                permission, "everything", f"{describe(permission)}: that is every topic; grant what is needed"
            )


def _claimable(policy: Policy, now_ms: int) -> Iterator[LintFinding]:
    """A client id is a claim: rights granted to it go to whoever connects with it (pitfall 21)."""
    claimed = [
        one
        for one in policy.permissions
        if one.effect is Effect.ALLOW and one.identity_type in (Grantee.CLIENT, Grantee.GROUP)
    ]
    if not claimed:
        return
    pins = {instance.name: instance.pin_client_ids for instance in policy.instances}
    owned = {(one.key[0], one.key[1]) for one in policy.device_credentials}
    shared: dict[str, list[IdentitySpec]] = defaultdict(list)
    for identity in policy.identities:
        if identity.client_id:
            owned.add((identity.instance, identity.client_id))
        elif identity.expires_at is None or now_ms < identity.expires_at:
            shared[identity.instance].append(identity)
    for permission in claimed:
        if permission.identity_type is Grantee.CLIENT:
            if (permission.instance, permission.identity) in owned and pins.get(permission.instance, True):
                continue
            claims = [one for one in shared[permission.instance] if _admits(one, permission.identity)]
        else:
            claims = [one for one in shared[permission.instance] if _could_join(one, permission.identity)]
        if claims:
            names = ", ".join(sorted({one.username for one in claims})[:5])
            message = f"{describe(permission)}: whoever holds {names} can connect with that client id and have it"
            yield _finding(
                permission, "claimable", f"{message}; bound them by client_ids, or give the client its identity"
            )


def _admits(identity: IdentitySpec, client_id: str) -> bool:
    if identity.client_ids_group:
        return client_id.startswith(f"{identity.client_ids_group}@@@")
    return client_id.startswith(identity.client_ids_prefix)


def _could_join(identity: IdentitySpec, group: str) -> bool:
    """Whether clients beyond those meant for the group could take one of its client ids."""
    if identity.client_ids_group:
        return False
    prefix, of_group = identity.client_ids_prefix, f"{group}@@@"
    return prefix.startswith(of_group) or of_group.startswith(prefix)


def _no_permissions(policy: Policy, _: int) -> Iterator[LintFinding]:
    granted = {
        (one.instance, one.identity_type, one.identity) for one in policy.permissions if one.effect is Effect.ALLOW
    }
    open_to_some = {instance for instance, kind, _ in granted if kind in (Grantee.ALL, Grantee.GROUP)}
    clients = {instance for instance, kind, _ in granted if kind is Grantee.CLIENT}
    for identity in policy.identities:
        own = {
            (identity.instance, Grantee.USER, identity.username),
            (identity.instance, Grantee.CLIENT, identity.client_id),
        }
        by_client = identity.identity_type is IdentityType.USER and identity.instance in clients
        if not (own & granted or by_client or identity.instance in open_to_some):
            yield _finding(
                identity, "no-permissions", f"{describe(identity)} may connect and then do nothing; grant something"
            )


def _expiring(policy: Policy, now_ms: int) -> Iterator[LintFinding]:
    records: Iterable[Record | IdentitySpec] = chain(
        policy.groups, policy.identities, policy.permissions, policy.blacklist
    )
    for record in records:
        if record.expires_at is not None:
            yield from _expiry(record, describe(record), record.expires_at, now_ms)
        if isinstance(record, IdentitySpec):
            yield from _expiring_secrets(record, now_ms)


def _expiring_secrets(identity: IdentitySpec, now_ms: int) -> Iterator[LintFinding]:
    """Secrets that are over; and the last one to go, with which the identity goes."""
    ends = [one.expires_at for one in identity.secrets]
    for secret in identity.secrets:
        if secret.expires_at is not None:
            said = f"the secret {secret.id} of {describe(identity)}"
            last = None not in ends and secret.expires_at == max(end for end in ends if end is not None)
            if last or secret.expires_at <= now_ms:
                yield from _expiry(identity, said, secret.expires_at, now_ms)


def _expiry(record: Record | IdentitySpec, said: str, expires_at: int, now_ms: int) -> Iterator[LintFinding]:
    when = moment(expires_at)
    if expires_at <= now_ms:
        yield _finding(record, "expired", f"{said} expired at {when}; take it out")
    elif expires_at <= now_ms + SOON_MS:
        yield _finding(record, "expires-soon", f"{said} expires at {when}; set a later end, or take it out by then")


_Rule = Callable[[Policy, int], Iterator[LintFinding]]

_RULES: Final[tuple[_Rule, ...]] = (_relations, _everything, _claimable, _no_permissions, _expiring)
