"""Frames as the standard has them, and as it has them not: answers, resets of one stream, ends of the connection."""

import asyncio
from collections.abc import Callable

import pytest
from h2_under_test import (
    EMQX,
    PATH,
    Fields,
    Peer,
    continuation,
    frames_of,
    ping,
    replaced,
    reset,
    settings,
    window_update,
)

from exhook.transport.call import Call, Refusal, Status
from exhook.transport.h2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LAST_STREAM,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Code,
    frame,
)
from exhook.transport.limits import Breach


class TestCalls:
    def test_a_call_is_given_to_the_service_as_it_came(self) -> None:
        peer = Peer()
        peer.ask(1, b"asked")
        (call,) = peer.calls
        assert (call.path, call.body) == (PATH, b"asked")
        assert call.deadline is not None
        assert peer.answers() == {1: (b"asked", 0)}

    def test_a_call_without_a_timeout_has_no_deadline(self) -> None:
        peer = Peer()
        peer.ask(1, b"", replaced(grpc_timeout=None))
        assert peer.calls[0].deadline is None

    def test_headers_and_message_in_writes_of_their_own(self) -> None:
        """EMQX's client writes twice; both ways lead to the same answer."""
        peer = Peer()
        for stream in range(1, 21, 2):
            peer.send(peer.headers(stream))
            assert peer.answers() == {}
            peer.send(peer.message(stream, b"m%d" % stream))
            assert peer.answers() == {stream: (b"m%d" % stream, 0)}

    def test_any_split_of_the_bytes_means_the_same(self) -> None:
        whole = Peer()
        data = b"".join(
            whole.headers(stream) + whole.message(stream, b"x" * stream) + ping() for stream in range(1, 12, 2)
        )
        whole.send(data)
        expected = whole.answers()
        for size in (1, 2, 3, 7, 8, 9, 10, 50, 200):
            peer = Peer()
            for at in range(0, len(data), size):
                peer.send(data[at : at + size])
            assert peer.answers() == expected

    def test_a_message_in_many_frames(self) -> None:
        peer = Peer()
        message = bytes(range(256)) * 400
        data = b"\0" + len(message).to_bytes(4) + message
        peer.send(peer.headers(1))
        for at in range(0, len(data), 10_000):
            peer.send(frame(DATA, 0, 1, data[at : at + 10_000]))
        assert not peer.calls
        peer.send(frame(DATA, END_STREAM, 1))
        assert peer.calls[0].body == message

    def test_padding_priority_and_trailers_change_nothing(self) -> None:
        peer = Peer()
        block = b"\x03" + b"\0\0\0\0\x10" + peer.block() + bytes(3)
        peer.send(frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, block))
        peer.send(frame(DATA, PADDED, 1, b"\x05" + b"\0\0\0\0\x02ab" + bytes(5)))
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block((("x-checksum", "1"),))))
        assert peer.answers() == {1: (b"ab", 0)}

    def test_a_header_block_in_pieces(self) -> None:
        peer = Peer()
        for stream in (1, 3):
            block = peer.block()
            third = len(block) // 3
            peer.send(frame(HEADERS, 0, stream, block[:third]), continuation(stream, block[third : 2 * third]))
            peer.send(continuation(stream, block[2 * third :], END_HEADERS), peer.message(stream, b"x"))
        assert peer.answers() == {1: (b"x", 0), 3: (b"x", 0)}

    def test_the_answer_has_headers_message_and_trailers(self) -> None:
        peer = Peer()
        peer.ask(7, b"m")
        head, body, trailers = peer.read()
        assert peer.fields(head) == {":status": "200", "content-type": "application/grpc"}
        assert (body.payload, body.flags) == (b"\0\0\0\0\x01m", 0)
        assert (peer.fields(trailers), trailers.flags) == ({"grpc-status": "0"}, END_HEADERS | END_STREAM)
        assert {one.stream for one in (head, body, trailers)} == {7}

    def test_the_first_header_block_says_that_there_is_no_dynamic_table(self) -> None:
        """A peer that allows none (RFC 7541, 4.2) waits for that word."""
        peer = Peer()
        peer.send(settings((1, 0)))
        peer.ask(1)
        peer.ask(3, b"", replaced(_path="/none"))
        blocks = [one.payload for one in peer.read() if one.kind == HEADERS]
        assert [block[0] == 0x20 for block in blocks] == [True, False, False]

    def test_one_write_for_all_that_came_together(self) -> None:
        peer = Peer()
        writes: list[bytes] = []
        peer.wire.write = writes.append  # type: ignore[method-assign, assignment] # to tell writes apart
        peer.send(*(peer.headers(stream) + peer.message(stream, b"") for stream in range(1, 100, 2)), ping())
        assert len(writes) == 1
        assert len([one for one in frames_of(writes[0]) if one.kind == HEADERS and one.flags & END_STREAM]) == 50

    def test_the_last_stream_id_is_answered_and_a_new_connection_asked_for(self) -> None:
        peer = Peer()
        peer.ask(LAST_STREAM, b"last")
        assert peer.answers() == {LAST_STREAM: (b"last", 0)}
        assert [(one.code, one.payload[:4]) for one in peer.frames if one.kind == GOAWAY] == [
            (Code.NO_ERROR, LAST_STREAM.to_bytes(4))
        ]


