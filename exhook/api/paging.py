"""Pages of answers: where the next one begins, in a token that is opaque, bound to its question and not to be forged.

Pages follow the keys of records, not their number: whatever is written meanwhile, a record that stands there all
the time comes exactly once.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from exhook.api.refusal import Refusal
from store.database import Database
from store.records import Grantee, Record
from store.tables import Table

R = TypeVar("R", bound=Record)

MOST: Final = 100
"""Records of a page (vendor)."""

_SEAL_BYTES: Final = 16
_BETWEEN: Final = "\0"
"""Stands between the parts of a key in a token: nothing that has a name has it there."""
MOST_TOKEN: Final = 192 * 1024
"""Characters of a token: it holds a record's key, in which a client id and a topic have 65,535 bytes at most."""


def page(
    database: Database,
    table: Table[R],
    where: dict[str, str],
    *,
    size: int,
    token: str,
    skip: int = 0,
    unsealed: bool = True,
) -> tuple[list[R], str]:
    """Records of a kind whose columns have these values, in the order of their keys; and the next page's token.

    `skip` is how many are passed over, for callers that count pages themselves.

    Raises:
        Refusal: the token is none that this question was answered with.
    """
    order = [column for column in table.key if column not in where]
    conditions, values = conditions_of(table, where)
    if token:
        last = _open(database, table, where, token)
        conditions.append(f"({', '.join(order)}) > ({', '.join('?' for _ in order)})")
        values += last
    found = list(
        database.find(
            table,
            f"{' AND '.join(conditions)} ORDER BY {', '.join(order) or 'TRUE'} LIMIT {size + 1:d} OFFSET {skip:d}",
            tuple(values),
            unsealed=unsealed,
        )
    )
    if len(found) <= size:
        return found, ""
    return found[:size], _seal(database, table, where, _rest(table, order, found[size - 1]))


def conditions_of(table: Table[Any], where: dict[str, str]) -> tuple[list[str], list[str]]:
    """SQL conditions and their values; ``client_id^`` stands for how a client id begins."""
    conditions, values = [], []
    for column, value in where.items():
        if column.endswith("^"):
            conditions.append(f"{column[:-1]} >= ? AND {column[:-1]} < ?")
            values += [value, value[:-1] + chr(ord(value[-1]) + 1)]
        else:
            conditions.append(f"{column} = ?")
            values.append(value)
    if "identity_type" in table.key and "identity_type" not in where and len(where) > 1:
        # It stands before the names in the index, which is of no use without it.
        kinds = ", ".join(f"'{kind}'" for kind in Grantee)
        conditions.append(f"identity_type IN ({kinds})")
    return conditions, values


def _rest(table: Table[Any], order: Sequence[str], record: Record) -> list[str]:
    return [str(value) for column, value in zip(table.key, record.key, strict=True) if column in order]


def _seal(database: Database, table: Table[Any], where: dict[str, str], last: Sequence[str]) -> str:
    text = _BETWEEN.join(last).encode()
    return base64.urlsafe_b64encode(_mac(database, table, where, text) + text).decode().rstrip("=")


def _open(database: Database, table: Table[Any], where: dict[str, str], token: str) -> list[str]:
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    seal, text = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _mac(database, table, where, text)):
        raise Refusal.invalid(
            "NextToken", "is no token of this question; take it from the last answer, and leave all else as it was"
        )
    return text.decode().split(_BETWEEN)


def _mac(database: Database, table: Table[Any], where: dict[str, str], text: bytes) -> bytes:
    question = json.dumps([table.name, sorted(where.items())]).encode()
    key = hmac.digest(database.draw_key, b"exhook page 2", hashlib.sha256)
    return hmac.digest(key, len(question).to_bytes(4) + question + text, hashlib.sha256)[:_SEAL_BYTES]
