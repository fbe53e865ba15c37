"""The calls for identities: who may connect under a user name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from exhook.api.caller import Caller, check_owner
from exhook.api.paging import MOST, MOST_TOKEN, page
from exhook.api.parameters import CLIENT_ID_CHARS, Parameters
from exhook.api.refusal import Refusal
from exhook.api.writer import SOURCE, Body
from store.database import Database
from store.key_material import secret_of
from store.records import Identity, IdentityType, SecretForm, SignMode
from store.tables import IDENTITIES
from store.writing import Writing

USERNAME_CHARS: Final = 64
"""Vendor."""

SUCCESS: Final[Body] = {"Code": 200, "Success": True, "Message": "operation success."}

_TYPES: Final = tuple(IdentityType)
_MODES: Final = (SignMode.ORIGIN, SignMode.SIGNED)
_SECRET_ID: Final = "1"  # noqa: S105 - a name, no secret


def add(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Add an identity, or write it anew."""
    key, value = _key(asked, instance), asked.text("Secret").encode()
    mode = asked.optional_choice("SignMode", _MODES) or SignMode.ORIGIN

    def write(writing: Writing) -> Body:
        wanted = Identity(
            instance=instance,
            identity_type=IdentityType(key[1]),
            username=key[2],
            client_id=key[3],
            sign_mode=mode,
            secrets=(secret_of(writing.database, value, _SECRET_ID),),
            source=SOURCE,
        )
        old = writing.database.get(IDENTITIES, key)
        if old is None:
            writing.add(wanted)
            return SUCCESS
        check_owner(old, "Username", SOURCE)
        writing.put(wanted)
        return SUCCESS

    return write


def update(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Give an identity another secret, another sign mode, or both; all else about it stays."""
    key, value = _key(asked, instance), asked.text("Secret").encode()
    mode = asked.optional_choice("SignMode", _MODES)

    def write(writing: Writing) -> Body:
        old = writing.database.get(IDENTITIES, key)
        if old is None:
            raise Refusal.invalid("Username", "there is no such identity; AddCustomAuthIdentity makes one")
        check_owner(old, "Username", SOURCE)
        secrets = (secret_of(writing.database, value, _SECRET_ID),)
        writing.put(replace(old, sign_mode=mode or old.sign_mode, secrets=secrets))
        return SUCCESS

    return write


def delete(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Take an identity away; one that is not there is gone already."""
    key = _key(asked, instance)

    def write(writing: Writing) -> Body:
        for old in writing.database.find(
            IDENTITIES, "instance = ? AND identity_type = ? AND username = ? AND client_id = ?", key, unsealed=False
        ):
            check_owner(old, "Username", SOURCE)
            writing.remove(old)
        return SUCCESS

    return write


def query(asked: Parameters, caller: Caller, instance: str) -> Callable[[Database], Body]:
    """Identities, by any of their parts, page by page."""
    where = {"instance": instance}
    if kind := asked.optional_choice("IdentityType", _TYPES):
        where["identity_type"] = kind.value
    if username := asked.optional("Username"):
        where["username"] = username
    if client_id := asked.optional("ClientId", most=CLIENT_ID_CHARS):
        # A USER identity has none; said so, it is found by its index.
        where = {"identity_type": IdentityType.CLIENT.value} | where | {"client_id": client_id}
    size, token = asked.number("Size", 1, MOST), asked.optional("NextToken", most=MOST_TOKEN)

    def read(database: Database) -> Body:
        found, following = page(database, IDENTITIES, where, size=size, token=token, unsealed=caller.key.reveal_secrets)
        return SUCCESS | {"Data": {"Results": [_shown(one, caller) for one in found], "NextToken": following}}

    return read


def _key(asked: Parameters, instance: str) -> tuple[str, str, str, str]:
    username, kind = asked.text("Username", most=USERNAME_CHARS), asked.choice("IdentityType", _TYPES)
    client_id = asked.text("ClientId", most=CLIENT_ID_CHARS) if kind is IdentityType.CLIENT else ""
    return (instance, kind.value, username, client_id)


def _shown(identity: Identity, caller: Caller) -> Body:
    keys = [secret.value for secret in identity.secrets if secret.form is SecretForm.KEY]
    return {
        "Username": identity.username,
        "Secret": caller.shown(keys[0]) if keys else "",  # a hash is shown to nobody
        "IdentityType": identity.identity_type.value,
        "ClientId": identity.client_id,
        "SignMode": identity.sign_mode.value,
    }
