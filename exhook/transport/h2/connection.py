"""One HTTP/2 connection: how it begins, what is written and when, how it ends."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Final

from exhook.transport.h2.answers import Answers, without_table
from exhook.transport.h2.asked import Answerer, read_headers
from exhook.transport.h2.blocks import Blocks
from exhook.transport.h2.calls import Calls
from exhook.transport.h2.control import DRAIN, PROBE, Control
from exhook.transport.h2.frames import (
    DEFAULT_WINDOW,
    FRAME_BYTES,
    LAST_STREAM,
    PING,
    Code,
    ConnectionFault,
    Setting,
    frame,
    goaway,
    settings,
    window_update,
)
from exhook.transport.h2.peer import peer_of
from exhook.transport.h2.reading import FrameReader
from exhook.transport.h2.requests import Requests
from exhook.transport.limits import Breach, Limits, Notices

_NEARLY_LAST_STREAM: Final = LAST_STREAM - 2**16
"""From here on the peer is asked for a new connection: stream ids end, and not every client counts them."""


class Connection(asyncio.Protocol):
    """A peer, until it or we end it."""

    def __init__(
        self,
        answerers: Mapping[str, Answerer],
        answers: Answers,
        limits: Limits,
        notices: Notices,
        *,
        made: Callable[["Connection", asyncio.Transport], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        now = monotonic()
        self._limits = limits
        self._notices = notices
        self._made, self._lost = made, lost
        self._calls = Calls(limits, notices, answers, flush=self._flush)
        blocks = Blocks(4 * limits.metadata_bytes, partial(read_headers, answerers=answerers, limits=limits))
        self._requests = Requests(self._calls, blocks, limits, notices, now)
        self._control = Control(self._calls, self._requests.useless, drained=self._last_goaway)
        self._reader = FrameReader(self._calls, blocks, self._requests, self._control, limits=limits, notices=notices)
        self._transport: asyncio.Transport
        self._window = self._credit = max(limits.held_bytes, 2 * limits.message_bytes)
        self._began = self._heard = now
        self._probed_at: float | None = None
        self._stuck_at: float | None = None
        """Since when the peer's socket takes no more."""
        self._closing_at: float | None = None
        self._table_unsaid = True
        """Whether the peer has yet to be told that our header blocks use no dynamic table."""
        self._draining = False
        self._drained = False
        """Whether the peer knows that nothing new is looked at."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._calls.peer = peer_of(transport)
        values = {
            # EMQX heeds no such limit: what is past it would be reset, and its clients denied.
            Setting.MAX_CONCURRENT_STREAMS: LAST_STREAM,
            Setting.INITIAL_WINDOW_SIZE: self._calls.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: self._limits.metadata_bytes,
        }
        transport.write(settings(values) + window_update(0, self._window - DEFAULT_WINDOW))
        self._made(self, transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._closing_at = self._heard
        self._calls.close()
        self._lost(self)

    def pause_writing(self) -> None:
        # Who does not take answers may ask no more.
        self._stuck_at = monotonic()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck_at = None
        if self._closing_at is None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._closing_at is not None:
            return
        now = self._heard = monotonic()
        try:
            self._reader.feed(data, now)
            self._settle()
        except ConnectionFault as fault:
            self._end(fault.code, str(fault), fault.breach)
        else:
            self._flush()

    def drain(self) -> None:
        """Ask the peer for a new connection; what it asks until it has read that is answered."""
        if self._draining or self._closing_at is not None:
            return
        self._draining = True
        if not self._control.greeted:
            self.close()
            return
        self._calls.out += (goaway(LAST_STREAM, Code.NO_ERROR), frame(PING, 0, 0, DRAIN))
        self._flush()

    def close(self) -> None:
        """End it now, whatever waits."""
        self._end(Code.NO_ERROR, "", None)

    def abort(self) -> None:
        """End it without a word."""
        if self._closing_at is None:
            self._closing_at = monotonic()
            self._calls.close()
        self._transport.abort()

    def tick(self, now: float) -> None:
        """End what takes too long; asked several times a second."""
        limits = self._limits
        if self._closing_at is not None:
            if now - self._closing_at > limits.stalled_seconds:
                self.abort()  # it does not even take our GOAWAY
            return
        if now >= self._calls.next_until:
            self._calls.give_up(now)
        if self._calls.outflow.waiting and self._calls.drop_stalled(now - limits.stalled_seconds):
            self._notices.breach(Breach.STALLED)
        block = self._requests.open_block
        greeting_until = now - limits.greeting_seconds
        if self._stuck_at is not None and now - self._stuck_at > limits.stalled_seconds:
            self._notices.breach(Breach.STALLED)
            self.abort()
        elif not self._control.greeted and self._began < greeting_until:
            self._end(Code.PROTOCOL_ERROR, "no greeting", Breach.SILENT)
        elif block is not None and block.since < greeting_until:
            self._end(Code.PROTOCOL_ERROR, "a header block without an end", Breach.SILENT)
        else:
            self._look_for_life(now)
            self._flush()

    def _look_for_life(self, now: float) -> None:
        quiet = now - self._heard
        if quiet <= self._limits.idle_seconds:
            self._probed_at = None
        elif self._probed_at is None:
            self._probed_at = now
            self._calls.out.append(frame(PING, 0, 0, PROBE))
        elif now - self._probed_at > self._limits.pong_seconds:
            self._notices.breach(Breach.SILENT)
            self.abort()

    def _settle(self) -> None:
        """What follows from a batch as a whole."""
        calls, requests = self._calls, self._requests
        self._credit -= requests.received
        requests.received = 0
        if self._credit < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more than the window", Breach.HELD)
        if self._credit + calls.owed < FRAME_BYTES:
            # Messages that are not whole fill the window: none of them would ever be.
            calls.shed(self._window // 4)
        if calls.answered:
            requests.useless.add(calls.answered * self._limits.frames_per_answer)
            calls.answered = 0
        if requests.last > _NEARLY_LAST_STREAM and not self._draining:
            self.drain()

    def _flush(self) -> None:
        calls = self._calls
        if self._closing_at is not None:
            return
        # Of the window that is not held, a half: what is held may be nearly all, and then the peer waits for the rest.
        if calls.owed >= self._credit and calls.owed:
            calls.out.append(window_update(0, calls.owed))
            self._credit += calls.owed
            calls.owed = 0
        if calls.out:
            self._write(calls.out)
        if calls.idle and (self._control.leaving or self._drained):
            self.close()

    def _write(self, frames: list[bytes]) -> None:
        if self._table_unsaid:
            self._table_unsaid = not without_table(frames)
        self._transport.write(b"".join(frames))
        frames.clear()

    def _last_goaway(self) -> None:
        """The peer has read our first GOAWAY: from now on, what it opens is not looked at."""
        if self._draining:
            self._drained = True
            self._requests.highest = self._requests.last
            self._calls.out.append(goaway(self._requests.last, Code.NO_ERROR))

    def _end(self, code: Code, why: str, breach: Breach | None) -> None:
        if self._closing_at is not None:
            return
        if breach is not None:
            self._notices.breach(breach)
        self._calls.out.append(goaway(min(self._requests.last, self._requests.highest), code, why))
        self._write(self._calls.out)
        self._closing_at = monotonic()
        self._calls.close()
        self._reader.rest = b""
        self._transport.close()
