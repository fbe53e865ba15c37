"""A connection of the carrier h2 in the test's own hands: frames in, frames out, no socket between."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from hpack import Decoder, Encoder

from exhook.transport.call import Call
from exhook.transport.h2.answers import Answers, prefixed
from exhook.transport.h2.connection import Connection
from exhook.transport.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    frame,
)
from exhook.transport.limits import Breach, Limits, Notices

PATH: Final = "/test.Service/Method"
EMQX: Final = (
    (":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "127.0.0.1"), ("grpc-timeout", "5S"),
    ("content-type", "application/grpc+proto"), ("te", "trailers"), ("user-agent", "grpc-erlang/0.1.0"),
    ("grpc-encoding", "identity"), ("grpc-message-type", "emqx.exhook.v3.ClientAuthorizeRequest"),
)  # fmt: skip
"""The headers of EMQX's client."""

Fields = tuple[tuple[str, str], ...]


def replaced(**fields: str | None) -> Fields:
    """EMQX's headers with others of the same names; None takes one out. `_` is `-`, and a leading `_` is `:`."""
    named = {(":" + name[1:] if name[0] == "_" else name).replace("_", "-"): value for name, value in fields.items()}
    kept = [(name, named.pop(name, value)) for name, value in EMQX]
    return tuple((name, value) for name, value in [*kept, *named.items()] if value is not None)


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> Code:
        """Of RST_STREAM and GOAWAY."""
        return Code(int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload))


def frames_of(data: bytes) -> Iterator[Frame]:
    while data:
        length = int.from_bytes(data[:3])
        assert len(data) >= 9 + length, "half a frame was written"
        yield Frame(data[3], data[4], int.from_bytes(data[5:9]), data[9 : 9 + length])
        data = data[9 + length :]


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self._closed = False
        self._reading = True

    def is_closed(self) -> bool:
        return self._closed

    def write(self, data: Any) -> None:
        assert not self._closed
        self.written += data

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = self.aborted = True

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True


Service = Callable[[Call], bytes | Awaitable[bytes]]


def echo(call: Call) -> bytes:
    return call.body


class Peer:
    """What is at the other end of a connection."""

    def __init__(self, answer: Service = echo, *, greet: bool = True, **limits: Any) -> None:
        self.calls: list[Call] = []
        self.breaches: Counter[Breach] = Counter()
        self.half_open = 0
        self.failures: list[BaseException] = []
        self.limits = Limits(**limits)
        self.wire = Wire()
        self.lost = False
        self.frames: list[Frame] = []
        self._encoder = Encoder()
        self._decoder = Decoder()

        def service(call: Call) -> bytes | Awaitable[bytes]:
            self.calls.append(call)
            return answer(call)

        notices = Notices(
            half_open=self._one_half_open, breach=lambda one: self.breaches.update([one]), failed=self.failures.append
        )
        self.connection = Connection(
            {PATH: service}, Answers(), self.limits, notices, made=lambda *_: None, lost=lambda _: None
        )
        self.connection.connection_made(self.wire)
        if greet:
            self.send(PREFACE, frame(SETTINGS, 0, 0))
            self.read()

    def _one_half_open(self) -> None:
        self.half_open += 1

    def block(self, fields: Fields = EMQX, *, huffman: bool = True) -> bytes:
        encoded: bytes = self._encoder.encode(fields, huffman=huffman)
        return encoded

    def send(self, *frames: bytes) -> None:
        self.connection.data_received(b"".join(frames))

    def ask(self, stream: int, message: bytes = b"", fields: Fields = EMQX) -> None:
        """A call in two frames, as EMQX sends it."""
        self.send(self.headers(stream, fields), self.message(stream, message))

    def headers(self, stream: int, fields: Fields = EMQX, flags: int = END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream, self.block(fields))

    @staticmethod
    def message(stream: int, message: bytes, flags: int = END_STREAM) -> bytes:
        return frame(DATA, flags, stream, prefixed(message))

    def read(self) -> list[Frame]:
        """What was written since the last time."""
        found = list(frames_of(self.wire.written))
        self.wire.written = b""
        self.frames += found
        return found

    def fields(self, one: Frame) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._decoder.decode(one.payload)}

    def answers(self) -> dict[int, tuple[bytes, int]]:
        """Message and grpc-status of the streams that ended since the last time; -1 for a reset."""
        found: dict[int, tuple[bytes, int]] = {}
        bodies: dict[int, bytes] = {}
        for one in self.read():
            if one.kind == DATA:
                bodies[one.stream] = bodies.get(one.stream, b"") + one.payload
            elif one.kind == HEADERS and one.flags & END_STREAM:
                found[one.stream] = bodies.get(one.stream, b"")[5:], int(self.fields(one).get("grpc-status", "-2"))
            elif one.kind == RST_STREAM and one.stream not in found:
                found[one.stream] = b"", -1
        return found

    def statuses(self) -> dict[int, int]:
        return {stream: status for stream, (_, status) in self.answers().items()}

    def end(self) -> Code | None:
        """Why the connection was ended, if it was."""
        self.read()
        said = [one.code for one in self.frames if one.kind == GOAWAY]
        assert bool(said) == self.wire.is_closed()
        return said[-1] if said else None


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(name.to_bytes(2) + value.to_bytes(4) for name, value in pairs))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, Code.CANCEL.to_bytes(4))


def continuation(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(CONTINUATION, flags, stream, payload)
