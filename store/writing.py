"""One write to the store: records put and removed under one new revision, each with its change row."""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from store.account_records import DeviceCredential
from store.additions import Additions, inserting_secret, secret_rows
from store.changes import Operation, log_change
from store.credentials import work_of
from store.expiry import ran_out
from store.records import Identity, Record, Secret
from store.tables import BY_KIND, INSTANCES, WITH_SECRETS, RecordWithSecrets, Table, content

if TYPE_CHECKING:
    from store.database import Database

COUNTED = ("identity", "permission", "blacklist")
"""The kinds of records that a quota counts (seed)."""


class OverQuota(Exception):
    """The final state of a write exceeds an instance's quota (vendor: `Customauth.over.capacity`)."""

    def __init__(self, instance: str, count: int, quota: int) -> None:
        super().__init__(
            f"instance {instance} would hold {count} identities, permissions and blacklist entries; "
            f"its record_quota is {quota}; remove some, or raise the quota"
        )


def held_by_instance(connection: sqlite3.Connection) -> dict[str, int]:
    """How many records that a quota counts each instance holds."""
    rows = connection.execute("SELECT instance, sum(n) FROM tallies WHERE kind IN (?, ?, ?) GROUP BY instance", COUNTED)
    return dict(rows.fetchall())


class Writing:
    """A write in progress; `Database.writing` makes, finishes or undoes it."""

    def __init__(
        self, database: "Database", *, actor: str, source: str, now_ms: int, commit: str, checksum: str
    ) -> None:
        self.database = database
        self.now_ms = now_ms
        self.revision = database.revision + 1
        self.counts: Counter[Operation] = Counter()
        self._connection: sqlite3.Connection = database.connection
        self._before = held_by_instance(self._connection)
        self._additions = Additions(self._connection, database.keys, revision=self.revision, now_ms=now_ms)
        self._quotas: dict[str, int] | None = None
        self._vacated: dict[tuple[str, ...], str] = {}
        self._swept_until: int | None = None
        self._connection.execute(
            "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0)",
            (self.revision, now_ms, actor, source, commit, checksum),
        )

    def put(self, record: Record) -> Operation | None:
        """Add a record or change the one that has its key; None where it says the same already."""
        table = BY_KIND[record.kind]
        self._additions.flush()
        old = self._old(table, record.key)
        if old is None:
            self.add(record)
            self._additions.flush()
            return Operation.ADD
        if content(old) == content(record):
            self.relocate([record])
            return None
        self._log_end(old)
        self._change(table, old, record)
        self._log(Operation.CHANGE, old, record)
        return Operation.CHANGE

    def add(self, record: Record) -> None:
        """Add a record that the store does not have, which whoever calls has seen within this transaction.

        Quicker than `put`: records go in by the thousand, with the next `put`, `remove` or `expire` at the latest,
        or with the end of the write.

        Raises:
            sqlite3.IntegrityError: the store has one of those that went in; the write is to be given up.
        """
        self.counts[Operation.ADD] += 1
        self._additions.add(record)

    def remove(self, record: Record) -> Operation | None:
        """Remove the record that has the key of this one; None where there is none."""
        table = BY_KIND[record.kind]
        self._additions.flush()
        # Its secrets may be beyond unsealing; then above all it must be possible to remove it.
        old = self._old(table, record.key, unsealed=False)
        if old is None:
            return None
        self._log_end(old)
        where, key = " AND ".join(f"{column} = ?" for column in table.key), tuple(map(str, record.key))
        self._connection.execute(f"DELETE FROM {table.name} WHERE {where}", key)  # noqa: S608 - our own names
        self._log(Operation.REMOVE, old, None)
        return Operation.REMOVE

    def vacate(self, credential: DeviceCredential) -> None:
        """Free the device key of a credential that this write is still to change or remove.

        Until then it has a key that nobody knows: ids are unique at every step, and two devices may swap theirs.
        """
        self._additions.flush()
        self._vacated[credential.key] = credential.device_access_key_id
        self._connection.execute(
            "UPDATE device_credentials SET device_access_key_id = ? WHERE instance = ? AND client_id = ?",
            (secrets.token_hex(16), *credential.key),
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the write that is undone alone if it fails, so that several callers can share one revision.

        Raises:
            OverQuota: the part exceeds an instance's quota, and makes it hold more than before.
        """
        self._additions.flush()
        counts = Counter(self.counts)
        if self._quotas is None:
            # Asked once: parts that share a revision are calls, and no call changes a quota.
            self._quotas = self._limits()
        before = held_by_instance(self._connection) if self._quotas else {}
        self._connection.execute("SAVEPOINT attempt")
        try:
            yield
            self._additions.flush()
            if self._quotas:
                self._check_quota(self._quotas, before)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise  # a full disk, say: the whole write is lost, and perhaps rolled back already
            self._connection.execute("ROLLBACK TO attempt")
            self._connection.execute("RELEASE attempt")
            self.counts = counts
            raise
        self._connection.execute("RELEASE attempt")

    def expire(self, record: Record) -> None:
        """Note that a record's time ran out; it stays, and goes on to own its client id."""
        self._additions.flush()
        self._log(Operation.EXPIRE, record, record)

    def relocate(self, records: Iterable[Record]) -> None:
        """The same records now stand in other lines: clerical, so no change and no revision.

        A place with a commit stays right for ever; only one without would come to point to a wrong line.
        """
        for kind, some in groupby(records, key=lambda record: record.kind):
            table = BY_KIND[kind]
            where = " AND ".join(f"{column} = ?" for column in table.key)
            self._connection.executemany(
                f"UPDATE {table.name} SET origin = ? WHERE {where} AND instr(origin, '@') = 0",  # noqa: S608 - our own names
                ((record.origin, *map(str, record.key)) for record in some),
            )

    def planned(self, checksum: str) -> None:
        """Note the checksum of the plan that this write carries out, where it is another than was to be expected."""
        self._connection.execute("UPDATE revisions SET checksum = ? WHERE revision = ?", (checksum, self.revision))

    def finish(self) -> None:
        """Keep the revision, or none where nothing changed.

        Raises:
            OverQuota: over an instance's quota, and more than before.
        """
        self._additions.flush()
        if not self.counts:
            self._connection.execute("DELETE FROM revisions WHERE revision = ?", (self.revision,))
            return
        self._check_quota(self._limits(), self._before)
        self._connection.execute(
            "UPDATE revisions SET added = ?, changed = ?, removed = ?, expired = ? WHERE revision = ?",
            (*(self.counts[operation] for operation in Operation), self.revision),
        )

    def _old(self, table: Table[Any], key: tuple[str, ...], *, unsealed: bool = True) -> Any:
        """What the store has under a key, as it was before this write; None where it has nothing."""
        where = " AND ".join(f"{column} = ?" for column in table.key)
        old = next(self.database.find(table, where, tuple(map(str, key)), unsealed=unsealed), None)
        if isinstance(old, DeviceCredential) and key in self._vacated:
            return replace(old, device_access_key_id=self._vacated.pop(key))
        return old

    def _log_end(self, old: Record) -> None:
        """Where a record ran out that no sweep has told of yet: no sweep will any more, since it changes now."""
        if self._swept_until is None:
            swept = self.database.swept_until
            # Set back, the clock may have passed the end of anything for a second time.
            self._swept_until = swept if swept <= self.now_ms else 0
        if old.kind != INSTANCES.kind and ran_out(old, self._swept_until, self.now_ms):
            self._log(Operation.EXPIRE, old, old)

    def _log(self, operation: Operation, before: Record | None, after: Record | None) -> None:
        self.counts[operation] += 1
        log_change(self._connection, self.revision, operation, before, after)

    def _change(self, table: Table[Any], old: Record, record: Record) -> None:
        kept = record
        if isinstance(record, WITH_SECRETS) and isinstance(old, WITH_SECRETS):
            kept = replace(record, secrets=_kept(record.secrets, old.secrets))
        row = table.row(kept)
        row |= {"created_at": old.created_at, "updated_at": self.now_ms, "revision": self.revision}
        if isinstance(kept, Identity):
            row["work"] = work_of(kept.sign_mode, kept.secrets)
        sets = ", ".join(f"{column} = :{column}" for column in row)
        where = " AND ".join(f"{column} = :{column}" for column in table.key)
        self._connection.execute(f"UPDATE {table.name} SET {sets} WHERE {where}", row)  # noqa: S608 - our own names
        if isinstance(kept, WITH_SECRETS):
            self._change_secrets(table, kept)

    def _change_secrets(self, table: Table[Any], record: RecordWithSecrets) -> None:
        where = " AND ".join(f"{column} = ?" for column in table.key)
        (row,) = self._connection.execute(
            f"SELECT row FROM {table.name} WHERE {where}",  # noqa: S608 - our own names
            tuple(map(str, record.key)),
        ).fetchone()
        self._connection.execute(f"DELETE FROM {table.secrets} WHERE {table.kind} = ?", (row,))  # noqa: S608 - our own names
        self._connection.executemany(inserting_secret(table), secret_rows(self.database.keys, table, row, record))

    def _limits(self) -> dict[str, int]:
        """The quota of each instance that has one."""
        rows = self._connection.execute("SELECT name, record_quota FROM instances WHERE record_quota IS NOT NULL")
        return dict(rows.fetchall())

    def _check_quota(self, quotas: dict[str, int], before: dict[str, int]) -> None:
        held = held_by_instance(self._connection)
        for instance, quota in quotas.items():
            count = held.get(instance, 0)
            if count > quota and count > before.get(instance, 0):
                raise OverQuota(instance, count, quota)


def _kept(wanted: tuple[Secret, ...], stored: tuple[Secret, ...]) -> tuple[Secret, ...]:
    """The wanted secrets, with the stored value where the fingerprint shows it to be the same one."""
    values = {(secret.id, secret.fingerprint): secret for secret in stored}
    return tuple(
        replace(found, expires_at=secret.expires_at)
        if (found := values.get((secret.id, secret.fingerprint)))
        else secret
        for secret in wanted
    )
