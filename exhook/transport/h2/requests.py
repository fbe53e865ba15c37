"""Frames that make calls: HEADERS, CONTINUATION, DATA, RST_STREAM. Which of them may come when (RFC 9113, 5.1)."""

from typing import NamedTuple

from exhook.transport.call import Status
from exhook.transport.h2.allowance import Allowance
from exhook.transport.h2.answers import refusal
from exhook.transport.h2.asked import MalformedHeaders, check_trailers
from exhook.transport.h2.blocks import Blocks
from exhook.transport.h2.calls import Calls
from exhook.transport.h2.frames import (
    END_HEADERS,
    END_STREAM,
    LAST_STREAM,
    WITH_PRIORITY,
    Code,
    ConnectionFault,
    StreamFault,
    unpadded,
)
from exhook.transport.limits import Breach, Limits, Notices

_TINY_BYTES = 1024
"""DATA that is shorter and not the last of its message moves nothing."""
_PRIORITY_BYTES = 5
_RESET_BYTES = 4
_TOO_MANY = refusal(Status.RESOURCE_EXHAUSTED, "more calls at once than are taken")


class OpenBlock(NamedTuple):
    """A header block whose end is to come."""

    stream: int
    flags: int
    parts: list[bytes]
    since: float


class Requests:
    """What the peer asks on one connection."""

    def __init__(self, calls: Calls, blocks: Blocks, limits: Limits, notices: Notices, now: float) -> None:
        self.last = 0
        """The highest stream that the peer has opened."""
        self.highest = LAST_STREAM
        """The highest that it may open; less when the connection is about to end."""
        self.open_block: OpenBlock | None = None
        """While there is one, no frame but its CONTINUATION may come."""
        self.useless = Allowance(limits.frames, limits.frames_per_second, Breach.FRAMES, now)
        self.resets = Allowance(limits.resets, limits.resets_per_second, Breach.RESETS, now)
        self.received = 0
        """Bytes of DATA since this was last set to 0."""
        self._calls = calls
        self._blocks = blocks
        self._limits = limits
        self._most_block_bytes = blocks.most_bytes
        self._notices = notices

    def headers(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        """HEADERS: a new call, or trailers that end the message of one."""
        block = unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            if len(block) < _PRIORITY_BYTES:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS without their priority")
            block = block[_PRIORITY_BYTES:]
        if not stream & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream that no client may open")
        if flags & END_HEADERS:
            self._block(stream, block, now, ended=bool(flags & END_STREAM))
        else:
            self.open_block = OpenBlock(stream, flags, [block], now)

    def continuation(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        """CONTINUATION: more of a header block."""
        opened = self.open_block
        if opened is None or opened.stream != stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        opened.parts.append(payload)
        if len(opened.parts) > self._limits.continuations + 1:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many CONTINUATION", Breach.CONTINUATIONS)
        if sum(map(len, opened.parts)) > self._most_block_bytes:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block that is too long", Breach.HEADERS)
        if flags & END_HEADERS:
            self.open_block = None
            self._block(stream, b"".join(opened.parts), now, ended=bool(opened.flags & END_STREAM))

    def data(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        """DATA: more of a call's message."""
        if stream == 0 or stream > self.last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on a stream that is not open")
        ended = bool(flags & END_STREAM)
        self.received += len(payload)
        if not ended and len(payload) < _TINY_BYTES:
            self.useless.take(1, now)
        self._calls.data(stream, unpadded(flags, payload), len(payload), now, ended=ended)

    def reset(self, _: int, stream: int, payload: bytes, now: float) -> None:
        """RST_STREAM: the peer does not want an answer any more."""
        if len(payload) != _RESET_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM of a broken length")
        if stream == 0 or stream > self.last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        if self._calls.reset(stream):
            self.resets.take(1, now)
        else:
            self.useless.take(1, now)

    def _block(self, stream: int, block: bytes, now: float, *, ended: bool) -> None:
        if stream <= self.last:
            self._trailers(stream, block, now, ended=ended)
        elif stream > self.highest:
            self.last = stream
            self._blocks.fields(block)  # for the state of the table; the peer was told that nobody looks at it
        else:
            self.last = stream
            self._open(stream, block, now, ended=ended)

    def _open(self, stream: int, block: bytes, now: float, *, ended: bool) -> None:
        try:
            asked = self._blocks.asked(block)
        except MalformedHeaders:
            raise StreamFault(stream, Code.PROTOCOL_ERROR) from None
        if self._calls.full:
            self._notices.breach(Breach.STREAMS)
            self._calls.refuse_headers(stream, _TOO_MANY)
        elif asked.refusal is not None:
            if asked.breach is not None:
                self._notices.breach(asked.breach)
            self._calls.refuse_headers(stream, asked.refusal)
        else:
            self._calls.open(stream, asked, now)
            if ended:
                self._calls.data(stream, b"", 0, now, ended=True)

    def _trailers(self, stream: int, block: bytes, now: float, *, ended: bool) -> None:
        fields = self._blocks.fields(block)
        if stream not in self._calls.streams:
            if not ended:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream that is opened twice")
            self.useless.take(1, now)
            return
        try:
            check_trailers(fields)
        except MalformedHeaders:
            raise StreamFault(stream, Code.PROTOCOL_ERROR) from None
        if not ended:
            raise StreamFault(stream, Code.PROTOCOL_ERROR)
        self._calls.data(stream, b"", 0, now, ended=True)
