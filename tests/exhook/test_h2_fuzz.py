"""Bytes and frames that nobody would send: no crash, no hang, nothing that grows; and the short way is no other way."""

import hpack
from h2_under_test import EMQX, Fields, Frame, Peer, frames_of
from hypothesis import given, settings
from hypothesis import strategies as st

from exhook.transport.h2.answers import prefixed
from exhook.transport.h2.asked import Asked, Field
from exhook.transport.h2.blocks import Blocks
from exhook.transport.h2.control import DRAIN
from exhook.transport.h2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LAST_STREAM,
    PING,
    PREFACE,
    SETTINGS,
    Code,
    ConnectionFault,
    frame,
    goaway,
)
from exhook.transport.limits import Breach

STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 2**31 - 1, 2**31 + 1])
_encoder = hpack.Encoder()
PLAIN, PLAIN_AGAIN = _encoder.encode(EMQX), _encoder.encode(EMQX)

anything = st.builds(
    frame, st.integers(0, 12), st.integers(0, 255), STREAMS, st.binary(max_size=40)
)  # every kind with any flags
control = st.builds(frame, st.integers(2, 10), st.sampled_from([0, 1]), STREAMS, st.binary(min_size=4, max_size=8))
opening = st.builds(
    frame, st.just(HEADERS), st.sampled_from([0, 4, 4, 4, 5]), STREAMS, st.sampled_from([PLAIN, PLAIN_AGAIN, b"\x82"])
)
message = st.builds(
    frame,
    st.just(DATA),
    st.sampled_from([0, 1, 1]),
    STREAMS,
    st.sampled_from([prefixed(b"x"), prefixed(b""), b"\0\0\0", b"\1\0\0\0\0", prefixed(b"y" * 300), b""]),
)
conversation = st.lists(st.one_of(opening, message, control, anything), max_size=25).map(b"".join)


def fed(data: bytes, cuts: list[int], *, greet: bool = True, remember: bool = True) -> Peer:
    """A peer that sent these bytes, in pieces; all that it was answered is well-formed."""
    peer = Peer(greet=greet, frames=50, resets=20, streams=4)
    if not remember:
        peer.connection._reader.known = peer.connection._requests._blocks.known = Forgetful()
    begin = 0
    for cut in sorted({*(min(cut, len(data)) for cut in cuts), len(data)}):
        peer.send(data[begin:cut])
        begin = cut
    peer.read()
    assert all(one.kind in (DATA, HEADERS, 3, SETTINGS, 6, GOAWAY, 8) for one in peer.frames)
    assert not peer.failures
    calls = peer.connection._calls
    assert len(calls.streams) <= 4
    assert len(peer.connection._reader.rest) <= 9 + 16_384
    assert calls.out == []
    assert not peer.wire.is_closed() or [one for one in peer.frames if one.kind == GOAWAY]
    return peer


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    fed(data, cuts, greet=False)
    fed(PREFACE + data, cuts, greet=False)
    fed(data, cuts)


@settings(max_examples=200, deadline=None)
@given(conversation, st.lists(st.integers(0, 900), max_size=5))
def test_any_frames_mean_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = fed(data, []), fed(data, cuts)
    assert _said(cut) == _said(whole)
    assert [call.body for call in cut.calls] == [call.body for call in whole.calls]
    assert cut.breaches == whole.breaches


@settings(max_examples=200, deadline=None)
@given(conversation)
def test_the_short_way_does_what_the_long_way_does(data: bytes) -> None:
    short = fed(PLAIN_OPENING + data, [])
    long = fed(PLAIN_OPENING + data, [], remember=False)
    assert _said(short) == _said(long)
    assert [call.body for call in short.calls] == [call.body for call in long.calls]
    assert short.breaches == long.breaches


PLAIN_OPENING = b"".join(
    frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, prefixed(b"first"))
    for stream, block in ((1, PLAIN), (3, PLAIN_AGAIN))
)


class Forgetful(dict[bytes, Asked]):
    """A memory of blocks that keeps none."""

    def __setitem__(self, *_: object) -> None:
        pass


def _said(peer: Peer) -> list[Frame]:
    """All frames in their order, but what asks for a new connection, which waits for the end of a batch."""
    asking = goaway(LAST_STREAM, Code.NO_ERROR), frame(PING, 0, 0, DRAIN)
    return [one for one in peer.frames if frame(one.kind, one.flags, one.stream, one.payload) not in asking]


names = st.sampled_from(["x-a", "x-b", "grpc-timeout", ":path", "te", "user-agent"])
values = st.sampled_from(["1", "2", "trailers", "a" * 30, "b" * 90, "c" * 200, ""])
lists = st.lists(st.tuples(names, values), max_size=6).map(tuple)


@settings(deadline=None)
@given(st.lists(st.one_of(lists, st.sampled_from([0, 64, 200, 300])), max_size=12), st.booleans())
def test_blocks_remembered_mean_what_they_would_decoded(steps: list[Fields | int], huffman: bool) -> None:
    """Against a decoder that remembers nothing but the dynamic table; numbers change the table's size."""
    encoder, reference = hpack.Encoder(), hpack.Decoder(max_header_list_size=2**20)
    seen: list[list[Field]] = []

    def read(fields: list[Field]) -> Asked:
        seen.append(fields)
        asked = Asked(repr(fields), lambda _: b"")
        asked.timeout = len(seen)
        return asked

    blocks = Blocks(2**20, read)
    for step in steps:
        if isinstance(step, int):
            if step != encoder.header_table_size:  # set anew to what it is, the library forgets to tell of it
                encoder.header_table_size = step
            continue
        block = encoder.encode(step, huffman=huffman)
        expected = [(bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True)]
        assert blocks.asked(block).path == repr(expected)
        block = encoder.encode(step, huffman=huffman)
        expected = [(bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True)]
        assert blocks.asked(block).path == repr(expected)


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([PLAIN, PLAIN_AGAIN])), max_size=10))
def test_any_block_decodes_or_ends_the_connection(parts: list[bytes]) -> None:
    remembering = Blocks(20_000, lambda fields: Asked(repr(fields), lambda _: b""))
    reference = hpack.Decoder(max_header_list_size=20_000)
    for part in parts:
        try:
            expected = repr([(bytes(name), bytes(value)) for name, value in reference.decode(part, raw=True)])
        except hpack.HPACKError:
            expected = ""
        try:
            found = remembering.asked(part).path
        except ConnectionFault as fault:
            found = ""
            wrong = fault.breach not in (Breach.BROKEN, Breach.HEADERS)
        else:
            wrong = False
        assert not wrong
        assert found == expected
        if not expected:
            return


def test_the_repeated_block_of_a_client_is_decoded_twice_at_most() -> None:
    decoded = 0

    def read(fields: list[Field]) -> Asked:
        nonlocal decoded
        decoded += 1
        return Asked(repr(fields), lambda _: b"")

    blocks, encoder = Blocks(20_000, read), hpack.Encoder()
    for _ in range(100):
        blocks.asked(encoder.encode(EMQX))
    assert decoded == 2


def test_frames_are_told_apart_as_they_were_put_together() -> None:
    assert list(frames_of(frame(4, 1, 0) + frame(0, 9, 2**31 - 1, b"abc"))) == [
        Frame(4, 1, 0, b""),
        Frame(0, 9, 2**31 - 1, b"abc"),
    ]
