"""CONNECT packets, well-formed and not."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exhook.brokers.connect import (
    LONGEST,
    Connect,
    MalformedConnect,
    RefusedConnect,
    Will,
    parse_connect,
    read_connect,
)


def data(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def body(flags: int, *fields: bytes, keep_alive: int = 60, name: bytes = b"MQTT", level: int = 4) -> bytes:
    return data(name) + struct.pack("!BBH", level, flags, keep_alive) + b"".join(map(data, fields))


def read(stream: bytes) -> Connect:
    async def run() -> Connect:
        reader = asyncio.StreamReader()
        reader.feed_data(stream)
        reader.feed_eof()
        return await read_connect(reader)

    return asyncio.run(run())


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FIELDS = st.tuples(TEXT.filter(bool), st.binary(max_size=20), st.integers(0, 0xFFFF))


@given(FIELDS, st.none() | TEXT, st.none() | st.tuples(TEXT, st.binary(max_size=20), st.booleans()))
def test_what_a_client_writes_is_what_is_read(
    fields: tuple[str, bytes, int], username: str | None, will: tuple[str, bytes, bool] | None
) -> None:
    client_id, password, keep_alive = fields
    flags, parts = 0x02, [client_id.encode()]
    if will is not None:
        flags |= 0x04 | (0x20 if will[2] else 0)
        parts += [will[0].encode(), will[1]]
    if username is not None:
        flags |= 0xC0
        parts += [username.encode(), password]
    packet = parse_connect(body(flags, *parts, keep_alive=keep_alive))
    expected_will = None if will is None else Will(*will)
    expected_password = b"" if username is None else password
    assert packet == Connect(client_id, username or "", expected_password, keep_alive, expected_will)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: body(0xC6)[:10] + rest))
def test_no_bytes_raise_anything_else(packet: bytes) -> None:
    try:
        parse_connect(packet)
    except (MalformedConnect, RefusedConnect) as refused:
        assert str(refused)  # noqa: PT017 - most inputs raise, and none otherwise


def test_a_password_is_bytes_and_is_not_shown() -> None:
    packet = parse_connect(body(0xC2, b"dev", b"alice", b"\xff\xfe\x00\x80"))
    assert packet.password == b"\xff\xfe\x00\x80"
    assert "password" not in repr(packet)


def test_an_empty_client_id_gets_a_name_of_its_own() -> None:
    first, second = (parse_connect(body(0x02, b"")).client_id for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (body(0x02, b"dev", level=5), 1),
        (body(0x02, b"dev", name=b"MQIsdp", level=3), 1),
        (body(0x00, b""), 2),
        (body(0x42, b"dev", b"secret"), 4),
    ],
)
def test_refusals_with_a_return_code(packet: bytes, code: int) -> None:
    with pytest.raises(RefusedConnect) as refused:
        parse_connect(packet)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (body(0x03, b"dev"), "reserved"),
        (body(0x22, b"dev"), "without a will"),
        (body(0x1E, b"dev", b"t", b"m"), "QoS 3"),
        (body(0x02, b"dev", b"more"), "left"),
        (body(0x82, b"dev"), "ends inside"),
        (body(0x02, b"\xff"), "UTF-8"),
        (body(0x82, b"dev", b"\xed\xa0\x80"), "UTF-8"),
        (body(0x02, b"a\0b"), "NUL"),
        (body(0x06, b"dev", b"t\0", b"m"), "NUL"),
    ],
)
def test_what_breaks_the_standard_says_how(packet: bytes, reason: str) -> None:
    with pytest.raises(MalformedConnect, match=reason):
        parse_connect(packet)


def test_the_first_packet_is_a_connect_of_a_sane_length() -> None:
    packet = body(0x02, b"dev")
    assert read(bytes([0x10, len(packet)]) + packet).client_id == "dev"
    with pytest.raises(MalformedConnect, match="not a CONNECT"):
        read(b"\xc0\x00")
    with pytest.raises(MalformedConnect, match="bytes"):
        read(b"\x10\xff\xff\xff\x7f")
    with pytest.raises(MalformedConnect, match="four bytes"):
        read(b"\x10\xff\xff\xff\xff\x01")
    with pytest.raises(asyncio.IncompleteReadError):
        read(b"\x10\x20")


def test_the_longest_connect_is_taken_whole() -> None:
    longest = b"x" * 0xFFFF
    packet = body(0xE6, *[longest] * 5)
    assert len(packet) == LONGEST
    digits = bytearray()
    rest = len(packet)
    while rest:
        digits.append((rest & 0x7F) | (0x80 if rest > 0x7F else 0))
        rest >>= 7
    assert read(bytes([0x10]) + bytes(digits) + packet).password == longest
