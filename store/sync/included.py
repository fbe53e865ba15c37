"""Files of rows as entries of a policy: read again whenever they are asked for, so that none is held as objects.

The bytes are kept, not the file: it may change or go while the policy is compared with a store.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Map
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from store.sync import blocks, entries, plain_rows, schema
from store.sync.entries import Scope
from store.sync.findings import Findings
from store.sync.placed import Placed, Written
from store.sync.plain_rows import Plain, PlainRows
from store.sync.source import Items, Located, Mapping, Place, Text, Value, text_at
from store.sync.syntax import Fault, InvalidSource
from store.sync.table import FLAGS, Row, Table
from store.sync.validation import validate
from store.sync.variables import Vars, WrongVar

MAX_MISTAKES: Final = 100
"""A file with so many is not read on."""

_SECRETS: Final = frozenset({"secret", "secrets"})


@dataclass(frozen=True, slots=True)
class Kind:
    """How the rows of a section are read."""

    section: str
    model: type[schema.Common]
    short: type[PlainRows]
    careful: Callable[[Any, Mapping, Scope], Sequence[Placed[Any]]]


def _one(placed: Placed[Any] | None) -> Sequence[Placed[Any]]:
    return () if placed is None else (placed,)


KINDS: Final = {
    kind.section: kind
    for kind in (
        Kind(
            "identities", schema.IdentityEntry, plain_rows.IdentityRows, lambda *row: _one(entries.read_identity(*row))
        ),
        Kind("permissions", schema.PermissionBlock, plain_rows.PermissionRows, blocks.read_permissions),
        Kind(
            "blacklist",
            schema.BlacklistEntry,
            plain_rows.BlacklistRows,
            lambda *row: _one(entries.read_blacklist_entry(*row)),
        ),
    )
}


@dataclass(slots=True)
class Included:
    """One included file."""

    kind: Kind
    document: int
    table: Table = field(repr=False)
    scope: Scope
    vars: Vars = field(repr=False)
    defaults: Mapping
    """What rows take that do not say."""
    has_vars: bool
    """Whether a row may refer to a var."""
    may_override: bool
    """Whether a row may replace an entry of an earlier file."""
    replaced: set[int] = field(default_factory=set)
    """Lines of the rows that later files replace."""
    count: int = 0
    """How many records its rows make."""

    _short: PlainRows = field(init=False, repr=False)
    _plain_defaults: Plain = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._short = self.kind.short(self.scope)
        self._plain_defaults = _plain(self.defaults)

    @property
    def file(self) -> str:
        return self.scope.file

    def entries(self) -> Iterator[Written]:
        """Each entry; what is wrong is reported, and with `MAX_MISTAKES` the file is given up."""
        for row, records in self._read(self.scope):
            at = Place(row.line, 1)
            placed = [Placed(one, self.file, at) for one in records]
            if placed:
                name = str(placed[0].item.id)
                yield Written(
                    self.kind.section,
                    self.document,
                    _named(name),
                    Placed(name, self.file, at),
                    override=False,
                    records=placed,
                )
        for fault in self.table.warnings:
            self.scope.warn(Place(fault.line, fault.column), fault.message, rule="unread-column")

    def overrides(self) -> Iterator[Written]:
        """The entries that replace ones of earlier files; mistakes are left to `entries`."""
        if not self.may_override:
            return
        with suppress(InvalidSource):
            for row in self.table.rows():
                said = self.table.located(row, []) if row.plain is None else row.plain
                if said is not None and said.get("override") in (True, "true"):
                    name = str(said.get("id", ""))
                    named = Placed(name, self.file, Place(row.line, 1))
                    yield Written(self.kind.section, self.document, _named(name), named, override=True, records=())

    def __iter__(self) -> Iterator[Any]:
        """The records, made anew."""
        for row, records in self._read(replace(self.scope, findings=Findings())):
            if row.line not in self.replaced:
                yield from records

    def __len__(self) -> int:
        return self.count

    def _read(self, scope: Scope) -> Iterator[tuple[Row, Sequence[Any]]]:
        """Each row, and its records."""
        try:
            for row in self.table.rows():
                records = self._shortly(row)
                if records is None:
                    records = self._carefully(row, scope)
                    if scope.findings.errors_in(self.file) >= MAX_MISTAKES:
                        message = f"{MAX_MISTAKES} mistakes by here, and the file was not read on; mend these first"
                        scope.error(Place(row.line, 1), message)
                        return
                yield row, records
        except InvalidSource as wrong:
            scope.error(Place(wrong.fault.line, wrong.fault.column), wrong.fault.message)

    def _shortly(self, row: Row) -> Sequence[Any] | None:
        plain = row.plain
        if plain is None:
            return None
        if self.has_vars:
            try:
                plain = self.vars.put_all(plain)
            except WrongVar:
                return None
        if self._plain_defaults:
            plain = {**_for(plain, self._plain_defaults), **plain}
        return self._short.records(plain, row.line)

    def _carefully(self, row: Row, scope: Scope) -> Sequence[Any]:
        faults: list[Fault] = []
        located = self.table.located(row, faults)
        for fault in faults:
            scope.error(Place(fault.line, fault.column), fault.message)
        if located is None:
            return ()
        if self.has_vars:
            self.vars.expand_row(self.file, located)
        for key, value in _for(located, self.defaults).items():
            located[text_at(key, located)] = _placed(value, located)
        entry = validate(self.kind.model, located, scope.error)
        return [one.item for one in self.kind.careful(entry, located, scope)] if entry and not faults else ()


def _named(name: str) -> tuple[str, ...]:
    return ("id", name) if name else ()


V = TypeVar("V")


def _for(row: Map[str, Any], defaults: Map[str, V]) -> dict[str, V]:
    """The defaults that a row takes: no second kind of secrets beside its own."""
    own_secrets = not _SECRETS.isdisjoint(row)
    return {key: value for key, value in defaults.items() if key not in row and not (own_secrets and key in _SECRETS)}


def _plain(value: Value, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one, name) for name, one in value.items()}
    if isinstance(value, Items):
        return [_plain(one) for one in value]
    return value == "true" if key in FLAGS else str(value)


def _placed(value: Value, at: Located) -> Value:
    """A copy of a value at another place: that of the row which takes it."""
    if isinstance(value, Mapping):
        return Mapping.at(at, [(text_at(key, at), _placed(one, at)) for key, one in value.items()])
    if isinstance(value, Items):
        items = Items(_placed(one, at) for one in value)
        items.line, items.column = at.line, at.column
        return items
    return text_at(value, at, plain=value.plain) if isinstance(value, Text) else value
