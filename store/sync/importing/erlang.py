"""Erlang terms as a file of them holds (``file:consult``): each ends with a full stop."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from store.sync.importing.original import Original

MAX_DEPTH: Final = 32

Kind = Literal["atom", "string", "number", "tuple", "list"]

_BLANK: Final = re.compile(r"(?:[\s\x80-\xa0]|%[^\n]*)*")
_ATOM: Final = re.compile(r"[a-zß-öø-ÿ][A-Za-z0-9_@À-ÖØ-öø-ÿ]*")
_NUMBER: Final = re.compile(r"[+-]?\d[\d_]*(?:\.\d+(?:[eE][+-]?\d+)?|#[0-9A-Za-z]+)?")
_ESCAPE: Final = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|(.))", re.DOTALL)
_PLAIN: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v", "d": "\x7f"}
_BINARY_END: Final = re.compile(r"(?:/utf8)?\s*>>")
_CLOSING: Final = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Term:
    """One term, and where it stands in the text."""

    kind: Kind
    text: str
    """Of an atom or a string; of a number as it is written."""
    items: tuple["Term", ...]
    """Of a tuple or a list."""
    start: int
    end: int

    def is_atom(self, *names: str) -> bool:
        return self.kind == "atom" and self.text in names


def read_terms(original: Original) -> Iterator[Term]:
    """The terms of a file. Binaries (``<<"text">>``) come out as strings.

    Raises:
        InvalidPolicy: not Erlang terms from some place on.
    """
    reader = _Reader(original)
    while not reader.at_end():
        yield reader.term(0)
        reader.full_stop()


class _Reader:
    """One pass over the text."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self._text = original.text
        self._at = 0

    def at_end(self) -> bool:
        self._skip(_BLANK)
        return self._at == len(self._text)

    def full_stop(self) -> None:
        if self.at_end() or self._text[self._at] != ".":
            raise self._original.fault(self._at, "a full stop is missing; each rule ends with `.`")
        self._at += 1

    def term(self, depth: int) -> Term:
        if self.at_end():
            raise self._original.fault(self._at, "the file ends within a rule; close it, and end it with `.`")
        if depth == MAX_DEPTH:
            raise self._original.fault(self._at, f"more than {MAX_DEPTH} levels within each other; no rule needs that")
        start, char = self._at, self._text[self._at]
        if char in _CLOSING:
            return self._items(char, depth)
        if char in "\"'":
            text = self._quoted(char)
            while char == '"' and not self.at_end() and self._text[self._at] == '"':
                text += self._quoted(char)  # strings side by side are one
            return Term("string" if char == '"' else "atom", text, (), start, self._at)
        if self._text.startswith("<<", start):
            return self._binary()
        for kind, pattern in (("atom", _ATOM), ("number", _NUMBER)):
            if found := pattern.match(self._text, start):
                self._at = found.end()
                return Term("atom" if kind == "atom" else "number", found[0], (), start, self._at)
        message = f"{char!r} begins no Erlang term; write atoms in small letters, and texts in double quotes"
        raise self._original.fault(start, message)

    def _items(self, opening: str, depth: int) -> Term:
        start, closing = self._at, _CLOSING[opening]
        self._at += 1
        items: list[Term] = []
        while True:
            if self.at_end():
                raise self._original.fault(start, f"a `{opening}` that is never closed; close it with `{closing}`")
            if self._text[self._at] == closing and not items:
                break
            items.append(self.term(depth + 1))
            if not self.at_end() and self._text[self._at] == closing:
                break
            if self.at_end() or self._text[self._at] != ",":
                raise self._original.fault(self._at, f"a `,` or a `{closing}` is missing here")
            self._at += 1
        self._at += 1
        return Term("tuple" if opening == "{" else "list", "", tuple(items), start, self._at)

    def _binary(self) -> Term:
        start = self._at
        self._at += 2
        self._skip(_BLANK)
        text = self._quoted('"') if self._text.startswith('"', self._at) else ""
        end = _BINARY_END.match(self._text, self._at)
        if not end:
            raise self._original.fault(start, 'a binary that is no text; write "text", or <<"text">>')
        self._at = end.end()
        return Term("string", text, (), start, self._at)

    def _quoted(self, quote: str) -> str:
        start = self._at
        self._at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN[quote].match(self._text, self._at)
            if plain:
                parts.append(plain[0])
                self._at = plain.end()
            if self._at == len(self._text):
                raise self._original.fault(start, f"a {quote} that is never closed; close it")
            if self._text[self._at] == quote:
                self._at += 1
                return "".join(parts)
            parts.append(self._escape())

    def _escape(self) -> str:
        found = _ESCAPE.match(self._text, self._at)
        if not found:
            raise self._original.fault(self._at, "a backslash at the end of the file; close the text")
        wide, narrow, octal, control, letter = found.groups()
        code = int(wide or narrow or "0", 16) if wide or narrow else int(octal, 8) if octal else 0
        if control:
            code = ord(control) % 32
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:  # noqa: PLR2004 - the end of Unicode, and its surrogates
            raise self._original.fault(self._at, "an escape of no character; write the character itself")
        self._at = found.end()
        return _LETTERS.get(letter, letter) if letter else chr(code)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
