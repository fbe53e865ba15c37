"""Every signed call once: its nonce is kept for as long as its date would let it in again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from exhook.api.claim import SKEW_MS, Claim
from exhook.api.refusal import Refusal
from store.clock import Clock
from store.nonces import SpentNonces
from store.runtime import Runtime

_DIGEST_BYTES = 16


class Nonces:
    """The nonces of a store: those of every API process, in its runtime file. Used by one thread."""

    def __init__(self, store: Path, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._runtime: Runtime | None = None
        self._spent: SpentNonces | None = None

    def spend(self, claims: Sequence[Claim]) -> list[bool | Exception]:
        """For each claim, whether its nonce was a new one; with a refusal where it was not.

        Raises:
            StoreUnavailable: the runtime file cannot be written; then no call can be let in.
        """
        if self._spent is None:
            self._runtime = Runtime.open(self._store)
            self._spent = SpentNonces(self._runtime, held_ms=2 * SKEW_MS)
        fresh = self._spent.spend([(_digest(claim), claim.at_ms + SKEW_MS) for claim in claims], self._clock())
        return [one or Refusal("SignatureNonceUsed", "this nonce was used; sign each call anew") for one in fresh]

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.close()


def _digest(claim: Claim) -> bytes:
    """Of one length, whatever a caller sends."""
    text = f"{claim.access_key_id}\0{claim.nonce}".encode()
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]