class TestStatuses:
    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            pytest.param(replaced(_path="/test.Service/Other"), Status.UNIMPLEMENTED, id="unknown-path"),
            pytest.param(replaced(_path="*"), Status.UNIMPLEMENTED, id="no-path"),
            pytest.param(replaced(grpc_timeout="5"), Status.INVALID_ARGUMENT, id="timeout-without-unit"),
            pytest.param(replaced(grpc_timeout="-5S"), Status.INVALID_ARGUMENT, id="negative-timeout"),
            pytest.param(replaced(grpc_timeout="123456789S"), Status.INVALID_ARGUMENT, id="timeout-of-nine-digits"),
            pytest.param(replaced(grpc_timeout="0S"), Status.DEADLINE_EXCEEDED, id="no-time"),
            pytest.param(replaced(x_long="x" * 17_000), Status.RESOURCE_EXHAUSTED, id="long-headers"),
            pytest.param(
                EMQX + tuple((f"x-{number}", "") for number in range(100)), Status.RESOURCE_EXHAUSTED, id="many-headers"
            ),
        ],
    )
    def test_headers_alone_can_decide(self, fields: Fields, status: Status) -> None:
        peer = Peer()
        block = peer.block(fields)
        pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        peer.send(frame(HEADERS, END_HEADERS if len(pieces) == 1 else 0, 1, pieces[0]))
        for number, piece in enumerate(pieces[1:], 2):
            peer.send(continuation(1, piece, END_HEADERS if number == len(pieces) else 0))
        (head,) = peer.read()
        said = peer.fields(head)
        assert (said[":status"], said["grpc-status"], head.flags & END_STREAM) == ("200", str(status.value), END_STREAM)
        peer.send(peer.message(1, b"sent before the peer saw it"))
        peer.ask(3, b"next")
        assert peer.answers() == {3: (b"next", 0)}
        assert not peer.calls[1:]

    @pytest.mark.parametrize(
        ("data", "fields", "status"),
        [
            pytest.param(b"", EMQX, Status.INVALID_ARGUMENT, id="none"),
            pytest.param(b"\0\0\0", EMQX, Status.INVALID_ARGUMENT, id="half-a-prefix"),
            pytest.param(b"\0\0\0\0\x05abc", EMQX, Status.INVALID_ARGUMENT, id="truncated"),
            pytest.param(b"\0\0\0\0\x01a\0\0\0\0\x01b", EMQX, Status.INVALID_ARGUMENT, id="two"),
            pytest.param(b"\1\0\0\0\x01a", EMQX, Status.INTERNAL, id="compressed-by-nothing"),
            pytest.param(b"\1\0\0\0\x01a", replaced(grpc_encoding="gzip"), Status.UNIMPLEMENTED, id="compressed"),
            pytest.param(b"\0\0\x10\0\x01", EMQX, Status.RESOURCE_EXHAUSTED, id="too-long"),
            pytest.param(b"\0\xff\xff\xff\xff", EMQX, Status.RESOURCE_EXHAUSTED, id="four-gibibytes"),
        ],
    )
    @pytest.mark.parametrize("warm", [False, True], ids=["first", "known-headers"])
    def test_messages_that_are_none(self, data: bytes, fields: Fields, status: Status, warm: bool) -> None:
        peer = Peer()
        asked = 1
        if warm:
            peer.ask(1, b"", fields)
            peer.ask(3, b"", fields)
            asked = 5
            peer.read()
        peer.calls.clear()
        peer.send(peer.headers(asked, fields), frame(DATA, END_STREAM, asked, data))
        assert peer.statuses() == {asked: status.value}
        assert not peer.calls

    def test_an_encoding_that_is_announced_and_not_used_is_no_harm(self) -> None:
        peer = Peer()
        peer.ask(1, b"plain", replaced(grpc_encoding="gzip"))
        assert peer.answers() == {1: (b"plain", 0)}

    def test_refusals_and_failures_of_the_service(self) -> None:
        def refuse(call: Call) -> bytes:
            if call.body == b"refuse":
                raise Refusal(Status.NOT_FOUND, "100 % nö\n")
            raise RuntimeError("canary-41")

        peer = Peer(refuse)
        peer.ask(1, b"refuse")
        (refused,) = peer.read()
        assert peer.fields(refused)["grpc-status"] == "5"
        assert peer.fields(refused)["grpc-message"] == "100 %25 n%C3%B6%0A"
        peer.ask(3, b"fail")
        (failed,) = peer.read()
        assert peer.fields(failed)["grpc-status"] == "13"
        assert b"canary" not in failed.payload
        assert [str(error) for error in peer.failures] == ["canary-41"]

    @pytest.mark.parametrize(
        ("fields", "status"),
        [(replaced(_method="GET"), "405"), (replaced(content_type="text/html"), "415"),
         (replaced(content_type="application/grpcx"), "415"), (replaced(content_type=None), "415")],
        ids=["get", "html", "nearly-grpc", "no-type"],
    )  # fmt: skip
    def test_what_is_no_grpc_gets_an_http_status(self, fields: Fields, status: str) -> None:
        peer = Peer()
        peer.send(peer.headers(1, fields, END_HEADERS | END_STREAM))
        (answer,) = peer.read()
        assert peer.fields(answer) == {":status": status}

    @pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
    def test_content_types_of_grpc(self, kind: str) -> None:
        peer = Peer()
        peer.ask(1, b"x", replaced(content_type=kind))
        assert peer.statuses() == {1: 0}


