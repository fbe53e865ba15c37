"""The carrier of our own: unary gRPC over HTTP/2 on asyncio, made for what brokers send."""

import asyncio
import socket
import ssl
from time import monotonic
from typing import Final

from exhook.transport.call import Service
from exhook.transport.certificates import Certificates, why_refused
from exhook.transport.h2.acceptor import Intake
from exhook.transport.h2.answers import Answers
from exhook.transport.h2.connection import Connection
from exhook.transport.h2.listening import Listener
from exhook.transport.limits import Breach, Limits, Notices

TICK_SECONDS: Final = 0.1
"""How exact the timeouts are."""
_LAST_WORDS_SECONDS: Final = 0.2
"""How long a connection may take to end after its calls were given up."""


class H2Carrier:
    """Serves unary calls to the peers that connect, or whose sockets it is handed."""

    def __init__(
        self,
        service: Service,
        addresses: tuple[str, ...],
        limits: Limits,
        *,
        notices: Notices | None = None,
        certificates: Certificates | None = None,
        intake: Intake | None = None,
    ) -> None:
        """Addresses are `HOST:PORT` or `unix:PATH`; none, where sockets are handed over through `intake`."""
        self._addresses = addresses
        self._intake = intake
        self._limits = limits
        self._notices = notices or Notices()
        self._certificates = certificates
        self._answers = Answers()
        self._answerers = dict.fromkeys(service.paths, service.answer)
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        self._proven: dict[Connection, ssl.SSLObject] = {}
        """What those that speak TLS have shown."""
        self._greeting: set[asyncio.Task[None]] = set()
        """TLS handshakes under way."""
        self._ticking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    async def start(self) -> int:
        """Begin to accept; the port of the first address.

        Raises:
            OSError: an address cannot be bound.
        """
        try:
            for address in self._addresses:
                self._listeners.append(Listener(address, self.take))
        except OSError as error:
            self._close_listeners()
            raise OSError(f"{address}: cannot listen there ({error.strerror or error})") from None
        if self._intake:
            self._intake.start(self.take, self._missed)
        self._tick()
        return self._listeners[0].port if self._listeners else 0

    def take(self, connected: socket.socket) -> None:
        """Serve the peer of a socket that was accepted."""
        if len(self._connections) + len(self._greeting) >= self._limits.connections:
            self._notices.breach(Breach.CONNECTIONS)
            connected.close()
            self._released()
            return
        task = asyncio.get_running_loop().create_task(self._connect(connected))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    def admit(self, names: frozenset[str]) -> None:
        """Let in peers whose certificate has one of these names, from now on; others that are connected are not."""
        if self._certificates is None or self._certificates.names == names:
            return
        self._certificates.names = names
        for connection, tls in tuple(self._proven.items()):
            self._judge(connection, tls)

    async def stop(self, grace: float) -> None:
        """Accept no more; let calls under way end, `grace` seconds; then end."""
        self._close_listeners()
        for task in self._greeting:
            task.cancel()
        for connection in tuple(self._connections):
            connection.drain()
        await self._ended(grace)
        for connection in tuple(self._connections):
            connection.close()
        await self._ended(_LAST_WORDS_SECONDS)
        for connection in tuple(self._connections):
            connection.abort()
        if self._ticking:
            self._ticking.cancel()

    async def _connect(self, connected: socket.socket) -> None:
        # A path is guarded by its folder, and reached from this machine alone.
        wanted = self._certificates is not None and connected.family != socket.AF_UNIX
        context = self._certificates.context() if wanted and self._certificates else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection,
                connected,
                ssl=context,
                ssl_handshake_timeout=self._limits.greeting_seconds if context else None,
            )
        except (ssl.SSLError, OSError) as error:  # the peer's doing, not ours; a timeout, too, is an OSError
            if context:
                self._notices.stranger(why_refused(error))
            self._notices.breach(Breach.TLS if context else Breach.BROKEN)
            self._released()

    def _connection(self) -> Connection:
        return Connection(self._answerers, self._answers, self._limits, self._notices, made=self._made, lost=self._lost)

    def _made(self, connection: Connection, transport: asyncio.Transport) -> None:
        self._connections.add(connection)
        self._notices.connections(len(self._connections))
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._proven[connection] = tls
            self._judge(connection, tls)

    def _judge(self, connection: Connection, tls: ssl.SSLObject) -> None:
        if self._certificates and (why := self._certificates.stranger(tls)):
            self._notices.stranger(why)
            self._notices.breach(Breach.TLS)
            connection.close()

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._proven.pop(connection, None)
        self._notices.connections(len(self._connections))
        self._released()
        self._changed.set()

    def _missed(self) -> None:
        self._notices.breach(Breach.CONNECTIONS)

    def _released(self) -> None:
        if self._intake:
            self._intake.closed()

    async def _ended(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _tick(self) -> None:
        now = monotonic()
        for connection in tuple(self._connections):
            connection.tick(now)
        self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._intake:
            self._intake.close()
