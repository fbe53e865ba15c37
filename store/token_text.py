"""The strings that clients show as tokens: signed, so that a forged one is known without a look into the store. Pure.

A string names its token key, the token and its end: ``T1.KEY.TOKEN.END.SIGNATURE``, of characters that no URL
quotes; the signature is HMAC-SHA256 over what stands before it. What the token grants stands in the store alone.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from store.account_records import Token

_TEXT: Final = re.compile(r"(T1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{1,64})\.([0-9]{1,16}))\.([A-Za-z0-9_-]{43})")

MAX_CHARS: Final = 256
"""No string of ours is longer."""


class Standing(StrEnum):
    """What a token string is worth now."""

    GOOD = "good"
    FORGED = "forged"
    """No token key of this store signed it, or the key was retired."""
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys at hand, the newest first: it signs, every one verifies, so that they rotate without an outage."""

    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.keys)

    def sign(self, token_id: str, expires_at: int) -> str:
        """The string of a token."""
        name, key = next(iter(self.keys.items()))
        signed = f"T1.{name}.{token_id}.{expires_at}"
        return f"{signed}.{_signature(key, signed)}"

    def verified(self, shown: str) -> "TokenText | None":
        """What a string says, if one of the keys signed it."""
        found = _TEXT.fullmatch(shown)
        if found is None:
            return None
        signed, name, token_id, expires_at, signature = found.groups()
        key = self.keys.get(name)
        if key is None or not hmac.compare_digest(_signature(key, signed), signature):
            return None
        return TokenText(token_id, int(expires_at), name)


@dataclass(frozen=True, slots=True)
class TokenText:
    """What a verified string says."""

    token_id: str
    expires_at: int
    """In milliseconds since the epoch; the record that says so may be gone already."""
    key: str
    """The name of the token key that signed it."""


def standing_of(token: Token | None, expires_at: int, now_ms: int) -> Standing:
    """What a verified string is worth; without a record, which goes some time after its end, it is worth nothing."""
    if token is not None and token.revoked:
        return Standing.REVOKED
    if now_ms >= expires_at or (token is not None and not token.in_force(now_ms)):
        return Standing.EXPIRED
    return Standing.REVOKED if token is None else Standing.GOOD


def named_key(shown: str) -> str:
    """The token key that a string names; nothing where it is none of ours."""
    found = _TEXT.fullmatch(shown)
    return found[2] if found else ""


def _signature(key: bytes, signed: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
