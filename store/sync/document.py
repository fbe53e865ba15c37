"""Policy files to a validated `Policy`: all mistakes of all files at once, or none."""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from store.records import Instance
from store.sync import blocks, schema
from store.sync.cases import Cases
from store.sync.crosscheck import Survey
from store.sync.entries import Scope
from store.sync.files import File, read_files
from store.sync.findings import Findings, InvalidPolicy, PolicyError, PolicyWarning
from store.sync.included import Included
from store.sync.inclusion import Inclusion
from store.sync.layers import Overrides
from store.sync.lint_off import Off
from store.sync.placed import Written
from store.sync.policy import IdentitySpec, Policy, Records, SyncRules
from store.sync.roles import Role, Roles
from store.sync.scalars import check_name
from store.sync.sections import entries_of, named, read_off
from store.sync.settings import Settings
from store.sync.source import Mapping, Place, read_source
from store.sync.validation import validate
from store.sync.variables import Vars
from store.sync.wording import handle

__all__ = [
    "IdentitySpec",
    "InvalidPolicy",
    "Policy",
    "PolicyError",
    "PolicyWarning",
    "SyncRules",
    "load_policy",
]

_APART: Final = frozenset(
    {
        "include",
        "instances",
        "groups",
        "identities",
        "access_keys",
        "device_credentials",
        "roles",
        "permissions",
        "blacklist",
        "fixtures",
        "tests",
        "lint",
    }
)
"""Keys whose values are validated entry by entry."""
_DECIDING: Final = ("identities", "access_keys", "device_credentials", "permissions", "blacklist")
"""Sections whose records decide, so that a test may expect one of them."""
_WITH_INSTANCE: Final = ("groups", "identities", "access_keys", "device_credentials", "permissions", "blacklist")
_AS_IT_IS: Final[Map[Path, bytes]] = MappingProxyType({})


def load_policy(
    paths: Sequence[Path], *, commit: str = "", unpacked: bool = False, instead: Map[Path, bytes] = _AS_IT_IS
) -> Policy:
    """Read policy files and folders as one policy.

    Of a folder, the files ``*.yaml`` and ``*.yml`` right in it are read, sorted by name, hidden ones skipped.
    ``-`` is standard input. `commit` goes into the origin of each record; where the files are `unpacked` from it, git
    is not asked whether it holds the included ones. `instead` holds what some of the files would say: they are not
    read.

    Raises:
        InvalidPolicy: with all mistakes of all files; a file that cannot be read is one.
    """
    findings = Findings()
    documents = [
        _Document(number, file, root)
        for number, file in enumerate(read_files(paths, findings, instead))
        if (root := _root(file, findings))
    ]
    return _Loading(documents, findings, commit, unpacked=unpacked).policy()


@dataclass(slots=True)
class _Document:
    """One policy file, and what is read of it."""

    number: int
    file: File
    root: Mapping
    entries: list[Written] = field(default_factory=list)
    included: list[Included] = field(default_factory=list)


