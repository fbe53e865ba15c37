"""Peers that flood, stall and leave things open: each is cut short by a limit, and counted."""

from collections.abc import Callable

import pytest
from h2_under_test import EMQX, Peer, continuation, ping, replaced, reset, settings, window_update
from hpack import Encoder

from exhook.transport.h2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Code,
    frame,
)
from exhook.transport.limits import Breach

FLOODS: dict[str, Callable[[Peer], bytes]] = {
    "PING": lambda _: ping(),
    "SETTINGS": lambda _: settings((3, 100)),
    "SETTINGS of windows": lambda _: settings((4, 65_535)),
    "WINDOW_UPDATE": lambda _: window_update(0, 1),
    "PRIORITY": lambda _: frame(PRIORITY, 0, 1, bytes(5)),
    "acknowledgements": lambda _: frame(SETTINGS, 1, 0),
    "empty DATA": lambda _: frame(DATA, 0, 3),
    "tiny DATA": lambda _: frame(DATA, 0, 3, b"\0"),
    "DATA of padding": lambda _: frame(DATA, 0x8, 3, b"\x0f" + bytes(15)),
    "RST_STREAM of nothing": lambda _: reset(1),
    "unknown kinds": lambda _: frame(77, 0, 0),
    "GOAWAY": lambda _: frame(GOAWAY, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("one", FLOODS.values(), ids=FLOODS)
def test_frames_that_are_no_work_may_not_come_without_end(one: Callable[[Peer], bytes]) -> None:
    peer = Peer(frames=1000, frames_per_second=0)
    peer.ask(1)
    peer.send(peer.headers(3, replaced(grpc_timeout=None)))
    for _ in range(950 // 10):
        peer.send(one(peer) * 5)
    assert peer.end() is None
    for _ in range(200):
        peer.send(one(peer) * 6)
    assert peer.end() is Code.ENHANCE_YOUR_CALM
    assert peer.breaches == {Breach.FRAMES: 1}


def test_answers_make_room_for_the_frames_that_go_with_them() -> None:
    """A client that gives the flow window back after each answer, for both windows, and pings in between."""
    peer = Peer(frames=100, frames_per_second=0)
    for stream in range(1, 4001, 2):
        peer.ask(stream, b"x")
        peer.send(window_update(0, 6), window_update(stream, 6), ping())
    assert peer.end() is None


def test_the_pings_of_emqx_never_end_a_connection() -> None:
    """One a minute, and nothing else, for a year."""
    peer = Peer(idle_seconds=300.0)
    useless = peer.connection._requests.useless
    useless._left = 1.0
    now = useless._filled_at
    for _ in range(60 * 24 * 365 // 100):
        now += 60
        useless.take(1, now)
    assert peer.end() is None


def test_rapid_reset() -> None:
    """Calls that are opened and dropped at once (CVE-2023-44487)."""
    peer = Peer(resets=500, resets_per_second=0)
    for stream in range(1, 1000, 2):
        peer.send(peer.headers(stream), reset(stream))
    assert peer.end() is None
    assert peer.connection._calls.streams == {}
    peer.send(peer.headers(1001), reset(1001))
    assert peer.end() is Code.ENHANCE_YOUR_CALM
    assert peer.breaches == {Breach.RESETS: 1}


def test_resets_that_a_peer_makes_us_send_count_as_its_own() -> None:
    """The same by way of mistakes (CVE-2025-8671)."""
    peer = Peer(resets=100, resets_per_second=0)
    for stream in range(1, 203, 2):
        peer.send(peer.headers(stream), window_update(stream, 0))
    assert peer.end() is Code.ENHANCE_YOUR_CALM
    assert peer.breaches[Breach.RESETS] == 1


def test_time_makes_room_again() -> None:
    peer = Peer(resets=10, resets_per_second=1)
    resets = peer.connection._requests.resets
    for stream in range(1, 21, 2):
        peer.send(peer.headers(stream), reset(stream))
    resets._filled_at -= 5
    for stream in range(21, 31, 2):
        peer.send(peer.headers(stream), reset(stream))
    assert peer.end() is None
    peer.send(peer.headers(31), reset(31))
    assert peer.end() is Code.ENHANCE_YOUR_CALM


class TestHeaders:
    def test_continuation_flood(self) -> None:
        """Frames of a block that never ends (CVE-2024-27316)."""
        peer = Peer(continuations=16)
        peer.send(peer.headers(1, flags=0))
        peer.send(*[continuation(1, b"")] * 16)
        assert peer.end() is None
        peer.send(continuation(1, b""))
        assert peer.end() is Code.ENHANCE_YOUR_CALM
        assert peer.breaches == {Breach.CONTINUATIONS: 1}

    def test_a_block_that_is_too_long(self) -> None:
        peer = Peer(metadata_bytes=8192)
        peer.send(peer.headers(1, flags=0), *[continuation(1, bytes(16_000))] * 3)
        assert peer.end() is Code.ENHANCE_YOUR_CALM
        assert peer.breaches == {Breach.HEADERS: 1}

    def test_a_bomb(self) -> None:
        """A long value once, then a byte for each of its repetitions."""
        peer = Peer(metadata_bytes=16_384)
        bomb = Encoder().encode((("x", "y" * 4000),)) + b"\xbe" * 16_000
        peer.send(frame(HEADERS, 0, 1, bomb[:16_000]), continuation(1, bomb[16_000:], END_HEADERS))
        assert peer.end() is Code.ENHANCE_YOUR_CALM
        assert peer.breaches == {Breach.HEADERS: 1}

    def test_a_block_without_an_end(self) -> None:
        peer = Peer(greeting_seconds=10.0)
        peer.send(peer.headers(1, flags=0))
        peer.connection.tick(peer.connection._heard + 9)
        assert peer.end() is None
        peer.connection.tick(peer.connection._heard + 11)
        assert peer.end() is Code.PROTOCOL_ERROR
        assert peer.breaches == {Breach.SILENT: 1}

    def test_what_is_remembered_of_blocks_is_bounded(self) -> None:
        peer = Peer()
        for number in range(1000):
            peer.ask(1 + 2 * number, b"", replaced(grpc_timeout=f"{number + 1}m"))
        peer.ask(2001, b"", replaced(x_long="x" * 3000))
        assert len(peer.connection._reader.known) <= 256
        assert all(len(block) <= 2048 for block in peer.connection._reader.known)

    def test_what_is_remembered_of_answers_is_bounded(self) -> None:
        peer = Peer()
        for number in range(1000):
            peer.ask(1 + 2 * number, b"%d" % number + bytes(number))
        known = peer.connection._calls._answers.known
        assert len(known) <= 256
        assert all(len(message) <= 256 for message in known)


class TestStreams:
    def test_so_many_calls_at_once_and_no_more(self) -> None:
        peer = Peer(streams=100)
        peer.send(*(peer.headers(stream) for stream in range(1, 201, 2)))
        peer.ask(201)
        assert peer.statuses() == {201: 8}
        assert peer.breaches == {Breach.STREAMS: 1}
        peer.send(peer.message(1, b"x"))
        peer.ask(203)
        assert peer.statuses() == {1: 0, 203: 0}

    def test_answers_that_wait_are_calls_as_well(self) -> None:
        peer = Peer(streams=10)
        peer.send(settings((4, 0)))
        for stream in range(1, 23, 2):
            peer.ask(stream, b"x")
        assert peer.statuses() == {21: 8}

    def test_half_open_calls_end_at_their_own_timeout(self) -> None:
        peer = Peer(half_open_seconds=10.0)
        began = peer.connection._heard
        peer.send(peer.headers(1, replaced(grpc_timeout="2S")), peer.headers(3, replaced(grpc_timeout="300m")))
        peer.send(peer.headers(5, replaced(grpc_timeout="1H")), peer.headers(7, replaced(grpc_timeout=None)))
        peer.send(frame(DATA, 0, 1, b"\0\0\0\0\5ab"))
        ended = []
        for after in (0.2, 0.5, 1.9, 2.1, 9.9, 10.1):
            peer.connection.tick(began + after)
            ended.append(peer.statuses())
        assert ended == [{}, {3: 4}, {}, {1: 4}, {}, {5: 4, 7: 4}]
        assert peer.half_open == 4
        assert not peer.breaches
        assert peer.connection._calls.next_until == float("inf")

    def test_a_half_open_call_is_told_so_and_reset(self) -> None:
        peer = Peer()
        peer.send(peer.headers(1))
        peer.connection.tick(peer.connection._heard + 6)
        head, ended = peer.read()
        said = peer.fields(head)
        assert (said["grpc-status"], said["grpc-message"]) == ("4", "the call's message did not come")
        assert (ended.kind, ended.code) == (RST_STREAM, Code.NO_ERROR)


class TestSilence:
    def test_a_peer_that_does_not_greet(self) -> None:
        for said in (b"", PREFACE[:10], PREFACE):
            peer = Peer(greet=False, greeting_seconds=10.0)
            peer.send(said)
            peer.connection.tick(peer.connection._began + 9)
            assert peer.end() is None
            peer.connection.tick(peer.connection._began + 11)
            assert peer.end() is Code.PROTOCOL_ERROR
            assert peer.breaches == {Breach.SILENT: 1}

    def test_a_quiet_peer_is_asked_and_kept(self) -> None:
        peer = Peer(idle_seconds=300.0, pong_seconds=20.0)
        now = peer.connection._heard
        peer.connection.tick(now + 301)
        (asked,) = peer.read()
        assert (asked.kind, asked.flags) == (PING, 0)
        peer.connection.tick(now + 310)
        assert peer.read() == []
        peer.connection._heard = now + 311  # its answer
        peer.connection.tick(now + 330)
        peer.connection.tick(now + 612)
        assert [one.kind for one in peer.read()] == [PING]
        assert not peer.wire.is_closed()

    def test_a_dead_peer_is_let_go(self) -> None:
        peer = Peer(idle_seconds=300.0, pong_seconds=20.0)
        now = peer.connection._heard
        peer.connection.tick(now + 301)
        peer.connection.tick(now + 322)
        assert peer.wire.aborted
        assert peer.breaches == {Breach.SILENT: 1}

    def test_a_peer_that_does_not_read_may_not_ask(self) -> None:
        peer = Peer(stalled_seconds=10.0)
        peer.connection.pause_writing()
        assert not peer.wire.is_reading()
        peer.connection.resume_writing()
        assert peer.wire.is_reading()
        peer.connection.pause_writing()
        stuck = peer.connection._stuck_at or 0.0
        peer.connection.tick(stuck + 9)
        assert not peer.breaches
        peer.connection.tick(stuck + 11)
        assert peer.wire.aborted
        assert peer.breaches == {Breach.STALLED: 1}

    def test_a_peer_that_does_not_even_take_the_goaway(self) -> None:
        peer = Peer(stalled_seconds=10.0)
        peer.send(window_update(0, 0))
        assert peer.wire.is_closed()
        peer.connection.tick(peer.connection._heard + 11)
        assert peer.wire.aborted


class TestDraining:
    def test_what_is_asked_before_the_peer_knows_is_answered(self) -> None:
        peer = Peer()
        peer.send(peer.headers(1))
        peer.connection.drain()
        said, probe = peer.read()
        assert (said.kind, said.code, said.payload[:4]) == (GOAWAY, Code.NO_ERROR, (2**31 - 1).to_bytes(4))
        peer.ask(3, b"on its way")
        assert peer.answers() == {3: (b"on its way", 0)}
        peer.send(ping(probe.payload, flags=1))
        (last,) = peer.read()
        assert (last.kind, last.payload[:4]) == (GOAWAY, (3).to_bytes(4))
        peer.ask(5, b"against better knowledge")
        assert peer.answers() == {}
        assert not peer.wire.is_closed()
        peer.send(peer.message(1, b"x"))
        assert peer.answers() == {1: (b"x", 0)}
        assert peer.wire.is_closed()
        assert not peer.breaches

    def test_an_idle_peer_is_let_go_as_soon_as_it_knows(self) -> None:
        peer = Peer()
        peer.connection.drain()
        peer.connection.drain()
        (_, probe) = peer.read()
        peer.send(ping(probe.payload, flags=1))
        assert peer.wire.is_closed()

    def test_who_has_not_greeted_is_let_go_at_once(self) -> None:
        peer = Peer(greet=False)
        peer.connection.drain()
        assert peer.wire.is_closed()


def test_a_known_header_block_does_not_step_over_a_limit() -> None:
    """The short way takes only what the long way would."""
    peer = Peer(message_bytes=1000, streams=1)
    peer.ask(1)
    peer.ask(3)
    peer.ask(5, bytes(1001))
    assert peer.statuses() == {1: 0, 3: 0, 5: 8}
    peer.send(peer.headers(7, EMQX))
    peer.ask(9)
    assert peer.statuses() == {9: 8}
    peer.send(frame(SETTINGS, 0, 0), peer.message(7, b"x"))
    assert peer.statuses() == {7: 0}
    peer.send(peer.headers(11)[:-1])
    assert peer.end() is None
    assert END_STREAM == 1
