"""The enforcer of one server: whoever lost something loses it in sessions that stand, on every cluster configured.

It follows the change log as the workers do, writes down what is to be done, and has each cluster do it. The
supervisor owns it; where several servers share a store, one of them does the work.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from exhook import metrics
from exhook.brokers.emqx import EmqxApi, EmqxFault, KeyRefused, Unavailable
from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.brokers.pace import BackOff
from exhook.enforcer.lane import Lane, counts_of
from exhook.enforcer.ledger import MOST_AT_ONCE, Ledger
from exhook.logs import error_place, logger
from exhook.settings import Settings
from store.clock import Clock, now_ms
from store.revocations import SAID, Revocation
from store.seal import SealError, SealKeys
from store.unavailable import StoreUnavailable

IDLE_SECONDS: Final = 1.0
"""How often each cluster's state is written down, and second looks are looked for, where nothing happens."""

PROBE_MS: Final = 60_000
"""How often it is seen whether an API is there that nothing is asked of."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Enforcer:
    """Follows the change log; has one worker for each cluster."""

    def __init__(
        self, settings: Settings, keys: SealKeys, environ: Mapping[str, str] = os.environ, clock: Clock = now_ms
    ) -> None:
        self.settings = settings
        self._keys = keys
        self._environ = environ
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._working = False

    async def run(self) -> None:
        """Enforce for ever; nothing at all where no cluster is configured."""
        if not self.settings.emqx:
            return
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="enforcer")
        ledger = None
        try:
            ledger = await self._open()
            clusters = [_Cluster(self, cluster, ledger, self._environ) for cluster in self.settings.emqx]
            async with asyncio.TaskGroup() as group:
                for one in clusters:
                    group.create_task(one.run())
                group.create_task(self._follow(ledger, clusters))
        finally:
            if ledger is not None:
                self._thread.submit(ledger.close)
            # Not waited for: where the store is locked, that would hold up the end of the server.
            self._thread.shutdown(wait=False)

    @property
    def working(self) -> bool:
        """Whether this server is the one that does it."""
        return self._working

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _open(self) -> Ledger:
        pause = BackOff()
        while True:
            try:
                found: Ledger = await self.in_thread(lambda: Ledger(self.settings, self._keys, self._clock))
            except (StoreUnavailable, SealError) as error:
                logger.error("the enforcer waits for the store", why=str(error))
                await asyncio.sleep(pause.failed())
            else:
                return found

    async def _follow(self, ledger: Ledger, clusters: "list[_Cluster]") -> None:
        pause, said = BackOff(), ""
        while True:
            try:
                found = await self.in_thread(ledger.follow)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again: nothing is forgotten
                why = str(error) if isinstance(error, StoreUnavailable | SealError) else error_place(error)
                if why != said:
                    logger.error("the enforcer cannot read the change log", why=why)
                said = why
                await asyncio.sleep(pause.failed())
                continue
            pause.succeeded()
            said = ""
            if self._working is not (found is not None):
                self._working = found is not None
                logger.info("enforcing" if self._working else "another server on this store enforces")
            if found:
                for one in clusters:
                    one.wake()
            await asyncio.sleep(self.settings.poll_ms / 1000 if self._working else IDLE_SECONDS)


class _Cluster:
    """One cluster: its API, and what is to be done there. Broad revocations have a lane of their own."""

    def __init__(self, enforcer: Enforcer, cluster: EmqxCluster, ledger: Ledger, environ: Mapping[str, str]) -> None:
        self._enforcer = enforcer
        self._cluster = cluster
        self._ledger = ledger
        self._api = EmqxApi(cluster, environ)
        self._lane = Lane(self._api, lambda: enforcer.settings, ledger, enforcer.in_thread, enforcer._clock)  # noqa: SLF001 - a part of it
        self._news = {broad: asyncio.Event() for broad in (False, True)}
        self._fault = ""

    def wake(self) -> None:
        for news in self._news.values():
            news.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                for broad in (False, True):
                    group.create_task(self._work(broad=broad))
        finally:
            await self._api.close()

    async def _work(self, *, broad: bool) -> None:
        pause = BackOff()
        while True:
            try:
                batch = await self._due(broad=broad)
                if batch:
                    await self._lane.work_at(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again: nothing is forgotten
                await asyncio.sleep(pause.failed(self._note_fault(error)))
                continue
            if batch:
                pause.succeeded()
                self._note_well()
            else:
                await self._wait(self._news[broad])

    async def _due(self, *, broad: bool) -> list[Revocation]:
        if not self._enforcer.working:
            return []
        clock = self._enforcer._clock  # noqa: SLF001 - a part of it
        found: list[Revocation] = await self._enforcer.in_thread(
            lambda: self._ledger.revocations.due(self._cluster.name, clock(), MOST_AT_ONCE, broad=broad)
        )
        return found

    async def _wait(self, news: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await news.wait()
        except TimeoutError:
            return
        news.clear()

    async def _watch(self) -> None:
        """Say how it is: in the metrics, and in the runtime file for `exhook status`; ask, where nothing else does."""
        said: tuple[str, int] | None = None
        while True:
            if self._enforcer.working:
                try:
                    said = await self._say(said)
                except (StoreUnavailable, SealError) as error:
                    logger.warning("runtime file unavailable", why=str(error))
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not end what ends sessions
                    self._note_fault(error)
            await asyncio.sleep(IDLE_SECONDS)

    async def _say(self, said: tuple[str, int] | None) -> tuple[str, int]:
        name = self._cluster.name
        counts = (await self._enforcer.in_thread(self._ledger.revocations.counts)).get(name)
        if counts:
            found = counts_of(counts)
            metrics.WAITING.labels(name).set(found["waiting"])
            metrics.FAILED.labels(name).set(found["failed"])
        clock = self._enforcer._clock()  # noqa: SLF001 - a part of it
        if said is None or not 0 <= clock - said[1] < PROBE_MS or said[0] != self._fault:
            # Once a minute it is seen whether the API is there, so that it is known before it is needed.
            if not counts or not counts_of(counts)["waiting"]:
                try:
                    await self._api.get("/nodes")
                except EmqxFault as error:
                    self._note_fault(error)
                else:
                    self._note_well()
            fault, url = self._fault, self._cluster.url
            value = {"url": url, "up": not fault, "why": fault, "offset_ms": self._api.offset_ms, "pid": os.getpid()}
            await self._enforcer.in_thread(lambda: self._ledger.say(f"{SAID}{name}", value))
            said = (self._fault, clock)
        return said

    def _note_fault(self, error: Exception) -> float | None:
        """Count and log it; how long the API asks to be left alone."""
        kind, why, wanted = _kind(error), str(error), None
        if kind == "error":
            why = error_place(error)
        if isinstance(error, Unavailable):
            wanted = error.retry_after
        metrics.API_FAULTS.labels(self._cluster.name, kind).inc()
        if kind in {"key", "api"}:
            metrics.API_UP.labels(self._cluster.name).set(0)
        if why != self._fault:
            logger.error("revocations wait", cluster=self._cluster.name, why=why)
        self._fault = why
        return wanted

    def _note_well(self) -> None:
        metrics.API_UP.labels(self._cluster.name).set(1)
        if self._fault:
            logger.info("revocations go on", cluster=self._cluster.name)
        self._fault = ""


def _kind(error: Exception) -> str:
    if isinstance(error, KeyRefused):
        return "key"
    if isinstance(error, EmqxFault):
        return "api"
    return "store" if isinstance(error, StoreUnavailable | SealError) else "error"