class _Loading:
    """One policy, on its way from files to records."""

    def __init__(self, documents: list[_Document], findings: Findings, commit: str, *, unpacked: bool) -> None:
        self._documents = documents
        self._findings = findings
        self._commit = commit
        self._vars = Vars(findings)
        self._settings = Settings(findings)
        self._roles = Roles(findings)
        self._overrides = Overrides(findings)
        self._inclusion = Inclusion(self._vars, unpacked=unpacked)
        self._cases = Cases()
        self._off: tuple[Off, ...] = ()

    def policy(self) -> Policy:
        """The policy.

        Raises:
            InvalidPolicy: with all mistakes.
        """
        self._off = tuple(off for one in self._documents for off in read_off(one.root, self._scope(one)))
        self._findings.turn_off(self._off)
        for one in self._documents:
            self._vars.read(one.file.name, one.root)
        for one in self._documents:
            self._vars.expand(one.file.name, one.root)
            self._read_settings(one)
        for one in self._documents:
            self._read_roles(one)
        for one in self._documents:
            self._read_entries(one)
        survey = self._survey()
        self._roles.warn_unused()
        self._vars.warn_unused()
        self._read_cases()
        if self._findings.errors:
            raise InvalidPolicy(self._findings.errors)
        return self._made(survey)

    def _read_settings(self, one: _Document) -> None:
        """All of a file but its entries, which are validated one by one."""
        rest = Mapping.at(one.root)
        rest.update((key, value) for key, value in one.root.items() if key not in _APART)
        header = validate(
            schema.Header,
            rest,
            lambda at, message: self._findings.error(one.file.name, at, message),
            part_of=schema.PolicyFile,
        )
        if header:
            self._settings.read(one.file.name, header, one.root)

    def _read_roles(self, one: _Document) -> None:
        scope = self._scope(one)
        for name, value in named(one.root, "roles", scope):
            try:
                check_name(name)
            except ValueError as wrong:
                scope.error(name, str(wrong))
            entry = validate(schema.RoleEntry, value, scope.error)
            placed = scope.place(str(name), name)
            if entry and isinstance(value, Mapping):
                self._roles.add(blocks.read_role(placed, entry, value, one.number, scope))
            else:
                # It is there, though wrong: blocks that take it have no mistake of their own.
                self._roles.add(Role(placed, (), one.number, override=False))

    def _read_entries(self, one: _Document) -> None:
        scope = self._scope(one)
        one.entries += entries_of(one.root, one.number, scope)
        one.included += self._inclusion.open(one.root, one.file.folder, one.number, scope)
        for made in one.entries:
            if made.override:
                self._overrides.add(made)
        for file in one.included:
            for made in file.overrides():
                self._overrides.add(made)

    def _read_cases(self) -> None:
        for one in self._documents:
            self._cases.read_fixtures(one.root, self._scope(one))
        for one in self._documents:
            self._cases.read_cases(one.root, self._scope(one))
        if not self._findings.errors:
            # A rule that is wrong itself would be reported as one that is not there.
            self._cases.check_rules(lambda: (handle(one) for section in _DECIDING for one in self._records(section)))

    def _survey(self) -> Survey:
        """Leave out what is replaced, and look at all the rest together."""
        for one in self._documents:
            one.entries = [made for made in one.entries if not self._overrides.replace(made)]
        survey = Survey(self._listed("instances"), self._listed("groups"), self._findings)
        for one in self._documents:
            for made in one.entries:
                survey.take(made)
            for file in one.included:
                for made in file.entries():
                    if self._overrides and self._overrides.replace(made):
                        file.replaced.add(made.named.at.line)
                    else:
                        file.count += len(made.records)
                        survey.take(made)
        self._overrides.check()
        survey.report(self._all_entries)
        return survey

    def _all_entries(self) -> Iterator[Written]:
        for one in self._documents:
            yield from one.entries
            for file in one.included:
                yield from (made for made in file.entries() if made.named.at.line not in file.replaced)

    def _made(self, survey: Survey) -> Policy:
        instances = tuple(self._listed("instances"))
        declared = {one.name for one in instances}
        used: dict[str, str] = {}
        for name, origin in survey.used_instances(_WITH_INSTANCE):
            if name not in declared:
                used.setdefault(name, origin)
        source = self._settings.source
        return Policy(
            source=source,
            sync=self._settings.sync,
            default_instance=self._settings.instance,
            instances=(*instances, *(Instance(name=name, source=source, origin=used[name]) for name in used)),
            implicit_instances=frozenset(used),
            groups=tuple(self._listed("groups")),
            identities=self._records("identities"),
            access_keys=tuple(self._listed("access_keys")),
            device_credentials=tuple(self._listed("device_credentials")),
            permissions=self._records("permissions"),
            blacklist=self._records("blacklist"),
            warnings=self._findings.warnings,
            files=(*(one.file.path for one in self._documents), *self._inclusion.files),
            commit=self._commit if self._inclusion.at_commit else "",
            cases=self._cases.cases,
            off=self._off,
            silencing=self._findings.silencing,
        )

    def _listed(self, section: str) -> Iterator[Any]:
        for one in self._documents:
            yield from _items(one, section)

    def _records(self, section: str) -> Sequence[Any]:
        """The records of all files; a plain tuple, where nothing is included."""
        parts: list[Any] = []
        for one in self._documents:
            parts.append(tuple(_items(one, section)))
            parts += [file for file in one.included if file.kind.section == section]
        if all(isinstance(part, tuple) for part in parts):
            return tuple(record for part in parts for record in part)
        return Records(parts)

    def _scope(self, one: _Document) -> Scope:
        return Scope(
            file=one.file.name,
            commit=self._commit,
            source=self._settings.source,
            instance=self._settings.instance,
            findings=self._findings,
            roles=self._roles,
        )


def _items(one: _Document, section: str) -> Iterator[Any]:
    return (placed.item for made in one.entries if made.section == section for placed in made.records)


def _root(file: File, findings: Findings) -> Mapping | None:
    source = read_source(file.data)
    for fault in source.faults:
        findings.error(file.name, Place(fault.line, fault.column), fault.message)
    return source.root