MALFORMED = {
    "no-method": replaced(_method=None),
    "no-path": replaced(_path=None),
    "empty-path": replaced(_path=""),
    "no-scheme": replaced(_scheme=None),
    "path-twice": (*EMQX[:3], (":path", "/x"), *EMQX[3:]),
    "unknown-pseudo": ((":protocol", "websocket"), *EMQX),
    "status-in-request": ((":status", "200"), *EMQX),
    "pseudo-after-others": (*EMQX[1:], EMQX[0]),
    "upper-case": (*EMQX, ("X-Upper", "1")),
    "blank-in-name": (*EMQX, ("x y", "1")),
    "empty-name": (*EMQX, ("", "1")),
    "newline-in-value": (*EMQX, ("x", "a\nb")),
    "connection": (*EMQX, ("connection", "close")),
    "transfer-encoding": (*EMQX, ("transfer-encoding", "chunked")),
    "te": replaced(te="gzip"),
    "timeout-twice": (*EMQX, ("grpc-timeout", "9S")),
    "content-length": (*EMQX, ("content-length", "x")),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed_headers_end_their_stream_alone(fields: Fields) -> None:
    peer = Peer()
    peer.ask(1, b"x", fields)
    assert [(one.kind, one.code) for one in peer.read()] == [(RST_STREAM, Code.PROTOCOL_ERROR)]
    peer.ask(3, b"y")
    assert peer.answers() == {3: (b"y", 0)}
    assert peer.breaches == {Breach.BROKEN: 1}


def test_content_length_is_held_to() -> None:
    peer = Peer()
    peer.ask(1, b"x", (*EMQX, ("content-length", "6")))
    peer.ask(3, b"x", (*EMQX, ("content-length", "7")))
    assert peer.statuses() == {1: 0, 3: -1}


STREAM_FAULTS: dict[str, tuple[Code, Callable[[Peer], bytes]]] = {
    "window-by-nothing": (Code.PROTOCOL_ERROR, lambda _: window_update(1, 0)),
    "window-too-wide": (Code.FLOW_CONTROL_ERROR, lambda _: window_update(1, 2**31 - 1)),
    "pseudo-in-trailers": (
        Code.PROTOCOL_ERROR,
        lambda peer: frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block(((":path", "/"),))),
    ),
    "headers-that-end-nothing": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(1, (("x", "y"),))),
}


