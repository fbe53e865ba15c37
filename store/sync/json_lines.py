"""JSON lines: one object a line, as plain values for most lines and with places for those that need a second look."""

import io
import json
import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, Final, NoReturn

from store.sync.source import (
    HALF_A_PAIR,
    MAX_DEPTH,
    NO_VALUE,
    PRIVATE,
    Items,
    Mapping,
    Nothing,
    Place,
    Text,
    Value,
    text_at,
    twice,
)
from store.sync.syntax import BOM, Fault, InvalidSource, decode
from store.sync.table import FLAGS, Row

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?[0-9][0-9.eE+-]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final = ("true", "false", "null")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object)
_SCAN: Final = _DECODER.scan_once  # type: ignore[attr-defined]  # public in all but the stubs
"""What `decode` calls, which allows blanks before."""


class JsonLines:
    """The objects of a file of JSON lines."""

    warnings: tuple[Fault, ...] = ()

    def __init__(self, data: bytes) -> None:
        self._data = data

    def rows(self) -> Iterator[Row]:
        """Each line that is not blank."""
        for number, line in enumerate(io.BytesIO(self._data), 1):
            raw = line.removeprefix(BOM) if number == 1 else line
            if not raw.isspace() and raw:
                yield Row(number, _plain(raw), raw)

    def located(self, row: Row, faults: list[Fault]) -> Mapping | None:
        """The same row with the places of its values; what is wrong with it is added to `faults`."""
        try:
            text = decode(row.raw).rstrip("\r\n")
            value = _Reader(text, row.line, faults).document()
        except InvalidSource as wrong:
            # What was decoded by itself counts its lines from 1.
            faults.append(Fault(row.line, wrong.fault.column, wrong.fault.message))
            return None
        return value


def _plain(raw: bytes) -> dict[str, Any] | None:
    if b"\\u" in raw and b"\\ud" in raw.lower():
        return None  # It may be half of a surrogate pair.
    try:
        text = raw.decode()
        value, end = _SCAN(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    return value if type(value) is dict and (end == len(text) or text[end:].isspace()) else None


class _Reader:
    """One line, read with places."""

    def __init__(self, text: str, line: int, faults: list[Fault]) -> None:
        self._text = text
        self._line = line
        self._faults = faults

    def document(self) -> Mapping:
        start = self._blank(0)
        if not self._text.startswith("{", start):
            self._stop(start, 'one JSON object a line is wanted; write {"username": "…"} in one line')
        value, end = self._mapping(start, 0, private=False)
        if (end := self._blank(end)) != len(self._text):
            self._stop(end, "more behind the object; write each object into a line of its own")
        return value

    def _value(self, at: int, depth: int, key: str, *, private: bool) -> tuple[Value, int]:
        first = self._text[at : at + 1]
        if first == '"':
            return self._string(at)
        if first in ("{", "["):
            if depth == MAX_DEPTH:
                self._stop(at, f"more than {MAX_DEPTH} levels within each other; an entry needs no more than four")
            read = self._mapping if first == "{" else self._items
            return read(at, depth, private=private)
        if number := _NUMBER.match(self._text, at):
            self._fault(at, "a number where a text is meant; put it in quotation marks")
            return text_at(number[0], self._place(at)), number.end()
        word = next((one for one in _WORDS if self._text.startswith(one, at)), None)
        if word is None:
            self._stop(at, "no JSON value; put texts in quotation marks")
        return self._word(word, at, key), at + len(word)

    def _word(self, word: str, at: int, key: str) -> Value:
        if word == "null":
            made = Nothing()
            made.line, made.column = self._place(at)
            return made
        if key not in FLAGS:
            self._fault(at, f"{word} where a text is meant; put it in quotation marks")
        return text_at(word, self._place(at), plain=True)

    def _string(self, at: int) -> tuple[Text, int]:
        try:
            text, end = _DECODER.raw_decode(self._text, at)
        except JSONDecodeError as wrong:
            self._stop(at, _string_fault(wrong))
        made = text_at(_SURROGATE.sub("?", text), self._place(at))
        if made != text:
            self._fault(at, HALF_A_PAIR)
        return made, end

    def _items(self, start: int, depth: int, *, private: bool) -> tuple[Items, int]:
        made = Items()
        made.line, made.column = self._place(start)
        at = self._blank(start + 1)
        if self._text.startswith("]", at):
            return made, at + 1
        while True:
            value, end = self._value(at, depth + 1, "", private=private)
            if isinstance(value, Nothing):
                self._fault(at, NO_VALUE)
            made.append(value)
            at, more = self._next(end, "]")
            if not more:
                return made, at

    def _mapping(self, start: int, depth: int, *, private: bool) -> tuple[Mapping, int]:
        made = Mapping.at(self._place(start))
        at = self._blank(start + 1)
        if self._text.startswith("}", at):
            return made, at + 1
        while True:
            if not self._text.startswith('"', at):
                self._stop(at, "no key; put keys in quotation marks")
            key, end = self._string(at)
            colon = self._blank(end)
            if not self._text.startswith(":", colon):
                self._stop(colon, "a colon is wanted behind the key")
            within = private or bool(PRIVATE.search(key))
            value, end = self._value(self._blank(colon + 1), depth + 1, key, private=within)
            if key in made:
                self._fault(at, twice(key, made.key_at(key), private=private))
            else:
                made[key] = value
                if isinstance(value, Nothing):
                    self._fault(at, NO_VALUE)
            at, more = self._next(end, "}")
            if not more:
                return made, at

    def _next(self, end: int, closing: str) -> tuple[int, bool]:
        """Behind a value: where the next one begins, or the end of its holder."""
        at = self._blank(end)
        if self._text.startswith(closing, at):
            return at + 1, False
        if not self._text.startswith(",", at):
            if at == len(self._text):
                self._stop(at, f"the line ends, and `{closing}` is missing; write each object into one line")
            self._stop(at, f"a comma, or `{closing}`, is wanted here; check the quotation marks")
        return self._blank(at + 1), True

    def _blank(self, at: int) -> int:
        found = _BLANK.match(self._text, at)
        return found.end() if found else at

    def _place(self, at: int) -> Place:
        return Place(self._line, at + 1)

    def _fault(self, at: int, message: str) -> None:
        self._faults.append(Fault(self._line, at + 1, message))

    def _stop(self, at: int, message: str) -> NoReturn:
        raise InvalidSource(Fault(self._line, at + 1, message))


def _string_fault(wrong: JSONDecodeError) -> str:
    if "control character" in wrong.msg:
        return "a control character in this text; write it as an escape, \\n or \\t, say"
    if "escape" in wrong.msg:
        return "an unknown escape in this text; write a backslash twice"
    return "a quotation mark that is never closed; close it in the same line"
