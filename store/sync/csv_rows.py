"""CSV: a header row, then an entry a row. Cells are texts; an empty one leaves its key out.

No message repeats a cell: the header of a file that has none is its first row, and may hold a secret.
"""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping as Map
from typing import Any, Final, NamedTuple

from store.sync.key_order import ordered
from store.sync.phrases import counted
from store.sync.source import Items, Mapping, Place, Value, text_at
from store.sync.syntax import BOM, Fault, InvalidSource
from store.sync.table import FLAGS, Row

_NESTED: Final = {
    "client_ids_prefix": ("client_ids", "prefix"),
    "client_ids_group": ("client_ids", "group"),
    "secret_id": ("secret", "id"),
    "env": ("secret", "env"),
    "file": ("secret", "file"),
    "hash": ("secret", "hash"),
    "literal": ("secret", "literal"),
    "secret_expires": ("secret", "expires"),
    "deny_publish": ("deny", "publish"),
    "deny_subscribe": ("deny", "subscribe"),
    "deny_both": ("deny", "both"),
}
"""Keys of columns, and where entries have them."""
_LISTS: Final = frozenset({"publish", "subscribe", "both", "roles"})
_NO_CSV: Final = "no CSV from here on; check the quotation marks"


class _Column(NamedTuple):
    """A column that is read."""

    cell: int
    holder: str
    """The mapping within the entry that its key stands in; empty for the entry itself."""
    key: str


class _Raw(NamedTuple):
    """A row as it is written, and its cells."""

    text: str
    cells: list[str]


class CsvRows:
    """The rows of a CSV file below its header."""

    def __init__(
        self, data: bytes, keys: frozenset[str], columns: Map[str, str] | None, *, delimiter: str, separator: str
    ) -> None:
        """`keys` are those that a column may have; `columns` says what the file calls them, if not so."""
        self.warnings: tuple[Fault, ...] = ()
        self._data = data
        self._keys = keys
        self._names = columns
        self._delimiter = delimiter
        self._separator = separator
        self._columns: list[_Column] = []
        self._width = 0

    def rows(self) -> Iterator[Row]:
        """Each row that is not blank.

        Raises:
            InvalidSource: no CSV, not UTF-8, or a header that does not name what is to be read.
        """
        read = self._read()
        line, header = next(read, (1, _Raw("", [])))
        if not header.cells:
            raise InvalidSource(Fault(1, 1, "an empty file; its first row names the columns"))
        self._head(line, header)
        for line, raw in read:
            yield Row(line, self._plain(raw.cells), raw)

    def located(self, row: Row, faults: list[Fault]) -> Mapping | None:
        """The same row with the places of its values; what is wrong with it is added to `faults`."""
        raw: _Raw = row.raw
        if len(raw.cells) != self._width:
            width = counted(len(raw.cells), "cell")
            message = f"{width}, and the header has {self._width}; check quotation marks and delimiters"
            faults.append(Fault(row.line, 1, message))
            return None
        places = _places(raw.text, row.line, self._delimiter)
        made = Mapping.at(Place(row.line, 1))
        for index, holder, key in self._columns:
            if cell := raw.cells[index]:
                place = places[index]
                within = made
                if holder:
                    found = made.setdefault(text_at(holder, place), Mapping.at(place))
                    within = found if isinstance(found, Mapping) else made
                within[text_at(key, place)] = self._value(key, cell, place)
        return made

    def _value(self, key: str, cell: str, place: Place) -> Value:
        if key not in _LISTS:
            return text_at(cell, place, plain=True)
        items = Items(text_at(one, place, plain=True) for one in self._split(cell))
        items.line, items.column = place
        return items

    def _plain(self, cells: list[str]) -> dict[str, Any] | None:
        if len(cells) != self._width:
            return None
        made: dict[str, Any] = {}
        for index, holder, key in self._columns:
            if cell := cells[index]:
                value: Any = cell
                if key in _LISTS:
                    value = self._split(cell)
                elif key in FLAGS:
                    if cell not in ("true", "false"):
                        return None
                    value = cell == "true"
                if holder:
                    made.setdefault(holder, {})[key] = value
                else:
                    made[key] = value
        return made

    def _split(self, cell: str) -> list[str]:
        return [one for one in cell.split(self._separator) if one] if self._separator else [cell]

    def _read(self) -> Iterator[tuple[int, _Raw]]:
        """The line that each row begins in, and the row."""
        taken: list[str] = []
        reader = csv.reader(self._lines(taken), delimiter=self._delimiter, strict=True)
        line = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error:
                raise InvalidSource(Fault(line, 1, _NO_CSV)) from None
            if cells is None:
                return
            if cells:
                yield line, _Raw("".join(taken), cells)
            line = reader.line_num + 1
            taken.clear()

    def _lines(self, taken: list[str]) -> Iterator[str]:
        for number, line in enumerate(io.BytesIO(self._data), 1):
            raw = line.removeprefix(BOM) if number == 1 else line
            try:
                text = raw.decode()
            except UnicodeDecodeError as wrong:
                good = raw[: wrong.start].decode()
            else:
                taken.append(text)
                yield text
                continue
            raise InvalidSource(Fault(number, len(good) + 1, "not UTF-8 from here on; save the file as UTF-8"))

    def _head(self, line: int, header: _Raw) -> None:
        names = header.cells
        self._width = len(names)
        twice = {name for name, count in Counter(names).items() if count > 1}
        places = _places(header.text, line, self._delimiter)
        if self._names is None:
            for name, place in zip(names, places, strict=True):
                if name not in self._keys:
                    raise InvalidSource(Fault(*place, self._unknown(name)))
            wanted = {name: name for name in names}
        else:
            wanted = dict(self._names)
            self.warnings = tuple(
                Fault(*place, f"the column `{name}` is not read, for `columns` does not name it; name it there")
                for name, place in zip(names, places, strict=True)
                if name in self._keys and name not in wanted.values()
            )
        for key, name in wanted.items():
            if name not in names:
                raise InvalidSource(
                    Fault(line, 1, f"no column is named as `columns` says for `{key}`; correct it there")
                )
            if name in twice:
                raise InvalidSource(Fault(*places[names.index(name)], "two columns of one name; rename one"))
        self._columns = [_Column(names.index(name), *_NESTED.get(key, ("", key))) for key, name in wanted.items()]

    def _unknown(self, name: str) -> str:
        if close := difflib.get_close_matches(name, self._keys, n=1):
            return f"a column of a name that is no key; did you mean `{close[0]}`?"
        known = ", ".join(ordered(self._keys))
        return f"a column of a name that is no key; the keys are {known}, or say under `columns` what is what"


def _places(text: str, line: int, delimiter: str) -> list[Place]:
    """Where each cell of a row begins."""
    places = [Place(line, 1)]
    quoted = False
    column = 0
    for character in text:
        column += 1
        if character == '"':
            quoted = not quoted
        elif character == delimiter and not quoted:
            places.append(Place(line, column + 1))
        elif character == "\n":
            line, column = line + 1, 0
    return places