@pytest.mark.parametrize(("code", "fault"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_a_stream_that_breaks_rules_ends_alone(code: Code, fault: Callable[[Peer], bytes]) -> None:
    peer = Peer()
    peer.send(peer.headers(1), fault(peer))
    assert [(one.kind, one.stream, one.code) for one in peer.read()] == [(RST_STREAM, 1, code)]
    peer.send(peer.message(1, b"too late"))
    peer.ask(3, b"y")
    assert peer.answers() == {3: (b"y", 0)}


CONNECTION_FAULTS: dict[str, tuple[Code, Callable[[Peer], bytes]]] = {
    "data-on-0": (Code.PROTOCOL_ERROR, lambda _: frame(DATA, 0, 0, b"x")),
    "data-on-an-idle-stream": (Code.PROTOCOL_ERROR, lambda _: frame(DATA, 0, 9, b"x")),
    "data-all-padding": (Code.PROTOCOL_ERROR, lambda _: frame(DATA, PADDED, 1, b"\x04abc")),
    "data-padded-by-no-byte": (Code.PROTOCOL_ERROR, lambda _: frame(DATA, PADDED, 1)),
    "headers-on-0": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(0)),
    "headers-on-an-even-stream": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(4)),
    "headers-without-their-priority": (
        Code.FRAME_SIZE_ERROR,
        lambda _: frame(HEADERS, END_HEADERS | WITH_PRIORITY, 5, b"\0"),
    ),
    "headers-all-padding": (Code.PROTOCOL_ERROR, lambda _: frame(HEADERS, END_HEADERS | PADDED, 5, b"\x09\x82")),
    "headers-that-do-not-decode": (Code.COMPRESSION_ERROR, lambda _: frame(HEADERS, END_HEADERS, 5, b"\xff\xff\xff")),
    "stream-opened-twice": (Code.PROTOCOL_ERROR, lambda peer: peer.message(1, b"") + peer.headers(1)),
    "stream-ids-that-go-back": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(7) + reset(7) + peer.headers(5)),
    "frame-inside-a-block": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(5, flags=0) + ping()),
    "request-inside-a-block": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(5, flags=0) + peer.headers(7)),
    "continuation-of-another": (Code.PROTOCOL_ERROR, lambda peer: peer.headers(5, flags=0) + continuation(7, b"")),
    "continuation-of-nothing": (Code.PROTOCOL_ERROR, lambda _: continuation(1, b"")),
    "push-promise": (Code.PROTOCOL_ERROR, lambda _: frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4))),
    "priority-on-0": (Code.PROTOCOL_ERROR, lambda _: frame(PRIORITY, 0, 0, bytes(5))),
    "priority-short": (Code.FRAME_SIZE_ERROR, lambda _: frame(PRIORITY, 0, 1, bytes(4))),
    "reset-on-0": (Code.PROTOCOL_ERROR, lambda _: reset(0)),
    "reset-on-an-idle-stream": (Code.PROTOCOL_ERROR, lambda _: reset(9)),
    "reset-short": (Code.FRAME_SIZE_ERROR, lambda _: frame(RST_STREAM, 0, 1, b"\0")),
    "settings-on-a-stream": (Code.PROTOCOL_ERROR, lambda _: frame(SETTINGS, 0, 1)),
    "settings-of-a-broken-length": (Code.FRAME_SIZE_ERROR, lambda _: frame(SETTINGS, 0, 0, b"\0" * 7)),
    "settings-ack-that-says-something": (Code.FRAME_SIZE_ERROR, lambda _: frame(SETTINGS, ACK, 0, bytes(6))),
    "push-enabled-by-2": (Code.PROTOCOL_ERROR, lambda _: settings((2, 2))),
    "initial-window-too-wide": (Code.FLOW_CONTROL_ERROR, lambda _: settings((4, 2**31))),
    "frame-size-too-small": (Code.PROTOCOL_ERROR, lambda _: settings((5, 16_383))),
    "frame-size-too-large": (Code.PROTOCOL_ERROR, lambda _: settings((5, 2**24))),
    "window-and-initial-window": (
        Code.FLOW_CONTROL_ERROR,
        lambda _: window_update(1, 2**31 - 65_536) + settings((4, 65_536)),
    ),
    "ping-on-a-stream": (Code.PROTOCOL_ERROR, lambda _: frame(PING, 0, 1, bytes(8))),
    "ping-short": (Code.FRAME_SIZE_ERROR, lambda _: ping(b"1234567")),
    "goaway-on-a-stream": (Code.PROTOCOL_ERROR, lambda _: frame(GOAWAY, 0, 1, bytes(8))),
    "window-short": (Code.FRAME_SIZE_ERROR, lambda _: frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")),
    "window-by-nothing": (Code.PROTOCOL_ERROR, lambda _: window_update(0, 0)),
    "window-too-wide": (Code.FLOW_CONTROL_ERROR, lambda _: window_update(0, 2**31 - 1)),
    "window-on-an-idle-stream": (Code.PROTOCOL_ERROR, lambda _: window_update(9, 1)),
    "frame-too-long": (Code.FRAME_SIZE_ERROR, lambda _: frame(DATA, 0, 1, bytes(16_385))),
    "head-of-a-frame-too-long": (Code.FRAME_SIZE_ERROR, lambda _: frame(99, 0, 1, bytes(20_000))[:9]),
}


