"""A conversation with a connection of the carrier h2 out of any bytes, and what must hold at every point of it.

The bytes are a script: each step is a byte that says what is sent or happens, and the bytes that this takes. So chance
finds its way deep into the connection's states, where random bytes of the wire would end it at once.
"""

import asyncio
from typing import Final

from h2_under_test import EMQX, PATH, Peer, continuation, frames_of, ping, replaced, settings, window_update
from hpack import Decoder

from exhook.transport.call import Call, Refusal, Status
from exhook.transport.h2.answers import literal, prefixed
from exhook.transport.h2.control import DRAIN
from exhook.transport.h2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEADERS,
    LAST_STREAM,
    PADDED,
    RST_STREAM,
    frame,
)

MOST_STEPS: Final = 200
STATELESS: Final = b"".join(literal(name, value) for name, value in EMQX)
"""A header block that means the same in any state of the dynamic table."""
_FIELDS: Final = (
    EMQX,
    replaced(grpc_timeout="1m"),
    replaced(grpc_encoding="gzip"),
    replaced(_path="/none"),
    replaced(content_length="8"),
    replaced(te="gzip"),
    replaced(x_long="x" * 1500),
    (("x-trailer", "1"),),
)
_SECONDS: Final = (0.0, 0.2, 2.0, 11.0, 301.0)


