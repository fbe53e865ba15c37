"""Where the API's callers come in: each gets the certificate that is in force just then, and little time to greet."""

import asyncio
import socket
import ssl
from functools import partial
from typing import Any, Final

import uvicorn

from exhook import metrics
from exhook.api.protocol import BoundedProtocol
from exhook.strangers import Strangers
from exhook.transport.certificates import Certificates, why_refused
from exhook.transport.h2.listening import Listener

HANDSHAKE_SECONDS: Final = 10.0
"""How long a TLS handshake may take; uvicorn's own would wait a minute for each, and bound none."""


class Entrance:
    """The listening socket of one API."""

    handshake_seconds = HANDSHAKE_SECONDS

    def __init__(self, address: str, server: uvicorn.Server, certificates: Certificates | None) -> None:
        """Take the address, `HOST:PORT`; nobody is let in before `open`.

        Raises:
            OSError: it cannot be bound.
        """
        self._server = server
        self._certificates = certificates
        self._strangers = Strangers("api")
        self._greeting: set[asyncio.Task[None]] = set()
        """Handshakes under way, or connections that were just accepted."""
        self._early: list[socket.socket] | None = []
        self._closed = False
        self._listener = Listener(address, self._take)
        self.port = self._listener.port

    def open(self) -> None:
        """Let callers in, those who came early first."""
        early, self._early = self._early or [], None
        for connected in early:
            self._take(connected)

    def admit(self, names: frozenset[str]) -> None:
        """Let in callers whose certificate has one of these names; others that are connected are not any more."""
        if self._certificates is None or self._certificates.names == names:
            return
        self._certificates.names = names
        for connection in list(self._server.server_state.connections):
            if self._stranger(connection.transport):
                connection.transport.abort()

    def close(self) -> None:
        """Let nobody in any more."""
        if self._closed:
            return
        self._closed = True
        self._listener.close()
        for connected in self._early or ():
            connected.close()
        for task in self._greeting:
            task.cancel()

    def _take(self, connected: socket.socket) -> None:
        if self._early is not None:
            self._early.append(connected)
            return
        if len(self._greeting) >= BoundedProtocol.most_connections:
            connected.close()
            return
        task = asyncio.get_running_loop().create_task(self._greet(connected))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, connected: socket.socket) -> None:
        context = self._certificates.context() if self._certificates else None
        make = partial(
            BoundedProtocol,
            config=self._server.config,
            server_state=self._server.server_state,
            app_state=self._server.lifespan.state,
            stranger=self._stranger,
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                make, connected, ssl=context, ssl_handshake_timeout=self.handshake_seconds if context else None
            )
        except (ssl.SSLError, OSError) as error:  # the caller's doing; a timeout, too, is an OSError
            if context:
                self._refused(why_refused(error))

    def _stranger(self, transport: Any) -> bool:
        """Whether the certificate of a caller that is connected has no name that is let in."""
        tls = transport.get_extra_info("ssl_object")
        why = self._certificates.stranger(tls) if self._certificates and tls is not None else ""
        if why:
            self._refused(why)
        return bool(why)

    def _refused(self, why: str) -> None:
        metrics.API_STRANGERS.inc()
        self._strangers(why)
