"""A source's records as a policy file that says the same: secrets stay in the store, as ``stored: true``.

What comes out is read back by `store.sync.document`, and a plan of it against the same store is empty. It is
written section by section, entry by entry, so that a store of any size can be exported.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from store.account_records import AccessKey, DeviceCredential
from store.database import Database
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
from store.sync.scalars import API_SOURCE
from store.sync.schema import DEFAULT_SOURCE
from store.sync.wording import moment
from store.tables import ACCESS_KEYS, BLACKLIST, DEVICE_CREDENTIALS, GROUPS, IDENTITIES, INSTANCES, PERMISSIONS, TABLES
from store.unavailable import told_clearly

_HEAD: Final = """\
# yaml-language-server: $schema=policy.schema.json
# Exported from a store. `stored: true` stands for a secret that the store has; to change it, say where the new
# one is to be found: {env: EXHOOK_SECRET_NAME}, {file: NAME} or {hash: …}.
"""
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
_BATCH: Final = 1000
_WIDTH: Final = 2**31
"""No line is folded."""

Item = dict[str, Any]


class _Moment(str):
    """A moment, which is written without quotes."""

    __slots__ = ()


class _Representer(RoundTripRepresenter):
    """Writes what a policy file holds."""


_Representer.add_representer(
    _Moment, lambda representer, moment: representer.represent_scalar("tag:yaml.org,2002:timestamp", moment)
)


def sources_of(database: Database) -> tuple[str, ...]:
    """The owners of records in the store, by name.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    found: set[str] = set()
    with told_clearly(database.path):
        for table in TABLES:
            rows = database.connection.execute(f"SELECT DISTINCT source FROM {table.name}")  # noqa: S608 - our own names
            found.update(row[0] for row in rows)
    return tuple(sorted(found))


