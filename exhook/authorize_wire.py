"""A request to authorize, read by hand: EMQX lays all of them out alike.

protobuf's own parser takes three times as long, and says no more than which bytes are what. Whatever is not laid out
as EMQX does is left to it.
"""

from typing import Final

from store.records import Action

Asked = tuple[bytes, Action, bytes, bytes]
"""The message `clientinfo`, the action, the topic, and what follows it: see `meta_in`."""

_CLIENTINFO: Final = 0x0A
"""The tag of field 1, whose length follows; the others likewise (Protocol Buffers, "Encoding")."""
_TYPE: Final = 0x10
_TOPIC: Final = 0x1A
_META: Final = 0x2A
_RESULTS: Final = (b"\x20\x00", b"\x20\x01")
_SUBSCRIBE: Final = 1
_MORE: Final = 0x80
"""From here on, another byte of the number follows."""
_LONGEST: Final = 0x3FFF
"""What a length of two bytes says at most."""


def read_authorize(body: bytes) -> Asked | None:
    """The parts of a ClientAuthorizeRequest, of whichever version; None where they do not stand one behind the other.

    Protobuf reads the same out of them if `meta_in` finds a `meta` in the last one.
    """
    try:
        start, size = 2, body[1]
        if size >= _MORE:
            start, size = 3, size & 0x7F | body[2] << 7
        if body[0] != _CLIENTINFO or size > _LONGEST:
            return None
        end = start + size
        info = body[start:end]
        action = Action.PUB
        tag = body[end]
        if tag == _TYPE:
            if body[end + 1] != _SUBSCRIBE:
                return None
            action = Action.SUB
            end += 2
            tag = body[end]
        start, size = end + 2, body[end + 1]
        if size >= _MORE:
            start, size = end + 3, size & 0x7F | body[end + 2] << 7
        if tag != _TOPIC or size > _LONGEST:
            return None
    except IndexError:
        return None
    end = start + size
    return info, action, body[start:end], body[end:]


def meta_in(rest: bytes) -> bytes | None:
    """The message `meta` behind a topic and, maybe, a `result`; None where there is anything else, or less."""
    if rest[:2] in _RESULTS:
        rest = rest[2:]
    if len(rest) < 2 or rest[0] != _META:  # noqa: PLR2004 - tag and length
        return None
    start, size = 2, rest[1]
    if size >= _MORE:
        if len(rest) < 3:  # noqa: PLR2004 - one more byte of length
            return None
        start, size = 3, size & 0x7F | rest[2] << 7
    # A length of three bytes or more would be another one to protobuf, and what follows another field.
    return rest[start:] if size == len(rest) - start and size <= _LONGEST else None
