"""The records of a store beside those that are wanted: looked up many at a time, compared as rows.

A record is made of a row only where it differs, so that a million that do not cost little time and no memory.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, TypeVar

from store.database import Database
from store.records import Instance, Record, Secret, SecretForm
from store.sync.policy import KeySpec, Spec
from store.tables import CLERICAL, Table

TOGETHER: Final = 1_000
"""So many are looked up at once."""

W = TypeVar("W", bound=Record | Spec)


class Row(NamedTuple):
    """A record as its row says it."""

    number: int
    values: tuple[Any, ...]
    """In the order of `Table.names`."""
    secrets: tuple[Secret, ...]
    """By id, fingerprint and expiry; sealed."""


class Standing:
    """The rows of one table, in a read transaction that stands."""

    def __init__(self, database: Database, table: Table[Any]) -> None:
        self._table = table
        self._connection = database.connection
        self._cursor = database.connection.cursor()
        # Tuples come out quicker than `sqlite3.Row`s, and compare.
        self._cursor.row_factory = None
        self._columns = ", ".join(f"t.{name}" for name in table.names)
        self._source = table.names.index("source")
        self._origin = table.names.index("origin")
        self._said, self._asked = _what_is_said(table)

    def beside(self, wanted: Iterable[W]) -> Iterator[tuple[W, Row | None]]:
        """Each of them, and the row that has its key, whoever owns it."""
        if self._cursor.execute(f"SELECT 1 FROM {self._table.name} LIMIT 1").fetchone() is None:  # noqa: S608 - our own names
            yield from ((one, None) for one in wanted)
            return
        left = iter(wanted)
        while some := list(islice(left, TOGETHER)):
            found = self._looked_up([one.key for one in some])
            yield from ((one, found.get(number)) for number, one in enumerate(some))

    def count(self, source: str) -> int:
        """How many records a source has."""
        statement = f"SELECT count(*) FROM {self._table.name} WHERE source = ?"  # noqa: S608 - our own names
        return int(self._cursor.execute(statement, (source,)).fetchone()[0])

    def others(self, source: str, numbers: "array[int]") -> Iterator[Record]:
        """The records of a source but for those of some rows."""
        known = set(numbers)
        cursor = self._connection.cursor()
        cursor.row_factory = None
        select = f"SELECT t.rowid, {self._columns} FROM {self._table.name} AS t WHERE source = ? ORDER BY t.rowid"  # noqa: S608 - our own names
        for number, *values in cursor.execute(select, (source,)):
            if number not in known:
                yield self.record(Row(number, tuple(values), self._secrets([number]).get(number, ())))

    def owner(self, row: Row) -> str:
        return str(row.values[self._source])

    def origin(self, row: Row) -> str:
        return str(row.values[self._origin])

    def says(self, row: Row, wanted: Record | Spec) -> bool:
        """Whether a row says what is wanted, but for secrets."""
        if isinstance(wanted, KeySpec | Instance):
            # What they list stands in one column, as JSON.
            record = wanted.asked if isinstance(wanted, KeySpec) else wanted
            return bool(self._said(row.values) == self._said(self._table.values(record)))
        return bool(self._said(row.values) == self._asked(wanted))

    def record(self, row: Row) -> Record:
        """The record of a row, its secrets sealed."""
        made: Record = self._table.from_row(dict(zip(self._table.names, row.values, strict=True)), row.secrets)
        return made

    def _looked_up(self, keys: Sequence[tuple[str, ...]]) -> dict[int, Row]:
        """The rows of keys, by their place among them."""
        equal = " AND ".join(
            f"t.{column} = json_extract(j.value, '$[{place}]')" for place, column in enumerate(self._table.key)
        )
        # The keys first, whatever the planner thinks of it: each is found by the index.
        select = (
            f"SELECT j.key, t.rowid, {self._columns} FROM json_each(?) AS j "  # noqa: S608 - our own names
            f"CROSS JOIN {self._table.name} AS t ON {equal}"
        )
        found = self._cursor.execute(select, (json.dumps(keys, ensure_ascii=False),)).fetchall()
        secrets = self._secrets([row[1] for row in found])
        return {row[0]: Row(row[1], row[2:], secrets.get(row[1], ())) for row in found}

    def _secrets(self, numbers: Sequence[int]) -> dict[int, tuple[Secret, ...]]:
        """The secrets of some rows, ordered by id."""
        if not self._table.has_secrets:
            return {}
        kind = self._table.kind
        made: dict[int, tuple[Secret, ...]] = {}
        for number, name, form, printed, expires_at in self._cursor.execute(
            f"SELECT s.{kind}, s.id, s.form, s.fingerprint, s.expires_at FROM json_each(?) AS j "  # noqa: S608 - our own names
            f"CROSS JOIN {self._table.secrets} AS s ON s.{kind} = j.value ORDER BY s.{kind}, s.id",
            (json.dumps(numbers),),
        ):
            one = Secret(id=name, value=b"(sealed)", form=SecretForm(form), fingerprint=printed, expires_at=expires_at)
            made[number] = (*made.get(number, ()), one)
        return made


def same(some: Iterable[Secret], others: Iterable[Secret]) -> bool:
    """Whether secrets are the same, by id, fingerprint and expiry, in whatever order."""
    return sorted(map(_told_apart, some)) == sorted(map(_told_apart, others))


def _told_apart(secret: Secret) -> tuple[str, str, int]:
    return secret.id, secret.fingerprint, -1 if secret.expires_at is None else secret.expires_at


def _what_is_said(table: Table[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What takes all but the clerical from a row, and from a record or a specification, in the same order."""
    fields = [(place, name) for place, name in enumerate(table.columns) if name not in CLERICAL]
    return itemgetter(*(place for place, _ in fields)), attrgetter(*(name for _, name in fields))
