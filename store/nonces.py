"""Nonces in the runtime file: a signed call is let in once, by whichever process, and after any restart."""

from collections.abc import Sequence
from typing import Final

from store.runtime import Runtime

PURGE_MS: Final = 60_000
"""How often nonces that have had their time are removed, in milliseconds."""


class SpentNonces:
    """The nonces of one runtime file."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._purged_at = 0

    def spend(self, nonces: Sequence[tuple[bytes, int]], now_ms: int) -> list[bool]:
        """Take nonces, each with the time until which it must be known; for each, whether it had not been taken.

        Raises:
            StoreUnavailable: the runtime file cannot be written.
        """
        connection = self._runtime.connection
        with self._runtime.writing():
            if now_ms - self._purged_at >= PURGE_MS:
                connection.execute("DELETE FROM nonces WHERE until < ?", (now_ms,))
                self._purged_at = now_ms
            return [
                connection.execute("INSERT OR IGNORE INTO nonces (nonce, until) VALUES (?, ?)", nonce).rowcount == 1
                for nonce in nonces
            ]
