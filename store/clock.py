"""Time, injected: milliseconds since the epoch, UTC."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives now, in milliseconds since the epoch. Tests hand in their own."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000
