"""Bytes to frames, and each frame to whom it concerns.

EMQX repeats its headers for every call of one kind, and sends the message right behind them. A call like that is
taken in one step: headers known by their bytes, message whole in the next frame. All else goes the long way.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from exhook.transport.h2.answers import PREFIX_BYTES
from exhook.transport.h2.blocks import Blocks
from exhook.transport.h2.calls import Calls
from exhook.transport.h2.control import Control
from exhook.transport.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    GOAWAY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    LAST_STREAM,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    ConnectionFault,
    StreamFault,
    reset,
)
from exhook.transport.h2.requests import Requests
from exhook.transport.limits import Limits, Notices

_HEAD_AND_PREFIX: Final = Struct(">IBIBI")
"""The head of a DATA frame, and the gRPC prefix behind it: compressed or not, length."""

Frame = Callable[[int, int, bytes, float], None]


class FrameReader:
    """The frames of one connection, in their order."""

    def __init__(
        self, calls: Calls, blocks: Blocks, requests: Requests, control: Control, *, limits: Limits, notices: Notices
    ) -> None:
        self.known = blocks.known
        self.rest = b""
        """What came of a frame whose end is to come."""
        self._preface = True
        """Whether the preface is to come."""
        self._calls = calls
        self._requests = requests
        self._control = control
        self._notices = notices
        self._longest = min(FRAME_BYTES - PREFIX_BYTES, limits.message_bytes)
        self._frames: dict[int, Frame] = {
            DATA: requests.data,
            HEADERS: requests.headers,
            CONTINUATION: requests.continuation,
            RST_STREAM: requests.reset,
            PRIORITY: control.priority,
            SETTINGS: control.settings,
            PING: control.ping,
            GOAWAY: control.goaway,
            WINDOW_UPDATE: self._window_update,
            PUSH_PROMISE: _push_promise,
        }

    def feed(self, data: bytes, now: float) -> None:
        """Take what has come.

        Raises:
            ConnectionFault: the connection must end.
        """
        if self.rest:
            data = self.rest + data
        at = self._read_preface(data) if self._preface else 0
        self.rest = data[self._read(data, at, now) :]

    def _read_preface(self, data: bytes) -> int:
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "no HTTP/2")
        if len(data) < len(PREFACE):
            return 0
        self._preface = False
        return len(PREFACE)

    def _read(self, data: bytes, at: int, now: float) -> int:
        """Take the whole frames of `data` from `at` on; where the first begins that is not whole.

        Raises:
            ConnectionFault: as any frame does.
        """
        if self._preface:
            return at
        requests, calls, known = self._requests, self._calls, self.known
        size = len(data)
        while size - at >= HEAD_BYTES:
            word, flags, stream = HEAD.unpack_from(data, at)
            body, end = at + HEAD_BYTES, at + HEAD_BYTES + (word >> 8)
            if end > size:
                if word >> 8 > FRAME_BYTES:
                    raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame that is too long")
                break
            if (
                word & 0xFF == HEADERS
                and flags == END_HEADERS
                and (asked := known.get(data[body:end])) is not None
                and asked.simple
                and stream & 1
                and requests.last < stream <= requests.highest
                and requests.open_block is None
                and not calls.full
            ):
                requests.last = stream
                if size - end >= HEAD_BYTES + PREFIX_BYTES:
                    word, flags, other, compressed, length = _HEAD_AND_PREFIX.unpack_from(data, end)
                    stop = end + HEAD_BYTES + PREFIX_BYTES + length
                    if (
                        word == (length + PREFIX_BYTES) << 8  # DATA is 0
                        and flags == END_STREAM
                        and other == stream
                        and not compressed
                        and length <= self._longest
                        and stop <= size
                    ):
                        requests.received += length + PREFIX_BYTES
                        calls.owed += length + PREFIX_BYTES
                        deadline = None if asked.timeout is None else now + asked.timeout
                        calls.call(stream, asked, data[stop - length : stop], deadline, now)
                        at = stop
                        continue
                calls.open(stream, asked, now)
            else:
                self._frame(word, flags, stream & LAST_STREAM, data[body:end], now)
            at = end
        return at

    def _frame(self, word: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        kind = word & 0xFF
        if len(payload) > FRAME_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame that is too long")
        if not self._control.greeted and (kind != SETTINGS or flags):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is no SETTINGS")
        if self._requests.open_block is not None and kind != CONTINUATION:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is not ended")
        try:
            take = self._frames.get(kind)
            if take is None:
                self._requests.useless.take(1, now)  # unknown kinds are for extensions: RFC 9113, 5.5
            else:
                take(flags, stream, payload, now)
        except StreamFault as fault:
            self._notices.breach(fault.breach)
            self._calls.reset(fault.stream)
            self._calls.out.append(reset(fault.stream, fault.code))
            self._requests.resets.take(1, now)

    def _window_update(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        self._control.window_update(flags, stream, payload, now, last=self._requests.last)


def _push_promise(_: int, __: int, ___: bytes, ____: float) -> None:
    raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE of a client")
