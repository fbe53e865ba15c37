"""What the plugin makes of what a server sends: right answers read right, all others refused; under sanitizers."""

import struct
import time
from collections.abc import Iterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from harness_under_test import Called, Harness, Result, harness
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mosquitto_under_test import needs_compiler, sanitizer

from protos import exhook_bridge_v1_pb2 as bridge
from protos import exhook_v3_pb2 as wire

pytestmark = [needs_compiler, pytest.mark.skipif(sanitizer() is None, reason="needs AddressSanitizer")]

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY, ACK = 1, 4, 8, 0x20, 1

ALLOWED = wire.ValuedResponse(type="STOP_AND_RETURN", bool_result=True).SerializeToString()

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with Harness(harness(tmp_path_factory.getbasetemp().parent)) as running:
        yield running


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(body: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(body)) + body


def block(*headers: tuple[str, str], huffman: bool = True) -> bytes:
    packed: bytes = Encoder().encode(headers, huffman=huffman)
    return packed


STATUS = block((":status", "200"), ("content-type", "application/grpc"))
GOOD = block(("grpc-status", "0"))
HELLO = frame(SETTINGS)
HEAD = frame(HEADERS, END_HEADERS, 1, STATUS)
BODY = frame(DATA, 0, 1, message(ALLOWED))
TAIL = frame(HEADERS, END_HEADERS | END_STREAM, 1, GOOD)
ANSWER = HELLO + HEAD + BODY + TAIL


class TestHeaders:
    @quick
    @given(
        st.lists(
            st.tuples(
                st.lists(
                    st.tuples(
                        st.sampled_from([b":status", b"grpc-status", b"x-long", b"accept"]) | st.binary(max_size=20),
                        st.binary(max_size=300),
                        st.booleans(),
                    ),
                    max_size=12,
                ),
                st.booleans(),
                st.sampled_from([None, 0, 100, 4096]),
            ),
            max_size=6,
        )
    )
    def test_whatever_an_encoder_writes_is_read(
        self, parts: Harness, blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]
    ) -> None:
        encoder = Encoder()
        packed = []
        for headers, huffman, size in blocks:
            if size is not None:
                encoder.header_table_size = size
            packed.append(encoder.encode(headers, huffman=huffman))
        assert parts.headers(packed) == [[(name, value) for name, value, _ in headers] for headers, _, _ in blocks]

    @quick
    @given(st.lists(st.binary(max_size=200), max_size=4))
    def test_garbage_is_survived(self, parts: Harness, blocks: list[bytes]) -> None:
        parts.headers(blocks)

    @pytest.mark.parametrize(
        "malformed",
        [
            b"\x80",  # index 0
            b"\xff\xff\xff\xff\xff\x0f",  # an index of 2^32
            b"\xbe",  # an entry of an empty table
            b"\x00\x7f\xff\xff\xff\x7f",  # a name of 2^28 bytes
            b"\x00\x81\x00\x00",  # Huffman padding of zeros
            b"\x00\x84\xff\xff\xff\xff\x00",  # the end of the code as a symbol
            b"\x88\x20",  # a size behind a header
            b"\x3f\xe2\x1f",  # a table of more than 4,096
            b"\x40",
        ],
    )
    def test_malformed(self, parts: Harness, malformed: bytes) -> None:
        assert parts.headers([malformed]) is None

    def test_a_block_that_unfolds_to_too_much(self, parts: Harness) -> None:
        large = Encoder().encode([(b"x", b"y" * 3000)])
        assert parts.headers([large + b"\xbe" * 10]) is not None
        assert parts.headers([large + b"\xbe" * 100]) is None


