"""Ids of device keys, each of one credential in the whole store: which are taken, and how they change hands."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from store.account_records import DeviceCredential
from store.database import Database
from store.sync.change import Change
from store.tables import DEVICE_CREDENTIALS
from store.writing import Writing


@dataclass(frozen=True, slots=True)
class TakenKey:
    """A device key that a plan gives to one credential, while another one has it and keeps it."""

    wanted: DeviceCredential
    holder: DeviceCredential


def taken_keys(database: Database, changes: Iterable[Change]) -> tuple[TakenKey, ...]:
    """The device keys that changes ask for in vain.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    known = tuple(changes)
    claimed = _claimed(known)
    if not claimed:
        return ()
    given_up = {old.key for old in _given_up(known)}
    holders = database.find(
        DEVICE_CREDENTIALS,
        "device_access_key_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(claimed)),),
        unsealed=False,
    )
    return tuple(
        TakenKey(claimed[holder.device_access_key_id], holder)
        for holder in sorted(holders, key=lambda holder: holder.key)
        if holder.key not in given_up
    )


def hand_over(changes: Iterable[Change], write: Writing) -> None:
    """Free the device keys that go from one credential to another by these changes, whatever their order."""
    known = tuple(change for change in changes if isinstance(change.record, DeviceCredential))
    claimed = _claimed(known)
    for old in _given_up(known):
        if old.device_access_key_id in claimed:
            write.vacate(old)


def _claimed(changes: Iterable[Change]) -> dict[str, DeviceCredential]:
    """The device keys that credentials come to have, with them."""
    return {
        change.new.device_access_key_id: change.new
        for change in changes
        if isinstance(change.new, DeviceCredential) and _id(change.old) != change.new.device_access_key_id
    }


def _given_up(changes: Iterable[Change]) -> list[DeviceCredential]:
    """The credentials whose device keys go."""
    return [
        change.old
        for change in changes
        if isinstance(change.old, DeviceCredential) and _id(change.new) != change.old.device_access_key_id
    ]


def _id(credential: object) -> str:
    return credential.device_access_key_id if isinstance(credential, DeviceCredential) else ""
