"""The command `sign`: the password of a SIGNED identity for one device."""

import math
import os

from exhook.explaining import CannotSay
from exhook.settings import Settings
from store.clock import now_ms
from store.credentials import sign
from store.database import Database
from store.records import SignMode
from store.seal import SealKeys
from store.tables import IDENTITIES, INSTANCES


def password_for(settings: Settings, username: str, client_id: str) -> str:
    """The password that the device signs with the live secret of its identity that lasts longest.

    Raises:
        CannotSay: no such identity, it does not sign, or it has no live secret.
        StoreUnavailable, SealError: as `Database.open`.
    """
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    with Database.open(settings.db, keys, create=False) as database:
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
    live = [secret for secret in identity.secrets if secret.in_force(now_ms())]
    if not live:
        raise CannotSay(f"no secret of {username!r} is live any more; give it a new one")
    lasting = max(live, key=lambda secret: math.inf if secret.expires_at is None else secret.expires_at)
    return sign(lasting.value, client_id, identity.sign_mode).decode()
