"""The sections of one policy file as entries, each with its records and their places."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from store.names import InvalidRecord
from store.sync import account_entries, blocks, entries, schema
from store.sync.entries import Scope
from store.sync.lint_off import RULES, Off
from store.sync.placed import Placed, Written
from store.sync.source import Items, Mapping, Nothing, Text, Value, text_at
from store.sync.validation import validate

C = TypeVar("C", bound=schema.Entry)


def entries_of(root: Mapping, document: int, scope: Scope) -> Iterator[Written]:
    """The entries of a file; what is wrong is reported, and an entry that is wrong has no records."""
    yield from _instances(root, document, scope)
    yield from _groups(root, document, scope)
    for identity, at in _valid(root, "identities", schema.IdentityEntry, scope):
        spec = entries.read_identity(identity, at, scope)
        yield _common("identities", document, identity, at, [spec] if spec else [], scope=scope)
    yield from _access_keys(root, document, scope)
    for credential, at in _valid(root, "device_credentials", schema.DeviceCredentialEntry, scope):
        key = account_entries.read_device_credential(credential, at, scope)
        yield _common("device_credentials", document, credential, at, [key] if key else [], scope=scope)
    for block, at in _valid(root, "permissions", schema.PermissionBlock, scope):
        yield _common("permissions", document, block, at, blocks.read_permissions(block, at, scope), scope=scope)
    for entry, at in _valid(root, "blacklist", schema.BlacklistEntry, scope):
        record = entries.read_blacklist_entry(entry, at, scope)
        yield _common("blacklist", document, entry, at, [record] if record else [], scope=scope)


def named(root: Mapping, section: str, scope: Scope) -> Iterator[tuple[Text, Value]]:
    """The keys and values of a section that gives its entries names."""
    value = root.get(section, Mapping())
    if isinstance(value, Mapping):
        for name, one in value.items():
            at = value.key_at(name)
            yield text_at(name, at), one
    elif not isinstance(value, Nothing):
        scope.error(value, f"`{section}` is a mapping; write `NAME: {{…}}`, one for each {section[:-1]}")


def read_off(root: Mapping, scope: Scope) -> Iterator[Off]:
    """The lint rules that a file turns off."""
    for value in listed(root, "lint", scope):
        entry = validate(schema.OffEntry, value, scope.error)
        if entry and isinstance(value, Mapping):
            if entry.off not in RULES:
                close = difflib.get_close_matches(entry.off, RULES, n=1)
                mend = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(RULES)}"
                scope.error(value["off"], f"there is no lint rule {str(entry.off)!r}; {mend}")
            yield Off(entry.off, entry.record, scope.file, value.line, entry.reason)


def _instances(root: Mapping, document: int, scope: Scope) -> Iterator[Written]:
    for name, settings in named(root, "instances", scope):
        entry = validate(schema.InstanceEntry, settings, scope.error) or schema.InstanceEntry()
        try:
            made = entries.read_instance(str(name), entry, name, scope)
        except InvalidRecord as wrong:
            scope.error(name, str(wrong))
        else:
            key, placed = scope.place(str(name), name), scope.place(made, name)
            yield Written("instances", document, ("instance", str(name)), key, entry.override, [placed])


def _groups(root: Mapping, document: int, scope: Scope) -> Iterator[Written]:
    for value in listed(root, "groups", scope):
        entry = validate(schema.GroupEntry, _as_mapping(value), scope.error)
        if entry:
            group = entries.read_group(entry, value, scope)
            key, placed = scope.place(group.name, value), scope.place(group, value)
            yield Written("groups", document, ("group", *group.key), key, entry.override, [placed])


def _access_keys(root: Mapping, document: int, scope: Scope) -> Iterator[Written]:
    for entry, at in _valid(root, "access_keys", schema.AccessKeyEntry, scope):
        spec = account_entries.read_access_key(entry, at, scope)
        name = scope.place(entry.id, at.get("id", at))
        yield Written("access_keys", document, ("access_key", entry.id), name, entry.override, [spec] if spec else [])


def _common(
    section: str, document: int, entry: schema.Common, at: Mapping, records: Sequence[Placed[Any]], *, scope: Scope
) -> Written:
    name = ("id", entry.id) if entry.id else ()
    return Written(section, document, name, scope.place(entry.id, at.get("id", at)), entry.override, records)


def _valid(root: Mapping, section: str, model: type[C], scope: Scope) -> Iterator[tuple[C, Mapping]]:
    """The valid entries of one section."""
    for value in listed(root, section, scope):
        entry = validate(model, value, scope.error)
        if entry and isinstance(value, Mapping):
            yield entry, value


def listed(root: Mapping, section: str, scope: Scope) -> list[Value]:
    """The entries of a section that is a list."""
    value = root.get(section, Items())
    if isinstance(value, Items):
        return [one for one in value if not isinstance(one, Nothing)]
    if not isinstance(value, Nothing):
        scope.error(value, f"`{section}` is a list; write `- ` before each entry")
    return []


def _as_mapping(value: Value) -> Value:
    """A group may be written as its id alone."""
    return Mapping.at(value, [(text_at("id", value, plain=True), value)]) if isinstance(value, Text) else value
