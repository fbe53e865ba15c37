"""The life of the server, top to bottom: start, serve, drain, stop.

The supervisor owns what there is one of: the policy watcher, the expiry sweeper, the enforcer, the management API,
the embedded broker, the metrics port. The workers only decide.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from exhook import metrics_port
from exhook.carriers import addresses
from exhook.certificate_watch import watches
from exhook.descriptors import take_what_is_allowed
from exhook.faults import CannotStart
from exhook.forking import Zygote
from exhook.logs import configure, error_place, logger
from exhook.offspring import Offspring
from exhook.processes import ApiProcess, BrokerProcess, ServingProcess, WorkerProcess
from exhook.settings import InvalidSettings, Settings, split_address
from exhook.sweeping import Sweeper
from exhook.systemd import Systemd
from exhook.transport.h2.acceptor import Acceptor
from exhook.words import LOOPS, leave_word
from exhook.zygote import preloaded
from store.database import Database
from store.seal import PLAIN, SealKeys

if TYPE_CHECKING:
    from exhook.enforcer.enforcer import Enforcer
    from exhook.policy import PolicyFiles

Reload = Callable[[], Settings]
"""Reads the settings anew; raises InvalidSettings."""


class Supervisor:
    """One server: a store, its workers, and what watches over them."""

    def __init__(self, settings: Settings, reload: Reload, offspring: Offspring | None = None) -> None:
        """`offspring` forks the workers until it dies; without one, a process is started for that."""
        self.settings = settings
        self.port = 0
        self.broker_port: int | None = None
        self._reload = reload
        self._keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
        self._policy: PolicyFiles | None = None
        self._held: socket.socket | None = None
        self._acceptor: Acceptor | None = None
        self._zygote = Zygote(preloaded(settings.carrier), offspring)
        self._workers: list[WorkerProcess] = []
        self._api: ApiProcess | None = None
        self._broker = BrokerProcess()
        self._enforcer: Enforcer | None = None
        self._systemd = Systemd()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._lost: BaseException | None = None
        """What ended that which the server cannot be without."""

    async def run(self, *, ready: Callable[["Supervisor"], None] = lambda _: None) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StoreUnavailable, SealError, InvalidPolicy, CannotStart: it could not start.
            Exception: whatever ended what watches over its processes: whoever started the server starts another.
        """
        self._listen_to_signals()
        take_what_is_allowed()
        try:
            await self._start_zygote()
            self._prepare_store()
            if self.settings.policy is not None:
                self._policy = self._policy_files()
                await self._policy.apply_first()
            self._warn_of_an_empty_store()
            self._take_addresses()
            await self._start_workers()
            self._start_metrics()
            await self._start_api()
            await self._start_broker()
            self._watch()
            logger.info(
                "serving", address=self.settings.listen, workers=len(self._workers), store=str(self.settings.db)
            )
            self._systemd.say("READY=1", f"STATUS=serving at {self.settings.listen}")
            ready(self)
            await self._stopping.wait()
            self._systemd.say("STOPPING=1", "STATUS=draining")
            logger.info("draining")
        finally:
            await self._stop()
            if self._held is not None:
                self._held.close()
        if self._lost is not None:
            raise self._lost
        logger.info("stopped")

    async def _start_zygote(self) -> None:
        """First, since it takes longest: what workers need is loaded while the store is brought into shape."""
        try:
            await self._zygote.start()
        except OSError as error:
            raise CannotStart(f"no process is to be had ({error}); see how many may run, and the memory") from None

    def _prepare_store(self) -> None:
        """Make and migrate the store before a worker opens it."""
        with Database.open(self.settings.db, self._keys) as database:
            if PLAIN in database.sealed_under:
                logger.warning(
                    "secrets stand in the clear in the store, readable by its owner alone; "
                    "make a key with `exhook seal-key new` and name it by --seal-key-file",
                    store=str(self.settings.db),
                )

    def _warn_of_an_empty_store(self) -> None:
        with Database.open(self.settings.db, self._keys) as database:
            if database.revision == 0:
                logger.warning(
                    "the store is empty: every client is denied; fill it by `exhook-sync apply`, or name a policy "
                    "by --policy",
                    store=str(self.settings.db),
                )

    def _take_addresses(self) -> None:
        """Take the port for the workers to share, and find out which where any will do.

        Raises:
            CannotStart: someone else listens there.
        """
        host, port = split_address(self.settings.listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            if self.settings.carrier == "h2":
                self._acceptor = Acceptor(addresses(self.settings), map(str, range(self.settings.workers)))
                port = self._acceptor.start()
            else:
                self._held, port = _hold_port(family, host, port)
        except OSError as error:
            raise CannotStart(
                f"{error.filename or self.settings.listen}: cannot listen there ({error.strerror}); choose another "
                f"{'--unix-socket' if error.filename else '--listen'}"
            ) from None
        self.port = port
        listen = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        self.settings = self.settings.model_copy(update={"listen": listen})

    async def _start_workers(self) -> None:
        self._workers = [
            WorkerProcess(str(number), self.settings, self._zygote, self._acceptor, self._loops)
            for number in range(self.settings.workers)
        ]
        try:
            await asyncio.gather(*(worker.start() for worker in self._workers))
        except OSError as error:
            raise CannotStart(f"a worker cannot be started ({error}); see how many may run, and the memory") from None

    def _start_metrics(self) -> None:
        port = metrics_port.serve(self.settings)
        if self.settings.metrics and port is not None:
            host, _ = split_address(self.settings.metrics)
            logger.info("metrics", address=f"{host}:{port}", tls=self.settings.metrics_tls_cert is not None)

    async def _start_api(self) -> None:
        if self.settings.api is None:
            return
        self._api = ApiProcess(self.settings, self._loops)
        host, _ = split_address(self.settings.api)
        address = f"[{host}]" if ":" in host else host
        address += f":{await self._api.start()}"
        # Another one that takes its place serves the same port.
        self.settings = self.settings.model_copy(update={"api": address})
        self._api.settings = self.settings
        logger.info("management API", address=address, tls=self.settings.api_tls_cert is not None)

    async def _start_broker(self) -> None:
        if self.settings.with_broker is not None:
            self.broker_port = await self._broker.start(self.settings.with_broker, self.settings.listen)
            logger.info("embedded broker, for trying: MQTT 3.1.1 alone", address=f"127.0.0.1:{self.broker_port}")

    def _watch(self) -> None:
        keeping = [self._zygote.keep(), *(worker.keep() for worker in self._workers)]
        for work in keeping if self._api is None else [*keeping, self._api.keep()]:
            self._keep_doing(work).add_done_callback(self._end_with)
        self._keep_doing(self._broker.keep())
        self._keep_doing(Sweeper(self.settings.db, self._keys).run())
        if self._policy:
            self._keep_doing(self._policy.watch())
        self._start_enforcer()
        self._keep_doing(self._systemd.stay_alive())
        asked = {"exhook": True, "api": self.settings.api, "metrics": self.settings.metrics}
        for watch in watches(self.settings, (listener for listener, serves in asked.items() if serves)):
            self._keep_doing(watch.run())

    def _policy_files(self) -> "PolicyFiles":
        from exhook.policy import PolicyFiles  # noqa: PLC0415 - a start without a policy goes without what reads YAML

        return PolicyFiles(self.settings, self._keys)

    def _start_enforcer(self) -> None:
        if self.settings.emqx:
            from exhook.enforcer.enforcer import Enforcer  # noqa: PLC0415 - and one without a cluster without httpx

            self._enforcer = Enforcer(self.settings, self._keys)
            self._keep_doing(self._enforcer.run())

    def _keep_doing(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_report_failure)
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)
        return task

    def _end_with(self, task: asyncio.Task[None]) -> None:
        """Nobody replaces a process any more: better to end now, and be started again, than when it dies."""
        if not task.cancelled() and (error := task.exception()):
            self._lost = self._lost or error
            self._stopping.set()

    def _loops(self, process: ServingProcess) -> None:
        """A process dies again and again: `exhook status` shall say so."""
        word = {"times": process.failed_starts}
        self._keep_doing(leave_word(self.settings.db, f"{process.what} {process.name}{LOOPS}", word))

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._keep_doing(self._take_on()))

    async def _take_on(self) -> None:
        """SIGHUP: settings and policy anew; what is broken changes nothing."""
        try:
            wanted = self._reload()
        except InvalidSettings as error:
            logger.error("settings not reloaded; the last good ones stay in force", why=str(error))
        else:
            self.settings = wanted.kept_until_restart(self.settings)
            configure(self.settings)
            for worker in self._workers:
                worker.reload(self.settings)
            if self._api:
                self._api.reload(self.settings)
            if self._enforcer:
                self._enforcer.settings = self.settings
        if self._policy:
            self._policy.settings = self.settings
        elif self.settings.policy is not None:
            self._policy = self._policy_files()
            self._keep_doing(self._policy.watch())
        if self._policy:
            await self._policy.apply()

    async def _stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._acceptor:
            self._acceptor.close()
        if self._api:
            # Before the workers: its last calls wait until these follow.
            await self._api.stop(self.settings.drain_seconds)
        await self._broker.stop()
        await asyncio.gather(*(worker.stop(self.settings.drain_seconds) for worker in self._workers))
        await self._zygote.stop()


def _hold_port(family: int, host: str, port: int) -> tuple[socket.socket, int]:
    """A socket that holds a port for the workers, which listen there themselves, and the port.

    Raises:
        OSError: someone else listens there.
    """
    # Without SO_REUSEPORT first: with it, a second server would share the calls in silence.
    with socket.create_server((host, port), family=family) as alone:
        port = alone.getsockname()[1]
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, port))
    return held, port


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("a part of the server ended", error=error_place(error))
