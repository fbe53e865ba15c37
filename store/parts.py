"""The records of one subject, which views are put together from: what is read at once, and evicted at once."""

from dataclasses import dataclass
from typing import Final

from store.account_records import AccessKey, DeviceCredential, Token
from store.database import Database
from store.grants import GrantIndex
from store.records import BlacklistEntry, Grantee, Group, Identity, Instance
from store.tables import (
    ACCESS_KEYS,
    BLACKLIST,
    DEVICE_CREDENTIALS,
    GROUPS,
    IDENTITIES,
    INSTANCES,
    OF_TOKEN,
    PERMISSIONS,
    TOKENS,
    Subject,
)
from store.view import Works

OF_INSTANCE: Final = "INSTANCE"
# Plain strings: hashing an enumeration's member costs more than the whole look-up.
OF_USER: Final = Grantee.USER.value
OF_CLIENT: Final = Grantee.CLIENT.value
OF_GROUP: Final = Grantee.GROUP.value
OF_ALL: Final = Grantee.ALL.value
OF_ACCESS_KEY: Final = Grantee.ACCESS_KEY.value
NO_GRANTS: Final = GrantIndex(())


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one subject."""

    identities: tuple[Identity, ...] = ()
    blacklist: tuple[BlacklistEntry, ...] = ()
    grants: GrantIndex = NO_GRANTS
    group: Group | None = None
    instance: Instance | None = None
    works: Works | None = None
    device: DeviceCredential | None = None
    key: AccessKey | None = None
    token: Token | None = None


NOTHING: Final = Part()


def read_part(database: Database, subject: Subject) -> Part:
    """The records of a subject, secrets unsealed.

    Raises:
        StoreUnavailable: the file cannot be read.
        SealError: a secret cannot be unsealed.
    """
    if subject.type == OF_INSTANCE:
        return Part(instance=database.get(INSTANCES, (subject.instance,)), works=_works(database, subject.instance))
    find, instance, name = database.find, subject.instance, subject.name
    if subject.type == OF_GROUP and not name:
        return NOTHING
    if subject.type == OF_TOKEN:
        return Part(token=database.get(TOKENS, (name,)))
    if subject.type == OF_ACCESS_KEY and not instance:
        return Part(key=database.get(ACCESS_KEYS, (name,)))
    granted = "instance = ? AND identity_type = ? AND identity = ?"
    permissions = tuple(find(PERMISSIONS, granted, (instance, subject.type, name)))
    grants = GrantIndex(permissions) if permissions else NO_GRANTS
    identities: tuple[Identity, ...] = ()
    blacklist: tuple[BlacklistEntry, ...] = ()
    group = device = None
    if subject.type == OF_USER and name:
        whose = "instance = ? AND identity_type = 'USER' AND username = ? AND client_id = ''"
        identities = tuple(find(IDENTITIES, whose, (instance, name)))
        blacklist = tuple(find(BLACKLIST, "instance = ? AND username = ? AND username <> ''", (instance, name)))
    elif subject.type == OF_CLIENT:
        whose = "instance = ? AND client_id = ? AND identity_type = 'CLIENT'"
        identities = tuple(find(IDENTITIES, whose, (instance, name)))
        blacklist = tuple(find(BLACKLIST, "instance = ? AND client_id = ?", (instance, name)))
        device = database.get(DEVICE_CREDENTIALS, (instance, name))
    elif subject.type == OF_GROUP:
        group = database.get(GROUPS, (instance, name))
    if permissions or identities or blacklist or group or device:
        return Part(identities, blacklist, grants, group, device=device)
    return NOTHING


def _works(database: Database, instance: str) -> Works:
    rows = database.connection.execute(
        "SELECT substr(kind, 6), n FROM tallies WHERE instance = ? AND kind LIKE 'work:%' AND n > 0", (instance,)
    )
    return Works(tuple((work, count) for work, count in rows if work), database.draw_key)
