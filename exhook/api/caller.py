"""Who calls, and what its access key lets it do."""

from dataclasses import dataclass
from typing import Final

from exhook.api.refusal import Refusal
from store.account_records import AccessKey
from store.records import Record

MASK: Final = "******"
"""What stands for a secret before those who may not see it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The access key that signed a call, and when it came."""

    key: AccessKey
    now_ms: int

    @property
    def actor(self) -> str:
        """How it stands in the history of the store."""
        return f"access-key {self.key.access_key_id}"

    def check_right(self, action: str, instance: str) -> None:
        """Raises Refusal: the key's `calls` or its `instances` do not name it. A device's key names no calls."""
        if action not in self.key.calls or instance not in self.key.instances:
            raise not_permitted()

    def shown(self, secret: bytes) -> str:
        """A secret, if the key may see secrets."""
        return secret.decode(errors="replace") if self.key.reveal_secrets else MASK


def not_permitted() -> Refusal:
    """One sentence for an instance that is unknown and one that is another's, so that nobody learns which exist."""
    return Refusal("InstancePermissionCheckFailed", "no such instance, or this access key may not make this call there")


def check_owner(record: Record, parameter: str, source: str) -> None:
    """Raises Refusal: a policy file owns the record, and would put it back."""
    if record.source != source:
        place = f" ({record.origin})" if record.origin else ""
        raise Refusal.invalid(parameter, f"belongs to the policy {record.source!r}{place}; change it there")
