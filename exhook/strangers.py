"""Tells of peers that TLS does not let in: each way once a minute, for whoever scans ports tries often."""

import time
from typing import Final

from exhook.logs import logger

AGAIN_SECONDS: Final = 60.0
MOST_WAYS: Final = 100
"""Ways that are told apart; names in certificates are ways of their own."""


class Strangers:
    """Of one listener."""

    def __init__(self, listener: str) -> None:
        """`listener` is the word of ours that stands in the lines: ``exhook``, ``api``."""
        self._listener = listener
        self._said: dict[str, float] = {}

    def __call__(self, why: str) -> None:
        now = time.monotonic()
        if now - self._said.get(why, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        if len(self._said) >= MOST_WAYS:
            self._said.clear()
        self._said[why] = now
        logger.warning("peer not let in", listener=self._listener, why=why)
