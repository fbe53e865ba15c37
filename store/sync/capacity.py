"""Which instances a plan would fill beyond their quota, judged as the write itself is: by the final state."""

from collections import Counter
from collections.abc import Iterable

from store.database import Database
from store.records import Instance, Record
from store.sync.change import Change
from store.tables import INSTANCES
from store.writing import COUNTED, OverQuota, held_by_instance


def overfull(database: Database, changes: Iterable[Change]) -> tuple[OverQuota, ...]:
    """The instances that would hold more than their quota, and more than now, by name.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    held = held_by_instance(database.connection)
    growth: Counter[str] = Counter()
    quotas = {one.name: one.record_quota for one in database.records(INSTANCES)}
    for change in changes:
        if isinstance(change.old, Instance):
            quotas.pop(change.old.name, None)
        if isinstance(change.new, Instance):
            quotas[change.new.name] = change.new.record_quota
        for record, step in ((change.old, -1), (change.new, 1)):
            if record is not None and record.kind in COUNTED:
                growth[_instance_of(record)] += step
    return tuple(
        OverQuota(name, held.get(name, 0) + growth[name], quota)
        for name, quota in sorted(quotas.items())
        if quota is not None and growth[name] > 0 and held.get(name, 0) + growth[name] > quota
    )


def _instance_of(record: Record) -> str:
    """Of a kind that is counted, each record is in an instance."""
    return str(record.key[0])
