"""The calls for groups: the part of client ids before ``@@@``."""

from collections.abc import Callable

from exhook.api.caller import Caller, check_owner
from exhook.api.parameters import Parameters
from exhook.api.writer import SOURCE, Body
from store.database import Database
from store.records import Group
from store.tables import GROUPS
from store.writing import Writing


def create(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Register a group id."""
    wanted = Group(instance=instance, name=asked.text("GroupId"), source=SOURCE)

    def write(writing: Writing) -> Body:
        old = writing.database.get(GROUPS, wanted.key)
        if old is not None:
            check_owner(old, "GroupId", SOURCE)
        writing.put(wanted)
        return {}

    return write


def delete(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Take a group id away; one that is not there is gone already."""
    key = (instance, asked.text("GroupId"))

    def write(writing: Writing) -> Body:
        old = writing.database.get(GROUPS, key)
        if old is not None:
            check_owner(old, "GroupId", SOURCE)
            writing.remove(old)
        return {}

    return write


def query(_: Parameters, __: Caller, instance: str) -> Callable[[Database], Body]:
    """All groups of an instance; this call of the vendor's knows no pages."""

    def read(database: Database) -> Body:
        found = database.find(GROUPS, "instance = ? ORDER BY name", (instance,))
        return {
            "Data": [
                {
                    "GroupId": group.name,
                    "InstanceId": instance,
                    "IndependentNaming": True,
                    "CreateTime": group.created_at,
                    "UpdateTime": group.updated_at,
                    "Tags": [],
                }
                for group in found
            ]
        }

    return read
