"""What a block of request headers asks for, and what is wrong with it (RFC 9113, 8; gRPC over HTTP/2, "Requests")."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from exhook.transport.call import Call, Status
from exhook.transport.h2.answers import http_refusal, refusal
from exhook.transport.limits import Breach, Limits

Answerer = Callable[[Call], bytes | Awaitable[bytes]]
Field = tuple[bytes, bytes]

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_FIELD_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED: Final = frozenset({b":method", b":scheme", b":path"})
_OF_HTTP_1: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_ONCE: Final = frozenset({*_PSEUDO, b"content-type", b"grpc-timeout", b"grpc-encoding", b"content-length", b"te"})
_FIELD_OVERHEAD: Final = 32
"""What RFC 9113, 6.5.2 adds to the size of each field."""


class MalformedHeaders(Exception):
    """The fields are no request: the stream ends with PROTOCOL_ERROR (RFC 9113, 8.1.1)."""


class Asked:
    """One kind of call: what is the same in all that have these headers."""

    __slots__ = ("answer", "breach", "compressed", "content_length", "path", "refusal", "simple", "timeout")

    def __init__(self, path: str, answer: Answerer) -> None:
        self.path = path
        self.answer = answer
        self.timeout: float | None = None
        """Seconds until the caller stops waiting, from the headers on."""
        self.compressed = False
        """Whether messages with the compressed flag are in an encoding that was announced."""
        self.content_length: int | None = None
        self.refusal: tuple[bytes, ...] | None = None
        """The parts of the answer, where the headers alone decide it."""
        self.breach: Breach | None = None
        self.simple = True
        """Whether nothing is to be looked at but the message."""


def _unanswered(_: Call) -> bytes:
    raise AssertionError("refused by its headers")


def read_headers(fields: list[Field], answerers: Mapping[str, Answerer], limits: Limits) -> Asked:
    """What these fields ask for.

    Raises:
        MalformedHeaders: they are no HTTP request.
    """
    if len(fields) > limits.headers or _size(fields) > limits.metadata_bytes:
        asked = _refused(refusal(Status.RESOURCE_EXHAUSTED, "more headers than are taken"))
        asked.breach = Breach.HEADERS
        return asked
    named = _well_formed(fields)
    if status := _not_grpc(named):
        return _refused(http_refusal(status))
    path = named[b":path"].decode("utf-8", "replace")
    if (answerer := answerers.get(path)) is None:
        return _refused(refusal(Status.UNIMPLEMENTED, "there is no such method here"))
    asked = Asked(path, answerer)
    if (timeout := named.get(b"grpc-timeout")) is not None:
        if (found := _TIMEOUT.fullmatch(timeout)) is None:
            return _refused(refusal(Status.INVALID_ARGUMENT, "grpc-timeout is no time"))
        asked.timeout = int(found[1]) * _UNITS[found[2]]
        if not asked.timeout:
            return _refused(refusal(Status.DEADLINE_EXCEEDED, "the call had no time"))
    asked.compressed = named.get(b"grpc-encoding", b"identity") != b"identity"
    asked.content_length = _content_length(named)
    asked.simple = asked.content_length is None
    return asked


def _not_grpc(named: dict[bytes, bytes]) -> int:
    """The HTTP status of what is no gRPC call; 0 if it is one."""
    if named[b":method"] != b"POST":
        return 405
    kind = named.get(b"content-type", b"")
    of_grpc = kind.startswith(b"application/grpc") and kind[16:17] in (b"", b"+", b";")
    return 0 if of_grpc else 415


def check_trailers(fields: list[Field]) -> None:
    """Check the fields that end a request's message.

    Raises:
        MalformedHeaders: one may not stand there.
    """
    for name, value in fields:
        if name.startswith(b":"):
            raise MalformedHeaders("a pseudo-header in trailers")
        _check(name, value)


def _refused(parts: tuple[bytes, ...]) -> Asked:
    asked = Asked("", _unanswered)
    asked.refusal = parts
    asked.simple = False
    return asked


def _size(fields: list[Field]) -> int:
    return sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)


def _well_formed(fields: list[Field]) -> dict[bytes, bytes]:
    """The fields by name."""
    named: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if name.startswith(b":"):
            if regular or name not in _PSEUDO:
                raise MalformedHeaders("a pseudo-header that is unknown, or after other fields")
        else:
            regular = True
        _check(name, value)
        if name in named and name in _ONCE:
            raise MalformedHeaders("a field twice that may stand once")
        named[name] = value
    if not named.keys() >= _NEEDED or not named[b":path"]:
        raise MalformedHeaders("a pseudo-header is missing")
    return named


def _check(name: bytes, value: bytes) -> None:
    if not _FIELD_NAME.fullmatch(name) or name in _OF_HTTP_1 or (name == b"te" and value != b"trailers"):
        raise MalformedHeaders("a field that HTTP/2 does not have")
    if _BAD_VALUE.search(value):
        raise MalformedHeaders("a value that HTTP/2 does not have")


def _content_length(named: dict[bytes, bytes]) -> int | None:
    length = named.get(b"content-length")
    if length is None:
        return None
    if not length.isdigit() or len(length) > 18:  # noqa: PLR2004 - more digits than any length
        raise MalformedHeaders("content-length is no length")
    return int(length)
