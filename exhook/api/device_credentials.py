"""The calls for device credentials: a key of its own for one client id."""

from collections.abc import Callable
from dataclasses import replace

from exhook.api.caller import Caller, check_owner
from exhook.api.paging import MOST, MOST_TOKEN, conditions_of, page
from exhook.api.parameters import CLIENT_ID_CHARS, Parameters
from exhook.api.refusal import Refusal
from exhook.api.writer import SOURCE, Body
from store.account_records import DeviceCredential
from store.database import Database
from store.key_material import new_device_access_key_id, new_secret
from store.tables import DEVICE_CREDENTIALS
from store.writing import Writing

_MOST_PAGES = 1_000_000


def register(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Make a key for a client id that has none; the answer shows its secret."""
    client_id = asked.text("ClientId", most=CLIENT_ID_CHARS)

    def write(writing: Writing) -> Body:
        if writing.database.get(DEVICE_CREDENTIALS, (instance, client_id)) is not None:
            raise Refusal("DeviceCredentialExsit", "this client id has a device credential; refresh it, or get it")
        made = DeviceCredential(
            instance=instance,
            client_id=client_id,
            device_access_key_id=new_device_access_key_id(),
            secrets=(new_secret(writing.database),),
            source=SOURCE,
        )
        writing.put(made)
        return _shown(_stored(writing.database, made), _secret(made))

    return write


def refresh(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Give a client id another key; the old one opens nothing any more. The answer shows the new secret."""
    client_id = asked.text("ClientId", most=CLIENT_ID_CHARS)

    def write(writing: Writing) -> Body:
        old = _found(writing.database, instance, client_id)
        check_owner(old, "ClientId", SOURCE)
        made = replace(old, device_access_key_id=new_device_access_key_id(), secrets=(new_secret(writing.database),))
        writing.put(made)
        return _shown(_stored(writing.database, made), _secret(made))

    return write


def unregister(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Take the key of a client id away; one that is not there is gone already."""
    client_id = asked.text("ClientId", most=CLIENT_ID_CHARS)

    def write(writing: Writing) -> Body:
        old = writing.database.get(DEVICE_CREDENTIALS, (instance, client_id))
        if old is not None:
            check_owner(old, "ClientId", SOURCE)
            writing.remove(old)
        return {}

    return write


def get(asked: Parameters, caller: Caller, instance: str) -> Callable[[Database], Body]:
    """The key of a client id; its secret only for those who may see secrets."""
    client_id = asked.text("ClientId", most=CLIENT_ID_CHARS)

    def read(database: Database) -> Body:
        found = _found(database, instance, client_id)
        return _shown(found, caller.shown(found.secrets[0].value))

    return read


def query(asked: Parameters, _: Caller, instance: str) -> Callable[[Database], Body]:
    """Client ids that have a key, of one group or of all, page by page. Every value is a string (vendor)."""
    where = {"instance": instance}
    if group := asked.optional("GroupId"):
        where["client_id^"] = f"{group}@@@"
    size = asked.number("PageSize", 1, MOST, default=MOST)
    number, token = asked.number("PageNo", 1, _MOST_PAGES, default=1), asked.optional("NextToken", most=MOST_TOKEN)
    skip = 0 if token else (number - 1) * size

    def read(database: Database) -> Body:
        found, following = page(database, DEVICE_CREDENTIALS, where, size=size, token=token, skip=skip, unsealed=False)
        shown = {
            "ClientIdList": [one.client_id for one in found],
            "NextToken": following,
            "PageNo": str(number),
            "PageSize": str(size),
            "Total": str(_count(database, where)),
        }
        return {"DeviceCredentialClientIdList": shown}

    return read


def _count(database: Database, where: dict[str, str]) -> int:
    conditions, values = conditions_of(DEVICE_CREDENTIALS, where)
    text = f"SELECT count(*) FROM {DEVICE_CREDENTIALS.name} WHERE {' AND '.join(conditions)}"  # noqa: S608 - our own names
    return int(database.connection.execute(text, values).fetchone()[0])


def _found(database: Database, instance: str, client_id: str) -> DeviceCredential:
    found = database.get(DEVICE_CREDENTIALS, (instance, client_id))
    if found is None:
        raise Refusal("DeviceCredentialNotFound", "this client id has no device credential; register one")
    return found


def _stored(database: Database, made: DeviceCredential) -> DeviceCredential:
    """As it was written, with its times."""
    return database.get(DEVICE_CREDENTIALS, made.key) or made


def _secret(made: DeviceCredential) -> str:
    return made.secrets[0].value.decode()


def _shown(credential: DeviceCredential, secret: str) -> Body:
    return {
        "DeviceCredential": {
            "ClientId": credential.client_id,
            "DeviceAccessKeyId": credential.device_access_key_id,
            "DeviceAccessKeySecret": secret,
            "InstanceId": credential.instance,
            "CreateTime": credential.created_at,
            "UpdateTime": credential.updated_at,
        }
    }
