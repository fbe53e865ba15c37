"""The calls for permissions: what a user name or a client id may publish and subscribe."""

from collections.abc import Callable, Iterator
from typing import Final

from exhook.api.caller import Caller, check_owner
from exhook.api.identities import SUCCESS
from exhook.api.paging import MOST, MOST_TOKEN, page
from exhook.api.parameters import CLIENT_ID_CHARS, Parameters
from exhook.api.refusal import Refusal
from exhook.api.writer import SOURCE, Body
from store.database import Database
from store.records import Action, Effect, Grantee, Permission
from store.tables import PERMISSIONS
from store.writing import Writing

_TYPES: Final = (Grantee.USER, Grantee.CLIENT)
"""The vendor's; groups and everyone are granted by policy files."""

_KEY: Final = "instance = ? AND identity_type = ? AND identity = ? AND topic = ?"

Key = tuple[str, str, str, str]


def add(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Add a permission, or write it anew."""
    wanted = _wanted(asked, instance)

    def write(writing: Writing) -> Body:
        _replace(writing, wanted)
        return SUCCESS

    return write


def update(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Write a permission anew that is there."""
    wanted = _wanted(asked, instance)

    def write(writing: Writing) -> Body:
        key = _key(asked, instance)
        if not any(_owned(writing.database, key)):
            _refuse_others(writing.database, key)
            raise Refusal.invalid("Topic", "there is no such permission; AddCustomAuthPermission makes one")
        _replace(writing, wanted)
        return SUCCESS

    return write


def delete(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Take a permission away; one that is not there is gone already."""
    key = _key(asked, instance)

    def write(writing: Writing) -> Body:
        owned = list(_owned(writing.database, key))
        for permission in owned:
            writing.remove(permission)
        if not owned:
            _refuse_others(writing.database, key)
        return SUCCESS

    return write


def query(asked: Parameters, _: Caller, instance: str) -> Callable[[Database], Body]:
    """Permissions, by any of their parts, page by page."""
    where = {"instance": instance}
    if kind := asked.optional_choice("IdentityType", tuple(Grantee)):
        where["identity_type"] = kind.value
    if identity := asked.optional("Identity", most=CLIENT_ID_CHARS):
        where["identity"] = identity
    if topic := asked.optional("Topic"):
        where["topic"] = topic
    size, token = asked.number("Size", 1, MOST), asked.optional("NextToken", most=MOST_TOKEN)

    def read(database: Database) -> Body:
        found, following = page(database, PERMISSIONS, where, size=size, token=token)
        return SUCCESS | {"Data": {"Results": [_shown(one) for one in found], "NextToken": following}}

    return read


def _wanted(asked: Parameters, instance: str) -> Permission:
    _, kind, identity, topic = _key(asked, instance)
    return Permission(
        instance=instance,
        identity_type=Grantee(kind),
        identity=identity,
        topic=topic,
        action=asked.choice("PermitAction", tuple(Action)),
        effect=asked.choice("Effect", tuple(Effect)),
        source=SOURCE,
    )


def _key(asked: Parameters, instance: str) -> Key:
    kind = asked.choice("IdentityType", _TYPES)
    return (instance, kind.value, asked.text("Identity", most=CLIENT_ID_CHARS), asked.text("Topic"))


def _replace(writing: Writing, wanted: Permission) -> None:
    """One key of the vendor's may stand for an ALLOW and a DENY of ours: what is written takes the place of both."""
    for old in _owned(writing.database, (wanted.instance, wanted.identity_type.value, wanted.identity, wanted.topic)):
        if old.effect is not wanted.effect:
            writing.remove(old)
    writing.put(wanted)


def _owned(database: Database, key: Key) -> Iterator[Permission]:
    return (found for found in database.find(PERMISSIONS, _KEY, key) if found.source == SOURCE)


def _refuse_others(database: Database, key: Key) -> None:
    for found in database.find(PERMISSIONS, _KEY, key):
        check_owner(found, "Topic", SOURCE)


def _shown(permission: Permission) -> Body:
    return {
        "Identity": permission.identity,
        "IdentityType": permission.identity_type.value,
        "Topic": permission.topic,
        "PermitAction": permission.action.value,
        "Effect": permission.effect.value,
    }
