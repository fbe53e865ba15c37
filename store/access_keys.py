"""Access keys that are made and kept by hand, not by a policy file: their secrets are shown once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from store.account_records import AccessKey
from store.database import Database
from store.key_material import new_access_key_id, new_secret
from store.tables import ACCESS_KEYS, INSTANCES

SOURCE: Final = "api"


class NoSuchKey(Exception):
    """There is no access key, or no instance, of that name."""


class OwnedElsewhere(Exception):
    """A policy owns the access key: what is changed past its files, the next apply would undo."""

    def __init__(self, key: AccessKey) -> None:
        super().__init__(f"access key {key.access_key_id} belongs to the policy {key.source}; change it there")


class KeyExists(Exception):
    """An access key of that id is there already."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An access key, and the secret that it was given; the secret is shown nowhere else."""

    key: AccessKey
    secret: str = field(repr=False)


def create(database: Database, wanted: AccessKey, *, now_ms: int, actor: str) -> NewSecret:
    """Make an access key with a secret of its own, whatever `wanted` has for one.

    Raises:
        KeyExists: an access key has this id.
        NoSuchKey: an instance that it names is not there.
        StoreUnavailable: locked, read-only, full.
    """
    secret = new_secret(database)
    made = replace(wanted, secrets=(secret,), source=SOURCE)
    with database.writing(actor=actor, source=SOURCE, now_ms=now_ms) as write:
        if database.get(ACCESS_KEYS, made.key) is not None:
            raise KeyExists(f"there is an access key {made.access_key_id} already; choose another --id")
        for name in made.instances:
            if database.get(INSTANCES, (name,)) is None:
                raise NoSuchKey(f"there is no instance {name!r}; `exhook-sync apply` makes instances")
        write.put(made)
    return NewSecret(made, secret.value.decode())


def set_active(database: Database, access_key_id: str, *, active: bool, now_ms: int, actor: str) -> bool:
    """Let an access key count, or no longer; whether that is a change.

    Raises:
        NoSuchKey, OwnedElsewhere: it cannot be changed here.
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source=SOURCE, now_ms=now_ms) as write:
        return write.put(replace(_own(database, access_key_id), active=active)) is not None


def rotate(database: Database, access_key_id: str, *, keep_until: int | None, now_ms: int, actor: str) -> NewSecret:
    """Give an access key a new secret beside its newest one, which ends at `keep_until`, or with the next rotation.

    Raises:
        NoSuchKey, OwnedElsewhere: it cannot be changed here.
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source=SOURCE, now_ms=now_ms) as write:
        key = _own(database, access_key_id)
        newest = max(key.secrets, key=lambda secret: _number(secret.id))
        fresh = new_secret(database, str(_number(newest.id) + 1))
        old = newest if keep_until is None else replace(newest, expires_at=keep_until)
        changed = replace(key, secrets=(old, fresh))
        write.put(changed)
    return NewSecret(changed, fresh.value.decode())


def access_keys(database: Database) -> Sequence[AccessKey]:
    """All access keys, by id; secrets by fingerprint alone.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    found = (record for _, record in database.contents(ACCESS_KEYS))
    return sorted((key for key in found if isinstance(key, AccessKey)), key=lambda key: key.access_key_id)


def fresh_id() -> str:
    return new_access_key_id()


def _own(database: Database, access_key_id: str) -> AccessKey:
    key = database.get(ACCESS_KEYS, (access_key_id,))
    if key is None:
        raise NoSuchKey(f"there is no access key {access_key_id!r}; see `exhook access-key list`")
    if key.source != SOURCE:
        raise OwnedElsewhere(key)
    return key


def _number(name: str) -> int:
    return int(name) if name.isascii() and name.isdigit() else 0
