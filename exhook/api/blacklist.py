"""The calls for the connection blacklist: client ids that may not connect."""

from collections.abc import Callable
from typing import Final

from exhook.api.caller import Caller, check_owner
from exhook.api.identities import SUCCESS
from exhook.api.paging import MOST, MOST_TOKEN, page
from exhook.api.parameters import CLIENT_ID_CHARS, Parameters
from exhook.api.writer import SOURCE, Body
from store.database import Database
from store.records import BlacklistEntry
from store.tables import BLACKLIST
from store.writing import Writing

_OF_CLIENT: Final = "instance = ? AND client_id = ? AND username = ''"


def add(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Blacklist a client id."""
    wanted = BlacklistEntry(instance=instance, client_id=asked.text("ClientId", most=CLIENT_ID_CHARS), source=SOURCE)

    def write(writing: Writing) -> Body:
        writing.put(wanted)
        return SUCCESS

    return write


def delete(asked: Parameters, _: Caller, instance: str) -> Callable[[Writing], Body]:
    """Take a client id off the blacklist; refused where a policy file would still keep it there."""
    key = (instance, asked.text("ClientId", most=CLIENT_ID_CHARS))

    def write(writing: Writing) -> Body:
        for entry in writing.database.find(BLACKLIST, _OF_CLIENT, key):
            check_owner(entry, "ClientId", SOURCE)
            writing.remove(entry)
        return SUCCESS

    return write


def query(asked: Parameters, _: Caller, instance: str) -> Callable[[Database], Body]:
    """Blacklisted client ids, page by page. User names, which only policy files blacklist, are not among them."""
    where = {"instance": instance, "username": ""}
    if client_id := asked.optional("ClientId", most=CLIENT_ID_CHARS):
        where["client_id"] = client_id
    size, token = asked.number("Size", 1, MOST), asked.optional("NextToken", most=MOST_TOKEN)

    def read(database: Database) -> Body:
        found, following = page(database, BLACKLIST, where, size=size, token=token)
        results = [{"ClientId": one.client_id, "PermitAction": "CONNECT", "Effect": "DENY"} for one in found]
        return SUCCESS | {"Data": {"Results": results, "NextToken": following}}

    return read
