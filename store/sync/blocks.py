"""Permission blocks and roles as permissions: one for each grantee, topic and effect."""

from dataclasses import replace
from typing import Any, Final

from store.names import InvalidRecord
from store.records import Action, Effect, Grantee, Permission
from store.sync import schema
from store.sync.entries import Scope
from store.sync.include import PermissionDefaults
from store.sync.placed import Placed
from store.sync.roles import Role
from store.sync.source import Items, Located, Mapping, Text

GRANTEES: Final = {
    "username": Grantee.USER,
    "client_id": Grantee.CLIENT,
    "group": Grantee.GROUP,
    "access_key": Grantee.ACCESS_KEY,
    "everyone": Grantee.ALL,
}
ACTIONS: Final = {"publish": Action.PUB, "subscribe": Action.SUB, "both": Action.PUB_SUB}

Rows = dict[tuple[str, Effect], Placed[Permission]]


def read_permissions(block: schema.PermissionBlock, value: Mapping, scope: Scope) -> list[Placed[Permission]]:
    """One permission for each topic and effect; publish and subscribe of one topic become one."""
    named = [key for key in GRANTEES if key in block.model_fields_set]
    if len(named) != 1:
        found = " and ".join(named) or "none"
        scope.error(value, f"a block has one of {', '.join(GRANTEES)}, but here is {found}; make each its own block")
        return []
    if named == ["everyone"] and not block.everyone:
        scope.error(value["everyone"], "`everyone` is true or left out; name a grantee instead")
        return []
    common = scope.common(block, value)
    common["identity_type"] = GRANTEES[named[0]]
    common["identity"] = "" if block.everyone else getattr(block, named[0])
    rows = _read_topics(block, value, common, scope)
    if "roles" in block.model_fields_set:
        _take_roles(rows, value["roles"], common, scope)
    elif not ({*ACTIONS, "deny"} & block.model_fields_set):
        scope.error(value, "a block that grants and denies nothing; give it publish, subscribe, both, deny or roles")
    return list(rows.values())


def read_role(name: Placed[str], entry: schema.RoleEntry, value: Mapping, document: int, scope: Scope) -> Role:
    """A role; its rows stand in an instance, and for a grantee, that each block puts its own for."""
    common = scope.common(schema.Remarks(), value) | {"identity_type": Grantee.ALL, "identity": ""}
    rows = _read_topics(entry, value, common, scope)
    if not ({*ACTIONS, "deny"} & entry.model_fields_set):
        scope.error(name.at, "a role that grants and denies nothing; give it publish, subscribe, both or deny")
    return Role(name, tuple(rows.values()), document, entry.override)


def check_grants(grants: PermissionDefaults, value: Mapping, scope: Scope) -> None:
    """Report what is wrong with topics that blocks may take, as if everyone did."""
    common = scope.common(schema.Remarks(), value) | {"identity_type": Grantee.ALL, "identity": ""}
    rows = _read_topics(grants, value, common, scope)
    if "roles" in grants.model_fields_set:
        _take_roles(rows, value["roles"], common, scope)


def merge_role(rows: Rows, role: tuple[Placed[Permission], ...], at: Placed[str], common: dict[str, Any]) -> None:
    """Give a block the topics of a role: with the role's place as origin, and the block's own place for mistakes."""
    for row in role:
        topic, effect, action = row.item.topic, row.item.effect, row.item.action
        mine = rows.get((topic, effect))
        if mine is None:
            record = Permission(topic=topic, action=action, effect=effect, **{**common, "origin": row.item.origin})
            rows[topic, effect] = Placed(record, at.file, at.at)
        elif mine.item.action is not Action.PUB_SUB and mine.item.action is not action:
            rows[topic, effect] = mine._replace(item=replace(mine.item, action=Action.PUB_SUB))


def _take_roles(rows: Rows, names: Any, common: dict[str, Any], scope: Scope) -> None:
    seen: set[str] = set()
    for name in names if isinstance(names, Items) else ():
        if not isinstance(name, Text):
            continue
        role = scope.roles.rows(name)
        if name in seen:
            scope.error(name, f"the role {str(name)!r} is named twice; name it once")
        elif role is None:
            scope.error(name, scope.roles.unknown(name))
        else:
            merge_role(rows, role, Placed(str(name), scope.file, name), common)
        seen.add(name)


def _read_topics(entry: schema.Grants | schema.RoleEntry, value: Mapping, common: dict[str, Any], scope: Scope) -> Rows:
    rows: Rows = {}
    denied = value.get("deny")
    for effect, actions in ((Effect.ALLOW, value), (Effect.DENY, denied)):
        if isinstance(actions, Mapping):
            _read_rows(rows, actions, {**common, "effect": effect}, scope)
    if entry.deny and not entry.deny.model_fields_set:
        scope.error(value.key_at("deny"), f"`deny` denies nothing; write {entry.deny.example}")
    return rows


def _read_rows(rows: Rows, actions: Mapping, common: dict[str, Any], scope: Scope) -> None:
    for key, action in ACTIONS.items():
        topics = actions.get(key)
        for topic in topics if isinstance(topics, Items) else ():
            if isinstance(topic, Text):
                _read_row(rows, topic, {**common, "action": action}, scope)


def _read_row(rows: Rows, topic: Text, common: dict[str, Any], scope: Scope) -> None:
    place: Located = topic
    first = rows.get((str(topic), common["effect"]))
    if first is not None:
        if Action.PUB_SUB in (first.item.action, common["action"]) or first.item.action is common["action"]:
            scope.error(topic, f"{str(topic)!r} stands in this block already, at {first.where}; leave one out")
            return
        place, common = first.at, {**common, "action": Action.PUB_SUB}
    try:
        record = Permission(topic=str(topic), **{**common, "origin": scope.origin(place)})
    except InvalidRecord as wrong:
        scope.error(topic, str(wrong))
        return
    rows[record.topic, record.effect] = scope.place(record, place)
