"""Both carriers, asked in frames that no gRPC library sends: the same outcome, but for what is listed with its why.

What the services of `test_carriers_agree` answer is compared; how a refusal is put is each carrier's own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from h2_under_test import Fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_carriers_agree import LIMITS, PATHS, Odd

from exhook.transport.grpc import GrpcCarrier
from exhook.transport.h2.answers import prefixed
from exhook.transport.h2.carrier import H2Carrier

BASE: Fields = (
    (":method", "POST"), (":scheme", "http"), (":path", "/a.B/Echo"), (":authority", "localhost"), ("te", "trailers"),
    ("content-type", "application/grpc"), ("user-agent", "test"),
)  # fmt: skip
MESSAGE = prefixed(b"abc")
ECHO, TIMED = "200 0 abcFalse", "200 0 abcTrue"
INVALID, LARGE, UNKNOWN, INTERNAL, RESET = "200 3", "200 8", "200 12", "200 13", "reset"


def but(**fields: str | None) -> Fields:
    """The usual headers with others of the same names; None takes one out. `_` is `-`, and a leading `_` is `:`."""
    named = {(":" + name[1:] if name[0] == "_" else name).replace("_", "-"): value for name, value in fields.items()}
    kept = [(name, named.pop(name, value)) for name, value in BASE]
    return tuple((name, value) for name, value in [*kept, *named.items()] if value is not None)


def more(*fields: tuple[str, str]) -> Fields:
    return (*BASE, *fields)


@dataclass(frozen=True)
class Request:
    """Frames of one call."""

    fields: Fields = BASE
    data: bytes | None = MESSAGE
    """None: the headers end the call."""
    piece: int = 16_000
    """Bytes of a DATA frame."""
    padding: int | None = None
    trailers: Fields | None = None


# What both take the same way, and how.
AGREED: dict[str, tuple[Request, str]] = {
    "usual": (Request(), ECHO),
    "in-pieces-of-a-byte": (Request(piece=1), ECHO),
    "ended-by-trailers": (Request(trailers=(("x-checksum", "1"),)), ECHO),
    "nothing": (Request(data=b""), INVALID),
    "headers-alone": (Request(data=None), INVALID),
    "headers-and-trailers": (Request(data=b"", trailers=(("x", "y"),)), INVALID),
    "half-a-prefix": (Request(data=b"\0\0"), INVALID),
    "cut-short": (Request(data=MESSAGE[:-1]), INVALID),
    "flag-of-compression": (Request(data=b"\1" + MESSAGE[1:]), INTERNAL),
    "announced-gzip-not-used": (Request(but(grpc_encoding="gzip")), ECHO),
    "four-gibibytes": (Request(data=b"\0\xff\xff\xff\xff"), LARGE),
    "no-such-path": (Request(but(_path="/a.B/None")), UNKNOWN),
    "path-with-query": (Request(but(_path="/a.B/Echo?x=1")), UNKNOWN),
    "path-of-a-star": (Request(but(_path="*")), UNKNOWN),
    "path-in-other-case": (Request(but(_path="/a.b/echo")), UNKNOWN),
    "no-path": (Request(but(_path=None)), RESET),
    "no-method": (Request(but(_method=None)), RESET),
    "no-scheme": (Request(but(_scheme=None)), RESET),
    "host-for-authority": (Request(but(_authority=None, host="localhost")), ECHO),
    "type-of-protobuf": (Request(but(content_type="application/grpc+proto")), ECHO),
    "type-of-json": (Request(but(content_type="application/grpc+json")), ECHO),
    "type-with-parameter": (Request(but(content_type="application/grpc;charset=utf-8")), ECHO),
    "five-seconds": (Request(but(grpc_timeout="5S")), TIMED),
    "eight-digits-of-hours": (Request(but(grpc_timeout="99999999H")), TIMED),
    "no-time-at-all": (Request(but(grpc_timeout="0S")), "200 4"),
    "nine-kilobytes-of-headers": (Request(more(("x-long", "y" * 9000))), ECHO),
    "binary-metadata": (Request(more(("x-bin", "AAEC/w"))), ECHO),
    "reserved-metadata": (Request(more(("grpc-what", "1"), ("grpc-status", "5"))), ECHO),
    "right-content-length": (Request(more(("content-length", "8"))), ECHO),
    "expect-100": (Request(more(("expect", "100-continue"))), ECHO),
}

PADDED = "grpc's core knows no padding of DATA; RFC 9113, 6.1 has it"
COMPRESSED = "h2 decompresses nothing, and says so by the status that the protocol has for it"
ONE = "grpc reads one message and looks no further; a unary call that has more is broken"
NO_GRPC = "by gRPC's protocol what is no application/grpc gets 415; grpc looks at no content-type"
METHOD = "grpc has INTERNAL_ERROR for what RFC 9110 has 405"
PROXY = (
    "a missing `te` only tells of an old proxy, and `:authority` may be left out by RFC 9113, 8.3.1: curl's calls work"
)
MALFORMED = "RFC 9113, 8.2 and 8.3: malformed, and so reset; grpc lets it through"
STATUS_FOR_RESET = "RFC 9113, 8.1.1: malformed, and so reset; grpc gives a status"
TIMEOUT = "a bad grpc-timeout is the caller's mistake; grpc says INTERNAL"
STRICT_TIMEOUT = "gRPC's protocol has up to eight digits and no blanks; grpc takes more"
LENIENT = "nothing here depends on it"
BOUNDED = "grpc announces the limit, and goes on where it is not heeded"

# What each takes its own way: of h2, of grpc, and why that is no mistake.
DIFFERENT: dict[str, tuple[Request, str, str, str]] = {
    "padded": (Request(padding=200), ECHO, RESET, PADDED),
    "compressed": (Request(but(grpc_encoding="gzip"), b"\1" + MESSAGE[1:]), UNKNOWN, INTERNAL, COMPRESSED),
    "compressed-by-what-nobody-has": (
        Request(but(grpc_encoding="zstd"), b"\1" + MESSAGE[1:]), UNKNOWN, INTERNAL, COMPRESSED,
    ),
    "announced-what-nobody-has": (Request(but(grpc_encoding="zstd")), ECHO, INTERNAL, LENIENT),
    "flag-of-nothing": (Request(data=b"\2" + MESSAGE[1:]), INTERNAL, "200 0 False", MALFORMED),
    "two-messages": (Request(data=MESSAGE * 2), INVALID, ECHO, ONE),
    "message-and-a-byte": (Request(data=MESSAGE + b"\0"), INVALID, ECHO, ONE),
    "html": (Request(but(content_type="text/html")), "415", ECHO, NO_GRPC),
    "no-type": (Request(but(content_type=None)), "415", ECHO, NO_GRPC),
    "nearly-grpc": (Request(but(content_type="application/grpcx")), "415", ECHO, NO_GRPC),
    "grpc-web": (Request(but(content_type="application/grpc-web")), "415", ECHO, NO_GRPC),
    "get": (Request(but(_method="GET"), None), "405", RESET, METHOD),
    "put": (Request(but(_method="PUT")), "405", RESET, METHOD),
    "no-te": (Request(but(te=None)), ECHO, RESET, PROXY),
    "no-authority": (Request(but(_authority=None)), ECHO, RESET, PROXY),
    "te-gzip": (Request(but(te="gzip")), RESET, INTERNAL, STATUS_FOR_RESET),
    "empty-path": (Request(but(_path="")), RESET, UNKNOWN, STATUS_FOR_RESET),
    "scheme-ftp": (Request(but(_scheme="ftp")), ECHO, INTERNAL, LENIENT),
    "binary-that-is-none": (Request(more(("x-bin", "***"))), ECHO, INTERNAL, LENIENT),
    "timeout-without-unit": (Request(but(grpc_timeout="5")), INVALID, INTERNAL, TIMEOUT),
    "negative-timeout": (Request(but(grpc_timeout="-5S")), INVALID, INTERNAL, TIMEOUT),
    "timeout-of-nine-digits": (Request(but(grpc_timeout="123456789S")), INVALID, TIMED, STRICT_TIMEOUT),
    "timeout-with-a-blank": (Request(but(grpc_timeout="5 S")), INVALID, TIMED, STRICT_TIMEOUT),
    "upper-case": (Request(more(("X-Upper", "1"))), RESET, INTERNAL, STATUS_FOR_RESET),
    "blank-in-name": (Request(more(("x y", "1"))), RESET, INTERNAL, STATUS_FOR_RESET),
    "empty-name": (Request(more(("", "1"))), RESET, INTERNAL, STATUS_FOR_RESET),
    "unknown-pseudo": (Request(((":protocol", "x"), *BASE)), RESET, INTERNAL, STATUS_FOR_RESET),
    "pseudo-after-others": (Request((*BASE[1:], BASE[0])), RESET, ECHO, MALFORMED),
    "pseudo-in-trailers": (Request(trailers=((":path", "/"),)), RESET, ECHO, MALFORMED),
    "path-twice": (Request((BASE[2], *BASE)), RESET, ECHO, MALFORMED),
    "type-twice": (Request(more(BASE[5])), RESET, ECHO, MALFORMED),
    "connection": (Request(more(("connection", "close"))), RESET, ECHO, MALFORMED),
    "transfer-encoding": (Request(more(("transfer-encoding", "chunked"))), RESET, ECHO, MALFORMED),
    "newline-in-value": (Request(more(("x", "a\nb"))), RESET, ECHO, MALFORMED),
    "blanks-around-value": (Request(more(("x", " a "))), RESET, ECHO, MALFORMED),
    "wrong-content-length": (Request(more(("content-length", "9"))), RESET, ECHO, MALFORMED),
    "many-headers": (Request(more(*((f"x-{number}", "") for number in range(150)))), LARGE, ECHO, BOUNDED),
    "long-headers": (Request(more(("x-long", "y" * 17_000))), LARGE, ECHO, BOUNDED),
    "very-long-headers": (Request(more(("x-long", "y" * 70_000))), "goaway", ECHO, BOUNDED),
}  # fmt: skip


@pytest.fixture
async def ports() -> AsyncIterator[tuple[int, int]]:
    """Of h2, and of grpc."""
    async with both() as found:
        yield found


@asynccontextmanager
async def both() -> AsyncIterator[tuple[int, int]]:
    carriers = H2Carrier(Odd(), ("127.0.0.1:0",), LIMITS), GrpcCarrier(Odd(), "127.0.0.1:0", LIMITS)
    try:
        yield await carriers[0].start(), await carriers[1].start()
    finally:
        for carrier in carriers:
            await carrier.stop(0.1)


async def outcomes(port: int, *requests: Request) -> list[str]:
    """What calls on one connection come to, one after the other: HTTP status, gRPC status, and the message if OK."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Not held to any rule: that is the server's business.
    configuration = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
    )
    connection = h2.connection.H2Connection(configuration)
    connection.initiate_connection()
    events: deque[h2.events.Event] = deque()
    found = []
    for number, request in enumerate(requests):
        send(connection, 1 + 2 * number, request)
        writer.write(connection.data_to_send())
        async with asyncio.timeout(20.0):
            found.append(await outcome(connection, reader, writer, events))
        if found[-1] in ("goaway", "closed"):
            break
    writer.close()
    return found


