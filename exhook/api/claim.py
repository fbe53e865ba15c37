"""What a signed request says of itself, before it is proven; and what both ways of signing share."""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from exhook.api.refusal import Refusal

SKEW_MS: Final = 15 * 60 * 1000
"""How far a caller's clock may be from ours, in milliseconds."""

MOST_NONCE: Final = 256
"""Characters of a nonce; the SDKs send 32 or 36."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, repr=False)
class Claim:
    """Whose call it says it is, and which; `expected` is the signature that a secret would give it."""

    access_key_id: str
    action: str
    version: str
    nonce: str
    at_ms: int
    """When it says it was signed, in milliseconds since the epoch."""
    signature: bytes
    expected: Callable[[bytes], bytes]

    def proven_by(self, secret: bytes) -> bool:
        """Whether the signature was made with this secret; in constant time."""
        return hmac.compare_digest(self.expected(secret), self.signature)


def mismatch(why: str) -> Refusal:
    return Refusal("SignatureDoesNotMatch", f"the signature does not match: {why}")


def signed_at(text: str, now_ms: int) -> int:
    """A date as the SDKs write it, in milliseconds since the epoch.

    Raises:
        Refusal: it does not read so, or is further than 15 minutes from now.
    """
    if not _DATE.fullmatch(text):
        raise _malformed()
    try:
        at = int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise _malformed() from None
    if abs(now_ms - at) > SKEW_MS:
        raise Refusal(
            "InvalidTimeStamp.Expired", "signed more than 15 minutes from now; see that both clocks are right"
        )
    return at


def checked_nonce(nonce: str) -> str:
    """Raises Refusal: there is none, or none that could be kept."""
    if not 0 < len(nonce) <= MOST_NONCE:
        raise Refusal.invalid("SignatureNonce", f"a nonce has 1 to {MOST_NONCE} characters")
    return nonce


def escaped(text: str) -> str:
    """RFC 3986: everything but letters, digits and ``-_.~``."""
    return quote(text, safe="~")


def _malformed() -> Refusal:
    return Refusal(
        "InvalidTimeStamp.Format", "the time of signing is missing, or not written 2020-01-31T12:00:00Z, in UTC"
    )
