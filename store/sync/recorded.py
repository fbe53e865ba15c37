"""Records as `store.tables.content` says them, in the change log and in snapshots, and the way back.

What was said holds neither secrets nor places: a secret comes back by its id, its fingerprint (where that was said)
and its expiry.
"""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final, get_type_hints

from store.names import InvalidRecord
from store.records import Record, Secret
from store.tables import BY_KIND, SEVERAL

NO_VALUE: Final = b"(not at hand)"
"""Stands for the value of a secret that was said by its id alone."""

_CLERICAL: Final = frozenset({"origin", "created_at", "updated_at", "revision"})
_LAST: Final = 2**63
"""SQLite keeps no larger number."""


class UnreadableRecord(ValueError):
    """What was said is no record, or one that this version does not know; the message says which field."""


def record_of(
    kind: str, said: Mapping[str, Any], *, origin: str = "", secrets: tuple[Secret, ...] | None = None
) -> Record:
    """The record that says this. `secrets` stand in place of those that were said, where they are given.

    Raises:
        UnreadableRecord: a kind or a field is unknown, or a value is none that the field can have.
    """
    if kind not in BY_KIND:
        raise UnreadableRecord(f"{kind!r} is no kind of record that is known here")
    made: type[Record] = BY_KIND[kind].record
    hints = get_type_hints(made)
    names = {field.name for field in fields(made)} - _CLERICAL
    if unknown := sorted(said.keys() - names):
        raise UnreadableRecord(f"the field {unknown[0]!r} of a record of the kind {kind} is not known here")
    values = {name: _value(name, hints[name], value) for name, value in said.items() if name != "secrets"}
    if "secrets" in names:
        values["secrets"] = _secrets(said.get("secrets", [])) if secrets is None else secrets
    try:
        return made(**values, origin=origin)
    except InvalidRecord as wrong:
        raise UnreadableRecord(str(wrong)) from None
    except TypeError:
        raise UnreadableRecord(f"a field that every record of the kind {kind} has is missing") from None


def without_fingerprints(said: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a record says, fit to leave the machine."""
    if said is None or "secrets" not in said:
        return said
    secrets = [{name: value for name, value in one.items() if name != "fingerprint"} for one in said["secrets"]]
    return said | {"secrets": secrets}


def _value(name: str, hint: Any, value: Any) -> Any:
    """A value as the field has it: enumerations and booleans were said as text and numbers."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in hint.__members__.values():
            return hint(value)
    elif hint is bool:
        if value in (0, 1):
            return bool(value)
    elif hint == SEVERAL:
        if isinstance(value, list) and all(map(_is_text, value)):
            return tuple(value)
    elif hint is str:
        if _is_text(value):
            return value
    elif value is None or _is_number(value):
        return value
    raise UnreadableRecord(f"{value!r} is nothing that the field {name!r} can hold")


def _secrets(said: Any) -> tuple[Secret, ...]:
    if not isinstance(said, list):
        raise UnreadableRecord("the field 'secrets' is a list")
    return tuple(map(_secret, said))


def _secret(said: Any) -> Secret:
    known = {"id", "fingerprint", "expires_at"}
    if not isinstance(said, dict) or "id" not in said or not said.keys() <= known:
        raise UnreadableRecord("a secret is said by its id and expiry")
    name, printed, expires_at = said["id"], said.get("fingerprint", ""), said.get("expires_at")
    if not (_is_text(name) and _is_text(printed) and (expires_at is None or _is_number(expires_at))):
        raise UnreadableRecord("a secret is said by its id and expiry")
    return Secret(id=name, value=NO_VALUE, fingerprint=printed, expires_at=expires_at)


def _is_text(value: Any) -> bool:
    """Text that can be stored: half a surrogate pair, which JSON can write, cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return type(value) is int and -_LAST <= value < _LAST