@pytest.mark.parametrize(("code", "fault"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
def test_a_connection_that_breaks_rules_ends(code: Code, fault: Callable[[Peer], bytes]) -> None:
    peer = Peer()
    peer.send(peer.headers(1), fault(peer))
    assert peer.end() is code
    assert peer.breaches == {Breach.BROKEN: 1}
    peer.send(peer.headers(11), peer.message(11, b""))
    assert peer.calls == [call for call in peer.calls if call.body != b"11"]


class TestControl:
    def test_settings_and_pings_are_acknowledged(self) -> None:
        peer = Peer()
        peer.send(settings((1, 0), (3, 7), (99, 99)), ping(b"pingpong"))
        assert [(one.kind, one.flags, one.payload) for one in peer.read()] == [
            (SETTINGS, ACK, b""),
            (PING, ACK, b"pingpong"),
        ]
        peer.send(frame(SETTINGS, ACK, 0), ping(flags=ACK))
        assert peer.read() == []

    def test_what_means_nothing_is_passed_over(self) -> None:
        peer = Peer()
        peer.send(frame(0xFA, 0xFF, 77, b"extension"), frame(PRIORITY, 0, 99, bytes(5)))
        peer.send(
            peer.headers(1), frame(PRIORITY, 0, 1, bytes(5)), peer.message(1, b"x"), reset(1), window_update(1, 9)
        )
        assert peer.answers() == {1: (b"x", 0)}

    def test_the_reserved_bit_is_no_part_of_a_stream_id(self) -> None:
        peer = Peer()
        peer.ask(1, b"")
        peer.ask(3, b"")
        peer.read()
        peer.send(peer.headers(5 | 1 << 31), peer.message(5 | 1 << 31, b"x"))
        assert peer.answers() == {5: (b"x", 0)}

    @pytest.mark.parametrize(
        "first", [ping(), frame(SETTINGS, ACK, 0), frame(HEADERS, END_HEADERS, 1, b"\x82")], ids=["ping", "ack", "call"]
    )
    def test_settings_come_first(self, first: bytes) -> None:
        peer = Peer(greet=False)
        peer.send(PREFACE, first)
        assert peer.end() is Code.PROTOCOL_ERROR

    @pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", PREFACE[:-1] + b"x", b"P"])
    def test_what_is_no_http2_is_shut_out(self, greeting: bytes) -> None:
        peer = Peer(greet=False)
        peer.send(greeting)
        if PREFACE.startswith(greeting):
            assert peer.end() is None
        else:
            assert peer.end() is Code.PROTOCOL_ERROR

    def test_a_peer_that_leaves_gets_its_answers(self) -> None:
        peer = Peer()
        peer.send(peer.headers(1), frame(GOAWAY, 0, 0, bytes(8)))
        assert peer.end() is None
        peer.send(peer.message(1, b"x"))
        assert peer.answers() == {1: (b"x", 0)}
        assert peer.end() is Code.NO_ERROR


class TestSlowAnswers:
    async def test_they_come_in_their_own_order_and_hold_up_nobody(self) -> None:
        waiting: dict[bytes, asyncio.Future[bytes]] = {}

        def answer(call: Call) -> bytes | asyncio.Future[bytes]:
            if call.body == b"quick":
                return call.body
            return waiting.setdefault(call.body, asyncio.get_running_loop().create_future())

        peer = Peer(answer)
        for stream, body in ((1, b"a"), (3, b"b"), (5, b"quick"), (7, b"c")):
            peer.ask(stream, body)
        assert peer.answers() == {5: (b"quick", 0)}
        waiting[b"c"].set_result(b"C")
        waiting[b"b"].set_exception(Refusal(Status.UNAVAILABLE, "not now"))
        await asyncio.sleep(0)
        assert peer.answers() == {7: (b"C", 0), 3: (b"", 14)}
        waiting[b"a"].set_exception(RuntimeError("canary"))
        await asyncio.sleep(0)
        assert peer.answers() == {1: (b"", 13)}
        assert [str(error) for error in peer.failures] == ["canary"]

    async def test_nobody_works_for_who_left(self) -> None:
        futures: list[asyncio.Future[bytes]] = []

        def answer(_: Call) -> asyncio.Future[bytes]:
            futures.append(asyncio.get_running_loop().create_future())
            return futures[-1]

        peer = Peer(answer)
        for stream in (1, 3, 5):
            peer.ask(stream)
        peer.send(reset(1))
        assert [future.cancelled() for future in futures] == [True, False, False]
        futures[1].set_exception(RuntimeError("nobody asks"))
        peer.connection.connection_lost(None)
        await asyncio.sleep(0)
        assert futures[2].cancelled()
        assert peer.answers() == {}

    async def test_they_end_at_their_deadline(self) -> None:
        peer = Peer(lambda _: asyncio.get_running_loop().create_future())
        peer.ask(1, b"", replaced(grpc_timeout="30m"))
        peer.ask(3, b"", replaced(grpc_timeout=None))
        await asyncio.sleep(0.04)
        peer.connection.tick(asyncio.get_running_loop().time())
        assert peer.statuses() == {1: 4}
        assert peer.half_open == 0
        peer.connection.connection_lost(None)

    async def test_frames_after_the_end_of_a_call_reset_it(self) -> None:
        peer = Peer(lambda _: asyncio.get_running_loop().create_future())
        peer.ask(1)
        peer.send(frame(DATA, END_STREAM, 1, b"more"))
        assert [(one.kind, one.code) for one in peer.read()] == [(RST_STREAM, Code.STREAM_CLOSED)]
        await asyncio.sleep(0)
