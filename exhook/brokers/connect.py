"""The CONNECT packet of MQTT 3.1.1, read to the byte.

amqtt's own reader turns a password that is not UTF-8 into the text of a Python literal, waits for ever and has
no limit of size. Here the password stays bytes, and what breaks the standard is refused before anyone is asked.
"""

import asyncio
import secrets
import struct
from dataclasses import dataclass, field

CONNECT = 0x10
LEVEL_3_1_1 = 4
# Five fields of 65,535 bytes and their lengths are all that a CONNECT can hold.
LONGEST = 10 + 5 * (2 + 0xFFFF)

UNACCEPTABLE_PROTOCOL_VERSION = 1
IDENTIFIER_REJECTED = 2
BAD_USERNAME_OR_PASSWORD = 4

RESERVED, CLEAN_SESSION, WILL, WILL_RETAIN, PASSWORD, USERNAME = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
WILL_QOS = 0x18


class MalformedConnect(Exception):
    """Not a CONNECT of MQTT 3.1.1: the connection is closed without an answer."""


class RefusedConnect(Exception):
    """A CONNECT that the standard answers with a return code other than 0, which is ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Will:
    """What to publish for a client that goes without a DISCONNECT."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True)
class Connect:
    """A well-formed CONNECT; absent user name and password are empty, as EMQX shows them to ExHook."""

    client_id: str
    username: str
    password: bytes = field(repr=False)
    keep_alive: int  # seconds; 0 is for ever
    will: Will | None


async def read_connect(reader: asyncio.StreamReader) -> Connect:
    """Read the first packet of a connection.

    Raises:
        MalformedConnect: it is not a CONNECT, is too long, or breaks MQTT 3.1.1.
        RefusedConnect: it is one that has its own return code (version, client id, password without user name).
        asyncio.IncompleteReadError, OSError: the peer went.
    """
    first = (await reader.readexactly(1))[0]
    if first != CONNECT:
        raise MalformedConnect(f"the first packet is not a CONNECT (0x{first:02x}) [MQTT-3.1.0-1]")
    length, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
        if shift > 21:  # noqa: PLR2004 - four bytes of seven bits
            raise MalformedConnect("the length has more than four bytes")
    if length > LONGEST:
        raise MalformedConnect(f"a CONNECT of {length} bytes")
    return parse_connect(await reader.readexactly(length))


def parse_connect(body: bytes) -> Connect:
    """Parse what follows the fixed header; raises as ``read_connect`` does."""
    fields = _Fields(body)
    name, level = fields.data(), fields.number("!B")
    if name != b"MQTT" or level != LEVEL_3_1_1:
        raise RefusedConnect(UNACCEPTABLE_PROTOCOL_VERSION, "MQTT 3.1.1 alone is spoken here")
    flags, keep_alive = fields.number("!B"), fields.number("!H")
    _check(flags)
    client_id = fields.text()
    if not client_id:
        if not flags & CLEAN_SESSION:
            raise RefusedConnect(IDENTIFIER_REJECTED, "no client id, and a session to keep [MQTT-3.1.3-8]")
        client_id = f"auto-{secrets.token_hex(8)}"
    will = Will(fields.text(), fields.data(), bool(flags & WILL_RETAIN)) if flags & WILL else None
    username = fields.text() if flags & USERNAME else ""
    password = fields.data() if flags & PASSWORD else b""
    fields.end()
    return Connect(client_id, username, password, keep_alive, will)


def _check(flags: int) -> None:
    if flags & RESERVED:
        raise MalformedConnect("the reserved flag is set [MQTT-3.1.2-3]")
    if not flags & WILL and flags & (WILL_QOS | WILL_RETAIN):
        raise MalformedConnect("a will's QoS or retain without a will [MQTT-3.1.2-11]")
    if flags & WILL_QOS == WILL_QOS:
        raise MalformedConnect("a will of QoS 3 [MQTT-3.1.2-14]")
    if flags & PASSWORD and not flags & USERNAME:
        raise RefusedConnect(BAD_USERNAME_OR_PASSWORD, "a password without a user name [MQTT-3.1.2-22]")


class _Fields:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def _take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise MalformedConnect("the packet ends inside a field")
        self._at += count
        return taken

    def number(self, form: str) -> int:
        number: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return number

    def data(self) -> bytes:
        return self._take(self.number("!H"))

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise MalformedConnect("a string is not UTF-8 [MQTT-1.5.3-1]") from error
        if "\0" in text:
            raise MalformedConnect("a string holds NUL [MQTT-1.5.3-2]")
        return text

    def end(self) -> None:
        if self._at != len(self._body):
            raise MalformedConnect("bytes are left after the last field")
