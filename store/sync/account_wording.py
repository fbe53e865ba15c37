"""How the records of the account modes read in sentences, and what a plan says that they lose or gain."""

from collections.abc import Callable, Iterable, Iterator

from store.account_records import AccessKey, DeviceCredential, Token, TokenKey
from store.records import Record, Secret
from store.sync.policy import KeySpec, Spec


def handle_account(record: Record | Spec) -> str:
    """What a flag calls the record."""
    match record:
        case KeySpec():
            return record.asked.id or handle_account(record.asked)
        case AccessKey():
            return record.access_key_id
        case DeviceCredential():
            return record.client_id
        case Token():
            return record.token_id
        case _:
            raise AssertionError(f"{type(record).__name__} has no name")


def describe_account(record: Record | Spec) -> str:
    """The record in a few words."""
    match record:
        case KeySpec():
            return describe_account(record.asked)
        case AccessKey():
            return f"access key {record.access_key_id}"
        case DeviceCredential():
            return f"device credential of client {record.client_id} ({record.instance})"
        case Token():
            return f"token {record.token_id} of access key {record.access_key_id} ({record.instance})"
        case TokenKey():
            return f"token key {record.name}"
        case _:
            raise AssertionError(f"{type(record).__name__} has no description")


def by_value(secret: Secret) -> str:
    """Tells secrets apart by what they are."""
    return secret.fingerprint


def by_name(secret: Secret) -> str:
    """Tells secrets apart by what they are called, where the values are not at hand."""
    return secret.id


def secrets_lost(old: Iterable[Secret], new: Iterable[Secret], now_ms: int, told_by: Callable[[Secret], str]) -> bool:
    """Whether a secret that was in force is not any more."""
    live = {told_by(secret) for secret in new if secret.in_force(now_ms)}
    return any(secret.in_force(now_ms) and told_by(secret) not in live for secret in old)


def account_losses(
    old: Record | None, new: Record | None, now_ms: int, told_by: Callable[[Secret], str]
) -> Iterator[str]:
    """What a change takes away from an access key, or from a device by its credential."""
    if isinstance(new, DeviceCredential) and old is None:
        yield "its client id belongs to a device credential"
    if not _holds(old, now_ms):
        return
    if not _holds(new, now_ms):
        yield "its key goes" if new is None else "its key holds no longer"
        return
    yield from _narrower(old, new)
    proofs = (AccessKey, DeviceCredential)
    if isinstance(old, proofs) and isinstance(new, proofs) and secrets_lost(old.secrets, new.secrets, now_ms, told_by):
        yield "a secret goes"


def account_gains(old: Record | None, new: Record | None, now_ms: int) -> Iterator[str]:
    """What a change allows."""
    if isinstance(old, DeviceCredential) and new is None:
        # It owned the client id, in force or not.
        yield "its client id is free for others again"
    if not _holds(new, now_ms):
        return
    if not _holds(old, now_ms):
        yield "may prove itself again"
        return
    yield from (f"{what} again" for what in _wider(old, new))
    if old and new and old.expires_at is not None and (new.expires_at is None or new.expires_at > old.expires_at):
        yield "may prove itself for longer"


def _holds(record: Record | None, now_ms: int) -> bool:
    active = not isinstance(record, AccessKey) or record.active
    return record is not None and active and record.in_force(now_ms)


def _narrower(old: Record | None, new: Record | None) -> Iterator[str]:
    if not (isinstance(old, AccessKey) and isinstance(new, AccessKey)):
        if isinstance(old, DeviceCredential) and isinstance(new, DeviceCredential) and _id(old) != _id(new):
            yield "its key has another id"
        return
    if set(old.instances) - set(new.instances):
        yield "counts in fewer instances"
    if old.connect and not new.connect:
        yield "clients may not connect by it"
    if set(old.calls) - set(new.calls):
        yield "may sign fewer API calls"
    if old.all_topics and not new.all_topics:
        yield "is not allowed all topics"


def _wider(old: Record | None, new: Record | None) -> Iterator[str]:
    if not (isinstance(old, AccessKey) and isinstance(new, AccessKey)):
        return
    if set(new.instances) - set(old.instances):
        yield "counts in more instances"
    if new.connect and not old.connect:
        yield "clients may connect by it"
    if set(new.calls) - set(old.calls):
        yield "may sign more API calls"
    if new.all_topics and not old.all_topics:
        yield "is allowed all topics"
    if new.reveal_secrets and not old.reveal_secrets:
        yield "is shown secrets"


def _id(credential: DeviceCredential) -> str:
    return credential.device_access_key_id
