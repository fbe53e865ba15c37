"""HTTP/2 frames (RFC 9113) and header blocks as EMQX's client sends them, by hand."""

from functools import cache
from struct import Struct
from typing import Final

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1

FIRST_WINDOW: Final = 65_535
HEAD_BYTES: Final = 9
PREFIX_BYTES: Final = 5
"""Of a gRPC message."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MORE_WINDOW: Final = 2**31 - 1 - FIRST_WINDOW
_FRAME: Final = Struct(">xHBBI")
"""Length (24 bits, of which we need 16), type, flags, stream."""


def message(body: bytes) -> bytes:
    """A gRPC message: not compressed, its length, the bytes."""
    return b"\0" + len(body).to_bytes(4) + body


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body), kind, flags, stream) + body


def hello() -> bytes:
    """What a client says first: the server may send as much as it likes."""
    return _PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, _MORE_WINDOW.to_bytes(4))


def headers(path: str) -> dict[str, str]:
    """The headers of a call, without those that begin with a colon."""
    return {
        "content-type": "application/grpc+proto",
        "te": "trailers",
        "user-agent": "grpc-erlang/0.1.0",
        "grpc-timeout": "5S",
        "grpc-encoding": "identity",
        "grpc-message-type": f"emqx.exhook.v3.{path.rpartition('/On')[2]}Request",
    }


@cache
def header_block(path: str) -> bytes:
    """All headers of a call, each a literal without indexing (RFC 7541, 6.2.2): no table to keep."""
    first = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "127.0.0.1:9000"}
    block = b""
    for name, value in (first | headers(path)).items():
        assert len(name) < 127, name
        assert len(value) < 127, value
        block += b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return block
