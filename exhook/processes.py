"""Child processes of the server: the workers, and the embedded broker. Each dies with its parent."""

import asyncio
import json
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any, Final

from exhook.faults import CannotStart
from exhook.logs import logger
from exhook.settings import Settings
from exhook.transport.h2.acceptor import Acceptor

START_SECONDS: Final = 30.0
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 5.0
_STEADY_SECONDS: Final = 10.0
"""A process that lived this long was no failed start: the next one comes at once."""


class ServingProcess:
    """A process that serves a port: started, told settings, replaced when it dies."""

    def __init__(self, what: str, name: str, module: Sequence[str], settings: Settings) -> None:
        self.what = what
        """What it is, in log lines."""
        self.name = name
        self._module = module
        self.settings = settings
        self._process: Process | None = None
        self._stopping = False
        self._backoff = _FIRST_BACKOFF

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
        said = _answer(await _first_line(self._process))
        if "ready" not in said:
            await self._end()
            raise CannotStart(said.get("failed", f"{self.what} {self.name} did not start; its own lines say why"))
        self._serves()
        return int(said["ready"])

    async def _launch(self) -> Process:
        return await _spawn(self._module)

    def _serves(self) -> None:
        """It is ready."""

    def _died(self) -> None:
        """It is gone, without being told to."""

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
            self._died()
            logger.error(f"{self.what} died; another takes its place", worker=self.name, exit_code=code)
            if time.monotonic() - began >= _STEADY_SECONDS:
                self._backoff = _FIRST_BACKOFF
            await asyncio.sleep(self._backoff)
            self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)
            try:
                await self.start()
            except (CannotStart, OSError) as failed:
                # OSError: no memory or no process to be had; whatever took the last worker may still be about.
                logger.error(f"{self.what} did not start", worker=self.name, why=str(failed))

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
            async with asyncio.timeout(grace + 2.0):
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

    def __init__(self, name: str, settings: Settings, acceptor: Acceptor | None = None) -> None:
        """`acceptor` hands it its connections; without one it listens itself."""
        super().__init__("worker", name, ["exhook.worker", name], settings)
        self._acceptor = acceptor
        self._channel: socket.socket | None = None
        """Our end, until the acceptor has it."""

    async def _launch(self) -> Process:
        if self._acceptor is None:
            return await super()._launch()
        if self._channel:
            self._channel.close()
        self._channel, theirs = socket.socketpair()
        with theirs:
            return await _spawn(self._module, sockets=theirs)

    def _serves(self) -> None:
        if self._acceptor and self._channel:
            self._acceptor.seat(self.name, self._channel)
            self._channel = None

    def _died(self) -> None:
        if self._acceptor:
            self._acceptor.lost(self.name)


class ApiProcess(ServingProcess):
    """The management API of a server."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("API", "api", ["exhook.api.process"], settings)


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
        self._process = await _spawn(arguments)
        word, _, said = (await _first_line(self._process)).partition(" ")
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


async def _spawn(module: Sequence[str], *, sockets: socket.socket | None = None) -> Process:
    """Start a module; `sockets` is where it is handed connections, and its last argument."""
    handed = (sockets.fileno(),) if sockets else ()
    # Measured: grpcio's newer listener costs more CPU a call; it is chosen before the library is loaded.
    environment = {"GRPC_EXPERIMENTS": "-event_engine_listener", "GRPC_VERBOSITY": "NONE", **os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module, *map(str, handed)), stdin=PIPE, stdout=PIPE, env=environment, pass_fds=handed
    )


def _answer(line: str) -> dict[str, Any]:
    """What a worker said of its start; nothing, if that was no answer."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


async def _first_line(process: Process) -> str:
    if process.stdout is None:
        raise AssertionError("started without a pipe")
    try:
        async with asyncio.timeout(START_SECONDS):
            return (await process.stdout.readline()).decode().strip()
    except TimeoutError:
        return ""
