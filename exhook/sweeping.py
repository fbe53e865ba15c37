"""Sweeps the store while the server runs: what expired is committed as such."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from exhook.logs import logger
from store.clock import now_ms
from store.connection import file_at, sidecars_of, without_sidecars
from store.database import Database
from store.seal import SealError, SealKeys
from store.sweeper import sweep
from store.unavailable import StoreUnavailable, told_clearly

SWEEP_SECONDS: Final = 0.5
"""An expired record's change is committed within a second of its time."""


class Sweeper:
    """The sweeper of one server; it goes over to whatever store comes to stand at the path."""

    def __init__(self, path: Path, keys: SealKeys) -> None:
        self._path = path
        self._keys = keys
        self._database: Database | None = None

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
        if self._database is None or file_at(self._path) not in (None, self._database.file):
            self._open()
        if self._database is None:
            raise AssertionError("opened, and not there")
        with told_clearly(self._path):
            return sweep(self._database, now_ms())

    def _open(self) -> None:
        if self._database is None:
            self._adopt(Database.open(self._path, self._keys, create=False))
            return
        with without_sidecars(self._path, self._sidecars):
            other = Database.open(self._path, self._keys, create=False)
        self._database.close()
        self._adopt(other)

    def _adopt(self, database: Database) -> None:
        self._database = database
        self._sidecars = sidecars_of(self._path)
