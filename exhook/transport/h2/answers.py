"""What goes back on a stream. Header blocks are constants without a dynamic table, so a stream id is all that varies.

An answer is kept as the parts between its stream ids: `id.join(parts)` is the whole of it on the wire.
"""

from typing import Final, NamedTuple
from urllib.parse import quote

from exhook.transport.call import Status
from exhook.transport.h2.frames import DATA, END_HEADERS, END_STREAM, HEAD, HEAD_BYTES, HEADERS, RST_STREAM, Code

PREFIX_BYTES: Final = 5
"""Of a gRPC message: whether it is compressed, and its length."""
_UNVARIED_BYTES: Final = 256
"""Answers up to this are few, and repeated; a longer one quotes its request."""
_REMEMBERED: Final = 256
_TABLE_SIZE_0: Final = b"\x20"
_MESSAGE_CHARACTERS: Final = 200
_SAFE: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Not percent-encoded in grpc-message: printable ASCII but for the percent sign."""


class Answer(NamedTuple):
    """An answer whose message is small enough to be one DATA frame."""

    parts: tuple[bytes, ...]
    cost: int
    """Bytes of the flow-control windows that it takes."""


def literal(name: str, value: str) -> bytes:
    """A field as a literal without indexing (RFC 7541, 6.2.2), for names and values of less than 127 bytes."""
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw = text.encode("ascii")
    return _length(len(raw)) + raw


def _length(length: int) -> bytes:
    """An integer of RFC 7541, 5.1 with a prefix of 7 bits, the first bit zero: no Huffman code."""
    if length < 0x7F:  # noqa: PLR2004 - all seven bits set
        return bytes((length,))
    rest, more = length - 0x7F, b"\x7f"
    while rest >= 0x80:  # noqa: PLR2004 - seven bits a byte
        more, rest = more + bytes((rest & 0x7F | 0x80,)), rest >> 7
    return more + bytes((rest,))


_STATUS_200: Final = b"\x88"
"""`:status: 200` of the static table."""
_CONTENT_TYPE: Final = literal("content-type", "application/grpc")
RESPONSE_HEADERS: Final = _STATUS_200 + _CONTENT_TYPE
TRAILERS_OK: Final = literal("grpc-status", "0")


def head(kind: int, flags: int, length: int) -> bytes:
    """The head of a frame up to its stream id."""
    return HEAD.pack(length << 8 | kind, flags, 0)[:5]


_RESPONSE_HEAD: Final = head(HEADERS, END_HEADERS, len(RESPONSE_HEADERS))
TRAILERS: Final = (head(HEADERS, END_HEADERS | END_STREAM, len(TRAILERS_OK)), TRAILERS_OK)
RESPONSE: Final = (_RESPONSE_HEAD, RESPONSE_HEADERS)
_RESET: Final = (head(RST_STREAM, 0, 4), Code.NO_ERROR.to_bytes(4))


def prefixed(message: bytes) -> bytes:
    """A gRPC message that is not compressed."""
    return b"\0" + len(message).to_bytes(4) + message


class Answers:
    """The answers given so far. Few are: allow, deny, and the like."""

    def __init__(self) -> None:
        self.known: dict[bytes, Answer] = {}

    def of(self, message: bytes) -> Answer:
        """The answer that carries a message of at most a frame."""
        known = self.known.get(message)
        if known is None:
            known = _answer(message)
            if len(message) <= _UNVARIED_BYTES and len(self.known) < _REMEMBERED:
                self.known[message] = known
        return known


def _answer(message: bytes) -> Answer:
    body = prefixed(message)
    parts = (
        _RESPONSE_HEAD,
        RESPONSE_HEADERS + head(DATA, 0, len(body)),
        body + TRAILERS[0],
        TRAILERS[1],
    )
    return Answer(parts, len(body))


def refusal(status: Status, message: str) -> tuple[bytes, ...]:
    """The parts of an answer without a message: headers and trailers in one frame ("trailers-only")."""
    block = RESPONSE_HEADERS + literal("grpc-status", str(status.value))
    block += literal("grpc-message", quote(message[:_MESSAGE_CHARACTERS], safe=_SAFE))
    if status is Status.UNIMPLEMENTED:
        block += literal("grpc-accept-encoding", "identity")
    return _only_headers(block)


def http_refusal(status: int) -> tuple[bytes, ...]:
    """The parts of the answer to what is no gRPC at all: an HTTP status."""
    return _only_headers(literal(":status", str(status)))


def _only_headers(block: bytes) -> tuple[bytes, ...]:
    return head(HEADERS, END_HEADERS | END_STREAM, len(block)), block


def without_table(frames: list[bytes]) -> bool:
    """Let the first header block say that its table has the size 0; whether there was one.

    A peer that allows less than the 4,096 bytes of the standard waits for that word (RFC 7541, 4.2).
    """
    for index, one in enumerate(frames):
        if one[3] == HEADERS:
            length = int.from_bytes(one[:3]) + len(_TABLE_SIZE_0)
            frames[index] = length.to_bytes(3) + one[3:HEAD_BYTES] + _TABLE_SIZE_0 + one[HEAD_BYTES:]
            return True
    return False


def then_reset(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The same, and the peer need not send the rest of its request (RFC 9113, 8.1)."""
    return (*parts[:-1], parts[-1] + _RESET[0], _RESET[1])
