"""JSON whose values know where they stand, so that what is said of them can name the line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from math import isfinite
from typing import Final

from store.sync.importing.original import Original, Spot

MAX_DEPTH: Final = 64

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_SCALAR: Final = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}

_DECODER: Final = JSONDecoder()
_LONGEST_NUMBER: Final = 300

Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Json:
    """One value. Its accessors give nothing where it is of another kind: what that means, the caller knows."""

    value: "Plain | list[Json] | dict[str, Json]"
    at: int
    original: Original

    @property
    def spot(self) -> Spot:
        return self.original.spot(self.at)

    def get(self, key: str) -> "Json":
        """The value of a key; null where there is none."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if found is not None else Json(None, self.at, self.original)

    def find(self, key: str) -> "Json":
        """The same, whatever the case of the key, as cJSON does it: the first one counts."""
        held = self.value if isinstance(self.value, dict) else {}
        return self.get(next((one for one in held if one.lower() == key.lower()), key))

    def items(self) -> "list[Json]":
        return self.value if isinstance(self.value, list) else []

    def objects(self) -> "Iterator[Json]":
        """The objects of a list; whatever else stands in it is passed over."""
        return (one for one in self.items() if isinstance(one.value, dict))

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else ""

    def number(self, default: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not isfinite(self.value):
            return default
        return int(self.value)

    def true(self) -> bool:
        return self.value is True


def read_json(original: Original) -> Json:
    """The one value of a file.

    Raises:
        InvalidPolicy: not JSON, or a key twice in one object.
    """
    reader = _Reader(original)
    value = reader.value(0)
    reader.end()
    return value


class _Reader:
    def __init__(self, original: Original) -> None:
        self._original = original
        self._text = original.text
        self._at = 0

    def end(self) -> None:
        if self._peek():
            raise self._original.fault(self._at, "something behind the end of the JSON value; leave it out")

    def value(self, depth: int) -> Json:
        char = self._peek()
        start = self._at
        if depth == MAX_DEPTH:
            raise self._original.fault(start, f"more than {MAX_DEPTH} levels within each other; no such file has them")
        if char == "{":
            return Json(self._object(depth), start, self._original)
        if char == "[":
            return Json(self._list(depth), start, self._original)
        if char == '"':
            return Json(self._string(), start, self._original)
        found = _SCALAR.match(self._text, start)
        if not found:
            # Not quoted: it may be part of a password.
            raise self._original.fault(start, "no JSON value begins here; check commas, brackets and quotes")
        self._at = found.end()
        text = found[0]
        if len(text) > _LONGEST_NUMBER:
            raise self._original.fault(start, "a number that is far too long; no such file has one")
        plain = _WORDS[text] if text in _WORDS else float(text) if set(text) & set(".eE") else int(text)
        return Json(plain, start, self._original)

    def _object(self, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {}
        self._at += 1
        if self._closes("}", first=True):
            return made
        while True:
            if self._peek() != '"':
                raise self._original.fault(self._at, 'a key in double quotes is missing here; write "key": value')
            start = self._at
            key = self._string()
            if key in made:
                first = made[key].spot.line
                raise self._original.fault(start, f"a key for the second time, first in line {first}; leave one out")
            if self._peek() != ":":
                raise self._original.fault(self._at, "a `:` is missing here, between key and value")
            self._at += 1
            made[key] = self.value(depth + 1)
            if self._closes("}"):
                return made

    def _list(self, depth: int) -> list[Json]:
        made: list[Json] = []
        self._at += 1
        if self._closes("]", first=True):
            return made
        while True:
            made.append(self.value(depth + 1))
            if self._closes("]"):
                return made

    def _closes(self, closing: str, *, first: bool = False) -> bool:
        """Whether the bracket closes here; else the comma is passed."""
        char = self._peek()
        if char == closing:
            self._at += 1
            return True
        if not first:
            if char != ",":
                raise self._original.fault(self._at, f"a `,` or a `{closing}` is missing here")
            self._at += 1
        return False

    def _string(self) -> str:
        start = self._at
        try:
            text: str
            text, self._at = _DECODER.raw_decode(self._text, start)
            text.encode()
        except JSONDecodeError as wrong:
            raise self._original.fault(wrong.pos, "a text that goes wrong here; check its quotes and escapes") from None
        except UnicodeEncodeError:
            message = "half of a surrogate pair, which is no character; write the whole character"
            raise self._original.fault(start, message) from None
        return text

    def _peek(self) -> str:
        """The next character that is no blank; nothing at the end."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]
