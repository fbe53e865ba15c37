"""How many calls a second an access key may sign: a token bucket each. Pure, the clock handed in."""

from collections.abc import Callable
from math import ceil
from typing import Final

from exhook.api.refusal import Refusal

LEAST_BURST: Final = 1.0


class Rate:
    """The buckets of one process; it holds as many as there are access keys that sign."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """`per_second` is the rate, and how many may come at once; 0: no limit. `clock` is in seconds."""
        self.per_second = per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens, and when they were that many."""

    def check(self, access_key_id: str) -> None:
        """Whether a call may come now; it is not counted.

        Raises:
            Refusal: as `take`.
        """
        self._take(access_key_id, 0.0)

    def take(self, access_key_id: str) -> None:
        """Count a call.

        Raises:
            Refusal: too many; it says after how many milliseconds, in which the SDKs read it, the next one may come.
        """
        self._take(access_key_id, 1.0)

    def _take(self, access_key_id: str, tokens: float) -> None:
        if not self.per_second:
            return
        now, most = self._clock(), max(self.per_second, LEAST_BURST)
        held, since = self._buckets.get(access_key_id, (most, now))
        held = min(most, held + max(0.0, now - since) * self.per_second)
        if held < 1.0:
            self._buckets[access_key_id] = (held, now)
            raise Refusal(
                "Throttling.User",
                f"this access key may sign {self.per_second:g} calls a second; wait as the header says",
                retry_after_ms=max(1, ceil((1.0 - held) / self.per_second * 1000)),
            )
        self._buckets[access_key_id] = (held - tokens, now)
