"""Both carriers in front of one service give the same answers and statuses, whatever is asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_recorded import RECORDINGS, fill
from worker_under_test import CARRIERS, Serve, Store, recorded

from exhook.transport.call import Call, Carrier, Refusal, Status
from exhook.transport.grpc import GrpcCarrier
from exhook.transport.h2.carrier import H2Carrier
from exhook.transport.limits import Limits, Notices

PATHS = ("/a.B/Echo", "/a.B/Slow", "/a.B/Refuse", "/a.B/Empty")
LIMITS = Limits(message_bytes=256 * 1024)
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 10**6),
]

Outcome = tuple[str, bytes | str]


class Odd:
    """A service whose answers depend on what it is asked."""

    paths = frozenset(PATHS)

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        match call.path:
            case "/a.B/Echo":
                return call.body + str(call.deadline is not None).encode()
            case "/a.B/Slow":
                return self._later(call.body)
            case "/a.B/Refuse":
                raise refusal(call.body)
            case _:
                return b""

    async def _later(self, body: bytes) -> bytes:
        await asyncio.sleep(0)
        if body.startswith(b"!"):
            raise refusal(body[1:])
        return body[::-1]


def refusal(body: bytes) -> Refusal:
    statuses = list(Status)
    return Refusal(statuses[len(body) % len(statuses)], body[:50].decode("utf-8", "replace"))


async def outcome(channel: aio.Channel, path: str, asked: bytes | int, **more: Any) -> Outcome:
    """What a call comes to; a number stands for so many bytes."""
    body = bytes(asked) if isinstance(asked, int) else asked
    try:
        return "OK", await channel.unary_unary(path, None, None)(body, **({"timeout": 20.0} | more))
    except aio.AioRpcError as error:
        # How it is put is each carrier's own, where the service has not put it.
        return error.code().name, (error.details() or "") if path in PATHS[1:3] else ""


@asynccontextmanager
async def both(*carriers: Carrier) -> AsyncIterator[list[aio.Channel]]:
    ports = [await carrier.start() for carrier in carriers]
    channels = [aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) for port in ports]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close(None)
        for carrier in carriers:
            await carrier.stop(0.1)


ASKED = st.tuples(
    st.sampled_from([*PATHS, "/a.B/None", "/", "/a.B/echo"]),
    st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode), st.integers(0, 300_000)),
    st.sampled_from([{}, {"timeout": None}, {"metadata": (("x-more", "1"), ("x-bytes-bin", b"\0\xff"))}]),
)


async def test_random_calls() -> None:
    loop = asyncio.get_running_loop()
    async with both(GrpcCarrier(Odd(), "127.0.0.1:0", LIMITS), H2Carrier(Odd(), ("127.0.0.1:0",), LIMITS)) as channels:

        async def compare(asked: list[tuple[str, bytes | int, dict[str, Any]]]) -> None:
            found = [
                await asyncio.gather(*(outcome(channel, path, body, **more) for path, body, more in asked))
                for channel in channels
            ]
            assert found[0] == found[1]

        @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(ASKED, min_size=1, max_size=10))
        def compare_all(asked: list[tuple[str, bytes | int, dict[str, Any]]]) -> None:
            asyncio.run_coroutine_threadsafe(compare(asked), loop).result(60)

        await asyncio.to_thread(compare_all)


@pytest.mark.parametrize(
    ("path", "body", "more", "status"),
    [
        pytest.param("/a.B/Echo", b"", {}, grpc.StatusCode.OK, id="empty"),
        pytest.param("/a.B/Echo", bytes(256 * 1024), {}, grpc.StatusCode.OK, id="as-long-as-may-be"),
        pytest.param("/a.B/Echo", bytes(256 * 1024 + 1), {}, grpc.StatusCode.RESOURCE_EXHAUSTED, id="too-long"),
        pytest.param("/a.B/Echo", bytes(5_000_000), {}, grpc.StatusCode.RESOURCE_EXHAUSTED, id="much-too-long"),
        pytest.param(
            "/a.B/Echo", b"", {"metadata": (("x", "y" * 40_000),)}, grpc.StatusCode.RESOURCE_EXHAUSTED, id="headers"
        ),
        pytest.param("/a.B/Nothing", b"", {}, grpc.StatusCode.UNIMPLEMENTED, id="unknown-path"),
        pytest.param("/a.B/Refuse", "nö %".encode(), {}, grpc.StatusCode.INTERNAL, id="refused"),
        pytest.param("/a.B/Slow", b"!", {}, grpc.StatusCode.INVALID_ARGUMENT, id="refused-later"),
    ],
)
async def test_calls_at_the_limits(path: str, body: bytes, more: dict[str, Any], status: grpc.StatusCode) -> None:
    async with both(GrpcCarrier(Odd(), "127.0.0.1:0", LIMITS), H2Carrier(Odd(), ("127.0.0.1:0",), LIMITS)) as channels:
        found = [await outcome(channel, path, body, **more) for channel in channels]
    assert found[0] == found[1]
    assert found[1][0] == status.name


async def test_what_is_told_of_calls_that_were_not_answered() -> None:
    told: dict[str, Counter[str]] = {}
    for name in CARRIERS:
        counted = told[name] = Counter()
        notices = Notices(ended=lambda kind, counted=counted: counted.update([kind]))  # type: ignore[misc]
        carrier: Carrier = (
            H2Carrier(Odd(), ("127.0.0.1:0",), LIMITS, notices=notices)
            if name == "h2"
            else GrpcCarrier(Odd(), "127.0.0.1:0", LIMITS, notices=notices)
        )
        async with both(carrier) as (channel,):
            for path, body in (
                ("/a.B/Refuse", b"now"),
                ("/a.B/Slow", b"!later"),
                ("/a.B/Echo", b""),
                ("/a.B/None", b""),
            ):
                await outcome(channel, path, body)
            nothing = channel.stream_unary("/a.B/Echo", None, None)
            with pytest.raises(aio.AioRpcError):
                await nothing(iter(()), timeout=20.0)
    assert told["h2"] == told["grpc"] == {"refused": 2, "no_message": 1}


@pytest.mark.parametrize("name", RECORDINGS)
async def test_what_real_brokers_sent(name: str, serve: Serve, store: Store) -> None:
    fill(store)
    found = {}
    for carrier in CARRIERS:
        async with serve(carrier=carrier, decisions="none") as served:
            found[carrier] = [await served.call(request.path, request.body) for request in recorded(name)]
    assert found["h2"] == found["grpc"]
    assert len(found["h2"]) > 100
