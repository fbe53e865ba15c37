"""When a record counts as run out since the last sweep: asked by the sweeper, and by whoever comes before it."""

from store.account_records import AccessKey
from store.records import Identity, Record


def ran_out(record: Record, since: int, now_ms: int) -> bool:
    """Whether a record, or one of its secrets, ran out after `since` and up to now, having been in force before.

    What was written with an expiry in the past is no news: its own change row told of it. That is judged by the clock
    that wrote it; where this was ahead, the record may have come into force when it was put right.
    """
    expiries = [record.expires_at]
    if isinstance(record, Identity | AccessKey):
        expiries += [secret.expires_at for secret in record.secrets]
    was_ahead = record.updated_at > now_ms
    return any(
        expiry is not None and since < expiry <= now_ms and (record.updated_at < expiry or was_ahead)
        for expiry in expiries
    )
