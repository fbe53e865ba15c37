"""A deciding process: opens the store for reading, serves the hooks, follows commits.

The supervisor talks to it by lines of JSON: settings come in on standard input, the port goes out on standard
output. When standard input ends, the supervisor is gone or wants it gone: it drains and ends.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from exhook import metrics
from exhook.bridge import Bridge
from exhook.carriers import make_carrier, take_on
from exhook.child import lines, say
from exhook.decider import Decider
from exhook.denials import Noted, write
from exhook.descriptors import take_what_is_allowed
from exhook.hashing import HashingPool
from exhook.health import Health
from exhook.hooks import Hooks
from exhook.listeners import Listeners
from exhook.logs import DecisionLog, configure, error_place, logger
from exhook.services import Services
from exhook.settings import Settings
from exhook.tail import LOOK_SECONDS, Tails
from store.bindings import Bindings
from store.clock import Clock, now_ms
from store.reader import Reader
from store.runtime import Runtime
from store.seal import SealError, SealKeys
from store.unavailable import StoreUnavailable

REPORT_SECONDS: Final = 1.0
"""How often a worker says that it lives, where no commit made it say so before."""


class Worker:
    """One deciding process's parts, put together. Usable in a test's own event loop, too."""

    def __init__(
        self, settings: Settings, keys: SealKeys, *, name: str = "0", clock: Clock = now_ms, sockets: int | None = None
    ) -> None:
        """Open the store. `sockets` is the descriptor where it is handed connections, if it does not listen itself.

        Raises:
            StoreUnavailable, SealError: as `Reader`.
            OSError: as `make_carrier`.
        """
        self.settings = settings
        self.name = name
        self._clock = clock
        self.reader = Reader(settings.db, keys)
        self.hashing = HashingPool(
            threads=settings.hash_threads or max(1, (os.cpu_count() or 1) // settings.workers),
            queue=settings.hash_queue,
            remember_seconds=settings.verified_seconds,
        )
        self._runtime = Runtime.open(settings.db)
        self.decider = Decider(
            self.reader,
            self.hashing,
            Listeners(settings.listeners),
            Bindings(self._runtime),
            instance=settings.instance,
            clock=clock,
        )
        self.tails = Tails(settings.db, on_dropped=metrics.TAIL_DROPPED.inc)
        self.hooks = Hooks(self.decider, decision_log(settings), self.tails, clock=clock)
        self.healthy = True
        """Whether it sees commits."""
        self._sound = True
        """Whether the last look for them, and all that goes with it, went well."""
        self._reported = self._looked = 0.0
        bridge = Bridge(self.decider, self._runtime.workers, clock, look=self._look_early)
        services = Services(self.hooks, bridge, Health(lambda: self.healthy and self._sound))
        self.carrier = make_carrier(settings, services, sockets=sockets)
        self._following: asyncio.Task[None] | None = None
        self._writing = _one_thread()
        self._written: Future[None] | None = None
        self._counted = (0, 0)

    async def start(self) -> int:
        """Begin to serve; the port."""
        port = await self.carrier.start()
        self._following = asyncio.create_task(self._follow())
        return port

    async def stop(self) -> None:
        """Serve no more; calls under way get `drain_seconds`."""
        await self.carrier.stop(self.settings.drain_seconds)
        if self._following:
            self._following.cancel()
        metrics.write()
        if self._written:
            await asyncio.wait([asyncio.wrap_future(self._written)])
        self._write_denials()
        self._writing.shutdown()
        self.tails.close()
        self.hashing.close()
        self._runtime.forget(self.name)
        self._runtime.close()
        self.reader.close()

    def reload(self, settings: Settings) -> None:
        """Take on the settings that need no restart."""
        self.settings = settings
        self.decider.listeners = Listeners(settings.listeners)
        self.decider.instance = settings.instance
        self.hooks.log = decision_log(settings)
        take_on(self.carrier, settings)

    async def _follow(self) -> None:
        """Take notice of commits, and say by which revision this process decides."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._look(loop.time())
            except Exception as error:  # noqa: BLE001 - whatever it is, commits are followed: what is revoked must end
                if self._sound:
                    logger.error("error while commits are followed", error=error_place(error))
                self._sound = False
            else:
                self._sound = True
            await asyncio.sleep(self.settings.poll_ms / 1000)

    def _look(self, now: float) -> None:
        if self._poll() or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._report()
            self._write_denials()
        metrics.write()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self.tails.look()

    def _look_early(self) -> None:
        """For a call that tells of a commit which this process has not seen; reported at the next look."""
        if self._poll():
            self._reported = -REPORT_SECONDS

    def _write_denials(self) -> None:
        # While a slow disk writes the last ones, no more are taken: what is noted is bounded, what waits is not.
        if not (self._written is None or self._written.done()) or not (noted := self.hooks.denials.take()):
            return
        try:
            self._written = self._writing.submit(self._write, noted)
        except RuntimeError as error:  # no thread is to be had, and what was submitted would wait for one without bound
            self._writing = _one_thread()
            metrics.DENIALS_DROPPED.inc(len(noted))
            logger.warning("denials not kept for `exhook why`", why=error_place(error), denials=len(noted))

    def _write(self, noted: list[Noted]) -> None:
        """In a thread of its own: a slow disk holds up no answer."""
        try:
            with Runtime.open(self.settings.db) as runtime:
                write(runtime, noted)
        except Exception as error:  # noqa: BLE001 - whatever it is, decisions go on
            logger.warning("denials not kept for `exhook why`", why=_said(error), denials=len(noted))

    def _count(self) -> None:
        hits, misses = self.reader.hits, self.reader.misses
        metrics.CACHE.labels("hit").inc(hits - self._counted[0])
        metrics.CACHE.labels("miss").inc(misses - self._counted[1])
        self._counted = hits, misses
        metrics.CACHED.labels(self.name).set(len(self.reader))
        metrics.HASHING.labels(self.name).set(self.hashing.waiting)

    def _report(self) -> None:
        try:
            self._runtime.report(self.name, os.getpid(), self.reader.revision, self._clock())
            metrics.REVISION.labels(self.name).set(self.reader.revision)
            metrics.COMMITTED.set(self.reader.committed_at() / 1000)
        except Exception as error:  # noqa: BLE001 - whatever it is, commits are followed
            logger.warning("runtime file unavailable", why=_said(error))
        self._count()

    def _poll(self) -> bool:
        try:
            moved = self.reader.poll()
        except Exception as error:  # noqa: BLE001 - a worker that sees no commits any more says so, and goes on trying
            if self.healthy:
                logger.error("store unavailable", why=_said(error))
            self.healthy = False
            return False
        if not self.healthy:
            logger.info("store available again", revision=self.reader.revision)
        self.healthy = True
        return moved


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="denials")


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, StoreUnavailable | SealError) else error_place(error)


