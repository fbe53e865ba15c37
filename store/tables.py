"""How records stand in tables: one row a record, one column a field. Knows no transaction."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from sys import intern
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar, get_type_hints

from store.records import (
    BlacklistEntry,
    Grantee,
    Group,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Record,
    Secret,
)

R = TypeVar("R", bound=Record)

_PROVENANCE: Final = tuple(field.name for field in fields(Record))
CLERICAL: Final = frozenset({"origin", "created_at", "updated_at", "revision"})
"""What tells where a record came from, not what it says: no difference in it is a change."""


class Subject(NamedTuple):
    """Whose view a record is part of: what a cache holds it under, and what a change evicts."""

    instance: str
    type: str
    name: str


@dataclass(frozen=True)
class Table(Generic[R]):
    """One kind of record and its table."""

    name: str
    record: type[R]
    key: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def has_secrets(self) -> bool:
        return self.record is Identity

    def key_of(self, row: sqlite3.Row) -> tuple[str, ...]:
        """The key of the record of a row."""
        return tuple(row[column] for column in self.key)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Field names in the order of the record; `id` stands in the column `record_id`."""
        return tuple(field.name for field in fields(self.record) if field.name != "secrets")

    def row(self, record: R) -> dict[str, Any]:
        """The column values of a record."""
        return dict(zip(self.names, self.values(record), strict=True))

    def values(self, record: R) -> list[Any]:
        """The column values of a record, in the order of `names`."""
        get, converted = self._writing
        values = list(get(record))
        for place in converted:
            values[place] = _plain(values[place])
        return values

    def from_row(self, row: Mapping[str, Any] | sqlite3.Row, secrets: Sequence[Secret] = ()) -> R:
        """The record of a row."""
        values = {name: convert(row[column]) for name, column, convert in self._reading}
        if self.has_secrets:
            values["secrets"] = tuple(secrets)
        return self.record(**values)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of the record."""
        return tuple(map(_column, self.columns))

    def select(self, where: str) -> str:
        """A query of whole rows, `row` number first where there is one."""
        return f"{self._selecting} WHERE {where}"

    @cached_property
    def _selecting(self) -> str:
        columns = ", ".join(_column(name) for name in self.columns)
        number = "" if self.record is Instance else "row, "
        return f"SELECT {number}{columns} FROM {self.name}"  # noqa: S608 - our own names alone

    @cached_property
    def _writing(self) -> tuple[Callable[[R], tuple[Any, ...]], tuple[int, ...]]:
        """What takes the fields of a record, and the places of those that stand otherwise in a column."""
        converted = _CONVERTERS[self.record].keys() - _SHARED
        places = tuple(place for place, name in enumerate(self.columns) if name in converted)
        return attrgetter(*self.columns), places

    @cached_property
    def _reading(self) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
        """Field, its column, and what makes the one of the other."""
        converters = _CONVERTERS[self.record]
        return tuple((name, _column(name), converters.get(name, _same)) for name in self.columns)


INSTANCES: Final = Table("instances", Instance, ("name",))
GROUPS: Final = Table("groups", Group, ("instance", "name"))
IDENTITIES: Final = Table("identities", Identity, ("instance", "identity_type", "username", "client_id"))
PERMISSIONS: Final = Table(
    "permissions", Permission, ("instance", "identity_type", "identity", "topic", "effect", "source")
)
BLACKLIST: Final = Table("blacklist", BlacklistEntry, ("instance", "client_id", "username", "source"))

TABLES: Final[tuple[Table[Any], ...]] = (INSTANCES, GROUPS, IDENTITIES, PERMISSIONS, BLACKLIST)
"""In the order in which records may be written: what others refer to comes first."""

BY_KIND: Final[Mapping[str, Table[Any]]] = {table.kind: table for table in TABLES}


def content(record: Record) -> dict[str, Any]:
    """What a record says, for plans and the change log: no clerical fields, secrets by id and fingerprint.

    Fields that hold their default are left out, so that a field of a later version changes no old content.
    """
    get, names, defaults, converted = _SAYING[type(record)]
    said = {name: value for name, value, default in zip(names, get(record), defaults, strict=True) if value != default}
    for name in converted:
        if name in said:
            said[name] = _plain(said[name])
    if "secrets" in said:
        said["secrets"] = [
            {"id": secret.id, "fingerprint": secret.fingerprint}
            | ({} if secret.expires_at is None else {"expires_at": secret.expires_at})
            for secret in sorted(said["secrets"], key=lambda secret: secret.id)
        ]
    return said


def content_json(record: Record) -> str:
    return _CONTENT_JSON(content(record))


def key_json(record: Record) -> str:
    return _KEY_JSON(record.key)


def subject_of(record: Record) -> Subject:
    """Whose view the record is part of."""
    match record:
        case Instance():
            return Subject(record.name, "INSTANCE", "")
        case Group():
            return Subject(record.instance, Grantee.GROUP.value, record.name)
        case Identity(identity_type=IdentityType.CLIENT):
            return Subject(record.instance, Grantee.CLIENT.value, record.client_id)
        case Identity():
            return Subject(record.instance, Grantee.USER.value, record.username)
        case Permission():
            return Subject(record.instance, record.identity_type.value, record.identity)
        case BlacklistEntry():
            by_client = bool(record.client_id)
            named = record.client_id if by_client else record.username
            return Subject(record.instance, (Grantee.CLIENT if by_client else Grantee.USER).value, named)
        case _:
            raise AssertionError(f"{type(record).__name__} is in nobody's view")


def secret_place(key: Sequence[str], secret_id: str) -> str:
    """What a sealed secret is bound to: moved to another record or id, it does not open."""
    return json.dumps([*map(str, key), secret_id])


def _column(name: str) -> str:
    return "record_id" if name == "id" else name


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value._value_  # `value` is a property that is written in Python
    return int(value) if isinstance(value, bool) else value


def _same(value: Any) -> Any:
    return value


def _converters(record: type[Record]) -> dict[str, Any]:
    """Enumerations and booleans come out of SQLite as text and integers; what all records share is one string."""
    hints = get_type_hints(record)
    return dict.fromkeys(_SHARED, intern) | {
        field.name: hints[field.name]
        for field in fields(record)
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], StrEnum | bool)
    }


_SHARED: Final = frozenset({"instance", "source"})
_CONVERTERS: Final = {table.record: _converters(table.record) for table in TABLES}
_CONTENT_JSON: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_KEY_JSON: Final = json.JSONEncoder(ensure_ascii=False).encode


class _Saying(NamedTuple):
    """What `content` takes of one kind of record."""

    get: Callable[[Record], tuple[Any, ...]]
    names: tuple[str, ...]
    defaults: tuple[Any, ...]
    """What a field says that is left out; `MISSING`, which no field is, where it never is."""
    converted: tuple[str, ...]

    @classmethod
    def of(cls, record: type[Record]) -> Self:
        said = [field for field in fields(record) if field.name not in CLERICAL]
        names = tuple(field.name for field in said)
        defaults = tuple(MISSING if field.name == "secrets" else field.default for field in said)
        return cls(attrgetter(*names), names, defaults, tuple(_CONVERTERS[record].keys() - _SHARED))


_SAYING: Final = {table.record: _Saying.of(table.record) for table in TABLES}
