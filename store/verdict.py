"""What a decision says: reasons, the decision itself, and the challenge that a password must meet. Pure."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from store.account_records import AccessKey, DeviceCredential
from store.records import Identity, Record, Secret, SignMode

Prover = Identity | AccessKey | DeviceCredential
"""Whose secrets prove a client."""


class Reason(StrEnum):
    """Why a decision fell as it did. A closed set: logs, metrics, explain and tests name these and no others."""

    ALLOWED = "allowed"
    INVALID_INPUT = "invalid_input"
    BLACKLISTED = "blacklisted"
    INVALID_CLIENT_ID = "invalid_client_id"
    CLIENT_ID_OWNED = "client_id_owned"
    UNKNOWN_IDENTITY = "unknown_identity"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason, no password
    EXPIRED = "expired"
    EXTERNAL_ONLY = "external_only"
    WRONG_INSTANCE = "wrong_instance"
    KEY_INACTIVE = "key_inactive"
    KEY_MAY_NOT_CONNECT = "key_may_not_connect"
    FORGED_TOKEN = "forged_token"  # noqa: S105 - reasons, no passwords
    EXPIRED_TOKEN = "expired_token"  # noqa: S105
    REVOKED_TOKEN = "revoked_token"  # noqa: S105
    FOREIGN_TOKEN = "foreign_token"  # noqa: S105
    """A good token of another access key or instance than the user name says."""
    WRONG_TOKEN_TYPE = "wrong_token_type"  # noqa: S105
    NO_BINDING = "no_binding"
    """No tokens were bound to this connection."""
    TOKEN_SCOPE = "token_scope"  # noqa: S105
    KEY_SCOPE = "key_scope"
    """The token grants it, the access key that issued it does not (any more)."""
    INVALID_TOPIC = "invalid_topic"
    PRIVATE_TOPIC = "private_topic"
    """`$exhook/...` is nobody's; `$SYS/uploadToken` takes PUBLISH in Token mode alone."""
    UNKNOWN_PARENT_TOPIC = "unknown_parent_topic"
    """Its first level is not in the instance's registry of parent topics."""
    DENIED = "denied"
    NO_MATCH = "no_match"
    UNSAFE_PLACEHOLDER = "unsafe_placeholder"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Nearest:
    """For a refusal: the record that came closest to allowing, and what it lacked."""

    record: Record
    why: str
    """``level``, ``action``, ``expired`` or ``client_ids``."""
    level: int | None = None
    """0-based level of the asked topic or filter at which the grant stops covering."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request, and all that logs, metrics, explain and tests say about it."""

    allow: bool
    reason: Reason
    revision: int
    rule: Record | None = None
    """The record that decided."""
    nearest: Nearest | None = None
    secret_id: str = ""
    """Which of the live secrets was proven."""
    passed_on: bool = False
    """Neither allowed nor denied: the broker's own chain goes on (``no_match: pass``)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a password must prove. `verdict` is the reason once it does; only ALLOWED lets in.

    An unknown name gets a challenge that nothing proves, so that it costs what a wrong password costs.
    """

    mode: SignMode
    secrets: tuple[Secret, ...]
    client_id: str
    verdict: Reason
    revision: int
    identity: Prover | None = None
    nearest: Nearest | None = field(default=None, compare=False)

    def same_proof(self, other: "Challenge") -> bool:
        """Whether a password verified for `other` stands for this one: nothing but the revision differs."""
        return replace(self, revision=other.revision) == other


def refused(reason: Reason, revision: int = 0) -> Decision:
    """A denial that no record made."""
    return Decision(allow=False, reason=reason, revision=revision)
