"""How fast is not too fast: so many a second, a few at once; and how long to leave alone what failed."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 0.25
"""What was not used may be made up for by so many seconds' worth at once."""

FIRST_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 30.0


class Pace:
    """So many turns a second, first come, first served."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._next = clock()

    async def turn(self, count: int = 1) -> None:
        """Wait for `count` turns."""
        now = self._clock()
        # Turns are given out by the time at which they come up: who comes later waits behind.
        self._next = max(self._next, now - max(BURST_SECONDS, 1 / self.per_second))
        wait = self._next - now
        self._next += count / self.per_second
        if wait > 0:
            await asyncio.sleep(wait)


class BackOff:
    """Longer and longer pauses, each a little random, so that several servers do not knock together."""

    def __init__(self, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many times in a row it failed."""
        return self._failures

    def failed(self, wanted: float | None = None) -> float:
        """Seconds to wait; at least as long as the other side wants."""
        pause = min(self._first * 2.0**self._failures, self._longest)
        self._failures = min(self._failures + 1, 60)
        return max(wanted or 0.0, pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    def succeeded(self) -> None:
        self._failures = 0
