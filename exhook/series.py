"""Decisions of one kind, counted in memory until they are written.

Where processes count together in files, one write takes as long as a decision: counts go there many at a time.
"""

from bisect import bisect_left
from typing import Any

from prometheus_client import Counter, Histogram


class DecisionSeries:
    """A counter and a histogram that count the same."""

    __slots__ = ("_bounds", "_buckets", "_decisions", "_histogram", "_seconds")

    def __init__(self, decisions: Counter, histogram: Histogram, bounds: tuple[float, ...]) -> None:
        """`bounds` are those of the histogram, in seconds."""
        self._decisions = decisions
        self._histogram: Any = histogram
        self._bounds = bounds
        self._seconds = 0.0
        self._buckets = [0] * (len(bounds) + 1)

    def count(self, seconds: float) -> None:
        self._seconds += seconds
        self._buckets[bisect_left(self._bounds, seconds)] += 1

    def write(self) -> None:
        """Bring what was counted since the last time to counter and histogram."""
        counted = sum(self._buckets)
        if not counted:
            return
        self._decisions.inc(counted)
        # The library observes one at a time alone; a test holds these two to what it would have written.
        self._histogram._sum.inc(self._seconds)  # noqa: SLF001 - see above
        for bucket, count in zip(self._histogram._buckets, self._buckets, strict=True):  # noqa: SLF001 - see above
            if count:
                bucket.inc(count)
        self._seconds = 0.0
        self._buckets = [0] * len(self._buckets)
