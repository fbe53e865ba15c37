"""A source's records as a policy file that says the same: secrets stay in the store, as ``stored: true``.

What comes out is read back by `store.sync.document`, and a plan of it against the same store is empty; `exhook-sync
fmt` leaves it as it is. It is written section by section, entry by entry, so that a store of any size can be exported.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from store.database import Database
from store.sync.exported import Exported, Item, Moment, blocks, instance_item, text
from store.sync.key_order import ordered
from store.sync.scalars import API_SOURCE
from store.sync.schema import DEFAULT_SOURCE
from store.tables import ACCESS_KEYS, BLACKLIST, DEVICE_CREDENTIALS, GROUPS, IDENTITIES, INSTANCES, PERMISSIONS, TABLES
from store.unavailable import told_clearly

_HEAD: Final = """\
# yaml-language-server: $schema=policy.schema.json
# Exported from a store. `stored: true` stands for a secret that the store has; to change it, say where the new
# one is to be found: {env: EXHOOK_SECRET_NAME}, {file: NAME} or {hash: …}.
"""
_BATCH: Final = 1000
_WIDTH: Final = 2**31
"""No line is folded."""


class _Representer(RoundTripRepresenter):
    """Writes what a policy file holds."""


_Representer.add_representer(
    Moment, lambda representer, moment: representer.represent_scalar("tag:yaml.org,2002:timestamp", moment)
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
        self._yaml = YAML()
        self._yaml.Representer = _Representer
        self._yaml.width = _WIDTH
        self._yaml.indent(mapping=2, sequence=4, offset=2)

    def write(self) -> None:
        self._default = self._most_used_instance()
        items = Exported(self._default)
        self._stream.write(_HEAD)
        for key, value in self._header():
            if isinstance(value, dict):
                self._stream.write("\n")
            self._dump({key: value})
        instances = {one.name: _in_order(instance_item(one)) for one in self._records(INSTANCES.name)}
        if instances:
            self._stream.write("\n")
            self._dump({"instances": instances})
        self._section("groups", map(items.group, self._records(GROUPS.name)))
        self._section("identities", map(items.identity, self._records(IDENTITIES.name)))
        self._section("permissions", map(items.block, blocks(self._records(PERMISSIONS.name))))
        self._section("blacklist", map(items.blacklisted, self._records(BLACKLIST.name)))
        self._section("access_keys", map(items.access_key, self._records(ACCESS_KEYS.name)))
        self._section("device_credentials", map(items.credential, self._records(DEVICE_CREDENTIALS.name)))

    def _header(self) -> Iterator[tuple[str, Any]]:
        yield "format", "exhook/v1"
        yield "source", DEFAULT_SOURCE if self._source == API_SOURCE else text(self._source)
        if self._default:
            yield "defaults", {"instance": text(self._default)}
        sync: Item = {}
        if self._database.environment:
            sync["environment"] = text(self._database.environment)
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
            batch.append(_in_order(item))
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


def _in_order(item: Any) -> Any:
    """An entry with its keys in the order of `exhook-sync fmt`, and all that is within it."""
    if isinstance(item, dict):
        return {key: _in_order(item[key]) for key in ordered(item)}
    return [_in_order(one) for one in item] if isinstance(item, list) else item
