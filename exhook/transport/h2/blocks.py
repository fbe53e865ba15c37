"""Header blocks, decoded by `hpack`, and remembered by their bytes where that is sound.

A client that repeats its headers repeats the block's bytes, and a look-up is thirty times quicker than decoding.
What bytes mean depends on the dynamic table, which blocks themselves change (RFC 7541, 2.3.2). So a block is
remembered only if decoding it left the table as it was, and all are forgotten as soon as one changes it.
"""

from collections.abc import Callable
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from exhook.transport.h2.asked import Asked, Field
from exhook.transport.h2.frames import Code, ConnectionFault
from exhook.transport.limits import Breach

_REMEMBERED: Final = 256
_REMEMBERED_BYTES: Final = 2048
"""Longer blocks are decoded each time, so that a peer cannot make us keep much."""


class Blocks:
    """The header blocks of one connection, in their order."""

    def __init__(self, most_bytes: int, read: Callable[[list[Field]], Asked]) -> None:
        """`most_bytes`: of fields of one block, beyond which the connection ends; `read` makes sense of fields."""
        self.most_bytes = most_bytes
        self._decoder = Decoder(max_header_list_size=most_bytes)
        self._read = read
        self.known: dict[bytes, Asked] = {}
        """What whole blocks ask for, by their bytes; always this same dictionary."""

    def asked(self, block: bytes) -> Asked:
        """What a request's headers ask for.

        Raises:
            ConnectionFault: the block cannot be decoded; nothing after it could be either.
            MalformedHeaders: as `read` says.
        """
        known = self.known.get(block)
        if known is not None:
            return known
        before = self._table()
        fields = self.fields(block)
        asked = self._read(fields)
        if len(block) <= _REMEMBERED_BYTES and _same(before, self._table()):
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[block] = asked
        return asked

    def fields(self, block: bytes) -> list[Field]:
        """The fields of a block.

        Raises:
            ConnectionFault: it cannot be decoded.
        """
        before = self._table()
        try:
            found = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "headers that are too long", Breach.HEADERS) from None
        except HPACKError:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "a header block that cannot be decoded") from None
        finally:
            if not _same(before, self._table()):
                self.known.clear()
        return found

    def _table(self) -> tuple[int, int, Field | None]:
        """Tells two states of the table apart: an entry that is added comes first, one that goes was the last."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        return table.maxsize, len(entries), entries[0] if entries else None


def _same(before: tuple[int, int, Field | None], after: tuple[int, int, Field | None]) -> bool:
    # By identity: an entry that equals the one before it is another entry.
    return before[:2] == after[:2] and before[2] is after[2]
