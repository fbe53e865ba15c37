"""Peers that are broken, greedy or hostile, one after another, while others are served.

What becomes of them is no matter here: tests/exhook/test_h2_limits.py and test_hostile.py say that. They are to
cost the others nothing.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Final

from questions import AUTHENTICATE

HOST: Final = "127.0.0.1"
IDLE: Final = 16
_PATIENCE: Final = 15.0
"""Seconds until a peer that was not sent away goes by itself."""
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_ACK, _END_HEADERS = 0x1, 0x4
_WINDOW_ZERO: Final = b"\x00\x04\x00\x00\x00\x00"
"""SETTINGS_INITIAL_WINDOW_SIZE = 0."""


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _block(timeout: str) -> bytes:
    fields = {
        ":method": "POST", ":scheme": "http", ":path": AUTHENTICATE, ":authority": HOST, "te": "trailers",
        "content-type": "application/grpc+proto", "grpc-timeout": timeout,
    }  # fmt: skip
    return b"".join(_literal(name, value) for name, value in fields.items())


_GREETING: Final = _PREFACE + frame(_SETTINGS, 0, 0)


def _streams(count: int) -> Iterable[int]:
    return range(1, 2 * count, 2)


async def _rapid_reset(peer: "Peer") -> None:
    await peer.say(_GREETING)
    for _ in range(20):
        await peer.say(
            b"".join(
                frame(_HEADERS, _END_HEADERS, peer.stream(), _block("5S"))
                + frame(_RST_STREAM, 0, peer.last, (8).to_bytes(4))
                for _ in range(1000)
            )
        )


async def _continuation_flood(peer: "Peer") -> None:
    await peer.say(_GREETING + frame(_HEADERS, 0, 1, _block("5S")))
    await peer.say(b"".join(frame(_CONTINUATION, 0, 1, b"") for _ in range(10_000)))


async def _header_bomb(peer: "Peer") -> None:
    field = _literal("x-bomb", "x" * 100)
    await peer.say(_GREETING + frame(_HEADERS, _END_HEADERS, 1, _block("5S") + 120 * field))


async def _ping_flood(peer: "Peer") -> None:
    await peer.say(_GREETING + 20_000 * frame(_PING, 0, 0, b"hostile!"))


async def _half_open(peer: "Peer") -> None:
    """As EMQX with a string that is not UTF-8: no message ever comes."""
    await peer.say(_GREETING)
    await peer.say(b"".join(frame(_HEADERS, _END_HEADERS, number, _block("200m")) for number in _streams(100)))
    await asyncio.sleep(1.0)


async def _zero_window(peer: "Peer") -> None:
    """Asks, and takes no answer."""
    await peer.say(_PREFACE + frame(_SETTINGS, 0, 0, _WINDOW_ZERO))
    for number in _streams(200):
        body = b"\0\0\0\0\0"
        await peer.say(frame(_HEADERS, _END_HEADERS, number, _block("5S")) + frame(_DATA, 1, number, body))
    await peer.until_sent_away()


async def _slow(peer: "Peer") -> None:
    for byte in _GREETING[:20]:
        await peer.say(bytes((byte,)))
        await asyncio.sleep(0.1)
    await peer.until_sent_away()


async def _garbage(peer: "Peer") -> None:
    await peer.say(os.urandom(4096))


async def _garbage_behind_a_greeting(peer: "Peer") -> None:
    await peer.say(_GREETING + os.urandom(65_536))


async def _tls_hello(peer: "Peer") -> None:
    """TLS to a port that has none."""
    await peer.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506))


async def _http_1(peer: "Peer") -> None:
    await peer.say(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


async def _nothing(_: "Peer") -> None:
    """Connects and goes."""


HOSTILE: Final[tuple[Callable[["Peer"], Awaitable[None]], ...]] = (
    _rapid_reset, _continuation_flood, _header_bomb, _ping_flood, _half_open, _zero_window, _slow, _garbage,
    _garbage_behind_a_greeting, _tls_hello, _http_1, _nothing,
)  # fmt: skip


class Peer:
    """A connection that keeps to no rule."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.last = -1

    def stream(self) -> int:
        """The next stream's number."""
        self.last += 2
        return self.last

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def until_sent_away(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while await self._reader.read(65_536):
                    pass


class Peers:
    """Hostile peers one after another, and idle ones that ping as EMQX does."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.hostile = 0
        """How many have come."""
        self.sent_away = 0
        """How often a peer that only idles was."""
        self._dice = Random(seed)  # noqa: S311 - a mixture, no secret
        self._under_way: set[asyncio.Task[None]] = set()

    async def come(self, pause: float) -> None:
        """One after another, for ever; `pause` is in seconds."""
        try:
            while True:
                task = asyncio.create_task(self._one(self._dice.choice(HOSTILE)))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                self.hostile += 1
                await asyncio.sleep(pause)
        finally:
            for task in self._under_way:
                task.cancel()

    async def idle(self, ping_seconds: float) -> None:
        """Stay connected and ping, for ever; who is sent away comes again."""
        while True:
            with suppress(OSError, EOFError, TimeoutError):
                await self._idle(ping_seconds)
            self.sent_away += 1
            await asyncio.sleep(1.0)

    async def _one(self, hostile: Callable[[Peer], Awaitable[None]]) -> None:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, self.port)
            try:
                async with asyncio.timeout(2 * _PATIENCE):
                    await hostile(Peer(reader, writer))
            except TimeoutError:
                pass
            finally:
                writer.close()

    async def _idle(self, ping_seconds: float) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(_GREETING)
            while True:
                writer.write(frame(_PING, 0, 0, b"soaksoak"))
                async with asyncio.timeout(30.0):
                    await _pong(reader, writer)
                await asyncio.sleep(ping_seconds)
        finally:
            writer.close()


async def _pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] == _SETTINGS and not head[4] & _ACK:
            writer.write(frame(_SETTINGS, _ACK, 0))
        elif head[3] == _PING and head[4] & _ACK:
            return