def export(database: Database, source: str, stream: TextIO) -> None:
    """Write the records of a source as a policy file.

    What the API wrote cannot be a document's own; it comes out as the source ``policy``, which adopts it.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    with told_clearly(database.path):
        _Export(database, source, stream).write()


class _Export:
    """One export, on its way."""

    def __init__(self, database: Database, source: str, stream: TextIO) -> None:
        self._database = database
        self._source = source
        self._stream = stream
        self._default = ""
        self._ids: set[str] = set()
        self._yaml = YAML()
        self._yaml.Representer = _Representer
        self._yaml.width = _WIDTH
        self._yaml.indent(mapping=2, sequence=4, offset=2)

    def write(self) -> None:
        self._default = self._most_used_instance()
        self._stream.write(_HEAD)
        self._dump(dict(self._header()))
        instances = {one.name: _instance(one) for one in self._records(INSTANCES.name)}
        if instances:
            self._stream.write("\n")
            self._dump({"instances": instances})
        self._section("groups", map(self._group, self._records(GROUPS.name)))
        self._section("identities", map(self._identity, self._records(IDENTITIES.name)))
        self._section("access_keys", map(self._access_key, self._records(ACCESS_KEYS.name)))
        self._section("device_credentials", map(self._credential, self._records(DEVICE_CREDENTIALS.name)))
        self._section("permissions", map(self._block, _blocks(self._records(PERMISSIONS.name))))
        self._section("blacklist", map(self._blacklisted, self._records(BLACKLIST.name)))

    def _header(self) -> Iterator[tuple[str, Any]]:
        yield "format", "exhook/v1"
        yield "source", DEFAULT_SOURCE if self._source == API_SOURCE else _text(self._source)
        if self._default:
            yield "defaults", {"instance": _text(self._default)}
        sync: Item = {}
        if self._database.environment:
            sync["environment"] = _text(self._database.environment)
        if self._source == API_SOURCE:
            sync["adopt"] = [API_SOURCE]
        if sync:
            yield "sync", sync

    def _section(self, name: str, items: Iterable[Any]) -> None:
        """A list of entries, a blank line before it; nothing where there are none."""
        batch: list[Any] = []
        begun = False
        for item in items:
            if not begun:
                self._stream.write(f"\n{name}:\n")
                begun = True
            batch.append(item)
            if len(batch) == _BATCH:
                self._dump(batch)
                batch = []
        if batch:
            self._dump(batch)

    def _dump(self, value: Any) -> None:
        self._yaml.dump(value, self._stream)

    def _records(self, name: str) -> Iterator[Any]:
        """The records of one table, secrets sealed."""
        (table,) = (table for table in TABLES if table.name == name)
        for _, record in self._database.contents(table, self._source):
            yield record

    def _most_used_instance(self) -> str:
        """The instance that entries need not name."""
        used: Counter[str] = Counter()
        for table in TABLES:
            if not table.has_instance:
                continue
            rows = self._database.connection.execute(
                f"SELECT instance, count(*) FROM {table.name} WHERE source = ? GROUP BY instance",  # noqa: S608 - our own names
                (self._source,),
            )
            used.update(dict(rows.fetchall()))
        return min(used, key=lambda name: (-used[name], name), default="")

    def _group(self, group: Group) -> Any:
        more = self._common(group)
        return {"id": _text(group.name), **more} if more else _text(group.name)

    def _identity(self, identity: Identity) -> Item:
        item = self._named(identity)
        item["username"] = _text(identity.username)
        if identity.client_id:
            item["client_id"] = _text(identity.client_id)
        item["sign_mode"] = _MODES[identity.sign_mode]
        if identity.client_ids_prefix:
            item["client_ids"] = {"prefix": _text(identity.client_ids_prefix)}
        if identity.client_ids_group:
            item["client_ids"] = {"group": _text(identity.client_ids_group)}
        return item | _secrets(identity.secrets) | self._common(identity)

    def _access_key(self, key: AccessKey) -> Item:
        item: Item = {"id": _text(key.access_key_id)} | _secrets(key.secrets)
        if key.instances != (self._default,):
            item["instances"] = [_text(name) for name in key.instances]
        if not key.active:
            item["active"] = False
        item |= {name: True for name in ("connect", "all_topics", "reveal_secrets") if getattr(key, name)}
        if key.calls:
            item["calls"] = list(key.calls)
        return item | _remarks(key)

    def _credential(self, credential: DeviceCredential) -> Item:
        item = self._named(credential)
        item["client_id"] = _text(credential.client_id)
        item["device_access_key_id"] = _text(credential.device_access_key_id)
        return item | _secrets(credential.secrets) | self._common(credential)

    def _block(self, block: "_Block") -> Item:
        item = self._named(block.first)
        if block.first.identity_type is Grantee.ALL:
            item["everyone"] = True
        else:
            item[_GRANTEES[block.first.identity_type]] = _text(block.first.identity)
        item |= block.topics[Effect.ALLOW]
        if block.topics[Effect.DENY]:
            item["deny"] = block.topics[Effect.DENY]
        return item | self._common(block.first)

    def _blacklisted(self, entry: BlacklistEntry) -> Item:
        item = self._named(entry)
        item |= {"client_id": _text(entry.client_id)} if entry.client_id else {"username": _text(entry.username)}
        if entry.reason:
            item["reason"] = _text(entry.reason)
        return item | self._common(entry)

    def _named(self, record: Record) -> Item:
        """The id, where it is one of its own: ids are unique in a policy, and need not be in a store."""
        if not record.id or record.id in self._ids:
            return {}
        self._ids.add(record.id)
        return {"id": _text(record.id)}

    def _common(self, record: Group | Identity | DeviceCredential | Permission | BlacklistEntry) -> Item:
        item = {} if record.instance == self._default else {"instance": _text(record.instance)}
        return item | _remarks(record)


@dataclass(slots=True)
class _Block:
    """The permissions of one grantee that one entry can say."""

    first: Permission
    topics: dict[Effect, dict[str, list[str]]] = field(default_factory=lambda: {effect: {} for effect in Effect})


def _blocks(permissions: Iterable[Permission]) -> Iterable[_Block]:
    blocks: dict[tuple[Any, ...], _Block] = {}
    for one in permissions:
        key = (one.instance, one.identity_type, one.identity, one.id, one.note, one.protect, one.expires_at)
        block = blocks.setdefault(key, _Block(one))
        block.topics[one.effect].setdefault(_ACTIONS[one.action], []).append(_text(one.topic))
    return blocks.values()


def _instance(instance: Instance) -> Item:
    item: Item = {}
    if instance.record_quota is not None:
        item["record_quota"] = instance.record_quota
    if instance.client_id_rule is not ClientIdRule.ANY:
        item["client_id_rule"] = instance.client_id_rule.value
    if not instance.pin_client_ids:
        item["pin_client_ids"] = False
    if instance.no_match is not NoMatch.DENY:
        item["no_match"] = instance.no_match.value
    return item | _remarks(instance)


def _secrets(secrets: Sequence[Secret]) -> Item:
    made = [_secret(secret) for secret in secrets]
    if len(made) == 1:
        return {"secret": made[0]}
    return {"secrets": made} if made else {}


def _secret(secret: Secret) -> Item:
    item: Item = {} if secret.id == _DEFAULT_SECRET else {"id": _text(secret.id)}
    item["stored"] = True
    return item if secret.expires_at is None else {**item, "expires": _Moment(moment(secret.expires_at))}


def _remarks(record: Record) -> Item:
    item: Item = {}
    if record.note:
        item["note"] = _text(record.note)
    if record.protect:
        item["protect"] = True
    if record.expires_at is not None:
        item["expires"] = _Moment(moment(record.expires_at))
    return item


def _text(text: str) -> str:
    """Quoted, unless it reads as text to everybody."""
    plain = _PLAIN.fullmatch(text) and not _OTHERS_MEANING.fullmatch(text)
    return text if plain else DoubleQuotedScalarString(text)
