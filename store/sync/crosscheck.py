"""What no entry shows by itself: duplicates across entries and files, names easily taken for each other.

A policy may have millions of records that are not held as objects. So one pass notes what could clash, a number for
each name, and only where numbers are equal a second pass looks at the records themselves.
"""

import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from store.account_records import AccessKey, DeviceCredential
from store.records import BlacklistEntry, Effect, Grantee, Group, Instance, Permission
from store.sync.findings import Findings
from store.sync.placed import Placed, Written
from store.sync.policy import IdentitySpec, KeySpec
from store.sync.wording import describe, handle

_MEND: Final = "leave one out, or make one entry of both"

Name = tuple[str, str, str]
"""An instance, what is named in it, and the name."""


class Numbers:
    """Hashes of what could clash, eight bytes each. Equal ones show what is equal, and now and then what is not."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def add(self, value: object) -> None:
        self._numbers.append(hash(value))

    def repeated(self) -> frozenset[int]:
        """Those that were added more than once."""
        found: set[int] = set()
        last: int | None = None
        for number in sorted(self._numbers):
            if number == last:
                found.add(number)
            last = number
        return frozenset(found)


class Names:
    """Names, and what a person may take for them."""

    def __init__(self) -> None:
        self._exact = array("q")
        self._folded = array("q")

    def add(self, name: Name) -> None:
        exact = hash(name)
        alike = folded(name)
        self._exact.append(exact)
        self._folded.append(exact if alike is name else hash(alike))

    def confusable(self) -> frozenset[int]:
        """Hashes of the folded names that are written in more than one way."""
        if _distinct(self._exact) == _distinct(self._folded):
            return frozenset()
        first: dict[int, int] = {}
        return frozenset(
            fold
            for fold, exact in zip(self._folded, self._exact, strict=True)
            if first.setdefault(fold, exact) != exact
        )


def _distinct(numbers: Iterable[int]) -> int:
    """How many different ones; sorted, since a set of millions takes four times the memory."""
    count, last = 0, None
    for number in sorted(numbers):
        count += number != last
        last = number
    return count


class Survey:
    """One pass over the entries that stand in the end; `report` tells what they show together."""

    def __init__(self, instances: Iterable[Instance], groups: Iterable[Group], findings: Findings) -> None:
        self._findings = findings
        self._registering = {one.name: one for one in instances if one.parent_topics}
        self._unregistered: set[tuple[str, str]] = set()
        self._registered = {(one.instance, one.name) for one in groups}
        self._device_keys: dict[str, Placed[Any]] = {}
        self._ids = Numbers()
        self._names = Names()
        self._keys: dict[str, Numbers] = {}
        self._instances: dict[str, dict[str, str]] = {}

    def take(self, entry: Written) -> None:
        if entry.named.item and entry.section in _HAVE_IDS:
            self._ids.add(entry.named.item)
        keys = self._keys.setdefault(entry.section, Numbers())
        instances = self._instances.setdefault(entry.section, {})
        for one in entry.records:
            record = one.item
            keys.add(record.key)
            if entry.section != "instances":
                for name in _instances_of(record):
                    if name not in instances:
                        instances[name] = record.origin
            for confusable in names_of(record):
                self._names.add(confusable)
            if isinstance(record, KeySpec):
                self._check_device_key(one, record.asked)
            if group := group_of(record):
                self._check_group(group, one)
            if self._registering and isinstance(record, Permission):
                self._check_parent_topic(one)

    def used_instances(self, sections: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The instances that entries name, and the origin of the first, in order of use."""
        for section in sections:
            yield from self._instances.get(section, {}).items()

    def report(self, entries: Callable[[], Iterable[Written]]) -> None:
        """Tell of duplicates and confusable names; `entries` gives all entries once more."""
        ids = self._ids.repeated()
        keys = {section: repeated for section, one in self._keys.items() if (repeated := one.repeated())}
        folds = self._names.confusable()
        if not (ids or keys or folds):
            return
        clashes = _Clashes(self._findings)
        for entry in entries():
            if hash(entry.named.item) in ids and entry.section in _HAVE_IDS and entry.named.item:
                clashes.id(entry)
            repeated = keys.get(entry.section, frozenset())
            for one in entry.records:
                if hash(one.item.key) in repeated:
                    clashes.key(one)
                for name in names_of(one.item) if folds else ():
                    if hash(folded(name)) in folds:
                        clashes.name(one, name)

    def _check_device_key(self, one: Placed[Any], asked: AccessKey | DeviceCredential) -> None:
        if isinstance(asked, DeviceCredential):
            first = self._device_keys.setdefault(asked.device_access_key_id, one)
            if first.item.key != asked.key:
                message = f"the device key {asked.device_access_key_id!r} is taken, at {first.where}; choose another"
                self._findings.error(one.file, one.at, message)

    def _check_group(self, group: str, one: Placed[Any]) -> None:
        """Warn of a group that is used and not registered: under `client_id_rule: group` nobody is in it."""
        if (one.item.instance, group) not in self._registered:
            self._registered.add((one.item.instance, group))
            message = f"the group {group!r} is not registered in {one.item.instance}; add it to `groups`"
            self._findings.warn(one.file, one.at, message, rule="unregistered-group", record=handle(one.item))

    def _check_parent_topic(self, one: Placed[Permission]) -> None:
        """Warn of a grant that the registry of parent topics leaves without effect."""
        permission = one.item
        instance, parent = self._registering.get(permission.instance), permission.topic.split("/", 1)[0]
        if instance is None or permission.effect is Effect.DENY or "${" in parent or instance.registers((parent,)):
            return
        if (instance.name, parent) not in self._unregistered:
            self._unregistered.add((instance.name, parent))
            message = (
                f"{permission.topic!r} is granted, and the parent topic {parent!r} is not registered in "
                f"{instance.name}; add it to its `parent_topics`"
            )
            self._findings.warn(one.file, one.at, message, rule="unregistered-parent-topic", record=handle(permission))