class TestCall:
    def test_what_it_sends_is_a_grpc_call(self, parts: Harness) -> None:
        for size in (0, 3, 60_000):
            server = H2Connection(H2Configuration(client_side=False))
            server.initiate_connection()
            events = server.receive_data(parts.call(message=size).said)
            (request,) = [one for one in events if isinstance(one, RequestReceived)]
            headers = dict(request.headers or ())
            assert headers[b":path"] == b"/test/Call"
            assert headers[b":method"] == b"POST"
            assert headers[b"te"] == b"trailers"
            assert headers[b"content-type"] == b"application/grpc"
            assert headers[b"grpc-timeout"] == b"300m"
            body = b"".join(one.data or b"" for one in events if isinstance(one, DataReceived))
            assert body == message(bytes(number % 256 for number in range(size)))
            assert [one for one in events if isinstance(one, StreamEnded)]

    def test_a_request_waits_for_the_servers_windows(self, parts: Harness) -> None:
        said = parts.call(message=200_000).said
        assert 65_535 < len(said) < 66_500
        wider = frame(WINDOW, 0, 0, struct.pack(">I", 200_000)) + frame(WINDOW, 0, 1, struct.pack(">I", 200_000))
        assert len(parts.call(HELLO + wider, message=200_000).said) > 200_000
        first = frame(SETTINGS, payload=struct.pack(">HI", 4, 1000))
        assert parts.call(first, message=100).result is Result.LATE

    @quick
    @given(
        st.binary(max_size=3000),
        st.lists(st.integers(0, 200), max_size=5),
        st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=200)), max_size=5),
        st.tuples(st.integers(1, 7), st.lists(st.integers(1, 500), max_size=20)),
    )
    def test_whatever_a_conforming_server_answers_is_read(
        self,
        parts: Harness,
        answer: bytes,
        paddings: list[int],
        more: list[tuple[bytes, bytes]],
        sent: tuple[int, list[int]],
    ) -> None:
        pieces, cuts = sent
        server = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        server.initiate_connection()
        server.receive_data(parts.call().said)
        extra = [(b"x-" + name.hex().encode(), value.hex().encode()) for name, value in more]
        server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc"), *extra])
        server.ping(b"12345678")
        body = message(answer)
        step = max(1, len(body) // pieces)
        for at in range(0, len(body), step):
            padding = paddings[at // step] if at // step < len(paddings) else None
            server.send_data(1, body[at : at + step], pad_length=padding)
        server.send_headers(1, [("grpc-status", "0"), ("grpc-message", ""), *extra], end_stream=True)
        called = parts.call(*cut(server.data_to_send(), cuts))
        assert (called.result, called.answer, called.going) == (Result.ANSWERED, answer, False)
        assert frame(PING, ACK, 0, b"12345678") in called.said

    @quick
    @given(st.lists(st.integers(1, 60), max_size=30), st.data())
    def test_a_block_in_pieces(self, parts: Harness, cuts: list[int], data: st.DataObject) -> None:
        packed = block((":status", "200"), *((f"x-{number}", "v" * 10) for number in range(8)))
        at = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=8)))
        pieces = [packed[a:b] for a, b in zip([0, *at], [*at, len(packed)], strict=True)]
        frames = [
            frame(CONTINUATION if number else HEADERS, END_HEADERS * (number == len(pieces) - 1), 1, piece)
            for number, piece in enumerate(pieces)
        ]
        called = parts.call(*cut(HELLO + b"".join(frames) + BODY + TAIL, cuts))
        assert called.answer == ALLOWED

    def test_an_answer_larger_than_the_window(self, parts: Harness) -> None:
        frames = b"".join(
            frame(DATA, 0, 1, piece)
            for piece in (message(b"x" * 100_000)[i : i + 16_000] for i in range(0, 100_005, 16_000))
        )
        called = parts.call(HELLO + HEAD + frames + TAIL)
        assert called.answer == b"x" * 100_000
        assert frame(WINDOW, 0, 0, b"")[3:5] in called.said

    @pytest.mark.parametrize(
        ("answer", "result", "status"),
        [
            (HELLO + frame(HEADERS, 5, 1, block((":status", "200"), ("grpc-status", "12"))), Result.REFUSED, 12),
            (HELLO + HEAD + frame(HEADERS, 5, 1, block(("grpc-status", "8"))), Result.REFUSED, 8),
            (HELLO + HEAD + BODY + frame(HEADERS, 5, 1, block(("grpc-status", "2"))), Result.REFUSED, 2),
            (HELLO + HEAD + BODY + frame(HEADERS, 5, 1, block(("grpc-message", "no status"))), Result.RESET, -1),
            (HELLO + HEAD + frame(DATA, END_STREAM, 1, message(ALLOWED)), Result.RESET, -1),
            (HELLO + HEAD + TAIL, Result.RESET, 0),
            (HELLO + HEAD + BODY + BODY + TAIL, Result.RESET, 0),
            (HELLO + HEAD + frame(DATA, 0, 1, b"\1" + message(ALLOWED)[1:]) + TAIL, Result.RESET, 0),
            (HELLO + HEAD + frame(DATA, 0, 1, message(ALLOWED)[:-1]) + TAIL, Result.RESET, 0),
            (HELLO + frame(HEADERS, 5, 1, block((":status", "503"), ("grpc-status", "0"))), Result.RESET, 0),
            (HELLO + HEAD + BODY + frame(HEADERS, 5, 1, block(("grpc-status", "00x"))), Result.RESET, 2**31 - 1),
            (HELLO + HEAD + BODY + frame(HEADERS, 5, 1, block(("grpc-status", "9999"))), Result.RESET, 2**31 - 1),
            (HELLO + frame(RST, 0, 1, b"\0\0\0\x07"), Result.UNHANDLED, -1),
            (HELLO + frame(RST, 0, 1, b"\0\0\0\x0b"), Result.RESET, -1),
            (HELLO + frame(GOAWAY, 0, 0, bytes(8)), Result.UNHANDLED, -1),
            (HELLO + frame(GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4)) + HEAD + BODY + TAIL, Result.ANSWERED, 0),
            (HELLO + frame(HEADERS, 4, 1, block((":status", "103"))) + HEAD + BODY + TAIL, Result.ANSWERED, 0),
            (HELLO + frame(99, 255, 7, b"of an extension") + HEAD + BODY + TAIL, Result.ANSWERED, 0),
            (HELLO + frame(PRIORITY, 0, 3, bytes(5)) + HEAD + BODY + TAIL, Result.ANSWERED, 0),
            (HELLO + frame(HEADERS, 0x24, 1, bytes(5) + STATUS) + BODY + TAIL, Result.ANSWERED, 0),
            (HELLO + HEAD + frame(DATA, PADDED, 1, b"\x04" + message(ALLOWED) + bytes(4)) + TAIL, Result.ANSWERED, 0),
        ],
        ids=lambda value: value.hex()[-24:] if isinstance(value, bytes) else str(value),
    )  # fmt: skip
    def test_what_ends_a_call(self, parts: Harness, answer: bytes, result: Result, status: int) -> None:
        called = parts.call(answer)
        assert (called.result, called.grpc_status) == (result, status)

    @pytest.mark.parametrize(
        "against",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            frame(DATA, 0, 1, b"no headers yet"),
            HELLO + frame(DATA, 0, 0, b""),
            HELLO + frame(HEADERS, END_HEADERS, 3, STATUS),
            HELLO + frame(HEADERS, END_HEADERS, 2, STATUS),
            HELLO + frame(HEADERS, END_HEADERS, 1, b"\x80"),
            HELLO + HEAD + frame(HEADERS, END_HEADERS, 1, GOOD),
            HELLO + HEAD + frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS[:1] + b"\x89"),
            HELLO + frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + STATUS),
            HELLO + frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0"),
            HELLO + HEAD + frame(DATA, PADDED, 1, b""),
            HELLO + HEAD + frame(DATA, PADDED, 1, b"\x05abcd"),
            HELLO + frame(HEADERS, 0, 1, STATUS) + frame(PING, 0, 0, bytes(8)),
            HELLO + frame(HEADERS, 0, 1, STATUS) + frame(CONTINUATION, 0, 3, b""),
            HELLO + frame(HEADERS, 0, 1, STATUS) + frame(CONTINUATION, 0, 1, b"") * 40,
            HELLO + frame(HEADERS, 0, 1, b"\0" * 16_000) + frame(CONTINUATION, 0, 1, b"\0" * 16_000) * 3,
            HELLO + frame(CONTINUATION, END_HEADERS, 1, STATUS),
            HELLO + frame(PUSH, END_HEADERS, 1, b"\0\0\0\2" + STATUS),
            HELLO + frame(SETTINGS, 0, 1),
            HELLO + frame(SETTINGS, 0, 0, b"12345"),
            HELLO + frame(SETTINGS, ACK, 0, bytes(6)),
            HELLO + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
            HELLO + frame(PING, 0, 0, bytes(7)),
            HELLO + frame(PING, 0, 1, bytes(8)),
            HELLO + frame(WINDOW, 0, 0, bytes(4)),
            HELLO + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"),
            HELLO + frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff"),
            HELLO + frame(WINDOW, 0, 9, b"\0\0\0\1"),
            HELLO + frame(WINDOW, 0, 0, b"\0\0\1"),
            HELLO + frame(RST, 0, 1, b"\0\0\7"),
            HELLO + frame(RST, 0, 0, b"\0\0\0\7"),
            HELLO + frame(GOAWAY, 0, 0, bytes(7)),
            HELLO + frame(GOAWAY, 0, 1, bytes(8)),
            HELLO + frame(PRIORITY, 0, 1, bytes(4)),
            HELLO + b"\x00\x40\x01" + frame(DATA, 0, 1)[3:] + b"x" * 16_385,
            frame(PING, 0, 0, bytes(8)) * 5000,
            frame(SETTINGS, 0, 0, bytes(6)) * 5000,
            HELLO + HEAD + frame(DATA, 0, 1, b"x" * 16_000) * 20,
            HELLO + HEAD + frame(DATA, 0, 1, b"") * 5000,
        ],
        ids=lambda against: f"{len(against)}-{against[9:24].hex()}",
    )  # fmt: skip
    def test_what_breaks_the_connection(self, parts: Harness, against: bytes) -> None:
        called = parts.call(against)
        assert called.result is Result.BROKEN
        assert called.going

    def test_a_server_that_ends(self, parts: Harness) -> None:
        assert parts.call(hang_up=True).result is Result.BROKEN
        assert parts.call(ANSWER[:-1], hang_up=True).result is Result.BROKEN
        assert parts.call(ANSWER, hang_up=True).result is Result.ANSWERED

    def test_a_server_that_says_too_little(self, parts: Harness) -> None:
        for length in range(0, len(ANSWER), 7):
            assert parts.call(ANSWER[:length]).result is Result.LATE

    @quick
    @given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
    def test_garbage_lets_nobody_in(self, parts: Harness, chunks: list[bytes], hang_up: bool) -> None:
        assert parts.call(*chunks, hang_up=hang_up).result is not Result.ANSWERED

    @settings(quick, max_examples=200)
    @given(st.data())
    def test_answers_with_something_changed(self, parts: Harness, data: st.DataObject) -> None:
        changed = bytearray(ANSWER)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(changed) - 1))
            if data.draw(st.booleans()):
                changed[at] = data.draw(st.integers(0, 255))
            else:
                changed[at:at] = data.draw(st.binary(max_size=9))
        allowed(
            parts, parts.call(*cut(bytes(changed), data.draw(st.lists(st.integers(1, 30), max_size=9))), hang_up=True)
        )

    @quick
    @given(
        st.lists(
            st.builds(
                frame,
                st.integers(0, 10),
                st.sampled_from([0, 1, 4, 5, 8, 0x0D, 0x20, 0xFF]),
                st.sampled_from([0, 1, 1, 1, 2, 3, 2**31 - 1]),
                st.sampled_from([b"", STATUS, GOOD, message(ALLOWED), bytes(4), bytes(6), bytes(8)])
                | st.binary(max_size=40),
            ),
            max_size=12,
        )
    )
    def test_frames_in_any_order(self, parts: Harness, frames: list[bytes]) -> None:
        allowed(parts, parts.call(b"".join(frames), hang_up=True))