def send(connection: h2.connection.H2Connection, stream: int, request: Request) -> None:
    data, trailers = request.data, request.trailers
    connection.send_headers(stream, request.fields, end_stream=data is None)
    if data is None:
        return
    places = range(0, len(data) or 1, request.piece)
    for at in places:
        last = at == places[-1] and trailers is None
        connection.send_data(stream, data[at : at + request.piece], end_stream=last, pad_length=request.padding)
    if trailers is not None:
        connection.send_headers(stream, trailers, end_stream=True)


async def outcome(
    connection: h2.connection.H2Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    events: deque[h2.events.Event],
) -> str:
    fields: dict[str, str] = {}
    body = b""
    while True:
        while events:
            event: Any = events.popleft()
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    fields |= {_text(name): _text(value) for name, value in event.headers}
                case h2.events.DataReceived():
                    body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamReset() if "grpc-status" not in fields:
                    return RESET
                case h2.events.StreamReset() | h2.events.StreamEnded():
                    status = f"{fields[':status']} {fields.get('grpc-status', '')}".rstrip()
                    return f"{status} {body[5:].decode('latin-1')}" if status == "200 0" else status
                case h2.events.ConnectionTerminated():
                    return "goaway"
        data = await reader.read(65536)
        if not data:
            return "closed"
        events.extend(connection.receive_data(data))
        writer.write(connection.data_to_send())


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("latin-1")