_HAVE_IDS: Final = frozenset({"identities", "device_credentials", "permissions", "blacklist"})
"""Sections whose entries have ids of their own; plans, decisions and flags name entries by them."""


class _Clashes:
    """What clashed so far; the first one counts, the others are told of."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._ids: dict[str, Written] = {}
        self._keys: dict[tuple[Any, ...], Placed[Any]] = {}
        self._spellings: dict[Name, dict[str, Placed[Any]]] = {}

    def id(self, entry: Written) -> None:
        name, file, at = entry.named
        first = self._ids.setdefault(name, entry)
        if first is not entry:
            replaceable = first.document < entry.document and first.section == entry.section and not entry.override
            mend = "choose another, or say `override: true`" if replaceable else "choose another"
            self._findings.error(file, at, f"the id {name!r} is taken, at {first.named.where}; {mend}")

    def key(self, one: Placed[Any]) -> None:
        other = self._keys.setdefault((type(one.item), *one.item.key), one)
        if other is not one:
            self._findings.error(one.file, one.at, f"{said_of(one.item)} already, at {other.where}; {_MEND}")

    def name(self, one: Placed[Any], name: Name) -> None:
        _, noun, text = name
        known = self._spellings.setdefault(folded(name), {})
        if text not in known and known:
            other, first = next(iter(known.items()))
            show = ascii if _composed(text) == _composed(other) else repr
            message = (
                f"the {noun} {show(text)} is not {show(other)}, at {first.where}; write both alike if one is meant"
            )
            self._findings.warn(one.file, one.at, message, rule="confusable", record=handle(one.item))
        known.setdefault(text, one)


def said_of(record: Any) -> str:
    """What the first of two records with one key says."""
    match record:
        case Instance():
            return f"the instance {record.name!r} is declared"
        case Group():
            return f"the group {record.name!r} is registered"
        case IdentitySpec():
            client = f" with client id {record.client_id!r}" if record.client_id else ""
            return f"the identity {record.username!r}{client} is given"
        case KeySpec():
            return f"the {describe(record)} is given"
        case Permission():
            verb = "granted" if record.effect is Effect.ALLOW else "denied"
            return f"{record.topic!r} is {verb} to {_grantee(record)}"
        case BlacklistEntry():
            named = f"client id {record.client_id!r}" if record.client_id else f"user name {record.username!r}"
            return f"the {named} is blacklisted"
        case _:
            raise AssertionError(f"{type(record).__name__} has no key")


def _grantee(permission: Permission) -> str:
    if permission.identity_type is Grantee.ALL:
        return "everyone"
    return f"{permission.identity_type.lower().replace('_', ' ')} {permission.identity!r}"


def _instances_of(record: Any) -> Sequence[str]:
    if isinstance(record, KeySpec):
        asked = record.asked
        return asked.instances if isinstance(asked, AccessKey) else (asked.instance,)
    return (record.instance,)


def names_of(record: Any) -> Sequence[Name]:
    """The names that a record says of people and devices."""
    if isinstance(record, Permission):
        if record.identity_type is Grantee.CLIENT:
            return ((record.instance, "client id", record.identity),)
        if record.identity_type is Grantee.USER:
            return ((record.instance, "user name", record.identity),)
    elif isinstance(record, (IdentitySpec, BlacklistEntry)):
        if not record.client_id:
            return ((record.instance, "user name", record.username),)
        client = (record.instance, "client id", record.client_id)
        return ((record.instance, "user name", record.username), client) if record.username else (client,)
    return ()


def group_of(record: Any) -> str:
    """The group that a record counts on, or nothing."""
    if isinstance(record, IdentitySpec):
        return record.client_ids_group
    if isinstance(record, Permission) and record.identity_type is Grantee.GROUP:
        return record.identity
    return ""


def folded(name: Name) -> Name:
    """A name without what people overlook: case, composition, outer blanks."""
    instance, noun, text = name
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    alike = text.casefold().strip()
    return name if alike == name[2] else (instance, noun, alike)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
