"""The carrier h2 and clients of others: grpcio, curl, nghttp, h2load, and frames as EMQX sends them."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from grpc import aio
from h2_under_test import EMQX, Frame, frames_of
from hpack import Encoder

from exhook.transport.call import Call, Refusal, Status
from exhook.transport.h2.answers import prefixed
from exhook.transport.h2.carrier import H2Carrier
from exhook.transport.h2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LAST_STREAM,
    PING,
    PREFACE,
    SETTINGS,
    frame,
)
from exhook.transport.limits import Breach, Limits, Notices

ECHO, SLOW, REFUSE = "/test.Service/Method", "/test.Service/Slow", "/test.Service/Refuse"


class Service:
    paths = frozenset({ECHO, SLOW, REFUSE})

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        if call.path == REFUSE:
            raise Refusal(Status.NOT_FOUND, call.body.decode())
        return self._later(call.body) if call.path == SLOW else call.body

    async def _later(self, body: bytes) -> bytes:
        await asyncio.sleep(60.0 if body == b"late" else 0.01)
        return body


@pytest.fixture
async def breaches() -> list[Breach]:
    return []


@pytest.fixture
async def port(breaches: list[Breach]) -> AsyncIterator[int]:
    carrier = H2Carrier(
        Service(), ("127.0.0.1:0",), Limits(metadata_bytes=64 * 1024), notices=Notices(breach=breaches.append)
    )
    yield await carrier.start()
    await carrier.stop(0.1)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


async def run(*command: str | Path, given: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(given), 60.0)
    assert process.returncode == 0, said
    return said


async def test_grpcio_with_threads(port: int) -> None:
    def ask() -> list[bytes]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            futures = [
                channel.unary_unary(path, None, None).future(b"%d" % number, timeout=20.0)
                for number in range(200)
                for path in (ECHO, SLOW)
            ]
            return [future.result() for future in futures]

    assert await asyncio.to_thread(ask) == [b"%d" % (number // 2) for number in range(400)]


async def test_grpcio_with_asyncio(port: int) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        bodies = [bytes(number * 997) for number in range(200)]
        asked = [
            channel.unary_unary(SLOW if len(body) % 2 else ECHO, None, None)(body, timeout=20.0) for body in bodies
        ]
        assert await asyncio.gather(*asked) == bodies
        with pytest.raises(aio.AioRpcError) as late:
            await channel.unary_unary(SLOW, None, None)(b"late", timeout=0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        given_up = channel.unary_unary(SLOW, None, None)(b"late", timeout=20.0)
        await asyncio.sleep(0.02)
        given_up.cancel()
        assert await channel.unary_unary(ECHO, None, None)(b"after", timeout=20.0) == b"after"
        with pytest.raises(aio.AioRpcError) as packed:
            await channel.unary_unary(ECHO, None, None)(b"x" * 1000, timeout=20.0, compression=grpc.Compression.Gzip)
        assert packed.value.code() is grpc.StatusCode.UNIMPLEMENTED


@needs("curl")
async def test_curl(port: int, tmp_path: Path) -> None:
    command = (
        "curl",
        "--silent",
        "--http2-prior-knowledge",
        "--data-binary",
        "@-",
        "--dump-header",
        tmp_path / "headers",
    )
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    url = f"http://127.0.0.1:{port}"
    assert await run(*command, *headers, url + ECHO, given=prefixed(b"asked")) == prefixed(b"asked")
    assert "grpc-status: 0" in (tmp_path / "headers").read_text()
    await run(*command, *headers, url + REFUSE, given=prefixed(b"no such thing"))
    said = (tmp_path / "headers").read_text()
    assert "grpc-status: 5" in said
    assert "grpc-message: no such thing" in said
    for more, status in ((("--get",), 405), ((), 415)):
        # Without a body: curl 7.88 waits for ever, now and then, where the answer is there before its body is sent.
        await run(*command, *more, url + ECHO)
        assert f"HTTP/2 {status}" in (tmp_path / "headers").read_text()


@needs("nghttp")
@pytest.mark.parametrize(
    "options",
    [(), ("--continuation",), ("--padding=100",), ("--no-dep",), ("--window-bits=4", "--connection-window-bits=16"),
     ("--header-table-size=0",), ("--encoder-header-table-size=0",), ("--max-concurrent-streams=1",)],
    ids=lambda options: options[0] if options else "plain",
)  # fmt: skip
async def test_nghttp(port: int, tmp_path: Path, breaches: list[Breach], options: tuple[str, ...]) -> None:
    body = tmp_path / "body"
    body.write_bytes(prefixed(b"asked by nghttp" * 100))
    headers = ("-H", ":method: POST", "-H", "content-type: application/grpc", "-H", "te: trailers")
    uri = f"http://127.0.0.1:{port}{ECHO}"
    said = await run("nghttp", *headers, "--data", body, "--multiply", "20", *options, uri)
    assert sorted(said) == sorted(body.read_bytes() * 20)  # in chunks, as they come
    assert not breaches


@needs("h2load")
async def test_h2load(port: int, tmp_path: Path, breaches: list[Breach]) -> None:
    body = tmp_path / "body"
    body.write_bytes(prefixed(b"asked by h2load"))
    load = (
        "-n",
        "4000",
        "-c",
        "4",
        "-m",
        "50",
        "-d",
        body,
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
    )
    said = await run("h2load", *load, f"http://127.0.0.1:{port}{ECHO}")
    assert b"4000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert b"status codes: 4000 2xx" in said
    assert not breaches


async def test_stream_ids_that_come_to_their_end(port: int, breaches: list[Breach]) -> None:
    """Near the end of its ids a client is asked for a new connection; no call is lost, and the old one is closed."""
    answered = []
    first = LAST_STREAM - 2**16 - 20
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS, 0, 0))
    encoder = Encoder()
    leaving = False
    for stream in range(first, first + 200, 2):
        body = b"%d" % stream
        call = frame(HEADERS, END_HEADERS, stream, encoder.encode(EMQX)) + frame(
            DATA, END_STREAM, stream, prefixed(body)
        )
        writer.write(call)
        found = await frames_until(reader, lambda one, stream=stream: one.stream == stream and one.flags & END_STREAM)  # type: ignore[misc]
        answered += [one.payload[5:] for one in found if one.kind == DATA]
        if leaving := any(one.kind == GOAWAY for one in found):
            break
    assert leaving
    assert stream > LAST_STREAM - 2**16
    (probe,) = (one for one in found if one.kind == PING)
    writer.write(frame(PING, ACK, 0, probe.payload))
    *_, last = await frames_until(reader, lambda one: one.kind == GOAWAY)
    assert int.from_bytes(last.payload[:4]) == stream
    await reader.read()  # up to the end of the connection
    writer.close()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary(ECHO, None, None)(b"goes on", timeout=20.0) == b"goes on"
    assert answered == [b"%d" % number for number in range(first, stream + 1, 2)]
    assert not breaches


async def frames_until(reader: asyncio.StreamReader, last: Callable[[Frame], object]) -> list[Frame]:
    """What comes, up to the frame that is waited for."""
    found: list[Frame] = []
    async with asyncio.timeout(20.0):
        while not (found and last(found[-1])):
            head = await reader.readexactly(9)
            (one,) = frames_of(head + await reader.readexactly(int.from_bytes(head[:3])))
            found.append(one)
    return found


async def test_frames_as_emqx_sends_them(port: int, breaches: list[Breach]) -> None:
    """HEADERS and DATA in writes of their own, the same block of headers again and again, PING in between."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    encoder = Encoder()
    found: list[Frame] = []
    rest = b""
    writer.write(PREFACE + frame(SETTINGS, 0, 0))
    for stream in range(1, 401, 2):
        writer.write(frame(HEADERS, END_HEADERS, stream, encoder.encode(EMQX)))
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(frame(DATA, END_STREAM, stream, prefixed(b"%d" % stream)))
        if stream % 50 == 1:
            writer.write(frame(PING, 0, 0, stream.to_bytes(8)))
    async with asyncio.timeout(20.0):
        while len([one for one in found if one.kind == HEADERS and one.flags & END_STREAM]) < 200:
            rest += await reader.read(65536)
            end = 0
            while len(rest) - end >= 9 and len(rest) >= end + 9 + int.from_bytes(rest[end : end + 3]):
                end += 9 + int.from_bytes(rest[end : end + 3])
            found += frames_of(rest[:end])
            rest = rest[end:]
    writer.close()
    assert {one.stream: one.payload[5:] for one in found if one.kind == DATA} == {
        stream: b"%d" % stream for stream in range(1, 401, 2)
    }
    assert len([one for one in found if one.kind == PING and one.flags & ACK]) == 8
    assert not breaches
