"""Fills a store: one million identities, each with a permission, in less than half a minute.

Rows go straight into the tables, since a record put through `Writing` costs a read, a row in the change log and some
JSON beside its own row. `put_rate` measures that way, too.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from store.clock import now_ms
from store.credentials import work_of
from store.database import Database
from store.records import Action, Effect, Grantee, Identity, IdentityType, Instance, Permission, Secret, SignMode
from store.seal import SealKeys, new_key
from store.tables import IDENTITIES, PERMISSIONS

INSTANCE: Final = "mqtt-bench"
SECRET_ID: Final = "default"

_CHUNK: Final = 50_000
"""Records in one transaction: the log of a larger one would grow as large as the store."""
_CACHE_KIB: Final = 2**18
_MARK: Final = "the name's place"


def username(number: int) -> str:
    return f"u{number:07}"


def client_id(number: int) -> str:
    return f"c{number:07}"


def secret_of(number: int) -> bytes:
    return f"a secret of 32 bytes, say {number:07}".encode()


def topic_of(number: int) -> str:
    """A topic that this client may publish to, and no other."""
    return f"fleet/{username(number)}/state/temperature"


def make_keys(folder: Path) -> tuple[SealKeys, Path]:
    """A seal key, and the file that holds it: an honest store seals its secrets."""
    file = folder / "seal.key"
    file.write_text(text := new_key())
    return SealKeys.from_text(text, str(file)), file


def fill(path: Path, keys: SealKeys, records: int) -> float:
    """Make a store of so many identities, and as many permissions; seconds that it took."""
    began = perf_counter()
    with Database.open(path, keys) as database:
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            write.put(Instance(name=INSTANCE, source="bench"))
        connection = database.connection
        # A store that a power cut spoils in the making is made anew.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if records:
            with database.transaction(), _counted_by_the_first(connection, records):
                _insert_all(database, range(1))
        for first in range(1, records, _CHUNK):
            with database.transaction(), _no_triggers(connection):
                _insert_all(database, range(first, min(first + _CHUNK, records)))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA optimize")
    return perf_counter() - began


def put_rate(path: Path, keys: SealKeys, records: int) -> tuple[float, float]:
    """Records per second, and bytes of file per record, where they are put through `Writing` in one revision."""
    with Database.open(path, keys) as database:
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            write.put(Instance(name=INSTANCE, source="bench"))
        made = [made for number in range(records // 2) for made in (identity(database, number), permission(number))]
        began = perf_counter()
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            for record in made:
                write.put(record)
        took = perf_counter() - began
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(made) / took, path.stat().st_size / len(made)


def identity(database: Database, number: int) -> Identity:
    value = secret_of(number)
    secret = Secret(id=SECRET_ID, value=value, fingerprint="")
    printed = database.fingerprint(secret.form, value)
    return Identity(
        instance=INSTANCE,
        identity_type=IdentityType.USER,
        username=username(number),
        sign_mode=SignMode.SIGNED,
        secrets=(Secret(id=SECRET_ID, value=value, fingerprint=printed),),
        source="bench",
        revision=1,
    )


def permission(number: int) -> Permission:
    return Permission(
        instance=INSTANCE,
        identity_type=Grantee.USER,
        identity=username(number),
        topic=f"fleet/{username(number)}/#",
        action=Action.PUB_SUB,
        effect=Effect.ALLOW,
        source="bench",
        revision=1,
    )


def _insert_all(database: Database, numbers: range) -> None:
    _insert(database, "identities", *_identity_rows(numbers))
    _insert(database, "identity_secrets", *_secret_rows(database, numbers))
    _insert(database, "permissions", *_permission_rows(numbers))


def _insert(database: Database, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    places = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our own names
    database.connection.executemany(statement, rows)


@contextmanager
def _counted_by_the_first(connection: sqlite3.Connection, records: int) -> Iterator[None]:
    """The triggers count the first record of each kind; the others are like it, and are counted by it."""
    before = _tallies(connection)
    yield
    for key, count in _tallies(connection).items():
        more = (count - before.get(key, 0)) * (records - 1)
        connection.execute("UPDATE tallies SET n = n + ? WHERE instance = ? AND kind = ?", (more, *key))


def _tallies(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    found = connection.execute("SELECT instance, kind, n FROM tallies")
    return {(instance, kind): count for instance, kind, count in found}


@contextmanager
def _no_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in made:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, statement in made:
        connection.execute(statement)


Rows = tuple[Sequence[str], Iterable[tuple[Any, ...]]]
"""Columns, and values in their order."""


def _identity_rows(numbers: range) -> Rows:
    """The row of one validated record, with the name changed: validating a million says nothing new."""
    secret = Secret(id=SECRET_ID, value=b"x", fingerprint="")
    one = Identity(
        instance=INSTANCE,
        identity_type=IdentityType.USER,
        username=_MARK,
        sign_mode=SignMode.SIGNED,
        secrets=(secret,),
        source="bench",
        revision=1,
    )
    row = IDENTITIES.row(one) | {"work": work_of(one.sign_mode, one.secrets)}
    del row["username"]
    same = tuple(row.values())
    return ["row", "username", *row], ((number + 1, username(number), *same) for number in numbers)


def _permission_rows(numbers: range) -> Rows:
    row = PERMISSIONS.row(permission(0))
    for changed in ("identity", "topic"):
        del row[changed]
    same = tuple(row.values())
    rows = ((number + 1, name := username(number), f"fleet/{name}/#", *same) for number in numbers)
    return ["row", "identity", "topic", *row], rows


def _secret_rows(database: Database, numbers: range) -> Rows:
    form = Secret(id=SECRET_ID, value=b"x", fingerprint="").form
    place = IDENTITIES.secret_place((INSTANCE, IdentityType.USER, _MARK, ""), SECRET_ID)
    seal, fingerprint = database.keys.seal, database.fingerprint
    rows = (
        (
            number + 1,
            SECRET_ID,
            form.value,
            seal(value := secret_of(number), place.replace(_MARK, username(number))),
            fingerprint(form, value),
        )
        for number in numbers
    )
    return ["identity", "id", "form", "sealed", "fingerprint"], rows
