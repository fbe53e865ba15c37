"""Waits until what was written is what every deciding process on this machine decides by."""

import asyncio
import time
from pathlib import Path
from typing import Final

from exhook.api.refusal import Refusal
from exhook.logs import logger
from store.clock import Clock
from store.runtime import Runtime

LOOK_SECONDS: Final = 0.003
"""How often the runtime file is looked at, while someone waits."""

SILENT_MS: Final = 30_000
"""A worker that has said nothing for so long (it speaks every second) is gone, and another process has its number."""

PATIENCE: Final = 5.0
"""How long a call waits, in seconds; the workers take 20 ms or so."""


class InForce:
    """The revision that all workers have, as they say themselves. Used by one event loop."""

    def __init__(self, store: Path, clock: Clock, patience: float = PATIENCE) -> None:
        """Raises StoreUnavailable: the runtime file cannot be opened."""
        self._clock = clock
        self._runtime = Runtime.open(store)
        self._patience = patience
        self._waiting: dict[asyncio.Future[None], tuple[int, float]] = {}
        self._looking: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self._looking:
            self._looking.cancel()
        self._runtime.close()

    async def wait(self, revision: int) -> None:
        """Wait until no worker decides by an earlier revision.

        Raises:
            Refusal: one still does. The write stands, but to answer that all is well would let a caller believe that
                a key is revoked which still opens.
            StoreUnavailable: the runtime file cannot be read.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = (revision, time.monotonic() + self._patience)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    async def _look(self) -> None:
        while self._waiting:
            try:
                workers = self._runtime.workers()
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
                _fail(list(self._waiting), error)
                return
            since = self._clock() - SILENT_MS
            self._let_go(min((worker.revision for worker in workers if worker.at >= since), default=None))
            await asyncio.sleep(LOOK_SECONDS)

    def _let_go(self, reached: int | None) -> None:
        """`reached` is the revision that every worker has; None where none runs here."""
        now = time.monotonic()
        for future, (revision, until) in list(self._waiting.items()):
            if future.done():
                continue
            if reached is None or reached >= revision:
                future.set_result(None)
            elif now >= until:
                logger.error("a worker does not follow the store", revision=revision, reached=reached)
                _fail([future], Refusal.unavailable(
                    "written, but not yet in force in every deciding process; the call may be made again"
                ))  # fmt: skip


def _fail(futures: "list[asyncio.Future[None]]", error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
