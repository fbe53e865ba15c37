"""What no entry shows by itself: duplicates across entries and files, names easily taken for each other."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from store.records import BlacklistEntry, Effect, Grantee, Group, Instance, Permission
from store.sync.entries import Placed
from store.sync.findings import Findings
from store.sync.policy import IdentitySpec

_MEND: Final = "leave one out, or make one entry of both"


class _Keyed(Protocol):
    @property
    def key(self) -> tuple[str, ...]: ...


K = TypeVar("K", bound=_Keyed)


def check_keys(placed: Iterable[Placed[K]], said: Callable[[K], str], findings: Findings) -> None:
    """Refuse the second record with a key. `said` says what the first one says."""
    first: dict[tuple[str, ...], Placed[K]] = {}
    for one in placed:
        other = first.setdefault(one.item.key, one)
        if other is not one:
            findings.error(one.file, one.at, f"{said(one.item)} already, at {other.where}; {_MEND}")


def check_ids(placed: Iterable[Placed[str]], findings: Findings) -> None:
    """Refuse the second entry with an id: plans, decisions and flags name entries by it."""
    first: dict[str, Placed[str]] = {}
    for one in placed:
        other = first.setdefault(one.item, one)
        if other is not one:
            findings.error(one.file, one.at, f"the id {one.item!r} is taken, at {other.where}; choose another")


def said_of_instance(instance: Instance) -> str:
    return f"the instance {instance.name!r} is declared"


def said_of_identity(identity: IdentitySpec) -> str:
    client = f" with client id {identity.client_id!r}" if identity.client_id else ""
    return f"the identity {identity.username!r}{client} is given"


def said_of_group(group: Group) -> str:
    return f"the group {group.name!r} is registered"


def said_of_permission(permission: Permission) -> str:
    verb = "granted" if permission.effect is Effect.ALLOW else "denied"
    return f"{permission.topic!r} is {verb} to {_grantee(permission)}"


def said_of_blacklist(entry: BlacklistEntry) -> str:
    named = f"client id {entry.client_id!r}" if entry.client_id else f"user name {entry.username!r}"
    return f"the {named} is blacklisted"


def _grantee(permission: Permission) -> str:
    if permission.identity_type is Grantee.ALL:
        return "everyone"
    return f"{permission.identity_type.lower().replace('_', ' ')} {permission.identity!r}"


def check_groups(
    groups: Iterable[Placed[Group]],
    identities: Iterable[Placed[IdentitySpec]],
    permissions: Iterable[Placed[Permission]],
    findings: Findings,
) -> None:
    """Warn of groups that are used and not registered: under `client_id_rule: group` nobody is in them."""
    registered = {(one.item.instance, one.item.name) for one in groups}
    used: list[tuple[Placed[Any], str, str]] = [
        (one, one.item.instance, one.item.client_ids_group) for one in identities if one.item.client_ids_group
    ]
    used += [
        (one, one.item.instance, one.item.identity) for one in permissions if one.item.identity_type is Grantee.GROUP
    ]
    for one, instance, group in used:
        if (instance, group) not in registered:
            registered.add((instance, group))
            message = f"the group {group!r} is not registered in {instance}; add it to `groups`"
            findings.warn(one.file, one.at, message)


def check_confusables(
    identities: Sequence[Placed[IdentitySpec]],
    permissions: Sequence[Placed[Permission]],
    blacklist: Sequence[Placed[BlacklistEntry]],
    findings: Findings,
) -> None:
    """Warn of names that differ in case, composition or outer blanks alone; to the server they are strangers."""
    names: list[tuple[Placed[Any], str, str, str]] = []
    for identity in identities:
        names.append((identity, identity.item.instance, "user name", identity.item.username))
        names.append((identity, identity.item.instance, "client id", identity.item.client_id))
    nouns = {Grantee.USER: "user name", Grantee.CLIENT: "client id"}
    names += [
        (one, one.item.instance, nouns[one.item.identity_type], one.item.identity)
        for one in permissions
        if one.item.identity_type in nouns
    ]
    for entry in blacklist:
        names.append((entry, entry.item.instance, "user name", entry.item.username))
        names.append((entry, entry.item.instance, "client id", entry.item.client_id))
    spellings: dict[tuple[str, str, str], dict[str, Placed[Any]]] = {}
    for one, instance, noun, name in names:
        known = spellings.setdefault((instance, noun, _folded(name)), {})
        if name not in known and known:
            other, first = next(iter(known.items()))
            show = ascii if _composed(name) == _composed(other) else repr
            message = (
                f"the {noun} {show(name)} is not {show(other)}, at {first.where}; write both alike if one is meant"
            )
            findings.warn(one.file, one.at, message)
        known.setdefault(name, one)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return name.casefold().strip()
