"""Whose proof ceased to prove: sessions that stand were let in by a secret, and nobody asks for it again.

A removed permission shows at the next question; a removed secret does not, since a session that stands is never
asked for its password again. Errs towards yes, as `store.losses` does: whoever still has a good secret connects anew.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from store.changes import Operation
from store.records import IdentityType
from store.tables import Subject

_PROOF: Final = ("sign_mode", "fingerprint")
"""Fields beside `secrets` that say how a proof is given."""


def lost_proofs(connection: sqlite3.Connection, since: int, until: int) -> frozenset[Subject]:
    """The subjects of which a secret, or the way to prove it, went or changed after `since`, up to `until`."""
    rows = connection.execute(
        "SELECT operation, kind, instance, subject_type, subject, before, after FROM changes"
        " WHERE revision > ? AND revision <= ? AND kind IN ('identity', 'device_credential', 'access_key')",
        (since, until),
    )
    return frozenset(
        Subject(instance, subject_type, subject)
        for operation, kind, instance, subject_type, subject, before, after in rows
        if _lost(
            operation, kind, subject_type, json.loads(before) if before else None, json.loads(after) if after else None
        )
    )


def _lost(
    operation: str, kind: str, subject_type: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> bool:
    if before is None:
        # From now on it alone proves this client id; whoever holds it was let in by something else.
        return kind == "device_credential" or (kind == "identity" and subject_type == IdentityType.CLIENT)
    if after is None or operation == Operation.EXPIRE:
        return True
    live = {secret["fingerprint"] for secret in after.get("secrets", ())}
    if any(secret["fingerprint"] not in live for secret in before.get("secrets", ())):
        return True
    return any(before.get(name) != after.get(name) for name in _PROOF)
