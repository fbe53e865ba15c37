"""What parts of a server say of themselves for `exhook status`, kept in the runtime file."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from exhook.logs import logger
from store.clock import now_ms
from store.runtime import Runtime
from store.unavailable import StoreUnavailable

GOOD: Final = "policy good"
BROKEN: Final = "policy broken"
LOOPS: Final = " dies again and again"
"""Ends the name of what is said of a process that does."""


async def leave_word(store: Path, name: str, value: Mapping[str, Any]) -> None:
    """Leave a word in place of the last one of that name; where it cannot be kept, the log says so."""
    try:
        await asyncio.to_thread(_write, store, name, value)
    except StoreUnavailable as error:
        logger.warning("runtime file unavailable", why=str(error))


def _write(store: Path, name: str, value: Mapping[str, Any]) -> None:
    with Runtime.open(store) as runtime:
        runtime.say(name, value, now_ms())
