"""Lint: what a policy says that is seldom meant. Reads the policy alone; each finding has an id.

A finding is turned off in a file, with a reason::

    lint:
      - {off: everything, record: operators, reason: operators see all lines}
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from store.records import Effect, Grantee, IdentityType, Permission, Record
from store.sync.policy import IdentitySpec, Policy
from store.sync.wording import describe, handle, moment
from store.topics import Levels, levels_cover

SOON_MS: Final = 30 * 24 * 3600 * 1000
"""What expires within 30 days is reported."""

MOST_COMPARED: Final = 2_000
"""Permissions of one grantee that are compared with each other; of more, only the single ones are looked at."""

RULES: Final[Mapping[str, str]] = {
    "shadowed": "a permission that another one of the same grantee includes",
    "unreachable": "an ALLOW that a DENY of the same grantee takes back wholly",
    "deny-blocks-grant": "a DENY within an ALLOW: whoever subscribes to the whole ALLOW is refused",
    "everything": "a grant of every topic",
    "claimable": "a grant to a client id or group that holders of a shared user name could claim",
    "no-permissions": "an identity that may connect and then do nothing",
    "expired": "a record whose time is over",
    "expires-soon": "a record that expires within 30 days",
    "not-compared": "a grantee with too many permissions to compare each with each",
    "unused-off": "a lint rule turned off where it finds nothing",
}


@dataclass(frozen=True, slots=True, order=True)
class LintFinding:
    """One finding about one record."""

    file: str
    line: int
    rule: str
    record: str
    """What a flag, or an `off`, calls the record."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True, slots=True)
class Off:
    """A rule turned off in a file, for all records or for one."""

    rule: str
    record: str
    file: str
    line: int

    def covers(self, finding: LintFinding) -> bool:
        return finding.rule == self.rule and self.record in ("", finding.record)


def lint(policy: Policy, now_ms: int, off: Sequence[Off] = ()) -> list[LintFinding]:
    """All findings that are not turned off, in order of place."""
    found = [finding for rule in _RULES for finding in rule(policy, now_ms)]
    kept = [finding for finding in found if not any(one.covers(finding) for one in off)]
    for one in off:
        if not any(one.covers(finding) for finding in found):
            about = f" for {one.record}" if one.record else ""
            message = f"{one.rule} is turned off{about} and finds nothing; take the line out"
            kept.append(LintFinding(one.file, one.line, "unused-off", one.record, message))
    return sorted(set(kept))


def _finding(record: Record | IdentitySpec, rule: str, message: str) -> LintFinding:
    file, _, line = record.origin.partition("@")[0].rpartition(":")
    return LintFinding(file, int(line or 1), rule, handle(record), message)


def _by_grantee(policy: Policy) -> Mapping[tuple[str, str, str], list[Permission]]:
    groups: dict[tuple[str, str, str], list[Permission]] = defaultdict(list)
    for permission in policy.permissions:
        groups[permission.instance, permission.identity_type, permission.identity].append(permission)
    return groups


def _relations(policy: Policy, _: int) -> Iterator[LintFinding]:
    """Permissions of one grantee against each other."""
    for group in _by_grantee(policy).values():
        if len(group) > MOST_COMPARED:
            message = f"{len(group)} permissions of one grantee; more than {MOST_COMPARED} are not compared"
            yield _finding(group[0], "not-compared", message)
            continue
        levels = [(permission, permission.pattern().widest) for permission in group]
        for permission, own in levels:
            for other, wide in levels:
                if other is not permission:
                    yield from _relation(permission, own, other, wide)


def _relation(permission: Permission, own: Levels, other: Permission, wide: Levels) -> Iterator[LintFinding]:
    if not other.action.includes(permission.action) or other.expires_at not in (None, permission.expires_at):
        return
    templated = not (permission.pattern().fixed and other.pattern().fixed)
    within = levels_cover(wide, own) and (not templated or permission.topic == other.topic)
    if (
        permission.effect is other.effect
        and within
        and not (levels_cover(own, wide) and other.topic >= permission.topic)
    ):
        yield _finding(permission, "shadowed", f"{describe(permission)} is included in {other.topic}; leave it out")
    elif permission.effect is Effect.ALLOW and other.effect is Effect.DENY and within:
        yield _finding(permission, "unreachable", f"{describe(permission)}, but {other.topic} is denied; a DENY wins")
    elif (
        permission.effect is Effect.DENY and other.effect is Effect.ALLOW and within and permission.topic != other.topic
    ):
        yield _finding(
            permission,
            "deny-blocks-grant",
            f"{describe(permission)}: a subscription to {other.topic} as a whole is refused because of it; "
            "grant narrower filters, or put what is denied elsewhere",
        )


def _everything(policy: Policy, _: int) -> Iterator[LintFinding]:
    for permission in policy.permissions:
        if permission.effect is Effect.ALLOW and permission.pattern().widest in (("#",), ("+", "#")):
            yield _finding(
                permission, "everything", f"{describe(permission)}: that is every topic; grant what is needed"
            )


def _claimable(policy: Policy, _: int) -> Iterator[LintFinding]:
    """A client id is a claim: rights granted to it go to whoever connects with it (pitfall 21)."""
    pins = {instance.name: instance.pin_client_ids for instance in policy.instances}
    owned = {(one.instance, one.client_id) for one in policy.identities if one.client_id}
    shared: dict[str, list[IdentitySpec]] = defaultdict(list)
    for identity in policy.identities:
        if identity.identity_type is IdentityType.USER:
            shared[identity.instance].append(identity)
    for permission in policy.permissions:
        if permission.effect is Effect.DENY:
            continue
        if permission.identity_type is Grantee.CLIENT:
            if (permission.instance, permission.identity) in owned and pins.get(permission.instance, True):
                continue
            claims = [one for one in shared[permission.instance] if _admits(one, permission.identity)]
        elif permission.identity_type is Grantee.GROUP:
            claims = [one for one in shared[permission.instance] if _could_join(one, permission.identity)]
        else:
            continue
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
    records: Iterable[Record | IdentitySpec] = (
        *policy.groups, *policy.identities, *policy.permissions, *policy.blacklist,
    )  # fmt: skip
    for record in records:
        if record.expires_at is None:
            continue
        when = moment(record.expires_at)
        if record.expires_at <= now_ms:
            yield _finding(record, "expired", f"{describe(record)} expired at {when}; take it out")
        elif record.expires_at <= now_ms + SOON_MS:
            yield _finding(record, "expires-soon", f"{describe(record)} expires at {when}")


_Rule = Callable[[Policy, int], Iterator[LintFinding]]

_RULES: Final[tuple[_Rule, ...]] = (_relations, _everything, _claimable, _no_permissions, _expiring)
