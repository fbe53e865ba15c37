"""How records read in sentences."""

from typing import Final

from store.records import (
    Action,
    BlacklistEntry,
    Effect,
    Grantee,
    Group,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Record,
)
from store.sync.account_wording import describe_account, handle_account
from store.sync.policy import IdentitySpec, Spec
from store.tables import Subject

_VERBS: Final = {Action.PUB: "publish", Action.SUB: "subscribe", Action.PUB_SUB: "publish and subscribe"}


def handle(record: Record | Spec) -> str:
    """What a flag calls the record: its id, or its name where it has no id."""
    if record.id:
        return record.id
    match record:
        case Instance() | Group():
            return record.name
        case Identity() | IdentitySpec() | BlacklistEntry():
            return record.client_id or record.username
        case Permission():
            return record.identity or "everyone"
        case _:
            return handle_account(record)


def describe(record: Record | Spec) -> str:
    """The record in a few words."""
    match record:
        case Instance():
            return f"instance {record.name}"
        case Group():
            return f"group {record.name} ({record.instance})"
        case Identity() | IdentitySpec():
            who = f"user {record.username}"
            if record.identity_type is IdentityType.CLIENT:
                who = f"client {record.client_id} of {who}"
            return f"{who} ({record.instance})"
        case Permission():
            who = describe_grantee(record.identity_type, record.identity)
            may = "may" if record.effect is Effect.ALLOW else "may not"
            return f"{who} {may} {_VERBS[record.action]} {record.topic} ({record.instance})"
        case BlacklistEntry():
            who = f"client {record.client_id}" if record.client_id else f"user {record.username}"
            return f"{who} may not connect ({record.instance})"
        case _:
            return describe_account(record)


def describe_grantee(grantee: str, name: str) -> str:
    if grantee == Grantee.ALL:
        return "everyone"
    return f"{grantee.lower().replace('_', ' ')} {name}"


def describe_subject(subject: Subject) -> str:
    """Who is concerned, in a few words."""
    if subject.type == "INSTANCE":
        return f"every client of {subject.instance}"
    if subject.type == Grantee.ALL:
        return f"everyone in {subject.instance}"
    named = describe_grantee(subject.type, subject.name)
    return f"{named} ({subject.instance})" if subject.instance else named
