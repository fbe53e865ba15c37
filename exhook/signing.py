"""The command `sign`: the password of a SIGNED identity, an access key or a device credential for one device."""

import math
import os
from collections.abc import Sequence

from exhook.explaining import CannotSay
from exhook.settings import Settings
from store.account_names import AccountName, Mode, account_of
from store.account_records import AccessKey, DeviceCredential
from store.clock import now_ms
from store.credentials import sign
from store.database import Database
from store.records import Secret, SignMode
from store.seal import SealKeys
from store.tables import ACCESS_KEYS, DEVICE_CREDENTIALS, IDENTITIES, INSTANCES


def password_for(settings: Settings, username: str, client_id: str, secret_id: str | None = None) -> str:
    """The password that the device signs with a live secret of its identity: the named one, or what lasts longest.

    Raises:
        CannotSay: no such identity, it does not sign, it has no such live secret, or two that last equally long.
        StoreUnavailable, SealError: as `Database.open`.
    """
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    with Database.open(settings.db, keys, create=False) as database:
        if account := account_of(username):
            return _password_of_account(database, account, client_id, secret_id)
        instances = [instance.name for instance in database.records(INSTANCES)]
        instance = settings.instance or (instances[0] if len(instances) == 1 else "")
        if not instance:
            raise CannotSay(f"the store has {len(instances)} instances; name one by --instance")
        identity = database.get(IDENTITIES, (instance, "CLIENT", username, client_id)) or database.get(
            IDENTITIES, (instance, "USER", username, "")
        )
    if identity is None:
        raise CannotSay(f"no identity of {username!r} is in instance {instance}; `exhook-sync export` lists them")
    if identity.sign_mode not in (SignMode.SIGNED, SignMode.SIGNED_SHA256):
        raise CannotSay(f"the identity of {username!r} is {identity.sign_mode}; only SIGNED ones have signed passwords")
    if not identity.admits(client_id):
        raise CannotSay(f"the identity of {username!r} does not admit {client_id!r}; its client_ids say whom")
    return sign(_chosen(identity.secrets, username, secret_id), client_id, identity.sign_mode).decode()


def _password_of_account(database: Database, account: AccountName, client_id: str, secret_id: str | None) -> str:
    if account.mode is Mode.TOKEN:
        raise CannotSay("tokens are issued, not signed; `exhook token issue` issues one")
    prover: AccessKey | DeviceCredential | None
    if account.mode is Mode.SIGNATURE:
        prover = database.get(ACCESS_KEYS, (account.key_id,))
    else:
        prover = database.get(DEVICE_CREDENTIALS, (account.instance, client_id))
        if prover is not None and prover.device_access_key_id != account.key_id:
            raise CannotSay(f"the credential of {client_id!r} in {account.instance} has another id")
    if prover is None:
        raise CannotSay(f"the store has no such key as {account.key_id!r} for {client_id!r}")
    return sign(_chosen(prover.secrets, account.key_id, secret_id), client_id).decode()


def _chosen(secrets: Sequence[Secret], whose: str, secret_id: str | None) -> bytes:
    """The live secret of an id, or the one that lasts longest.

    Which of two equals is the new one, nobody can tell: a device that is given the password of the wrong one is
    locked out at the end of the rotation.
    """
    live = [secret for secret in secrets if secret.in_force(now_ms())]
    if not live:
        raise CannotSay(f"no secret of {whose!r} is live any more; give it a new one")
    ids = " and ".join(repr(secret.id) for secret in live)
    if secret_id is not None:
        named = [secret for secret in live if secret.id == secret_id]
        if not named:
            # What was given stays out: it may be the secret itself.
            raise CannotSay(f"no live secret of {whose!r} has the id that --secret-id names; those that live are {ids}")
        return named[0].value
    longest = max(map(_until, live))
    lasting = [secret for secret in live if _until(secret) == longest]
    if len(lasting) > 1:
        raise CannotSay(f"the secrets {ids} of {whose!r} last equally long; name the one to sign by: --secret-id ID")
    return lasting[0].value


def _until(secret: Secret) -> float:
    return math.inf if secret.expires_at is None else secret.expires_at
