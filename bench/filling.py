"""Fills a store: one million identities, each with a permission, in less than a minute.

Rows go straight into the tables, triggers on, since a record put through `Writing` costs a read, a row in the
change log and some JSON beside its own row. `put_rate` measures that way, too.
"""

from collections.abc import Iterator
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
        # A store that a power cut spoils in the making is made anew.
        database.connection.execute("PRAGMA synchronous = OFF")
        for first in range(0, records, _CHUNK):
            numbers = range(first, min(first + _CHUNK, records))
            with database.transaction():
                _insert(database, "identities", _identity_rows(numbers))
                _insert(database, "identity_secrets", _secret_rows(database, numbers))
                _insert(database, "permissions", _permission_rows(numbers))
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.connection.execute("PRAGMA optimize")
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


def _insert(database: Database, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    names, values = ", ".join(first), ", ".join(f":{name}" for name in first)
    statement = f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - our own names
    database.connection.execute(statement, first)
    database.connection.executemany(statement, rows)


def _identity_rows(numbers: range) -> Iterator[dict[str, Any]]:
    """The row of one validated record, with the name changed: validating a million says nothing new."""
    secret = Secret(id=SECRET_ID, value=b"x", fingerprint="")
    one = Identity(
        instance=INSTANCE,
        identity_type=IdentityType.USER,
        username="u",
        sign_mode=SignMode.SIGNED,
        secrets=(secret,),
        source="bench",
        revision=1,
    )
    row = IDENTITIES.row(one) | {"work": work_of(one.sign_mode, one.secrets)}
    for number in numbers:
        yield {**row, "row": number + 1, "username": username(number)}


def _permission_rows(numbers: range) -> Iterator[dict[str, Any]]:
    row = PERMISSIONS.row(permission(0))
    for number in numbers:
        name = username(number)
        yield {**row, "row": number + 1, "identity": name, "topic": f"fleet/{name}/#"}


def _secret_rows(database: Database, numbers: range) -> Iterator[dict[str, Any]]:
    form = Secret(id=SECRET_ID, value=b"x", fingerprint="").form
    for number in numbers:
        value = secret_of(number)
        place = IDENTITIES.secret_place((INSTANCE, IdentityType.USER, username(number), ""), SECRET_ID)
        yield {
            "identity": number + 1,
            "id": SECRET_ID,
            "form": form.value,
            "sealed": database.keys.seal(value, place),
            "fingerprint": database.fingerprint(form, value),
            "expires_at": None,
        }
