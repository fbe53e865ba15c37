"""The hot read side: one client's view of the records at one revision, cached by subject.

A view is put together from parts, one a subject (user name, client id, group, everyone, instance). All parts
in the cache hold for `Reader.revision`; a commit evicts the subjects that its change rows name, in the same
read transaction in which missing parts are read, so that no view mixes two revisions.
"""

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from store.changes import subjects_since
from store.connection import file_at, sidecars_of, without_sidecars
from store.database import Database
from store.grants import GrantIndex
from store.records import BlacklistEntry, Grantee, Group, Identity, Instance, group_of
from store.seal import SealKeys
from store.tables import BLACKLIST, GROUPS, IDENTITIES, INSTANCES, PERMISSIONS, Subject
from store.unavailable import told_clearly
from store.view import Client, View, Works

MAX_SUBJECTS: Final = 200_000
"""How many parts are kept: a hundred thousand active clients, each with its user name."""

MAX_CHANGES: Final = 10_000
"""More changes than this at once, and dropping all is cheaper than evicting each."""

_INSTANCE: Final = "INSTANCE"
# Plain strings: hashing an enumeration's member costs more than the whole look-up.
_USER: Final = Grantee.USER.value
_CLIENT: Final = Grantee.CLIENT.value
_GROUP: Final = Grantee.GROUP.value
_ALL: Final = Grantee.ALL.value
_NO_GRANTS: Final = GrantIndex(())


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one subject."""

    identities: tuple[Identity, ...] = ()
    blacklist: tuple[BlacklistEntry, ...] = ()
    grants: GrantIndex = _NO_GRANTS
    group: Group | None = None
    instance: Instance | None = None
    works: Works | None = None


_NOTHING: Final = Part()


class Reader:
    """Views for one process. Not to be shared between threads."""

    def __init__(self, path: Path, keys: SealKeys, *, max_subjects: int = MAX_SUBJECTS) -> None:
        """Open the store for reading.

        Raises:
            StoreUnavailable, SealError: as `Database.open`.
        """
        self.path = path
        self.keys = keys
        self.max_subjects = max_subjects
        self.hits = 0
        self.misses = 0
        # By subjects; plain tuples find them, and cost a third to make.
        self._parts: OrderedDict[tuple[str, str, str], Part] = OrderedDict()
        self._only_instance: str | None = None
        self._seen = 0
        self._adopt(Database.open(path, keys, create=False))

    def close(self) -> None:
        self._database.close()

    def __len__(self) -> int:
        return len(self._parts)

    def poll(self) -> bool:
        """Take notice of commits since the last call; whether there were any. Cheap where there were none.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with told_clearly(self.path):
            if self._replaced():
                self._open_other()
                return True
            version = self._data_version()
            if version == self._seen:
                return False
            with self._reading():
                self._catch_up()
            self._seen = version
            return True

    def view(self, instance: str, client: Client) -> View:
        """The records that concern a client, at one revision.

        Raises:
            StoreUnavailable: the file cannot be read.
            SealError: a secret cannot be unsealed.
        """
        group = group_of(client.client_id)
        wanted = (
            (instance, _INSTANCE, ""),
            (instance, _USER, client.username),
            (instance, _CLIENT, client.client_id),
            (instance, _GROUP, group),
            (instance, _ALL, ""),
        )
        parts = [self._cached(subject) for subject in wanted]
        if None in parts:
            with told_clearly(self.path), self._reading():
                # `poll` alone says that it has seen a commit: it is `poll` that makes the worker report it.
                if self._data_version() != self._seen:
                    self._catch_up()
                parts = [self._parts.get(subject) or self._load(Subject(*subject)) for subject in wanted]
        whole, user, own, grouped, everyone = (part or _NOTHING for part in parts)
        return View(
            revision=self.revision,
            instance=whole.instance,
            group=grouped.group,
            blacklist=own.blacklist + user.blacklist,
            owners=own.identities,
            user=user.identities[0] if user.identities else None,
            user_grants=user.grants,
            client_grants=own.grants,
            group_grants=grouped.grants,
            all_grants=everyone.grants,
            works=whole.works or Works((), b""),
        )

    def only_instance(self) -> str:
        """The one instance of the store; nothing where there are none or several.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        if self._only_instance is None:
            with told_clearly(self.path):
                rows = self._database.connection.execute("SELECT name FROM instances LIMIT 2").fetchall()
            self._only_instance = rows[0][0] if len(rows) == 1 else ""
        return self._only_instance

    def _open_other(self) -> None:
        """Go over to the file that took the store's place; if it is no good, the old one goes on answering."""
        with without_sidecars(self.path, self._sidecars):
            other = Database.open(self.path, self.keys, create=False)
        self._database.close()
        self._adopt(other)

    def _adopt(self, database: Database) -> None:
        self._database = database
        database.connection.execute("PRAGMA query_only = ON")
        self._sidecars = sidecars_of(self.path)
        self._seen = self._data_version()
        self._store_id = self._database.store_id
        self.revision = self._database.revision
        self._parts.clear()
        self._only_instance = None

    def _cached(self, subject: tuple[str, str, str]) -> Part | None:
        part = self._parts.get(subject)
        if part is None:
            self.misses += 1
            return None
        self.hits += 1
        self._parts.move_to_end(subject)
        return part

    def _load(self, subject: Subject) -> Part:
        part = self._read(subject)
        self._parts[subject] = part
        if len(self._parts) > self.max_subjects:
            self._parts.popitem(last=False)
        return part

    def _read(self, subject: Subject) -> Part:
        if subject.type == _INSTANCE:
            return Part(instance=self._instance(subject.instance), works=self._works(subject.instance))
        find, instance, name = self._database.find, subject.instance, subject.name
        if subject.type == _GROUP and not name:
            return _NOTHING
        granted = "instance = ? AND identity_type = ? AND identity = ?"
        permissions = tuple(find(PERMISSIONS, granted, (instance, subject.type, name)))
        grants = GrantIndex(permissions) if permissions else _NO_GRANTS
        identities: tuple[Identity, ...] = ()
        blacklist: tuple[BlacklistEntry, ...] = ()
        group = None
        if subject.type == _USER and name:
            whose = "instance = ? AND identity_type = 'USER' AND username = ? AND client_id = ''"
            identities = tuple(find(IDENTITIES, whose, (instance, name)))
            blacklist = tuple(find(BLACKLIST, "instance = ? AND username = ? AND username <> ''", (instance, name)))
        elif subject.type == _CLIENT:
            whose = "instance = ? AND client_id = ? AND identity_type = 'CLIENT'"
            identities = tuple(find(IDENTITIES, whose, (instance, name)))
            blacklist = tuple(find(BLACKLIST, "instance = ? AND client_id = ?", (instance, name)))
        elif subject.type == _GROUP:
            group = self._database.get(GROUPS, (instance, name))
        if permissions or identities or blacklist or group:
            return Part(identities, blacklist, grants, group)
        return _NOTHING

    def _instance(self, name: str) -> Instance | None:
        return self._database.get(INSTANCES, (name,))

    def _works(self, instance: str) -> Works:
        rows = self._database.connection.execute(
            "SELECT substr(kind, 6), n FROM tallies WHERE instance = ? AND kind LIKE 'work:%' AND n > 0", (instance,)
        )
        return Works(tuple((work, count) for work, count in rows if work), self._database.draw_key)

    def _catch_up(self) -> None:
        """Evict what commits since `revision` touched. Within a read transaction."""
        now_at = self._database.revision
        if now_at == self.revision and self._database.store_id == self._store_id:
            return
        touched = None
        if now_at > self.revision and self._database.store_id == self._store_id:
            touched = subjects_since(self._database.connection, self.revision, MAX_CHANGES)
        if touched is None:
            self._parts.clear()
        else:
            for subject in touched:
                self._parts.pop(subject, None)
                # The instance's part holds what verifying costs there, which any identity may change.
                self._parts.pop(Subject(subject.instance, _INSTANCE, ""), None)
        self._store_id = self._database.store_id
        self.revision = now_at
        self._only_instance = None

    def _replaced(self) -> bool:
        """Whether another file stands at the path now. A missing one is none: the open one still answers."""
        found = file_at(self.path)
        return found is not None and found != self._database.file

    def _data_version(self) -> int:
        return int(self._database.connection.execute("PRAGMA data_version").fetchone()[0])

    def _reading(self) -> "_ReadTransaction":
        return _ReadTransaction(self._database.connection)


class _ReadTransaction:
    """BEGIN … COMMIT around reads, so that all of them see one revision."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
