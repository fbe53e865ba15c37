"""Frames about the connection itself: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, PRIORITY."""

from collections.abc import Callable
from typing import Final

from exhook.transport.h2.allowance import Allowance
from exhook.transport.h2.calls import Calls
from exhook.transport.h2.frames import (
    ACK,
    FRAME_BYTES,
    LAST_STREAM,
    PING,
    SETTINGS,
    Code,
    ConnectionFault,
    Setting,
    StreamFault,
    frame,
    read_settings,
)

LARGEST_FRAME: Final = 2**24 - 1
PROBE: Final = b"exhook-p"
"""Opaque data of a PING that asks whether anybody is there."""
DRAIN: Final = b"exhook-d"
"""Of one whose answer says that the peer has read our GOAWAY."""
_PING_BYTES: Final = 8
_PRIORITY_BYTES: Final = 5
_WINDOW_UPDATE_BYTES: Final = 4
_WAITING_A_TOKEN: Final = 64
"""A window that changes is looked at for all calls that wait: the more there are, the more it takes."""


class Control:
    """What the peer says of one connection."""

    def __init__(self, calls: Calls, useless: Allowance, *, drained: Callable[[], None]) -> None:
        self.greeted = False
        """Whether its first SETTINGS have come."""
        self.leaving = False
        """Whether it has said GOAWAY."""
        self._calls = calls
        self._useless = useless
        self._drained = drained

    def settings(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        """SETTINGS: applied, and acknowledged."""
        if stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement that says something")
            self._useless.take(1, now)
            return
        self._take_window(now)
        for setting, value in read_settings(payload):
            if setting == Setting.INITIAL_WINDOW_SIZE:
                self._take_window(now)
                self._calls.set_initial(value, now)
            elif setting == Setting.MAX_FRAME_SIZE:
                if not FRAME_BYTES <= value <= LARGEST_FRAME:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame size that the standard does not have")
            elif setting == Setting.ENABLE_PUSH and value > 1:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        self.greeted = True
        self._calls.out.append(frame(SETTINGS, ACK, 0))

    def ping(self, flags: int, stream: int, payload: bytes, now: float) -> None:
        """PING: answered, however often within reason. EMQX sends one a minute for ever."""
        if stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != _PING_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING of a broken length")
        self._useless.take(1, now)
        if not flags & ACK:
            self._calls.out.append(frame(PING, ACK, 0, payload))
        elif payload == DRAIN:
            self._drained()

    def goaway(self, _: int, stream: int, __: bytes, now: float) -> None:
        """GOAWAY: the peer opens no more streams; what it has asked is answered."""
        if stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        self._useless.take(1, now)
        self.leaving = True

    def window_update(self, _: int, stream: int, payload: bytes, now: float, *, last: int) -> None:
        """WINDOW_UPDATE: the peer takes more."""
        if len(payload) != _WINDOW_UPDATE_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a broken length")
        if stream > last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
        more = int.from_bytes(payload) & LAST_STREAM
        if stream:
            self._useless.take(1, now)
        else:
            self._take_window(now)
        if not more:
            if stream:
                raise StreamFault(stream, Code.PROTOCOL_ERROR)
            raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        self._calls.widen(stream, more, now)

    def priority(self, _: int, stream: int, payload: bytes, now: float) -> None:
        """PRIORITY: of no meaning since RFC 9113."""
        if stream == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != _PRIORITY_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PRIORITY of a broken length")
        self._useless.take(1, now)

    def _take_window(self, now: float) -> None:
        waiting = len(self._calls.outflow.waiting) + len(self._calls.streams)
        self._useless.take(1 + waiting // _WAITING_A_TOKEN, now)
