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

from store.account_records import AccessKey, DeviceCredential, Token, TokenKey
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
    secrets: str = ""
    """The table of its secrets, if it has any; there the column `kind` holds the record's row."""

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def has_instance(self) -> bool:
        """Whether each of its records stands in one instance."""
        return "instance" in self.columns

    @property
    def has_secrets(self) -> bool:
        return bool(self.secrets)

    def secret_place(self, key: Sequence[str], secret_id: str) -> str:
        """What a sealed secret is bound to: moved to another record or id, it does not open."""
        # Identities came first, and have no word for their kind; their keys have four parts, others' have not.
        kind = () if self.record is Identity else (self.kind,)
        return json.dumps([*kind, *map(str, key), secret_id])

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
            values[place] = _stored(values[place])
        return values

    def from_row(self, row: Mapping[str, Any] | sqlite3.Row, secrets: Sequence[Secret] = ()) -> R:
        """The record of a row."""
        values = {name: convert(row[column]) for name, column, convert in self._reading}
        if self.has_secrets:
            values["secrets"] = tuple(secrets)
        return self.record(**values)

    def restore(self, values: list[Any], secrets: Sequence[Secret] = ()) -> R:
        """The record that `values` were taken from, which are used up: what was checked once is not again."""
        record = object.__new__(self.record)
        puts, converted = self._restoring
        for place, convert in converted:
            values[place] = convert(values[place])
        for put, value in zip(puts, values, strict=True):
            put(record, value)
        if self.has_secrets:
            object.__setattr__(record, "secrets", tuple(secrets))
        return record

    @cached_property
    def _restoring(self) -> tuple[list[Callable[[R, Any], None]], list[tuple[int, Callable[[Any], Any]]]]:
        """What sets each field, in the order of `values`; and what makes the value of some of what is in a column."""
        return [getattr(self.record, name).__set__ for name in self.columns], [
            (place, _restorer(convert)) for place, (_, _, convert) in enumerate(self._reading) if convert is not _same
        ]

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
IDENTITIES: Final = Table(
    "identities", Identity, ("instance", "identity_type", "username", "client_id"), "identity_secrets"
)
PERMISSIONS: Final = Table(
    "permissions", Permission, ("instance", "identity_type", "identity", "topic", "effect", "source")
)
BLACKLIST: Final = Table("blacklist", BlacklistEntry, ("instance", "client_id", "username", "source"))

ACCESS_KEYS: Final = Table("access_keys", AccessKey, ("access_key_id",), "access_key_secrets")
DEVICE_CREDENTIALS: Final = Table(
    "device_credentials", DeviceCredential, ("instance", "client_id"), "device_credential_secrets"
)
TOKENS: Final = Table("tokens", Token, ("token_id",))
TOKEN_KEYS: Final = Table("token_keys", TokenKey, ("name",), "token_key_secrets")

TABLES: Final[tuple[Table[Any], ...]] = (
    INSTANCES,
    GROUPS,
    IDENTITIES,
    ACCESS_KEYS,
    DEVICE_CREDENTIALS,
    PERMISSIONS,
    BLACKLIST,
)
"""What policy files hold, in the order in which records may be written: what others refer to comes first."""

ALL_TABLES: Final[tuple[Table[Any], ...]] = (*TABLES, TOKENS, TOKEN_KEYS)
"""What the store holds: also what is issued, and never written down."""

BY_KIND: Final[Mapping[str, Table[Any]]] = {table.kind: table for table in ALL_TABLES}

RecordWithSecrets = Identity | AccessKey | DeviceCredential | TokenKey
WITH_SECRETS: Final = (Identity, AccessKey, DeviceCredential, TokenKey)

OF_TOKEN: Final = "TOKEN"  # noqa: S105 - a type of subject, no password
OF_TOKEN_KEY: Final = "TOKEN_KEY"  # noqa: S105 - the same


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
    return _SUBJECTS[type(record)](record)


def _identity_subject(identity: Identity) -> Subject:
    if identity.identity_type is IdentityType.CLIENT:
        return Subject(identity.instance, Grantee.CLIENT.value, identity.client_id)
    return Subject(identity.instance, Grantee.USER.value, identity.username)


def _blacklist_subject(entry: BlacklistEntry) -> Subject:
    if entry.client_id:
        return Subject(entry.instance, Grantee.CLIENT.value, entry.client_id)
    return Subject(entry.instance, Grantee.USER.value, entry.username)


_SUBJECTS: Final[Mapping[type[Record], Callable[[Any], Subject]]] = {
    Instance: lambda one: Subject(one.name, "INSTANCE", ""),
    Group: lambda one: Subject(one.instance, Grantee.GROUP.value, one.name),
    Identity: _identity_subject,
    Permission: lambda one: Subject(one.instance, one.identity_type.value, one.identity),
    BlacklistEntry: _blacklist_subject,
    # It may count in several instances; its grants stand under the same name in each of them.
    AccessKey: lambda one: Subject("", Grantee.ACCESS_KEY.value, one.access_key_id),
    DeviceCredential: lambda one: Subject(one.instance, Grantee.CLIENT.value, one.client_id),
    Token: lambda one: Subject(one.instance, OF_TOKEN, one.token_id),
    TokenKey: lambda one: Subject("", OF_TOKEN_KEY, one.name),
}


def _column(name: str) -> str:
    return "record_id" if name == "id" else name


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value._value_  # `value` is a property that is written in Python
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, bool) else value


SEVERAL: Final = tuple[str, ...]
"""Fields of this type stand in one column, as a JSON list."""


def _stored(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else _plain(value)


def _several(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _same(value: Any) -> Any:
    return value


def _restorer(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A look-up takes a tenth of the time of an enumeration's call."""
    if isinstance(convert, type) and issubclass(convert, StrEnum):
        return {member.value: member for member in convert}.__getitem__
    return convert


def _converters(record: type[Record]) -> dict[str, Any]:
    """Enumerations and booleans come out of SQLite as text and integers; what all records share is one string."""
    hints = get_type_hints(record)
    return (
        dict.fromkeys(_SHARED, intern)
        | {
            field.name: hints[field.name]
            for field in fields(record)
            if isinstance(hints[field.name], type) and issubclass(hints[field.name], StrEnum | bool)
        }
        | {field.name: _several for field in fields(record) if hints[field.name] == SEVERAL}
    )


_SHARED: Final = frozenset({"instance", "source"})
_CONVERTERS: Final = {table.record: _converters(table.record) for table in ALL_TABLES}
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


_SAYING: Final = {table.record: _Saying.of(table.record) for table in ALL_TABLES}
