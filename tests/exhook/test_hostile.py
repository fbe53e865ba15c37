"""Peers that are broken, greedy or malicious: the right status or a deny, and the server goes on answering."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
import structlog
from worker_under_test import CARRIERS, Serve, Served, Store, identity, permission

from exhook.hooks import DENY
from protos import exhook_v3_pb2

AUTHENTICATE = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"
AUTHORIZE = "/emqx.exhook.v3.HookProvider/OnClientAuthorize"

pytestmark = pytest.mark.parametrize("carrier", CARRIERS)

ENDED = (h2.events.StreamEnded, h2.events.StreamReset)


@asynccontextmanager
async def raw(port: int) -> AsyncIterator["Raw"]:
    """An HTTP/2 connection in the test's own hands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    peer = Raw(reader, writer, connection)
    peer.flush()
    yield peer
    writer.close()


class Raw:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: h2.connection.H2Connection
    ) -> None:
        self.reader, self.writer, self.connection = reader, writer, connection
        self.events: deque[h2.events.Event] = deque()

    def flush(self) -> None:
        self.writer.write(self.connection.data_to_send())

    def headers(self, stream: int, path: str, timeout: str | None, *, end: bool = False) -> None:
        """HEADERS as EMQX's client sends them."""
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "127.0.0.1"),
            ("content-type", "application/grpc+proto"), ("te", "trailers"), ("user-agent", "grpc-erlang/0.1.0"),
            ("grpc-encoding", "identity"),
        ]  # fmt: skip
        if timeout:
            fields.append(("grpc-timeout", timeout))
        self.connection.send_headers(stream, fields, end_stream=end)
        self.flush()

    async def until(self, *kinds: type[h2.events.Event], seconds: float = 5.0) -> Any:
        """The next event of one of these kinds; others before it are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                while self.events:
                    event = self.events.popleft()
                    if isinstance(event, kinds):
                        return event
                data = await self.reader.read(65536)
                assert data, "the server closed the connection"
                self.events.extend(self.connection.receive_data(data))
                self.flush()


def code(error: grpc.aio.AioRpcError) -> grpc.StatusCode:
    return error.code()


async def still_answers(served: Served) -> None:
    assert await served.authenticate("c", "alice", b"right") is True


@pytest.fixture
def filled(store: Store) -> Store:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    return store


@pytest.mark.usefixtures("filled")
class TestCalls:
    async def test_unknown_methods_are_unimplemented(self, serve: Serve) -> None:
        async with serve() as served:
            for path in (
                "/emqx.exhook.v3.HookProvider/OnClientTeleport",
                "/emqx.exhook.v9.HookProvider/OnClientAuthenticate",
                "/emqx.exhook.v1.HookProvider/OnClientAuthorize",
                "/emqx.exhook.v2.HookProvider/OnClientCheckAcl",
                "/",
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.call(path, b"")
                assert code(caught.value) is grpc.StatusCode.UNIMPLEMENTED
            await still_answers(served)

    async def test_a_huge_message_is_refused(self, serve: Serve) -> None:
        async with serve() as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.call(AUTHENTICATE, b"\0" * (2 * 1024 * 1024))
            assert code(caught.value) is grpc.StatusCode.RESOURCE_EXHAUSTED
            await still_answers(served)

    async def test_huge_headers_are_refused(self, serve: Serve) -> None:
        async with serve() as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.call(AUTHENTICATE, b"", metadata=(("x-huge", "x" * 100_000),))
            assert code(caught.value) in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            await still_answers(served)

    async def test_truncated_requests_are_denied(self, serve: Serve) -> None:
        request = exhook_v3_pb2.ClientAuthenticateRequest(
            clientinfo={"clientid": b"c", "username": b"alice", "password": b"right"}
        )
        whole = request.SerializeToString()
        paths = [AUTHENTICATE, AUTHORIZE, "/emqx.exhook.v1.HookProvider/OnClientCheckAcl"]
        async with serve() as served:
            answers = {await served.call(path, whole[:length]) for path in paths for length in range(len(whole))}
            assert answers == {DENY}

    async def test_wrong_types_are_denied(self, serve: Serve) -> None:
        varint_for_clientinfo, wild_enumeration = b"\x08\x01", b"\x10\x63"
        async with serve() as served:
            assert await served.call(AUTHENTICATE, varint_for_clientinfo) == DENY
            assert await served.call(AUTHORIZE, wild_enumeration) == DENY
            assert await served.call(AUTHORIZE, b"") == DENY
            info = exhook_v3_pb2.ClientInfo(clientid=b"c", username=b"alice")
            asked = exhook_v3_pb2.ClientAuthorizeRequest(clientinfo=info, topic=b"a/b").SerializeToString()
            assert Served.verdict(await served.call(AUTHORIZE, asked)) is True
            assert await served.call(AUTHORIZE, asked + wild_enumeration) == DENY

    async def test_text_that_is_not_utf8_is_denied(self, serve: Serve) -> None:
        bad = b"\xff\xfe\x00\x80"
        async with serve() as served:
            assert not await served.authenticate("c", "alice", bad)
            assert not await served.authenticate(bad, "alice", b"right")
            assert not await served.authenticate("c", bad, b"right")
            assert not await served.authorize("c", "alice", "PUBLISH", bad)
            assert not await served.authorize("c", "alice", "SUBSCRIBE", b"a/\xed\xa0\x80")
            assert not await served.authorize("c", "alice", "PUBLISH", "a/b", cn=bad)

    async def test_an_error_of_ours_is_a_deny_that_quotes_nothing(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serve(decisions="all") as served:

            def fail(*_: object) -> None:
                raise RuntimeError("canary-5e1f in a message")

            monkeypatch.setattr(served.worker.reader, "view", fail)
            with structlog.testing.capture_logs() as lines:
                assert not await served.authenticate("c", "alice", b"right")
                assert not await served.authorize("c", "alice", "PUBLISH", "a/b")
            monkeypatch.undo()
            assert [line["reason"] for line in lines if line["event"] == "decision"] == ["internal_error"] * 2
            assert "canary-5e1f" not in repr(lines)
            await still_answers(served)


@pytest.mark.usefixtures("filled")
class TestConnections:
    async def test_half_open_calls_end_at_their_own_timeout(self, serve: Serve) -> None:
        """EMQX sends HEADERS and never the message for a string that is not UTF-8."""
        async with serve() as served, raw(served.port) as peer:
            for number in range(200):
                peer.headers(1 + 2 * number, AUTHENTICATE, "300m")
            ended: set[int] = set()
            while len(ended) < 200:
                ended.add((await peer.until(*ENDED)).stream_id)
            assert len(ended) == 200
            await still_answers(served)

    async def test_half_open_calls_without_a_timeout_end_as_well(self, serve: Serve) -> None:
        async with serve(half_open_seconds=0.3) as served, raw(served.port) as peer:
            peer.headers(1, AUTHENTICATE, None)
            event = await peer.until(h2.events.TrailersReceived, h2.events.ResponseReceived)
            assert (b"grpc-status", b"4") in event.headers
            await still_answers(served)

    async def test_a_call_that_ends_without_a_message_is_invalid(self, serve: Serve) -> None:
        async with serve() as served, raw(served.port) as peer:
            peer.headers(1, AUTHENTICATE, "5S", end=True)
            event = await peer.until(h2.events.TrailersReceived, h2.events.ResponseReceived)
            assert (b"grpc-status", b"3") in event.headers

    async def test_a_thousand_streams_on_one_connection(self, serve: Serve) -> None:
        async with serve() as served, raw(served.port) as peer:
            message = exhook_v3_pb2.ClientAuthorizeRequest(
                clientinfo={"clientid": b"c", "username": b"alice"}, topic=b"a/b"
            ).SerializeToString()
            streams = [1 + 2 * number for number in range(1000)]
            for stream in streams:
                peer.headers(stream, AUTHORIZE, "30S")
            for stream in streams:
                peer.connection.send_data(stream, b"\0" + len(message).to_bytes(4) + message, end_stream=True)
                peer.flush()
            answered: set[int] = set()
            async with asyncio.timeout(30):
                while len(answered) < 1000:
                    for event in peer.connection.receive_data(await peer.reader.read(65536)):
                        assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated)
                        if isinstance(event, h2.events.DataReceived):
                            assert Served.verdict(event.data[5:])
                            peer.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                            answered.add(event.stream_id)
                    peer.flush()
            assert answered == set(streams)

    async def test_pings_without_calls_bring_no_goaway(self, serve: Serve) -> None:
        """A minute apart on a real EMQX; here as fast as they come, far more than grpc-core's strikes."""
        async with serve() as served, raw(served.port) as peer:
            for number in range(100):
                peer.connection.ping(number.to_bytes(8))
                peer.flush()
                await peer.until(h2.events.PingAckReceived)
            await still_answers(served)

    async def test_a_peer_that_speaks_something_else_is_left_alone(self, serve: Serve) -> None:
        async with serve() as served:
            for greeting in (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
                b"\0" * 1000,
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(greeting)
                await writer.drain()
                writer.close()
            await still_answers(served)

    async def test_memory_stays_flat_under_half_open_calls(self, serve: Serve) -> None:
        async with serve() as served:
            await _half_open_round(served)
            before = _resident_kib()
            for _ in range(4):
                await _half_open_round(served)
            assert _resident_kib() - before < 20_000
            await still_answers(served)


async def _half_open_round(served: Served) -> None:
    async with raw(served.port) as peer:
        for number in range(300):
            peer.headers(1 + 2 * number, AUTHENTICATE, "100m")
        ended: set[int] = set()
        while len(ended) < 300:
            ended.add((await peer.until(*ENDED)).stream_id)


def _resident_kib() -> int:
    with open(f"/proc/{os.getpid()}/statm", encoding="ascii") as statm:  # noqa: PTH123 - no path of a project's
        return int(statm.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
