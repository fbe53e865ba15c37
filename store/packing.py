"""A part as bytes: the records of a hundred thousand clients would else take a kilobyte each, and more.

Of each record it holds what is neither usual nor said by its subject. The bytes are of this process and never leave
it; what they are made of was checked when it was read, and is not again.
"""

import marshal
from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import partial
from typing import Any, Final

from store.grants import GrantIndex
from store.parts import NO_GRANTS, OF_CLIENT, OF_USER, Part
from store.records import Action, Effect, Permission, Secret, SecretForm, SignMode
from store.tables import BLACKLIST, DEVICE_CREDENTIALS, IDENTITIES, PERMISSIONS, Subject, Table

MOST: Final = 8
"""Records of a part that is packed: one with more is worth its memory, since to unpack it takes long."""

_TABLES: Final[tuple[Table[Any], ...]] = (IDENTITIES, BLACKLIST, DEVICE_CREDENTIALS, PERMISSIONS)
_FORMS: Final = {form.value: form for form in SecretForm} | {None: SecretForm.KEY}
_MOSTLY: Final = {"effect": Effect.ALLOW.value, "action": Action.PUB_SUB.value, "sign_mode": SignMode.SIGNED.value}
"""What a field without a default says most often."""

Values = tuple[Any, ...]


def packed(part: Part, subject: Subject) -> bytes | None:
    """The bytes of a subject's part; None where there is nothing in it, or more than it pays to pack."""
    if subject.type not in (OF_USER, OF_CLIENT):
        return None
    found = (part.identities, part.blacklist, (part.device,) if part.device else (), part.grants.permissions)
    if not 0 < sum(map(len, found)) <= MOST:
        return None
    return marshal.dumps(
        tuple(
            tuple(_pack(table, record, subject) for record in records)
            for table, records in zip(_TABLES, found, strict=True)
        )
    )


def unpacked(data: bytes, subject: Subject) -> Part:
    """The part that `packed` made bytes of."""
    identities, blacklist, devices, permissions = marshal.loads(data)  # noqa: S302 - our own bytes
    return Part(
        tuple([_unpack(IDENTITIES, pack, subject) for pack in identities]) if identities else (),
        tuple([_unpack(BLACKLIST, pack, subject) for pack in blacklist]) if blacklist else (),
        # Who connects needs none of them.
        GrantIndex.later(partial(_permissions, permissions, subject)) if permissions else NO_GRANTS,
        device=_unpack(DEVICE_CREDENTIALS, devices[0], subject) if devices else None,
    )


def _permissions(packs: Iterable[Values], subject: Subject) -> tuple[Permission, ...]:
    return tuple(_unpack(PERMISSIONS, pack, subject) for pack in packs)


def _pack(table: Table[Any], record: Any, subject: Subject) -> Values:
    """Which fields are not as they are expected to be, what they are, and the secrets."""
    expected = _expected(table, subject)
    told, unusual = [], 0
    for place, (value, usual) in enumerate(zip(table.values(record), expected, strict=True)):
        if value != usual:
            unusual |= 1 << place
            told.append(value)
    said = [part for one in (record.secrets if table.has_secrets else ()) for part in _said(one)]
    return (unusual, *told, *said)


def _unpack(table: Table[Any], pack: Values, subject: Subject) -> Any:
    values = _expected(table, subject)
    unusual, at = pack[0], 1
    place = 0
    while unusual:
        if unusual & 1:
            values[place] = pack[at]
            at += 1
        unusual >>= 1
        place += 1
    return table.restore(values, [_secret(*pack[one : one + 5]) for one in range(at, len(pack), 5)])


def _said(secret: Secret) -> Values:
    form = None if secret.form is SecretForm.KEY else secret.form.value
    return (secret.id, secret.value, form, secret.fingerprint, secret.expires_at)


def _secret(name: str, value: bytes, form: str | None, fingerprint: str, expires_at: int | None) -> Secret:
    return Secret(id=name, value=value, form=_FORMS[form], fingerprint=fingerprint, expires_at=expires_at)


def _expected(table: Table[Any], subject: Subject) -> list[Any]:
    """The values of a record that says nothing but whose it is."""
    usual, instance, kind, name = _USUAL[table.name, subject.type]
    values = list(usual)
    values[instance] = subject.instance
    if kind is not None:
        values[kind] = subject.type
    values[name] = subject.name
    return values


def _usual(table: Table[Any], type_: str) -> tuple[Values, int, int | None, int]:
    """The defaults of a table, and where the parts of a subject stand in it."""
    defaults = {
        one.name: _MOSTLY.get(one.name) if one.default is MISSING else one.default for one in fields(table.record)
    }
    usual = tuple(int(value) if isinstance(value := defaults[name], bool) else value for name in table.columns)
    place = table.columns.index
    kind = place("identity_type") if "identity_type" in table.columns else None
    name = "username" if type_ == OF_USER else "client_id"
    return usual, place("instance"), kind, place("identity" if table is PERMISSIONS else name)


_USUAL: Final = {
    (table.name, type_): _usual(table, type_)
    for table in _TABLES
    for type_ in (OF_USER, OF_CLIENT)
    if table is not DEVICE_CREDENTIALS or type_ == OF_CLIENT
}
