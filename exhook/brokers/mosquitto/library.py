"""Which plugin a file is, without loading it: the string behind one symbol of an ELF library.

Loading would run what stands in the file, as whoever asks.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

from exhook.brokers.mosquitto.build import SYMBOL

_MAGIC: Final = b"\x7fELF"
_DYNSYM: Final = 11
_LARGEST: Final = 64 * 1024 * 1024
_LONGEST: Final = 64


class _Section(NamedTuple):
    kind: int
    address: int
    offset: int
    size: int
    link: int
    entry: int


def plugin_version(file: Path) -> str | None:
    """The version of exhook that a plugin was built by; None for a file that is no plugin of ours.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        data = opened.read(_LARGEST)
    if data[:4] != _MAGIC:
        return None
    try:
        return _version(data)
    except (struct.error, IndexError, ValueError, ZeroDivisionError):
        return None


def _version(data: bytes) -> str | None:
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"  # noqa: PLR2004 - ELFCLASS64
    sections = _sections(data, order, wide=wide)
    symbol, name_at, value_at = ("QQ", 0, 8) if wide else ("II", 0, 4)
    for table in (one for one in sections if one.kind == _DYNSYM):
        names = sections[table.link]
        for at in range(table.offset, table.offset + table.size, table.entry):
            (name,) = struct.unpack_from(f"{order}I", data, at + name_at)
            if _text(data, names.offset + name) == SYMBOL:
                (address,) = struct.unpack_from(f"{order}{symbol[0]}", data, at + value_at)
                return _text(data, _offset(sections, address))
    return None


def _sections(data: bytes, order: str, *, wide: bool) -> list[_Section]:
    place, layout = (0x28, "Q") if wide else (0x20, "I")
    (start,) = struct.unpack_from(f"{order}{layout}", data, place)
    size, count = struct.unpack_from(f"{order}HH", data, 0x3A if wide else 0x2E)
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    form = f"{order}II4QII2Q" if wide else f"{order}10I"
    found = []
    for number in range(count):
        head = struct.unpack_from(form, data, start + number * size)
        found.append(_Section(head[1], head[3], head[4], head[5], head[6], head[9]))
    return found


def _offset(sections: list[_Section], address: int) -> int:
    """Where in the file stands what is loaded at an address."""
    for one in sections:
        if one.address and one.address <= address < one.address + one.size:
            return address - one.address + one.offset
    raise ValueError("an address outside of all sections")


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at, at + _LONGEST)].decode("ascii")
