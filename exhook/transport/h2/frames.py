"""The frames of HTTP/2 (RFC 9113, 4 and 6): their heads, and the ones that a server sends of itself."""

from enum import IntEnum
from struct import Struct
from typing import Final

from exhook.transport.limits import Breach

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
FRAME_BYTES: Final = 16_384
"""The largest payload that we take: the standard's default, of which we never ask for more."""
LAST_STREAM: Final = 2**31 - 1
LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535

# No IntEnum: these are compared for every frame.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

HEAD: Final = Struct(">IBI")
"""Length and kind in one word (`word >> 8`, `word & 0xFF`), flags, stream with its reserved bit."""
_SETTING: Final = Struct(">HI")


class Code(IntEnum):
    """Error codes (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """Settings (RFC 9113, 6.5.2) that are read or said here."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """A peer's mistake, or excess, that ends its connection."""

    def __init__(self, code: Code, why: str, breach: Breach = Breach.BROKEN) -> None:
        super().__init__(why)
        self.code = code
        self.breach = breach


class StreamFault(Exception):
    """A peer's mistake that ends one stream."""

    def __init__(self, stream: int, code: Code, breach: Breach = Breach.BROKEN) -> None:
        super().__init__(f"stream {stream}: {code.name}")
        self.stream = stream
        self.code = code
        self.breach = breach


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """SETTINGS that say these values."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Pairs of setting and value, in their order; unknown ones as well.

    Raises:
        ConnectionFault: the payload is no list of pairs.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS of a broken length")
    return list(_SETTING.iter_unpack(payload))


def window_update(stream: int, more: int) -> bytes:
    """WINDOW_UPDATE: the peer may send so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4))


def reset(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


def goaway(last: int, code: Code, why: str = "") -> bytes:
    """GOAWAY: streams after `last` were not and will not be looked at."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4) + why.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """What DATA or HEADERS carry, less their padding.

    Raises:
        ConnectionFault: there is more padding than frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
