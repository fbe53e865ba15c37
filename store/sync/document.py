"""Policy files to a validated `Policy`: all mistakes of all files at once, or none."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from store.records import BlacklistEntry, Group, Instance, InvalidRecord, Permission
from store.sync import crosscheck, entries, schema
from store.sync.entries import Placed, Scope
from store.sync.findings import Findings, InvalidPolicy, PolicyError, PolicyWarning
from store.sync.policy import IdentitySpec, Policy, SyncRules
from store.sync.settings import Settings
from store.sync.source import Items, Located, Mapping, Nothing, Place, Text, Value, read_source
from store.sync.syntax import MAX_BYTES
from store.sync.validation import validate

__all__ = [
    "IdentitySpec",
    "InvalidPolicy",
    "Policy",
    "PolicyError",
    "PolicyWarning",
    "SyncRules",
    "load_policy",
]

STDIN: Final = Path("-")
_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_SECTIONS: Final = ("instances", "groups", "identities", "permissions", "blacklist")

E = TypeVar("E", bound=schema.Entry)


def load_policy(paths: Sequence[Path], *, commit: str = "") -> Policy:
    """Read policy files and folders as one policy.

    Of a folder, the files ``*.yaml`` and ``*.yml`` right in it are read, sorted by name, hidden ones skipped.
    ``-`` is standard input. `commit` goes into the origin of each record.

    Raises:
        InvalidPolicy: with all mistakes of all files; a file that cannot be read is one.
    """
    findings = Findings()
    files = [(name, root) for name, data in _read_files(paths, findings) if (root := _root(name, data, findings))]
    settings = Settings(findings)
    for name, root in files:
        _read_settings(name, root, settings, findings)
    collected = _Collected()
    for name, root in files:
        scope = Scope(file=name, commit=commit, source=settings.source, instance=settings.instance, findings=findings)
        _read_entries(root, scope, collected)
    collected.check(findings)
    if findings.errors:
        raise InvalidPolicy(findings.errors)
    implicit = tuple(collected.implicit_instances(settings.source))
    return Policy(
        source=settings.source,
        sync=settings.sync,
        default_instance=settings.instance,
        instances=(*_items(collected.instances), *implicit),
        implicit_instances=frozenset(instance.name for instance in implicit),
        groups=_items(collected.groups),
        identities=_items(collected.identities),
        permissions=_items(collected.permissions),
        blacklist=_items(collected.blacklist),
        warnings=findings.warnings,
    )


T = TypeVar("T")


def _items(placed: Iterable[Placed[T]]) -> tuple[T, ...]:
    return tuple(one.item for one in placed)


@dataclass(slots=True)
class _Collected:
    """The records of all files, each with its place."""

    instances: list[Placed[Instance]] = field(default_factory=list)
    groups: list[Placed[Group]] = field(default_factory=list)
    identities: list[Placed[IdentitySpec]] = field(default_factory=list)
    permissions: list[Placed[Permission]] = field(default_factory=list)
    blacklist: list[Placed[BlacklistEntry]] = field(default_factory=list)
    ids: list[Placed[str]] = field(default_factory=list)

    def check(self, findings: Findings) -> None:
        crosscheck.check_ids(self.ids, findings)
        crosscheck.check_keys(self.instances, crosscheck.said_of_instance, findings)
        crosscheck.check_keys(self.groups, crosscheck.said_of_group, findings)
        crosscheck.check_keys(self.identities, crosscheck.said_of_identity, findings)
        crosscheck.check_keys(self.permissions, crosscheck.said_of_permission, findings)
        crosscheck.check_keys(self.blacklist, crosscheck.said_of_blacklist, findings)
        crosscheck.check_groups(self.groups, self.identities, self.permissions, findings)
        crosscheck.check_confusables(self.identities, self.permissions, self.blacklist, findings)

    def implicit_instances(self, source: str) -> Iterator[Instance]:
        """One with default settings for each name that is used and not declared, in order of use."""
        known = {one.item.name for one in self.instances}
        used = (self.groups, self.identities, self.permissions, self.blacklist)
        for record in (one.item for placed in used for one in placed):
            if record.instance not in known:
                known.add(record.instance)
                yield Instance(name=record.instance, source=source, origin=record.origin)


def _read_files(paths: Sequence[Path], findings: Findings) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each file, in the order given."""
    if not paths:
        findings.error(".", Place(), "no policy file; name files or folders")
    seen: set[Path] = set()
    for path in paths:
        for file in _expand(path, findings):
            name = "<stdin>" if file == STDIN else str(file)
            findings.begin(name)
            try:
                place = file.resolve()
                if place in seen:
                    findings.error(name, Place(), "the file is named twice; name it once")
                    continue
                seen.add(place)
                data = _read_bytes(file)
            except (OSError, RuntimeError) as wrong:
                _unreadable(name, wrong, findings)
            else:
                yield name, data


