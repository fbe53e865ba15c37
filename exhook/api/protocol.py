"""HTTP/1.1 within bounds: heads, connections and the time that either takes. Answers even nonsense in JSON."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 * 1024
"""Largest request line with headers: a token may name 100 resources, all in the query."""

HEAD_SECONDS: Final = 10.0
"""How long a head may take to come; an open connection that never asked has as long."""

MOST_CONNECTIONS: Final = 1_000
"""More at one time are closed at once."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools, which by itself takes heads of any size at any pace."""

    most_connections: ClassVar[int] = MOST_CONNECTIONS
    head_seconds: ClassVar[float] = HEAD_SECONDS

    def __init__(self, *arguments: Any, stranger: Callable[[Any], bool] = lambda _: False, **named: Any) -> None:
        """`stranger` says of a transport whether its peer is not to be let in."""
        super().__init__(*arguments, **named)
        self._stranger = stranger
        self._head = 0
        """Bytes of a head that is not complete."""
        self._in_body = False
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its parent has it
        super().connection_made(transport)
        if len(self.connections) > self.most_connections or self._stranger(transport):
            transport.abort()
            return
        self._send_at_once()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._in_body:
            self._head += len(data)
            if self._late is None:
                self._watch()
        super().data_received(data)
        if self._head > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "Headers", f"over {HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._unwatch()
        self._in_body = True
        self._head = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse(431, "Headers", f"over {HEAD_BYTES} bytes")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        if self.cycle is not None:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Request", msg)

    def _send_at_once(self) -> None:
        """No waiting for acknowledgements between head and body of an answer, which took 40 ms a call.

        asyncio does so itself, but not where the listening socket was handed to it.
        """
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _watch(self) -> None:
        self._unwatch()
        self._late = self.loop.call_later(self.head_seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _refuse(self, status: int, parameter: str, message: str) -> None:
        """Answer without an application: what came is no request, or too much of one."""
        body = json.dumps(
            {"RequestId": "", "HostId": "", "Code": f"InvalidParameter.{parameter}", "Message": message}
        ).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
