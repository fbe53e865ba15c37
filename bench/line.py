"""A connection without an event loop, for load: calls are put together beforehand, and answers are only compared.

A call costs some microseconds here, so that one core of load keeps one core of any gRPC server busy.
"""

import socket
from collections import deque
from dataclasses import dataclass
from struct import Struct
from time import perf_counter
from typing import Final

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
from http2 import CallFailed
from questions import Question
from tables import WrongAnswer

_READ_BYTES: Final = 2**18
_STREAM_BYTES: Final = 4
_HEAD: Final = Struct(">HBBBI")
"""Length in two parts, type, flags, stream."""


@dataclass(frozen=True, slots=True)
class Call:
    """A question, and its bytes around the stream number, which stands there twice."""

    question: Question
    first: bytes
    between: bytes
    last: bytes
    right: bytes
    """The only DATA that is the right answer."""


def prepare(question: Question) -> Call:
    body = message(question.message)
    start, opening = frame(HEADERS, END_HEADERS, 0, header_block(question.path)), frame(DATA, END_STREAM, 0, body)
    split = HEAD_BYTES - _STREAM_BYTES
    between = start[HEAD_BYTES:] + opening[:split]
    return Call(question, start[:split], between, opening[HEAD_BYTES:], message(question.answer))


class Line:
    """One connection; what it was asked, and how long each answer took."""

    def __init__(self, name: str, port: int) -> None:
        self.latencies: list[float] = []
        """In seconds, from when the call was given to the kernel (or was meant to be) to when its answer was read."""
        self.under_way = 0
        self._name = name
        self._next = 1
        self._asked: dict[int, tuple[Call, float]] = {}
        self._bodies: dict[int, bytes] = {}
        self._window = FIRST_WINDOW
        self._waiting: deque[tuple[Call, float]] = deque()
        self._received = b""
        self._out: list[bytes] = [hello()]
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self.flush()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, call: Call, began: float) -> None:
        """Make a call at this time of `perf_counter`; `flush` puts it on the wire."""
        self.under_way += 1
        self._send(call, began)

    def flush(self) -> None:
        if not self._out:
            return
        out = b"".join(self._out)
        self._out.clear()
        try:
            sent = self._socket.send(out)
        except BlockingIOError:
            sent = 0
        if sent < len(out):
            self._out.append(out[sent:])

    def read(self) -> int:
        """Take in what came; how many calls were answered.

        Raises:
            CallFailed: one was reset or has no answer, or the connection closed.
            WrongAnswer: an answer is not the right one.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        now = perf_counter()
        if not data:
            raise CallFailed(f"{self._name} closed the connection with {self.under_way} calls under way")
        if self._received:
            data = self._received + data
        at, left, answered = 0, len(data), 0
        unpack, bodies, latencies = _HEAD.unpack_from, self._bodies, self.latencies
        while left - at >= HEAD_BYTES:
            high, low, kind, flags, stream = unpack(data, at)
            start = at + HEAD_BYTES
            end = start + (high << 8 | low)
            if end > left:
                break
            if kind == HEADERS:
                if flags & END_STREAM:
                    latencies.append(now - self._ended(stream))
                    answered += 1
            elif kind == DATA:
                bodies[stream] = bodies.get(stream, b"") + data[start:end]
            else:
                self._told(kind, flags, stream, data[start:end])
            at = end
        self._received = data[at:]
        self.under_way -= answered
        return answered

    def _ended(self, stream: int) -> float:
        """When the call was made, whose answer is all there."""
        call, began = self._asked.pop(stream)
        given = self._bodies.pop(stream, b"")
        if not given:
            raise CallFailed(f"{self._name} answered {call.question} by a status alone")
        if given != call.right:
            raise WrongAnswer(f"{self._name} answered {given[PREFIX_BYTES:]!r} to {call.question}")
        return began

    def _send(self, call: Call, began: float) -> None:
        size = len(call.last)
        if self._waiting or size > self._window:
            self._waiting.append((call, began))
            return
        self._window -= size
        number, self._next = self._next, self._next + 2
        self._asked[number] = (call, began)
        stream = number.to_bytes(_STREAM_BYTES)
        self._out += (call.first, stream, call.between, stream, call.last)

    def _told(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body)
            waiting, self._waiting = self._waiting, deque()
            for call, began in waiting:
                self._send(call, began)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._out.append(frame(kind, ACK, 0, body if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise CallFailed(f"{self._name}: {'GOAWAY' if kind == GOAWAY else 'RST_STREAM'} {body!r}")
