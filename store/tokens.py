"""The life of tokens in a store: issued for an access key, judged, revoked; and of the keys that sign them.

The API and the command line call these functions; servers judge by `store.token_text` and the records alone.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from store.account_records import AccessKey, Token, TokenActions, TokenKey, parse_resource
from store.database import Database
from store.grants import GrantIndex
from store.key_material import new_secret, new_token_id
from store.records import Action
from store.tables import ACCESS_KEYS, INSTANCES, PERMISSIONS, TOKEN_KEYS, TOKENS
from store.token_access import key_covers
from store.token_text import Standing, TokenKeys, standing_of
from store.writing import Writing

__all__ = [
    "EndsTooSoon",
    "Issued",
    "Judged",
    "KeyMayNot",
    "NotCovered",
    "Standing",
    "TokenRefused",
    "issue",
    "judge",
    "retire_token_key",
    "revoke",
    "rotate_token_key",
    "token_keys",
]

LEAST_MS: Final = 60_000
"""A token that ends sooner than this from now is refused (vendor)."""

MOST_MS: Final = 30 * 24 * 3_600_000
"""One that ends later than this from now ends then, in silence (vendor)."""

_KEY_NAME_BYTES: Final = 4


class TokenRefused(Exception):
    """A token is not issued; the message says why."""


class EndsTooSoon(TokenRefused):
    """It would end within `LEAST_MS`."""


class KeyMayNot(TokenRefused):
    """The access key is unknown, not active, has expired, or does not count in the instance."""


class NotCovered(TokenRefused):
    """The access key's own permissions do not cover a resource (vendor: `PermissionCheckFailed`)."""

    def __init__(self, access_key_id: str, resource: str, action: Action) -> None:
        self.resource = resource
        self.action = action
        super().__init__(
            f"access key {access_key_id} has no permission that covers {action} of {resource!r}; grant it to the key "
            "(access_key), or set its all_topics"
        )


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and its string; the string is shown once, and stands nowhere."""

    text: str = field(repr=False)
    token: Token


@dataclass(frozen=True, slots=True)
class Judged:
    """What a string is worth, and its record, where the store still has it."""

    standing: Standing
    token: Token | None = None


def issue(
    database: Database,
    access_key_id: str,
    *,
    instance: str,
    actions: TokenActions,
    resources: Sequence[str],
    expires_at: int,
    now_ms: int,
    actor: str,
    note: str = "",
) -> Issued:
    """Issue a token for what an access key may do itself; the first one makes the token key, too.

    `expires_at` is in milliseconds since the epoch; `MOST_MS` from now is the latest.

    Raises:
        TokenRefused: `EndsTooSoon`, `KeyMayNot` or `NotCovered`.
        InvalidRecord: no, or too many, resources, or one that is no filter.
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source="api", now_ms=now_ms) as write:
        return issue_in(
            write,
            access_key_id,
            instance=instance,
            actions=actions,
            resources=resources,
            expires_at=expires_at,
            note=note,
        )


def issue_in(
    write: Writing,
    access_key_id: str,
    *,
    instance: str,
    actions: TokenActions,
    resources: Sequence[str],
    expires_at: int,
    note: str = "",
) -> Issued:
    """`issue` as a part of a write that may hold others.

    Raises:
        TokenRefused, InvalidRecord: as `issue`.
    """
    database, now_ms = write.database, write.now_ms
    if expires_at < now_ms + LEAST_MS:
        raise EndsTooSoon(f"a token that ends within {LEAST_MS // 1000} s from now; give it more time")
    token = Token(
        token_id=new_token_id(),
        instance=instance,
        access_key_id=access_key_id,
        actions=actions,
        resources=tuple(dict.fromkeys(resources)),
        expires_at=min(expires_at, now_ms + MOST_MS),
        note=note,
    )
    access_key = _usable_key(database, access_key_id, instance, now_ms)
    check_covered(access_key, grants_of(database, instance, access_key_id), token, now_ms)
    keys = token_keys(database) or _add_key(write)
    write.put(token)
    return Issued(keys.sign(token.token_id, token.expires_at or 0), token)


def judge(database: Database, shown: str, now_ms: int) -> Judged:
    """What a token string is worth now.

    Raises:
        StoreUnavailable: the store cannot be read.
        SealError: the token keys cannot be unsealed.
    """
    found = token_keys(database).verified(shown)
    if found is None:
        return Judged(Standing.FORGED)
    token = database.get(TOKENS, (found.token_id,))
    return Judged(standing_of(token, found.expires_at, now_ms), token)


def revoke(database: Database, token_id: str, *, now_ms: int, actor: str) -> bool:
    """Revoke a token; whether it was there and not revoked yet.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source="api", now_ms=now_ms) as write:
        token = database.get(TOKENS, (token_id,))
        return token is not None and write.put(replace(token, revoked=True)) is not None


def token_keys(database: Database) -> TokenKeys:
    """The keys of a store, the newest first.

    Raises:
        StoreUnavailable: the store cannot be read.
        SealError: they cannot be unsealed.
    """
    found = sorted(database.records(TOKEN_KEYS), key=lambda key: (key.revision, key.created_at), reverse=True)
    return TokenKeys({key.name: key.secrets[0].value for key in found})


def rotate_token_key(database: Database, *, now_ms: int, actor: str) -> str:
    """Sign new tokens by a new key from now on; its name. The old ones verify until they are retired.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source="api", now_ms=now_ms) as write:
        return next(iter(_add_key(write).keys))


def retire_token_key(database: Database, name: str, *, now_ms: int, actor: str) -> bool:
    """Take a token key out of the store: what it signed is forged from now on. Whether it was there.

    Raises:
        StoreUnavailable: locked, read-only, full.
    """
    with database.writing(actor=actor, source="api", now_ms=now_ms) as write:
        key = next(database.find(TOKEN_KEYS, "name = ?", (name,), unsealed=False), None)
        return key is not None and write.remove(key) is not None


def grants_of(database: Database, instance: str, access_key_id: str) -> GrantIndex:
    """The permissions of an access key in an instance."""
    whose = "instance = ? AND identity_type = 'ACCESS_KEY' AND identity = ?"
    return GrantIndex(database.find(PERMISSIONS, whose, (instance, access_key_id)))


def check_covered(access_key: AccessKey, grants: GrantIndex, token: Token, now_ms: int) -> None:
    """See that a token is no wider than its access key.

    Raises:
        NotCovered: a resource, for one of the actions.
    """
    for resource in token.resources:
        for action in token.actions.actions:
            if not key_covers(access_key, grants, parse_resource(resource), action, now_ms):
                raise NotCovered(access_key.access_key_id, resource, action)


def _usable_key(database: Database, access_key_id: str, instance: str, now_ms: int) -> AccessKey:
    access_key = database.get(ACCESS_KEYS, (access_key_id,))
    if access_key is None:
        raise KeyMayNot(f"there is no access key {access_key_id!r}")
    if not access_key.active or not access_key.in_force(now_ms):
        raise KeyMayNot(f"access key {access_key_id} is not active, or has expired")
    if instance not in access_key.instances or database.get(INSTANCES, (instance,)) is None:
        raise KeyMayNot(f"access key {access_key_id} does not count in instance {instance}")
    return access_key


def _add_key(write: Writing) -> TokenKeys:
    name = secrets.token_hex(_KEY_NAME_BYTES)
    made = TokenKey(name=name, secrets=(new_secret(write.database),))
    write.put(made)
    return TokenKeys({name: made.secrets[0].value})
