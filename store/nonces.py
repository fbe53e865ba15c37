"""Nonces in the runtime file: a signed call is let in once, by whichever process, and after any restart."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from store.runtime import Runtime
from store.unavailable import told_clearly

PURGE_MS: Final = 60_000
"""How often nonces that have had their time are removed, in milliseconds."""

MOST_REMOVED: Final = 10_000
"""How many of them in one write: others wait for the runtime file meanwhile."""


def _running_ms() -> int:
    """Milliseconds on a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000


class SpentNonces:
    """The nonces of one runtime file.

    One is removed only if its time was over by the clock, and still is after `held_ms` by a clock that nobody sets:
    by then it is over by the right clock, too, however far the clock was from that meanwhile.
    """

    def __init__(self, runtime: Runtime, held_ms: int, *, running_ms: Callable[[], int] = _running_ms) -> None:
        """`held_ms` is how long after it was taken, at most, a nonce could be let in again."""
        self._runtime = runtime
        self._held_ms = held_ms
        self._running_ms = running_ms
        self._looks: deque[tuple[int, int]] = deque()
        """What time it was, and by the clock that nobody sets, the latest last."""
        self._over = 0
        """Until when those had to be known that may be removed."""

    def spend(self, nonces: Sequence[tuple[bytes, int]], now_ms: int) -> list[bool]:
        """Take nonces, each with the time until which it must be known; for each, whether it had not been taken.

        Raises:
            StoreUnavailable: the runtime file cannot be written.
        """
        self._look(now_ms)
        connection = self._runtime.connection
        if not self._over and self._known(nonces):
            return [False] * len(nonces)
        with self._runtime.writing():
            if self._over:
                removed = connection.execute(
                    "DELETE FROM nonces WHERE nonce IN (SELECT nonce FROM nonces WHERE until < ? LIMIT ?)",
                    (min(self._over, now_ms), MOST_REMOVED),
                ).rowcount
                if removed < MOST_REMOVED:
                    self._over = 0
            return [
                connection.execute("INSERT OR IGNORE INTO nonces (nonce, until) VALUES (?, ?)", nonce).rowcount == 1
                for nonce in nonces
            ]

    def _known(self, nonces: Sequence[tuple[bytes, int]]) -> bool:
        """Whether all were taken: then there is nothing to write, and nobody to keep waiting for that."""
        with told_clearly(self._runtime.path):
            find = self._runtime.connection.execute
            return all(find("SELECT 1 FROM nonces WHERE nonce = ?", (nonce,)).fetchone() for nonce, _ in nonces)

    def _look(self, now_ms: int) -> None:
        running = self._running_ms()
        if not self._looks or running - self._looks[-1][1] >= PURGE_MS:
            self._looks.append((now_ms, running))
        while running - self._looks[0][1] >= self._held_ms:
            self._over = self._looks.popleft()[0]
            if not self._looks:
                self._looks.append((now_ms, running))