async def alone(port: int, requests: list[Request]) -> list[str]:
    """What calls come to, each on a connection of its own."""
    return [found for (found,) in await asyncio.gather(*(outcomes(port, request) for request in requests))]


async def test_what_both_take_the_same_way(ports: tuple[int, int]) -> None:
    expected = {name: outcome for name, (_, outcome) in AGREED.items()}
    for port in ports:
        found = await alone(port, [request for request, _ in AGREED.values()])
        assert dict(zip(AGREED, found, strict=True)) == expected


async def test_what_each_takes_its_own_way(ports: tuple[int, int]) -> None:
    expected = {name: (of_h2, of_grpc) for name, (_, of_h2, of_grpc, _why) in DIFFERENT.items()}
    of_h2, of_grpc = [await alone(port, [request for request, *_ in DIFFERENT.values()]) for port in ports]
    assert dict(zip(DIFFERENT, zip(of_h2, of_grpc, strict=True), strict=True)) == expected


names = st.from_regex(r"\A(?!grpc-)x?[a-z0-9_.-]{0,12}[a-z0-9]\Z").filter(
    lambda name: not name.endswith("-bin") and name not in {"te", "host", "upgrade"}
)
texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
metadata = st.lists(
    st.one_of(st.tuples(names, texts), st.just(("x-more-bin", "AAEC/w")), st.just(("x-long", "y" * 4000))), max_size=5
).filter(lambda fields: sum(len(name) + len(value) for name, value in fields) < 13_000)  # of more: see `long-headers`
messages = st.one_of(
    st.binary(max_size=60).map(prefixed),
    st.integers(0, 40_000).map(bytes).map(prefixed),
    st.just(b""),
    st.just(None),
    st.integers(1, 30).map(lambda cut: prefixed(bytes(40))[:-cut]),
    st.just(b"\1" + MESSAGE[1:]),
    st.just(b"\0\x7f\xff\xff\xff"),
)
requests = st.builds(
    lambda path, kind, timeout, others, data, piece, trailers: Request(
        (*but(_path=path, content_type=kind, grpc_timeout=timeout), *others), data, piece, trailers=trailers
    ),
    st.sampled_from([*PATHS, "/a.B/None", "/"]),
    st.sampled_from(["application/grpc", "application/grpc+proto", "application/grpc;x"]),
    st.sampled_from([None, "5S", "20000m", "30000000u", "1H", "1M"]),
    metadata,
    messages,
    st.sampled_from([1000, 7000, 16_000]),
    st.sampled_from([None, (("x-checksum", "1"),)]),
)


async def test_random_frames() -> None:
    loop = asyncio.get_running_loop()
    async with both() as ports:

        async def compare(asked: list[Request]) -> None:
            found = [await outcomes(port, *asked) for port in ports]
            assert found[0] == found[1]
            assert len(found[0]) == len(asked)

        @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(requests, min_size=1, max_size=8))
        def compare_all(asked: list[Request]) -> None:
            asyncio.run_coroutine_threadsafe(compare(asked), loop).result(120)

        await asyncio.to_thread(compare_all)
