"""Sweeps the store while the server runs: what expired is committed as such."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from exhook.logs import logger
from store.bindings import Bindings
from store.clock import now_ms
from store.runtime import Runtime
from store.seal import SealError, SealKeys
from store.standing import StandingStore
from store.sweeper import forget_tokens, sweep
from store.unavailable import StoreUnavailable, told_clearly

SWEEP_SECONDS: Final = 0.5
"""An expired record's change is committed within a second of its time."""

TIDY_SECONDS: Final = 3_600.0
"""How often the bindings of tokens that ended long ago are forgotten."""


class Sweeper:
    """The sweeper of one server; it goes over to whatever store comes to stand at the path."""

    def __init__(self, path: Path, keys: SealKeys) -> None:
        self._store = StandingStore(path, keys)
        self._tidy_at = 0.0

    async def run(self) -> None:
        """Sweep for ever. Decisions have stopped honouring what expired before: this is for caches and audit."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        put_off = ""
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                put_off = await self._sweep_or_say_why(thread, put_off)
        finally:
            # Not waited for: where the store is locked, that would hold up the end of the server.
            thread.shutdown(wait=False)

    async def _sweep_or_say_why(self, thread: ThreadPoolExecutor, said: str) -> str:
        """One sweep; why it was put off, which is logged unless it was `said` before."""
        try:
            expired = await asyncio.get_running_loop().run_in_executor(thread, self._sweep)
        except (StoreUnavailable, SealError) as error:
            if str(error) != said:
                logger.warning("sweep put off", why=str(error))
            return str(error)
        if expired:
            logger.info("expired", records=expired)
        return ""

    def _sweep(self) -> int:
        database = self._store.database
        with told_clearly(self._store.path):
            expired = sweep(database, now_ms())
            forget_tokens(database, now_ms())
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_SECONDS
            with Runtime.open(self._store.path) as runtime:
                Bindings(runtime).forget_ended(now_ms())
        return expired