class Script:
    """Bytes that are taken one after the other; zeros when they end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def bytes(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken


class Conversation:
    """One peer, by its script."""

    def __init__(self, data: bytes) -> None:
        self.script = Script(data)
        self.futures: list[asyncio.Future[bytes]] = []
        self.peer = Peer(
            self._answer,
            greet=bool(self.script.byte() & 7),
            streams=20, frames=60, frames_per_second=0, resets=20, resets_per_second=0,
            message_bytes=20_000, held_bytes=70_000, metadata_bytes=2000, headers=20, continuations=4,
        )  # fmt: skip
        self.connection = self.peer.connection
        self.now = self.connection._heard
        self.stream = -1
        self._decoder = Decoder()

    def _answer(self, call: Call) -> bytes | asyncio.Future[bytes]:
        match call.body[:1]:
            case b"s":
                self.futures.append(LOOP.create_future())
                return self.futures[-1]
            case b"r":
                raise Refusal(Status.NOT_FOUND, "nö")
            case b"f":
                raise RuntimeError("failed")
            case b"b":
                return bytes(30_000)
        return call.body

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            if self.script.ended or self.peer.wire.is_closed():
                break
            self._step()
            self._holds()
        self._answers_still()
        self.connection.connection_lost(None)
        _turn()
        assert all(future.done() for future in self.futures)
        assert self.connection._calls.idle

    def _step(self) -> None:  # noqa: C901, PLR0912 - a line for each thing that can happen
        script, peer = self.script, self.peer
        match script.byte() % 16:
            case 0 | 1:
                self.stream += 2
                peer.send(self._opening(self.stream), self._message(self.stream))
            case 2:
                self.stream += 2
                peer.send(self._opening(self.stream))
            case 3:
                peer.send(self._message(self._stream()))
            case 4:
                peer.send(frame(script.byte() % 12, script.byte(), self._stream(), script.bytes(script.byte())))
            case 5:
                peer.send(script.bytes(script.byte()))
            case 6:
                peer.send(window_update(self._stream(), int.from_bytes(script.bytes(script.byte() % 5))))
            case 7:
                peer.send(settings((script.byte() % 8, int.from_bytes(script.bytes(script.byte() % 5)))))
            case 8:
                peer.send(frame(RST_STREAM, 0, self._stream(), script.bytes(4).ljust(4, b"\0")))
            case 9:
                self.now = max(self.now, self.connection._heard) + _SECONDS[script.byte() % len(_SECONDS)]
                self.connection.tick(self.now)
            case 10:
                self._settle_one()
            case 11:
                peer.send(ping(DRAIN, script.byte() & 1))
            case 12:
                self.connection.drain()
            case 13:
                padding = script.byte()
                data = script.bytes(script.byte())
                peer.send(frame(DATA, PADDED | script.byte() & 1, self._stream(), bytes((padding,)) + data))
            case 14:
                self.stream += 2
                block = peer.block(_FIELDS[script.byte() % len(_FIELDS)])
                cut = script.byte()
                peer.send(frame(HEADERS, script.byte() & 1, self.stream, block[:cut]))
                peer.send(continuation(self.stream, block[cut:], script.byte() & END_HEADERS))
            case _:
                part = bytes(256 * (script.byte() % 65))[:FRAME_BYTES]
                peer.send(frame(DATA, script.byte() & 1, self._stream(), part))

    def _opening(self, stream: int) -> bytes:
        choice = self.script.byte()
        flags = END_HEADERS | (choice >> 7)
        block = STATELESS if choice & 8 else self.peer.block(_FIELDS[choice % len(_FIELDS)], huffman=bool(choice & 16))
        return frame(HEADERS, flags, stream, block)

    def _message(self, stream: int) -> bytes:
        choice = self.script.byte()
        body = (b"s", b"r", b"f", b"b", b"x")[choice % 5] * (1 + (choice >> 5) * 200)
        data = prefixed(body)[choice >> 4 & 1 :]
        return frame(DATA, END_STREAM if choice & 8 else 0, stream, data)

    def _stream(self) -> int:
        """One of the last, most often; sometimes none that there is."""
        choice = self.script.byte()
        if choice >= 0xF0:
            return (0, 2, self.stream + 2, LAST_STREAM, 2**31 | 1)[choice % 5]
        return max(self.stream - 2 * (choice % 12), 0)

    def _settle_one(self) -> None:
        waiting = [future for future in self.futures if not future.done()]
        if waiting:
            future = waiting[self.script.byte() % len(waiting)]
            if self.script.byte() & 1:
                future.set_exception(RuntimeError("failed later"))
            else:
                future.set_result(bytes(100 * self.script.byte()))
            _turn()

    def _holds(self) -> None:
        """What holds at every point."""
        for one in frames_of(self.peer.wire.written):
            assert one.kind in (DATA, HEADERS, 3, 4, 6, 7, 8)
            if one.kind == HEADERS:
                self._decoder.decode(one.payload)
        self.peer.wire.written = b""
        assert all(str(error).startswith("failed") for error in self.peer.failures)
        connection, calls = self.connection, self.connection._calls
        if self.peer.wire.is_closed():
            assert not calls.streams or self.peer.wire.aborted
            return
        limits = self.peer.limits
        assert len(calls.streams) + len(calls.outflow.waiting) <= limits.streams
        held = sum(opened.held for opened in calls.streams.values())
        assert connection._credit + calls.owed + held == connection._window, "bytes of the window are lost, or made"
        assert connection._credit + calls.owed >= 0
        assert calls.outflow.window >= 0 or not calls.outflow.waiting
        assert calls.outflow.held == sum(len(waiting.left) for waiting in calls.outflow.waiting.values())
        assert calls.outflow.held <= max(limits.held_bytes, 2 * limits.message_bytes)
        assert len(connection._reader.rest) < 9 + FRAME_BYTES
        assert len(connection._reader.known) <= 256
        assert calls.out == []
        assert calls.next_until <= min((opened.until for opened in calls.streams.values()), default=calls.next_until)

    def _answers_still(self) -> None:
        """A connection that is not ended, and not about to be, answers the next call."""
        connection, calls = self.connection, self.connection._calls
        whole = not connection._reader.rest and connection._requests.open_block is None
        room = calls.outflow.window > 100 and calls.outflow.initial > 100 and not calls.full
        leaving = connection._draining or connection._control.leaving or not connection._control.greeted
        stream = connection._requests.last + 2 | 1
        if self.peer.wire.is_closed() or not whole or not room or leaving or stream > LAST_STREAM:
            return
        asked = len(self.peer.calls)
        self.peer.send(frame(HEADERS, END_HEADERS, stream, STATELESS))
        self.peer.send(frame(DATA, END_STREAM, stream, prefixed(b"x")))
        assert len(self.peer.calls) == asked + 1
        assert self.peer.calls[-1].path == PATH
        assert self.peer.answers().get(stream) == (b"x", 0)


LOOP: Final = asyncio.new_event_loop()
"""Of the slow answers; never run but for a turn."""


def _turn() -> None:
    LOOP.call_soon(LOOP.stop)
    LOOP.run_forever()


def converse(data: bytes) -> None:
    """Have the conversation of these bytes.

    Raises:
        AssertionError: something does not hold. Any other exception is as bad.
    """
    Conversation(data).run()