def decision_log(settings: Settings) -> DecisionLog:
    return DecisionLog(settings, on_sampled_out=metrics.LINES_DROPPED.labels("sampled").inc)


def main() -> int:
    """Run one worker, as the command line names it; the exit code."""
    return run(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else None)


def run(name: str, sockets: int | None = None) -> int:
    """Run one worker until standard input ends or SIGTERM comes; the exit code."""
    take_what_is_allowed()
    # Cached views make no cycles, and a full collection over all of them stops the worker for half a second or more.
    gc.set_threshold(700, 10, 1_000_000)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=loop_factory() if sockets is not None else None) as runner:
        return runner.run(_run(name, sockets))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where it is installed: a fifth less CPU for a call through the carrier h2."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(name: str, sockets: int | None) -> int:
    told = lines()
    first = await anext(told, None)
    if first is None:
        return 0  # the supervisor ends before it has said anything
    settings = Settings.model_validate(json.loads(first))
    configure(settings, on_lost=metrics.LINES_DROPPED.labels("unwritable").inc, worker=name)
    try:
        worker = Worker(
            settings, SealKeys.from_environment(os.environ, settings.seal_key_file), name=name, sockets=sockets
        )
        port = await worker.start()
    except (StoreUnavailable, SealError, OSError) as error:
        say({"failed": str(error)})
        return 1
    say({"ready": port})
    listening = asyncio.create_task(_listen(told, worker))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listening.cancel)
    await asyncio.wait([listening])
    await worker.stop()
    return 0


async def _listen(told: AsyncIterator[str], worker: Worker) -> None:
    async for line in told:
        try:
            settings = Settings.model_validate(json.loads(line))
            configure(settings, on_lost=metrics.LINES_DROPPED.labels("unwritable").inc, worker=worker.name)
            worker.reload(settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, decisions go on; the next worker would die of it, too
            logger.error("settings not reloaded; the last good ones stay in force", why=error_place(error))
        else:
            logger.info("settings reloaded")


if __name__ == "__main__":
    sys.exit(main())
