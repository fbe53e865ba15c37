"""Records as the entries that a policy file has for them: what holds its default is left out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from store.account_records import AccessKey, DeviceCredential
from store.records import (
    Action,
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Grantee,
    Group,
    Identity,
    Instance,
    NoMatch,
    Permission,
    Record,
    Secret,
)
from store.sync.entries import SIGN_MODES
from store.sync.phrases import moment

_MODES: Final = {mode: word for word, mode in SIGN_MODES.items()}
_ACTIONS: Final = {Action.PUB: "publish", Action.SUB: "subscribe", Action.PUB_SUB: "both"}
_GRANTEES: Final = {
    Grantee.USER: "username",
    Grantee.CLIENT: "client_id",
    Grantee.GROUP: "group",
    Grantee.ACCESS_KEY: "access_key",
}
_DEFAULT_SECRET: Final = "default"  # noqa: S105 - the name of a secret that was given none
_PLAIN: Final = re.compile(r"[A-Za-z_/$+][A-Za-z0-9_./@${}+#-]*")
_OTHERS_MEANING: Final = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
"""Words that some YAML readers take for something else than text."""

Item = dict[str, Any]


class Moment(str):
    """A moment, which is written without quotes."""

    __slots__ = ()


class Exported:
    """The entries of one file."""

    def __init__(self, instance: str) -> None:
        """`instance` is the one that entries need not name."""
        self._instance = instance
        self._ids: set[str] = set()

    def group(self, group: Group) -> Any:
        more = self._common(group)
        return {"id": text(group.name), **more} if more else text(group.name)

    def identity(self, identity: Identity) -> Item:
        item = self._named(identity)
        item["username"] = text(identity.username)
        if identity.client_id:
            item["client_id"] = text(identity.client_id)
        item["sign_mode"] = _MODES[identity.sign_mode]
        if identity.client_ids_prefix:
            item["client_ids"] = {"prefix": text(identity.client_ids_prefix)}
        if identity.client_ids_group:
            item["client_ids"] = {"group": text(identity.client_ids_group)}
        return item | _secrets(identity.secrets) | self._common(identity)

    def access_key(self, key: AccessKey) -> Item:
        item: Item = {"id": text(key.access_key_id)} | _secrets(key.secrets)
        if key.instances != (self._instance,):
            item["instances"] = [text(name) for name in key.instances]
        if not key.active:
            item["active"] = False
        item |= {name: True for name in ("connect", "all_topics", "reveal_secrets") if getattr(key, name)}
        if key.calls:
            item["calls"] = list(key.calls)
        return item | _remarks(key)

    def credential(self, credential: DeviceCredential) -> Item:
        item = self._named(credential)
        item["client_id"] = text(credential.client_id)
        item["device_access_key_id"] = text(credential.device_access_key_id)
        return item | _secrets(credential.secrets) | self._common(credential)

    def block(self, block: "Block") -> Item:
        item = self._named(block.first)
        if block.first.identity_type is Grantee.ALL:
            item["everyone"] = True
        else:
            item[_GRANTEES[block.first.identity_type]] = text(block.first.identity)
        item |= block.topics[Effect.ALLOW]
        if block.topics[Effect.DENY]:
            item["deny"] = block.topics[Effect.DENY]
        return item | self._common(block.first)

    def blacklisted(self, entry: BlacklistEntry) -> Item:
        item = self._named(entry)
        item |= {"client_id": text(entry.client_id)} if entry.client_id else {"username": text(entry.username)}
        if entry.reason:
            item["reason"] = text(entry.reason)
        return item | self._common(entry)

    def _named(self, record: Record) -> Item:
        """The id, where it is one of its own: ids are unique in a policy, and need not be in a store."""
        if not record.id or record.id in self._ids:
            return {}
        self._ids.add(record.id)
        return {"id": text(record.id)}

    def _common(self, record: Group | Identity | DeviceCredential | Permission | BlacklistEntry) -> Item:
        item = {} if record.instance == self._instance else {"instance": text(record.instance)}
        return item | _remarks(record)


@dataclass(slots=True)
class Block:
    """The permissions of one grantee that one entry can say."""

    first: Permission
    topics: dict[Effect, dict[str, list[str]]] = field(default_factory=lambda: {effect: {} for effect in Effect})


def blocks(permissions: Iterable[Permission]) -> Iterable[Block]:
    """The entries that permissions make, in the order of the first of each."""
    found: dict[tuple[Any, ...], Block] = {}
    for one in permissions:
        key = (one.instance, one.identity_type, one.identity, one.id, one.note, one.protect, one.expires_at)
        block = found.setdefault(key, Block(one))
        block.topics[one.effect].setdefault(_ACTIONS[one.action], []).append(text(one.topic))
    return found.values()


def instance_item(instance: Instance) -> Item:
    """What a file says of an instance under its name."""
    item: Item = {}
    if instance.record_quota is not None:
        item["record_quota"] = instance.record_quota
    if instance.client_id_rule is not ClientIdRule.ANY:
        item["client_id_rule"] = instance.client_id_rule.value
    if not instance.pin_client_ids:
        item["pin_client_ids"] = False
    if instance.no_match is not NoMatch.DENY:
        item["no_match"] = instance.no_match.value
    if instance.parent_topics:
        item["parent_topics"] = [text(topic) for topic in instance.parent_topics]
    return item | _remarks(instance)


def _secrets(secrets: Sequence[Secret]) -> Item:
    made = [_secret(secret) for secret in secrets]
    if len(made) == 1:
        return {"secret": made[0]}
    return {"secrets": made} if made else {}


def _secret(secret: Secret) -> Item:
    item: Item = {} if secret.id == _DEFAULT_SECRET else {"id": text(secret.id)}
    item["stored"] = True
    return item if secret.expires_at is None else {**item, "expires": Moment(moment(secret.expires_at))}


def _remarks(record: Record) -> Item:
    item: Item = {}
    if record.note:
        item["note"] = text(record.note)
    if record.protect:
        item["protect"] = True
    if record.expires_at is not None:
        item["expires"] = Moment(moment(record.expires_at))
    return item


def text(said: str) -> str:
    """Quoted, unless it reads as text to everybody."""
    plain = _PLAIN.fullmatch(said) and not _OTHERS_MEANING.fullmatch(said)
    return said if plain else DoubleQuotedScalarString(said)