def _expand(path: Path, findings: Findings) -> list[Path]:
    """The files of a folder; a file as it is."""
    try:
        if path == STDIN or not path.is_dir():
            return [path]
        files = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and not one.name.startswith("."))
    except OSError as wrong:
        findings.begin(str(path))
        _unreadable(str(path), wrong, findings)
        return []
    if not files:
        findings.begin(str(path))
        findings.error(str(path), Place(), "a folder without policy files; name one that holds *.yaml")
    return files


def _unreadable(name: str, wrong: OSError | RuntimeError, findings: Findings) -> None:
    # A loop of symbolic links is a RuntimeError to pathlib, which has no text of the system.
    why = getattr(wrong, "strerror", None) or "a loop of links"
    findings.error(name, Place(), f"cannot be read ({why}); name a policy file or a folder of them")


def _read_bytes(path: Path) -> bytes:
    """At most one byte more than is accepted."""
    if path == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _root(name: str, data: bytes, findings: Findings) -> Mapping | None:
    source = read_source(data)
    for fault in source.faults:
        findings.error(name, Place(fault.line, fault.column), fault.message)
    return source.root


def _read_settings(name: str, root: Mapping, settings: Settings, findings: Findings) -> None:
    """All of a file but its entries, which are validated one by one."""
    rest = Mapping((key, value) for key, value in root.items() if key not in _SECTIONS)
    rest.line, rest.column = root.line, root.column
    header = validate(schema.PolicyFile, rest, lambda at, message: findings.error(name, at, message))
    if header:
        settings.read(name, header, root)


def _read_entries(root: Mapping, scope: Scope, collected: _Collected) -> None:
    collected.instances += _instances(root, scope)
    for value in _list(root, "groups", scope):
        if group := validate(schema.GroupEntry, _as_mapping(value), scope.error):
            collected.groups.append(scope.place(entries.read_group(group, value, scope), value))
    for identity, at in _entries(root, "identities", schema.IdentityEntry, scope, collected):
        if spec := entries.read_identity(identity, at, scope):
            collected.identities.append(spec)
    for block, at in _entries(root, "permissions", schema.PermissionBlock, scope, collected):
        collected.permissions += entries.read_permissions(block, at, scope)
    for entry, at in _entries(root, "blacklist", schema.BlacklistEntry, scope, collected):
        if record := entries.read_blacklist_entry(entry, at, scope):
            collected.blacklist.append(record)


C = TypeVar("C", bound=schema.Common)


def _entries(
    root: Mapping, section: str, model: type[C], scope: Scope, collected: _Collected
) -> Iterator[tuple[C, Mapping]]:
    """The valid entries of one section; their ids are noted."""
    for value in _list(root, section, scope):
        entry = validate(model, value, scope.error)
        if entry and isinstance(value, Mapping):
            if entry.id:
                collected.ids.append(scope.place(entry.id, value["id"]))
            yield entry, value


def _list(root: Mapping, section: str, scope: Scope) -> Iterable[Value]:
    value = root.get(section, Items())
    if isinstance(value, Items):
        return [one for one in value if not isinstance(one, Nothing)]
    if not isinstance(value, Nothing):
        scope.error(value, f"`{section}` is a list; write `- ` before each entry")
    return []


def _instances(root: Mapping, scope: Scope) -> Iterator[Placed[Instance]]:
    value = root.get("instances", Mapping())
    if isinstance(value, Mapping):
        for name, settings in value.items():
            at = value.key_at(name)
            entry = validate(schema.InstanceEntry, settings, scope.error)
            try:
                made = entries.read_instance(str(name), entry or schema.InstanceEntry(), at, scope)
            except InvalidRecord as wrong:
                scope.error(at, str(wrong))
            else:
                yield scope.place(made, at)
    elif not isinstance(value, Nothing):
        scope.error(value, "`instances` is a mapping; write `NAME: {…}`, one for each instance")


def _as_mapping(value: Value) -> Value:
    """A group may be written as its id alone."""
    if not isinstance(value, Text):
        return value
    made = Mapping({_key_at("id", value): value})
    made.line, made.column = value.line, value.column
    return made


def _key_at(key: str, at: Located) -> Text:
    made = Text(key)
    made.line, made.column, made.plain = at.line, at.column, True
    return made
