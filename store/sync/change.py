"""One record of a plan that would be added, changed or removed, and the checksum over all of them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from store.changes import Operation
from store.records import Record
from store.tables import content

_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it is, and as it will be; one of the two is None where it is added or removed."""

    old: Record | None
    new: Record | None

    @property
    def operation(self) -> Operation:
        if self.old is None:
            return Operation.ADD
        return Operation.REMOVE if self.new is None else Operation.CHANGE

    @property
    def record(self) -> Record:
        """As it will be, or as it was where it goes."""
        record = self.new or self.old
        if record is None:
            raise AssertionError("a change of no record")
        return record

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(map(str, self.record.key))

    @property
    def source(self) -> str:
        return self.record.source

    @property
    def origin(self) -> str:
        """``file:line`` of the place that asks for it; of the place that once did, for a removal."""
        return self.record.origin

    @property
    def before(self) -> dict[str, Any] | None:
        """What the record says now, secrets by id and fingerprint."""
        return None if self.old is None else content(self.old)

    @property
    def after(self) -> dict[str, Any] | None:
        """What it will say."""
        return None if self.new is None else content(self.new)


def checksum_of(changes: Iterable[Change], *, source: str, prune: bool, **more: Any) -> str:
    """SHA-256 over the changes in their order and the flags; hexadecimal. `more` tells other kinds of plans apart.

    Neither clock nor store revision nor places in files are part of it, so that unrelated writes and moved lines
    do not spoil a reviewed plan.
    """
    digest = hashlib.sha256(_line({"format": "exhook-plan/v1", "source": source, "prune": prune} | more))
    for change in changes:
        said = [change.operation, change.kind, change.key, change.source, change.before, change.after]
        digest.update(_line(said))
    return digest.hexdigest()


def _line(value: Any) -> bytes:
    return _JSON(value).encode() + b"\n"
