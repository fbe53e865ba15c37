"""A gRPC client that costs next to nothing, so that the server is what gets measured.

Enough of HTTP/2 (RFC 9113) for unary calls: frames by hand, one header block a path as EMQX repeats it, flow
control towards the server, acknowledged PING and SETTINGS. The server's header blocks are not decoded: an
answer counts as given when its DATA is there and its stream ended by HEADERS (the trailers).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    PING,
    PREFIX_BYTES,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    header_block,
    hello,
    message,
)
from questions import Question

Done = Callable[[bytes, float], None]
"""Is given the answer's message, and the seconds that it took."""


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
        self._window = FIRST_WINDOW
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
        body = message(question.message)
        if self._waiting or len(body) > self._window:
            self._waiting.append((question, done))
            return
        stream, self._next = self._next, self._next + 2
        self._window -= len(body)
        self._streams[stream] = _Stream(done, perf_counter())
        self._out += (
            frame(HEADERS, END_HEADERS, stream, header_block(question.path)),
            frame(DATA, END_STREAM, stream, body),
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
        transport.write(hello())

    def connection_lost(self, error: Exception | None) -> None:
        if self.under_way:
            self.failed = self.failed or CallFailed(f"the server closed the connection ({error})")
            for future in tuple(self._futures):
                future.set_exception(self.failed)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        at = 0
        while len(received) - at >= HEAD_BYTES:
            end = at + HEAD_BYTES + int.from_bytes(received[at : at + 3])
            if len(received) < end:
                break
            self._frame_came(
                received[at + 3], received[at + 4], int.from_bytes(received[at + 5 : at + 9]), received[at + 9 : end]
            )
            at = end
        self._received = received[at:]
        self.flush()

    def _frame_came(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == DATA:
            self._streams[stream].body += body
        elif kind == HEADERS:
            if flags & END_STREAM:
                ended = self._streams.pop(stream)
                ended.done(ended.body[PREFIX_BYTES:], perf_counter() - ended.began)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body)
            while self._waiting and len(message(self._waiting[0][0].message)) <= self._window:
                waiting, self._waiting = self._waiting, deque()
                self.send(*waiting.popleft())
                self._waiting = waiting
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._out.append(frame(kind, ACK, 0, body if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            self.failed = CallFailed(f"{'GOAWAY' if kind == GOAWAY else 'RST_STREAM'} {body!r}")
            self._transport.close()
