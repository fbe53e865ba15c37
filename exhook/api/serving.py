"""The API on a port: start, serve, drain, stop."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Final

import uvicorn

from exhook.api.api import Api
from exhook.api.entrance import Entrance
from exhook.api.http import application
from exhook.api.in_force import PATIENCE
from exhook.api.protocol import BoundedProtocol
from exhook.certificate_files import certificates_of, names_of
from exhook.faults import CannotStart
from exhook.settings import Settings
from exhook.transport.certificates import HTTP
from store.clock import Clock, now_ms
from store.seal import SealKeys

SWITCH_SECONDS: Final = 0.0005
_KEEP_ALIVE_SECONDS: Final = 75


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """The API of one process."""

    def __init__(
        self, settings: Settings, keys: SealKeys, *, clock: Clock = now_ms, patience: float = PATIENCE
    ) -> None:
        self.settings = settings
        self._make = partial(Api, settings, keys, clock=clock, patience=patience)
        self._api: Api | None = None
        self._server: _Quiet | None = None
        self._entrance: Entrance | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Begin to serve; the port.

        Raises:
            CannotStart: the address is taken, or certificate, key and CA cannot be used.
            StoreUnavailable: the runtime file cannot be opened.
        """
        if self.settings.api is None:
            raise CannotStart("no address for the API; give one by --api ADDRESS:PORT, or EXHOOK_API")
        try:
            certificates = certificates_of(self.settings, "api", HTTP)
        except OSError as error:
            raise CannotStart(str(error)) from None
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            # It would log tracebacks, whose frames may show what a request held.
            logging.getLogger(name).disabled = True
        server = self._server = _Quiet(_config(self.settings))
        try:
            self._entrance = Entrance(self.settings.api, server, certificates)
        except OSError as error:
            raise CannotStart(
                f"{self.settings.api}: the API cannot listen there ({error.strerror}); choose another --api"
            ) from None
        try:
            self._api = self._make()
        except BaseException:
            self._entrance.close()
            raise
        server.config.app = application(self._api)
        self._serving = asyncio.create_task(server.serve(sockets=[]))
        while not server.started:
            if self._serving.done():
                raise CannotStart(f"{self.settings.api}: the API did not come to serve")
            await asyncio.sleep(0.005)
        self._entrance.open()
        return self._entrance.port

    async def stop(self) -> None:
        """Take no new call; those under way get `drain_seconds`."""
        if self._entrance:
            self._entrance.close()
        if self._server and self._serving:
            self._server.should_exit = True
            await asyncio.wait([self._serving])
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()  # who does not close in time what is encrypted, say
        if self._api:
            self._api.close()

    def reload(self, settings: Settings) -> None:
        """Take on the settings that need no restart."""
        self.settings = settings
        if self._api:
            self._api.reload(settings)
        if self._entrance:
            self._entrance.admit(names_of(settings, "api"))


def take_turns() -> None:
    """Let the threads of a process that serves the API alternate faster than Python's 5 ms.

    The event loop gives the lock up at each system call, and would get it back from the writer only then.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "",  # told when there is one
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
