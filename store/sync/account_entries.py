"""Access keys and device credentials of a policy file as records whose secrets are still references."""

from typing import Final

from store.account_records import AccessKey, DeviceCredential
from store.names import InvalidRecord
from store.records import Secret, SignMode
from store.sync import schema
from store.sync.entries import Scope, field_at, read_references
from store.sync.placed import Placed
from store.sync.policy import KeySpec
from store.sync.references import SecretReference
from store.sync.source import Mapping

_UNPROVEN: Final = "no secret; write `secret: {env: EXHOOK_SECRET_NAME}`"


def read_access_key(entry: schema.AccessKeyEntry, value: Mapping, scope: Scope) -> Placed[KeySpec] | None:
    references = read_references(entry, SignMode.SIGNED, value, scope, _UNPROVEN)
    if references is None:
        return None
    try:
        record = AccessKey(
            access_key_id=entry.id,
            secrets=_stand_ins(references),
            instances=tuple(entry.instances or [scope.instance]),
            active=entry.active,
            connect=entry.connect,
            calls=tuple(entry.calls),
            all_topics=entry.all_topics,
            reveal_secrets=entry.reveal_secrets,
            source=scope.source,
            origin=scope.origin(value),
            note=entry.note,
            protect=entry.protect,
            expires_at=entry.expires,
        )
    except InvalidRecord as wrong:
        scope.error(field_at(value, wrong.field), str(wrong))
        return None
    return scope.place(KeySpec(record, references), value)


def read_device_credential(entry: schema.DeviceCredentialEntry, value: Mapping, scope: Scope) -> Placed[KeySpec] | None:
    references = read_references(entry, SignMode.SIGNED, value, scope, _UNPROVEN)
    if references is None:
        return None
    try:
        record = DeviceCredential(
            client_id=entry.client_id,
            device_access_key_id=entry.device_access_key_id,
            secrets=_stand_ins(references),
            **scope.common(entry, value),
        )
    except InvalidRecord as wrong:
        scope.error(field_at(value, wrong.field), str(wrong))
        return None
    return scope.place(KeySpec(record, references), value)


def _stand_ins(references: tuple[SecretReference, ...]) -> tuple[Secret, ...]:
    return tuple(Secret(id=one.id, value=b"-", fingerprint="", expires_at=one.expires_at) for one in references)