def allowed(parts: Harness, called: Called) -> None:
    """Whatever was answered can be judged."""
    if called.result is Result.ANSWERED:
        assert called.grpc_status == 0
        parts.verdict(called.answer)


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    """Data in pieces of these lengths, and the rest."""
    pieces = []
    for length in lengths:
        pieces.append(data[:length])
        data = data[length:]
    return [*pieces, data]


DENY, ALLOW, PASS, NONE = range(4)


class TestVerdict:
    @pytest.mark.parametrize(
        ("answer", "verdict"),
        [
            (wire.ValuedResponse(type="STOP_AND_RETURN", bool_result=True), ALLOW),
            (wire.ValuedResponse(type="STOP_AND_RETURN", bool_result=False), DENY),
            (wire.ValuedResponse(type="IGNORE"), PASS),
            (wire.ValuedResponse(type="IGNORE", bool_result=True), PASS),
            (wire.ValuedResponse(type="CONTINUE", bool_result=True), NONE),
            (wire.ValuedResponse(type="STOP_AND_RETURN"), NONE),
            (wire.ValuedResponse(type="STOP_AND_RETURN", message={"topic": b"t"}), NONE),
            (wire.ValuedResponse(), NONE),
        ],
        ids=str,
    )
    def test_only_a_clear_yes_allows(self, parts: Harness, answer: wire.ValuedResponse, verdict: int) -> None:
        assert parts.verdict(answer.SerializeToString()) == verdict

    def test_an_unknown_type_and_broken_bytes_are_none(self, parts: Harness) -> None:
        for answer in (b"\x08\x07\x18\x01", b"\x08", ALLOWED + b"\x0a\x05x", ALLOWED + b"\x07", b"\xff" * 11):
            assert parts.verdict(answer) == NONE

    @quick
    @given(st.binary(max_size=60))
    def test_what_python_cannot_read_allows_nothing(self, parts: Harness, answer: bytes) -> None:
        verdict = parts.verdict(answer)
        if verdict == ALLOW:
            read = wire.ValuedResponse.FromString(answer)
            assert read.type == wire.ValuedResponse.STOP_AND_RETURN


