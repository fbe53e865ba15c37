"""A gRPC client that costs next to nothing, so that the server is what gets measured.

Enough of HTTP/2 (RFC 9113) for unary calls: frames by hand, one header block a path as EMQX repeats it, flow
control towards the server, acknowledged PING and SETTINGS. The server's header blocks are not decoded: an
answer counts as given when its DATA is there and its stream ended by HEADERS (the trailers).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from struct import Struct
from time import perf_counter
from typing import Any, Final

from questions import Question

Done = Callable[[bytes, float], None]
"""Is given the answer's message, and the seconds that it took."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_WINDOW: Final = 65_535
_MORE_WINDOW: Final = 2**31 - 1 - _FIRST_WINDOW
_FRAME: Final = Struct(">xHBBI")
"""Length (24 bits, of which we need 16), type, flags, stream."""
_HEAD_BYTES: Final = 9
_PREFIX_BYTES: Final = 5


class CallFailed(Exception):
    """The server reset a stream, or closed the connection."""


@dataclass(slots=True)
class _Stream:
    done: Done
    began: float
    body: bytes = b""


class Connection(asyncio.Protocol):
    """One connection to a server."""

    def __init__(self) -> None:
        self.failed: Exception | None = None
        self._transport: asyncio.Transport
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self._window = _FIRST_WINDOW
        self._waiting: deque[tuple[Question, Done]] = deque()
        self._futures: set[asyncio.Future[bytes]] = set()
        self._received = b""
        self._out: list[bytes] = []

    @classmethod
    async def open(cls, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def own_port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def under_way(self) -> int:
        return len(self._streams) + len(self._waiting)

    def close(self) -> None:
        self._transport.close()

    def send(self, question: Question, done: Done) -> None:
        """Ask; `flush` puts it on the wire."""
        message = _message(question.message)
        if self._waiting or len(message) > self._window:
            self._waiting.append((question, done))
            return
        stream, self._next = self._next, self._next + 2
        self._window -= len(message)
        self._streams[stream] = _Stream(done, perf_counter())
        self._out += (
            _frame(_HEADERS, _END_HEADERS, stream, _header_block(question.path)),
            _frame(_DATA, _END_STREAM, stream, message),
        )

    def flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    async def ask(self, question: Question) -> bytes:
        """One call, awaited.

        Raises:
            CallFailed: no answer came.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        self.send(question, lambda answer, _: future.set_result(answer))
        self.flush()
        return await future

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        grow = _frame(_WINDOW_UPDATE, 0, 0, _MORE_WINDOW.to_bytes(4))
        transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + grow)

    def connection_lost(self, error: Exception | None) -> None:
        if self.under_way:
            self.failed = self.failed or CallFailed(f"the server closed the connection ({error})")
            for future in tuple(self._futures):
                future.set_exception(self.failed)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        at = 0
        while len(received) - at >= _HEAD_BYTES:
            end = at + _HEAD_BYTES + int.from_bytes(received[at : at + 3])
            if len(received) < end:
                break
            self._frame_came(
                received[at + 3], received[at + 4], int.from_bytes(received[at + 5 : at + 9]), received[at + 9 : end]
            )
            at = end
        self._received = received[at:]
        self.flush()

    def _frame_came(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _DATA:
            self._streams[stream].body += body
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                ended = self._streams.pop(stream)
                ended.done(ended.body[_PREFIX_BYTES:], perf_counter() - ended.began)
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body)
            while self._waiting and len(_message(self._waiting[0][0].message)) <= self._window:
                waiting, self._waiting = self._waiting, deque()
                self.send(*waiting.popleft())
                self._waiting = waiting
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._out.append(_frame(kind, _ACK, 0, body if kind == _PING else b""))
        elif kind in (_RST_STREAM, _GOAWAY):
            self.failed = CallFailed(f"{'GOAWAY' if kind == _GOAWAY else 'RST_STREAM'} {body!r}")
            self._transport.close()


def _message(body: bytes) -> bytes:
    """A gRPC message: not compressed, its length, the bytes."""
    return b"\0" + len(body).to_bytes(4) + body


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body), kind, flags, stream) + body


@cache
def _header_block(path: str) -> bytes:
    """The headers of EMQX's client, each a literal without indexing (RFC 7541, 6.2.2): no table to keep."""
    method = path.rpartition("/On")[2]
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "127.0.0.1:9000",
        "content-type": "application/grpc+proto",
        "te": "trailers",
        "user-agent": "grpc-erlang/0.1.0",
        "grpc-timeout": "5S",
        "grpc-encoding": "identity",
        "grpc-message-type": f"emqx.exhook.v3.{method}Request",
    }
    block = b""
    for name, value in headers.items():
        assert len(name) < 127, name
        assert len(value) < 127, value
        block += b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return block
