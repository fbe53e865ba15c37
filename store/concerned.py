"""Whose records concern a client."""

from collections.abc import Sequence

from store.account_names import AccountName, Mode
from store.names import group_of
from store.parts import OF_ACCESS_KEY, OF_ALL, OF_CLIENT, OF_GROUP, OF_INSTANCE, OF_USER
from store.tables import OF_TOKEN, Subject
from store.view import Client


def concerned(instance: str, client: Client, account: AccountName | None, tokens: Sequence[str]) -> list[Subject]:
    """Its instance, user, client id, group, everyone; and its account, where there is one."""
    wanted = [
        Subject(instance, OF_INSTANCE, ""),
        Subject(instance, OF_USER, client.username),
        Subject(instance, OF_CLIENT, client.client_id),
        Subject(instance, OF_GROUP, group_of(client.client_id)),
        Subject(instance, OF_ALL, ""),
    ]
    if account is not None:
        key = account.key_id if account.mode is not Mode.DEVICE_CREDENTIAL else ""
        wanted += (Subject("", OF_ACCESS_KEY, key), Subject(instance, OF_ACCESS_KEY, key))
        wanted += (Subject(instance, OF_TOKEN, token_id) for token_id in tokens)
    return wanted
