"""Flow control (RFC 9113, 5.2), both ways: nothing beyond a window, everything in the end."""

from h2_under_test import Peer, ping, reset, settings, window_update
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from exhook.transport.call import Call
from exhook.transport.h2.answers import prefixed
from exhook.transport.h2.frames import DATA, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, Code, frame
from exhook.transport.limits import Breach

INITIAL_WINDOW = 4


def big(call: Call) -> bytes:
    """As many bytes as were asked for."""
    return bytes(int(call.body))


def in_pieces(stream: int, message: bytes, *, ended: bool) -> list[bytes]:
    """DATA of a message; where it is not ended, its last byte is missing."""
    data = prefixed(message) if ended else prefixed(message)[:-1]
    places = range(0, len(data), 16_000)
    last = places[-1]
    return [frame(DATA, END_STREAM if ended and at == last else 0, stream, data[at : at + 16_000]) for at in places]


def sent(peer: Peer) -> dict[int, int]:
    """Bytes of DATA by stream since the last time."""
    found: dict[int, int] = {}
    for one in peer.read():
        if one.kind == DATA:
            found[one.stream] = found.get(one.stream, 0) + len(one.payload)
    return found


class TestAnswers:
    def test_the_window_of_the_connection(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 1_000_000)))
        peer.ask(1, b"65000")
        peer.ask(3, b"65000")
        assert sent(peer) == {1: 65_005, 3: 65_535 - 65_005}
        peer.send(window_update(0, 1))
        assert sent(peer) == {3: 1}
        peer.send(window_update(3, 1000))
        assert sent(peer) == {}
        peer.send(window_update(0, 1_000_000))
        assert sent(peer) == {3: 65_005 - 531}
        peer.ask(5, b"3")
        assert peer.answers() == {5: (bytes(3), 0)}

    def test_the_window_of_a_stream(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 10)), window_update(0, 1_000_000))
        peer.ask(1, b"95")
        peer.ask(3, b"5")
        assert peer.answers() == {3: (bytes(5), 0)}
        peer.send(window_update(1, 89))
        assert sent(peer) == {1: 89}
        peer.send(window_update(1, 1))
        (last, trailers) = peer.read()
        assert (last.payload, trailers.kind, trailers.flags & END_STREAM) == (b"\0", HEADERS, 1)

    def test_a_window_widened_before_the_answer(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 0)))
        peer.send(peer.headers(1), window_update(1, 15), peer.message(1, b"10"))
        assert peer.answers() == {1: (bytes(10), 0)}

    def test_zero_windows_let_headers_through(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 0)))
        peer.ask(1, b"10")
        peer.ask(3, b"x")
        assert [(one.kind, one.stream) for one in peer.read() if one.stream] == [(HEADERS, 1), (HEADERS, 3)]
        assert len(peer.failures) == 1

    def test_the_initial_window_changes_streams_that_wait(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 100)))
        peer.ask(1, b"395")
        assert sent(peer) == {1: 100}
        peer.send(settings((INITIAL_WINDOW, 20)))
        peer.send(window_update(1, 80))  # -80, then 0
        assert sent(peer) == {}
        peer.send(settings((INITIAL_WINDOW, 30)))
        assert sent(peer) == {1: 10}
        peer.send(settings((INITIAL_WINDOW, 1000)))
        assert sent(peer) == {1: 290}

    def test_a_reset_stream_takes_its_answer_along(self) -> None:
        peer = Peer(big)
        peer.send(settings((INITIAL_WINDOW, 1)))
        peer.ask(1, b"50")
        peer.send(reset(1), settings((INITIAL_WINDOW, 1000)))
        assert sent(peer) == {1: 1}
        peer.send(window_update(1, 5))
        assert peer.end() is None

    def test_answers_that_nobody_takes_are_not_piled_up(self) -> None:
        peer = Peer(big, held_bytes=100_000, message_bytes=50_000)
        peer.send(settings((INITIAL_WINDOW, 0)))
        peer.ask(1, b"50000")
        assert peer.end() is None
        peer.ask(3, b"50000")
        peer.ask(5, b"50000")
        assert peer.end() is Code.ENHANCE_YOUR_CALM
        assert peer.breaches == {Breach.HELD: 1}

    def test_an_answer_that_nobody_takes_is_given_up(self) -> None:
        peer = Peer(big, stalled_seconds=10.0)
        peer.send(settings((INITIAL_WINDOW, 10)))
        peer.ask(1, b"50")
        began = peer.connection._heard
        peer.connection.tick(began + 9)
        peer.send(ping())
        peer.read()
        peer.connection.tick(began + 11)
        assert [(one.kind, one.stream, one.code) for one in peer.read()] == [(RST_STREAM, 1, Code.CANCEL)]
        assert peer.breaches == {Breach.STALLED: 1}
        assert peer.connection._calls.outflow.held == 0

    @hypothesis_settings(deadline=None)
    @given(st.data())
    def test_no_window_is_exceeded_and_all_is_sent_in_the_end(self, data: st.DataObject) -> None:
        """Against books of our own, for any order of answers, windows and settings."""
        peer = Peer(big)
        initial, whole = 65_535, 65_535
        left: dict[int, int] = {}  # window by stream
        to_come: dict[int, int] = {}
        number = -1
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.sampled_from(["ask", "widen", "widen all", "initial"]))
            if step == "ask":
                number += 2
                size = data.draw(st.integers(0, 60_000))
                left[number], to_come[number] = initial, size + 5
                peer.ask(number, b"%d" % size)
            elif step == "widen" and left:
                stream, more = data.draw(st.sampled_from(sorted(left))), data.draw(st.integers(1, 50_000))
                left[stream] += more
                peer.send(window_update(stream, more))
            elif step == "widen all":
                more = data.draw(st.integers(1, 100_000))
                whole += more
                peer.send(window_update(0, more))
            elif step == "initial":
                changed = data.draw(st.integers(0, 100_000))
                left = {stream: window + changed - initial for stream, window in left.items()}
                initial = changed
                peer.send(settings((INITIAL_WINDOW, changed)))
            for stream, size in sent(peer).items():
                left[stream] -= size
                to_come[stream] -= size
                whole -= size
                assert left[stream] >= 0
                assert to_come[stream] >= 0
            assert whole >= 0
            assert all(whole == 0 or not to_come[stream] or left[stream] <= 0 for stream in to_come)
        peer.send(window_update(0, 2**30), settings((INITIAL_WINDOW, 2**30)))
        for stream, size in sent(peer).items():
            to_come[stream] -= size
        assert not any(to_come.values())