texts = st.lists(st.sampled_from([b"a", b"b", b"@", b"@@@", b"|", b"\0"]), max_size=5).map(b"".join)


def concerns(kind: int, name: bytes, client_id: bytes, username: bytes) -> bool:
    """Whether one loss concerns a client. A name with a NUL is no client's."""
    client_id, username = client_id.split(b"\0")[0], username.split(b"\0")[0]
    if b"\0" in name:
        return False
    if kind == bridge.Loss.USER:
        return username == name
    if kind == bridge.Loss.CLIENT:
        return client_id == name
    if kind == bridge.Loss.GROUP:
        return client_id.startswith(name + b"@@@")
    return username.startswith((b"Token|" + name + b"|", b"Signature|" + name + b"|"))


class TestChanges:
    def test_losses(self, parts: Harness) -> None:
        answer = bridge.ChangesResponse(store="s/i", revision=7)
        answer.losses.add(kind=bridge.Loss.USER, name="bob")
        answer.losses.add(kind=bridge.Loss.CLIENT, name="c1")
        assert parts.changes(answer.SerializeToString()) == [
            "2",
            "7",
            "0",
            f"1={b'bob'.hex()}",
            f"2={b'c1'.hex()}",
            "0",
        ]

    @pytest.mark.parametrize(
        ("kind", "name", "concerned"),
        [
            ("GROUP", "GID_x", "1"),
            ("GROUP", "GID_", "0"),
            ("GROUP", "GID_x@@@1", "0"),
            ("CLIENT", "GID_x@@@1", "1"),
            ("CLIENT", "GID_x@@@1\0", "0"),
            ("USER", "Token|key|mqtt", "1"),
            ("USER", "key", "0"),
            ("ACCESS_KEY", "key", "1"),
            ("ACCESS_KEY", "ke", "0"),
            ("ACCESS_KEY", "key|mqtt", "0"),
            ("KIND_UNSPECIFIED", "", "1"),
        ],
    )
    def test_whom_a_loss_concerns(self, parts: Harness, kind: str, name: str, concerned: str) -> None:
        """The client is GID_x@@@1, its user name Token|key|mqtt."""
        answer = bridge.ChangesResponse(store="s", revision=1)
        answer.losses.add(kind=bridge.Loss.Kind.Value(kind), name=name)
        assert parts.changes(answer.SerializeToString())[-1] == concerned

    def test_everyone(self, parts: Harness) -> None:
        answer = bridge.ChangesResponse(store="s", revision=1, everyone=True)
        assert parts.changes(answer.SerializeToString())[2] == "1"
        many = bridge.ChangesResponse(store="s", revision=1)
        for number in range(5000):
            many.losses.add(kind=bridge.Loss.USER, name=str(number))
        assert parts.changes(many.SerializeToString())[2] == "1"

    @quick
    @given(
        st.lists(st.tuples(st.integers(1, 4), texts), max_size=40),
        st.lists(st.tuples(texts, st.sampled_from([b"", b"Token|", b"Signature|"]), texts), min_size=1, max_size=20),
    )
    def test_whom_losses_concern(
        self, parts: Harness, losses: list[tuple[int, bytes]], clients: list[tuple[bytes, bytes, bytes]]
    ) -> None:
        whom = [(client_id, mode + name) for client_id, mode, name in clients]
        expected = [any(concerns(kind, name, *client) for kind, name in losses) for client in whom]
        assert parts.concerned(losses, whom) == (len(set(losses)), expected)

    def test_many_losses_of_many_clients_are_told_in_no_time(self, parts: Harness) -> None:
        """The broker stands still meanwhile, for three seconds if each loss were compared; here for twelve."""
        losses = [(1, f"user-{number}".encode()) for number in range(4096)]
        clients = [(f"device-{number}".encode(), f"user-{number}".encode()) for number in range(50_000)]
        began = time.monotonic()
        kept, whom = parts.concerned(losses, clients)
        assert time.monotonic() - began < 5
        assert kept == sum(whom[:4096]) == sum(whom) == 4096

    def test_without_a_store_there_is_no_news(self, parts: Harness) -> None:
        for store in ("", "x" * 128):
            answer = bridge.ChangesResponse(store=store, revision=9, everyone=True)
            assert parts.changes(answer.SerializeToString())[:3] == ["0", "0", "0"]

    @quick
    @given(st.binary(max_size=80))
    def test_garbage_is_survived(self, parts: Harness, answer: bytes) -> None:
        parts.changes(answer)


class TestCache:
    @quick
    @given(
        st.integers(0, 4),
        st.lists(
            st.tuples(
                st.sampled_from("kffc"),
                st.integers(0, 5),
                st.integers(0, 2),
                st.tuples(st.integers(0, 1), st.sampled_from([b"a", b"b", b"ab", b"c", b"x" * 1025])),
            ),
            max_size=40,
        ),
    )
    def test_it_is_a_dictionary_that_forgets(
        self, parts: Harness, most: int, steps: list[tuple[str, int, int, tuple[int, bytes]]]
    ) -> None:
        keep, now = 10, 0
        known: dict[tuple[int, bytes], tuple[int, int]] = {}  # least used first
        timed, expected = [], []
        for what, later, answer, key in steps:
            now += later
            timed.append((what, now, answer, key))
            if what == "c":
                known.clear()
            elif what == "k":
                if most and len(key[1]) <= 1024:
                    known.pop(key, None)
                    if len(known) == most:
                        del known[next(iter(known))]
                    known[key] = (answer, now + keep)
            elif key in known and now < known[key][1]:
                known[key] = known.pop(key)
                expected.append(str(known[key][0]))
            else:
                known.pop(key, None)
                expected.append("-")
        assert parts.cached(most, keep, timed) == expected
