"""Flow control towards the peer (RFC 9113, 5.2): what may be sent now, and what waits until it may."""

from typing import Final

from exhook.transport.h2.answers import RESPONSE, TRAILERS, prefixed
from exhook.transport.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    FRAME_BYTES,
    LARGEST_WINDOW,
    Code,
    ConnectionFault,
    StreamFault,
    frame,
)
from exhook.transport.limits import Breach

_NOTHING: Final[list[bytes]] = []


class Waiting:
    """An answer that the windows let through in part."""

    __slots__ = ("left", "since", "window")

    def __init__(self, left: memoryview, window: int, since: float) -> None:
        self.left = left
        self.window = window
        """Of its stream. A smaller initial window may make it negative."""
        self.since = since
        """When anything of it last went out, in seconds of `time.monotonic`."""


class Outflow:
    """The windows of one connection. Only DATA counts; headers and trailers go at any time."""

    def __init__(self, held_bytes: int) -> None:
        self.window = DEFAULT_WINDOW
        """Of the connection."""
        self.initial = DEFAULT_WINDOW
        """Of a new stream."""
        self.waiting: dict[int, Waiting] = {}
        self.held = 0
        """Bytes that wait."""
        self._most_held = held_bytes

    def send(self, stream: int, granted: int, message: bytes, now: float) -> list[bytes]:
        """The frames of an answer that may go now; the rest waits its turn.

        Raises:
            ConnectionFault: more waits than may.
        """
        body = memoryview(prefixed(message))
        self.waiting[stream] = Waiting(body, self.initial + granted, now)
        self.held += len(body)
        headers = stream.to_bytes(4).join(RESPONSE)
        frames = [headers, *self._pump(stream, now)]
        if self.held > self._most_held:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "answers are not taken", Breach.HELD)
        return frames

    def widen(self, stream: int, more: int, now: float) -> list[bytes]:
        """The peer takes more on a stream with a waiting answer, or, stream 0, on the connection: what may go now.

        Raises:
            ConnectionFault, StreamFault: a window beyond 2^31 - 1.
        """
        if stream:
            waiting = self.waiting[stream]
            waiting.window += more
            if waiting.window > LARGEST_WINDOW:
                raise StreamFault(stream, Code.FLOW_CONTROL_ERROR)
            return self._pump(stream, now)
        self.window += more
        if self.window > LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")
        return self._pump_all(now) if self.waiting else _NOTHING

    def set_initial(self, initial: int, now: float) -> list[bytes]:
        """The peer changes the window of every stream: what may go now.

        Raises:
            ConnectionFault: it makes a window larger than 2^31 - 1.
        """
        if initial > LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "an initial window beyond 2^31 - 1")
        change, self.initial = initial - self.initial, initial
        for waiting in self.waiting.values():
            waiting.window += change
            if waiting.window > LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")
        return self._pump_all(now) if change > 0 else _NOTHING

    def forget(self, stream: int) -> None:
        """The stream is gone."""
        waiting = self.waiting.pop(stream, None)
        if waiting is not None:
            self.held -= len(waiting.left)

    def stalled(self, since: float) -> list[int]:
        """Streams of which nothing has gone out since then."""
        return [stream for stream, waiting in self.waiting.items() if waiting.since < since]

    def _pump_all(self, now: float) -> list[bytes]:
        frames: list[bytes] = []
        for stream in list(self.waiting):
            if self.window <= 0:
                break
            frames += self._pump(stream, now)
        return frames

    def _pump(self, stream: int, now: float) -> list[bytes]:
        waiting = self.waiting[stream]
        frames = []
        while waiting.left and (size := min(len(waiting.left), self.window, waiting.window, FRAME_BYTES)) > 0:
            frames.append(frame(DATA, 0, stream, bytes(waiting.left[:size])))
            waiting.left = waiting.left[size:]
            waiting.window -= size
            waiting.since = now
            self.window -= size
            self.held -= size
        if not waiting.left:
            del self.waiting[stream]
            frames.append(stream.to_bytes(4).join(TRAILERS))
        return frames