class TestMessages:
    def test_the_connection_window_is_given_back(self) -> None:
        peer = Peer(lambda _: b"", held_bytes=262_144, message_bytes=100_000)
        for stream in range(1, 41, 2):
            data = b"\0" + (50_000).to_bytes(4) + bytes(50_000)
            peer.send(peer.headers(stream))
            for at in range(0, len(data), 16_000):
                peer.send(frame(DATA, END_STREAM if at + 16_000 >= len(data) else 0, stream, data[at : at + 16_000]))
        assert peer.end() is None
        given = sum(int.from_bytes(one.payload) for one in peer.frames if one.kind == WINDOW_UPDATE and not one.stream)
        assert 20 * 50_005 - (given - (262_144 - 65_535)) <= 262_144 // 2

    def test_more_than_the_connection_window_ends_it(self) -> None:
        peer = Peer(held_bytes=100_000, message_bytes=50_000)
        part = b"\0\0\0\xc3\x50" + bytes(16_000)
        peer.send(*(peer.headers(stream) + frame(DATA, 0, stream, part) for stream in range(1, 21, 2)))
        assert peer.end() is Code.FLOW_CONTROL_ERROR
        assert peer.breaches == {Breach.HELD: 1}

    def test_what_is_held_is_bounded_by_the_window(self) -> None:
        peer = Peer(held_bytes=1_000_000, message_bytes=400_000)
        window = 1_000_000
        stream = 1
        while window > 40_000:
            peer.send(peer.headers(stream), frame(DATA, 0, stream, b"\0\0\6\0\0" + bytes(16_000)))
            window -= 16_005
            stream += 2
        assert peer.end() is None
        assert sum(one.held for one in peer.connection._calls.streams.values()) <= 1_000_000
        peer.connection.tick(peer.connection._heard + 11)
        assert peer.half_open == (stream - 1) // 2
        updates = [one for one in peer.read() if one.kind == WINDOW_UPDATE]
        assert sum(int.from_bytes(one.payload) for one in updates) >= 900_000

    def test_what_is_given_back_late_is_given_back(self) -> None:
        """Messages that are not whole hold more than half of the window, and the peer waits for the rest."""
        peer = Peer(held_bytes=100_000, message_bytes=50_000)
        peer.send(peer.headers(1), *in_pieces(1, bytes(40_000), ended=False))
        peer.send(peer.headers(3), *in_pieces(3, bytes(30_000), ended=False))
        peer.read()
        peer.send(peer.headers(5), *in_pieces(5, bytes(29_000), ended=True))
        assert [int.from_bytes(one.payload) for one in peer.read() if one.kind == WINDOW_UPDATE] == [29_005]

    def test_messages_that_leave_no_room_for_their_rest_are_fewer_then(self) -> None:
        """None could become whole: those that came last are refused, and the others go on."""
        peer = Peer(held_bytes=100_000, message_bytes=50_000)
        for stream in range(1, 21, 2):
            peer.send(peer.headers(stream), frame(DATA, 0, stream, prefixed(bytes(40_000))[:10_000]))
        assert peer.statuses() == {17: 8, 15: 8, 13: 8}
        assert peer.breaches == {Breach.HELD: 3}
        assert set(peer.connection._calls.streams) == {1, 3, 5, 7, 9, 11, 19}

    @hypothesis_settings(deadline=None)
    @given(st.lists(st.integers(0, 50_000), min_size=1, max_size=30), st.integers(100, 16_000))
    def test_whoever_heeds_the_window_gets_all_answers(self, sizes: list[int], piece: int) -> None:
        """A client that sends all of its messages at once, a piece of each in turn, while the windows let it."""
        peer = Peer(lambda _: b"", held_bytes=100_000, message_bytes=50_000)
        window, ended = 100_000, dict[int, int]()
        to_send = {1 + 2 * number: memoryview(prefixed(bytes(size))) for number, size in enumerate(sizes)}
        peer.send(*(peer.headers(stream) for stream in to_send))
        while to_send:
            before = window
            for stream, left in list(to_send.items()):
                size = min(piece, window, len(left))
                window -= size
                if size:
                    peer.send(frame(DATA, END_STREAM if size == len(left) else 0, stream, bytes(left[:size])))
                    to_send[stream] = left[size:]
                if size == len(left):
                    del to_send[stream]
            moved = before - window
            for one in peer.read():
                if one.kind == WINDOW_UPDATE and not one.stream:
                    window += int.from_bytes(one.payload)
                    moved += 1
                elif one.kind == HEADERS and one.flags & END_STREAM:
                    ended[one.stream] = int(peer.fields(one)["grpc-status"])
                    to_send.pop(one.stream, None)
            assert moved, "nothing moves any more"
        assert set(ended.values()) <= {0, 8}
        assert set(ended) == {1 + 2 * number for number in range(len(sizes))}
        assert sum(sizes) > 80_000 or set(ended.values()) == {0}

    def test_the_stream_window_is_given_back_for_padding(self) -> None:
        peer = Peer(message_bytes=50_000)
        peer.send(peer.headers(1))
        padded = frame(DATA, 0x8, 1, b"\xff" + bytes(255))
        data = b"\0" + (40_000).to_bytes(4) + bytes(40_000)
        for at in range(0, len(data), 1000):
            peer.send(*[padded] * 10, frame(DATA, 0, 1, data[at : at + 1000]))
        peer.send(frame(DATA, END_STREAM, 1))
        assert peer.statuses() == {1: 0}
        assert [one for one in peer.frames if one.kind == WINDOW_UPDATE and one.stream == 1]

    def test_more_than_the_stream_window_ends_the_stream(self) -> None:
        peer = Peer(message_bytes=50_000)
        peer.connection._calls.stream_window = 20_000
        peer.send(peer.headers(1), *[frame(DATA, 0, 1, b"\0\0\0\xc3\x50" + bytes(4000))] * 2)
        peer.connection._calls.streams[1].credit = 100
        peer.send(frame(DATA, 0, 1, bytes(4000)))
        assert [(one.kind, one.code) for one in peer.read() if one.kind == RST_STREAM] == [
            (RST_STREAM, Code.FLOW_CONTROL_ERROR)
        ]
        assert peer.connection._calls.owed == 12_010

    def test_a_message_past_the_limit_is_not_read_to_its_end(self) -> None:
        peer = Peer(message_bytes=50_000)
        peer.send(peer.headers(1), frame(DATA, 0, 1, b"\0\0\0\xff\xff" + bytes(100)))
        head, ended = peer.read()
        assert (peer.fields(head)["grpc-status"], ended.kind, ended.code) == ("8", RST_STREAM, Code.NO_ERROR)
        assert peer.connection._calls.streams == {}
        assert peer.breaches == {Breach.MESSAGE: 1}
