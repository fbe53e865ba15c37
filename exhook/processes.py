"""Child processes of the server: the workers, and the embedded broker. Each dies with its parent."""

import asyncio
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from functools import partial
from typing import Final

from exhook import metrics
from exhook.counting_files import retire
from exhook.faults import CannotStart
from exhook.forking import Forked, Zygote
from exhook.logs import error_place, logger
from exhook.settings import Settings
from exhook.spawning import answer, first_line, spawn
from exhook.transport.h2.acceptor import Acceptor

_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 5.0
_STEADY_SECONDS: Final = 10.0
"""A process that lived this long was no failed start: the next one comes at once."""
_DRAINED_SECONDS: Final = 2.0
"""How much longer than `drain_seconds` a process may take to end."""
_HOPELESS: Final = 3
"""So many failed starts on end, and connections no longer wait for the next one."""
LOOP_DEATHS: Final = 5
"""So many failed starts on end are a loop, which somebody must look into."""


class ServingProcess:
    """A process that serves a port: started, told settings, replaced when it dies."""

    def __init__(self, what: str, name: str, settings: Settings, on_loop: Callable[["ServingProcess"], None]) -> None:
        """`on_loop` is called at each death in a loop of failed starts."""
        self.what = what
        """What it is, in log lines."""
        self.name = name
        self.settings = settings
        self.failed_starts = 0
        """How many on end died before they had lived for long."""
        self._process: Process | Forked | None = None
        self._stopping = False
        self._on_loop = on_loop

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> int:
        """Start it and wait until it serves; its port.

        Raises:
            CannotStart: it did not come to serve.
        """
        self._process = await self._launch()
        self._tell(self.settings)
        said = answer(await first_line(self._process))
        if "ready" not in said:
            await self._end()
            raise CannotStart(said.get("failed", f"{self.what} {self.name} did not start; its own lines say why"))
        self._serves()
        return int(said["ready"])

    async def _launch(self) -> Process | Forked:
        raise NotImplementedError

    def _serves(self) -> None:
        """It is ready."""

    def _died(self) -> None:
        """It is gone, without being told to; the next one is about to be started."""

    async def keep(self) -> None:
        """Wait; whenever it dies without being told to, start another."""
        while True:
            process = self._process
            if process is None:
                return
            began = time.monotonic()
            code = await process.wait()
            if self._stopping:
                return
            backoff = self._backoff(time.monotonic() - began)
            try:
                self._lost(process.pid, code, backoff)
            except Exception as error:  # noqa: BLE001 - whatever it is, another shall take its place
                logger.error("error after a death", worker=self.name, error=error_place(error))
            await asyncio.sleep(backoff)
            try:
                await self.start()
            except Exception as failed:  # noqa: BLE001 - no memory, process or descriptor; whatever it is, it may pass
                why = str(failed) if isinstance(failed, CannotStart | OSError) else error_place(failed)
                logger.error(f"{self.what} did not start", worker=self.name, why=why)
                await self._end()

    def _lost(self, pid: int, code: int, backoff: float) -> None:
        """It died by itself; it is tried again in `backoff` seconds."""
        self._died()
        logger.error(f"{self.what} died; another takes its place", worker=self.name, exit_code=code)
        metrics.DEATHS.labels(self.what).inc()
        retire(pid)
        if self.failed_starts >= LOOP_DEATHS:
            logger.critical(
                f"{self.what} dies again and again", worker=self.name, times=self.failed_starts, next_try=backoff
            )
            self._on_loop(self)

    def _backoff(self, lived: float) -> float:
        """Seconds until the next one is started: none after a long life, more and more after short ones."""
        if lived >= _STEADY_SECONDS:
            self.failed_starts = 0
            return 0.0
        self.failed_starts += 1
        return min(_FIRST_BACKOFF * (1 << min(self.failed_starts - 1, 10)), _LONGEST_BACKOFF)

    def reload(self, settings: Settings) -> None:
        """Hand it new settings."""
        self.settings = settings
        self._tell(settings)

    async def stop(self, grace: float) -> None:
        """Let it drain, `grace` seconds and a little more; then end it."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            async with asyncio.timeout(grace + _DRAINED_SECONDS):
                await process.wait()
        except TimeoutError:
            logger.warning(f"{self.what} did not drain in time; ended", worker=self.name)
            await self._end()

    def _tell(self, settings: Settings) -> None:
        if self._process and self._process.stdin and self._process.returncode is None:
            self._process.stdin.write(settings.model_dump_json().encode() + b"\n")

    async def _end(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class WorkerProcess(ServingProcess):
    """One deciding process."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        zygote: Zygote,
        acceptor: Acceptor | None = None,
        on_loop: Callable[[ServingProcess], None] = lambda _: None,
    ) -> None:
        """`acceptor` hands it its connections; without one it listens itself."""
        super().__init__("worker", name, settings, on_loop)
        self._zygote = zygote
        self._acceptor = acceptor
        self._channel: socket.socket | None = None
        """Our end, until the acceptor has it."""

    async def _launch(self) -> Forked:
        if self._acceptor is None:
            return await self._zygote.fork(self.name)
        if self._channel:
            self._channel.close()
        self._channel, theirs = socket.socketpair()
        with theirs:
            return await self._zygote.fork(self.name, theirs)

    def _serves(self) -> None:
        if self._acceptor and self._channel:
            self._acceptor.seat(self.name, self._channel, partial(self._left, self._process))
            self._channel = None

    def _left(self, process: Process | Forked | None) -> None:
        """It takes no connections any more: it is about to end, or serves nobody and never will."""
        wait = self.settings.drain_seconds + _DRAINED_SECONDS
        asyncio.get_running_loop().call_later(wait, self._end_who_serves_nobody, process)

    def _end_who_serves_nobody(self, process: Process | Forked | None) -> None:
        if process and process.returncode is None and not self._stopping:
            logger.error("worker takes no connections; ended", worker=self.name)
            process.kill()

    def _died(self) -> None:
        if self._acceptor:
            self._acceptor.lost(self.name, back=self.failed_starts < _HOPELESS)


class ApiProcess(ServingProcess):
    """The management API of a server."""

    def __init__(self, settings: Settings, on_loop: Callable[[ServingProcess], None] = lambda _: None) -> None:
        super().__init__("API", "api", settings, on_loop)

    async def _launch(self) -> Process:
        return await spawn(["exhook.api.process"])


class BrokerProcess:
    """The embedded MQTT broker, attached to this server through ExHook."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._stopping = False

    async def keep(self) -> None:
        """Wait, and say so should it end by itself; it is for trying, and is not started again."""
        if self._process is None:
            return
        code = await self._process.wait()
        if not self._stopping:
            logger.error("the embedded broker ended; restart the server to have it again", exit_code=code)

    async def start(self, port: int, target: str) -> int:
        """Start it and wait until it accepts clients; its port.

        Raises:
            CannotStart: it did not come up.
        """
        arguments = ["exhook.brokers.amqtt", "--port", str(port), "--target", target, "--stdin-lifeline"]
        self._process = await spawn(arguments)
        word, _, said = (await first_line(self._process)).partition(" ")
        if word != "ready":
            await self.stop()
            raise CannotStart("the embedded broker did not start; its own lines say why")
        return int(said)

    async def stop(self) -> None:
        self._stopping = True
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(3.0):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
