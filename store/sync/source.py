"""YAML text as located values: every text, list and mapping knows its line and column.

Texts stay texts (``no``, ``1e3``, ``0123``, ``2026-01-01``): what a field wants is decided by the schema, not
by YAML. Values are built straight from the events of ruamel.yaml's pure parser, so that duplicate keys, nulls,
tags and what aliases expand to are seen before anything is made of them. No message holds a value: nothing is
known yet of what is a secret.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from store.sync.syntax import Fault, InvalidSource, decode, read_events, shorten

MAX_DEPTH: Final = 32
"""Mappings and lists within each other; a policy needs eight."""
MAX_EXPANDED: Final = 1_000_000
"""Values that the aliases of a file may stand for."""
MAX_EXPANSION: Final = 100
"""The same, as a multiple of the values written so far."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_STRING_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})
PRIVATE: Final = re.compile(r"secret|passw|literal|hash", re.IGNORECASE)
"""Keys whose contents may be secrets, misspelt ones included: keys below them are not repeated in messages."""
HALF_A_PAIR: Final = "half of a surrogate pair, which is no character; write the whole character"
NO_VALUE: Final = "no value here (null); write one, or leave the entry out"
_COMMENT: Final = re.compile(r"[ \t]*:?[ \t]*#")


class Located(Protocol):
    """Whatever has a place in a file; both count from 1."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Place(NamedTuple):
    """A place without a value."""

    line: int = 1
    column: int = 1


WHOLE: Final = Place(0, 0)
"""A file or folder as a whole, where no line of it is meant, or there is none."""


class Text(str):
    """A scalar as it is written. `plain` is false where quotes or a block style say that it is a text."""

    __slots__ = ("column", "line", "plain")
    line: int
    column: int
    plain: bool


def text_at(text: str, at: Located, *, plain: bool = False) -> Text:
    """A text with a place."""
    made = Text(text)
    made.line, made.column, made.plain = at.line, at.column, plain
    return made


class Items(list["Value"]):
    """A list."""

    __slots__ = ("column", "line")
    line: int
    column: int


class Mapping(dict[str, "Value"]):
    """A mapping; its keys are `Text` and have places, too."""

    __slots__ = ("column", "line")
    line: int
    column: int

    @classmethod
    def at(cls, place: Located, items: Iterable[tuple[Text, "Value"]] = ()) -> "Mapping":
        """A mapping with a place."""
        made = cls(items)
        made.line, made.column = place.line, place.column
        return made

    def key_at(self, key: str) -> Located:
        """The place of a key, or of the mapping where it lacks the key."""
        return next((one for one in self if one == key and isinstance(one, Text)), self)


class Nothing:
    """A null; a fault has been reported for it."""

    __slots__ = ("column", "line")
    line: int
    column: int


Value = Text | Items | Mapping | Nothing


@dataclass(frozen=True, slots=True)
class Source:
    """What one file says. `root` is None where there is nothing to go on with."""

    root: Mapping | None
    faults: tuple[Fault, ...]


def read_source(data: bytes) -> Source:
    """The one mapping that a file holds, and all that is wrong with its YAML. Raises nothing."""
    composer: _Composer | None = None
    try:
        text = decode(data)
        composer = _Composer(text)
        root = composer.document()
    except InvalidSource as wrong:
        return Source(None, (*(composer.faults if composer else ()), wrong.fault))
    return Source(root, tuple(composer.faults))


class _Composer:
    """One pass over the events of one file."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self._text = text
        self._events = read_events(text)
        self._written = 0
        self._expanded = 0
        self._anchors: dict[str, _Anchor] = {}

    def document(self) -> Mapping:
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            self._stop(Place(), "an empty file; a policy begins with `format: exhook/v1`")
        if start.tags or start.version not in (None, (1, 2)):
            self._fault(_mark(start), "a YAML directive; leave it out, a policy is YAML 1.2 without tags")
        value = self._value(next(self._events), 0, private=False)
        next(self._events)
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            self._stop(_mark(after), "a second document; put it into its own file")
        if not isinstance(value, Mapping):
            self._stop(value, "a policy is a mapping, and none is here; begin with `format: exhook/v1`")
        return value

    def _value(self, event: Any, depth: int, *, private: bool) -> Value:
        if type(event) is AliasEvent:
            return self._alias(event)
        self._written += 1
        self._expanded += 1
        if event.anchor is None and event.ctag is None:
            return self._made(event, depth, private=private)
        self._check_tag(event)
        if event.anchor is None:
            return self._made(event, depth, private=private)
        anchor = self._open_anchor(event)
        value = self._made(event, depth, private=private)
        anchor.close(value, self._expanded)
        return value

    def _made(self, event: Any, depth: int, *, private: bool) -> Value:
        if type(event) is ScalarEvent:
            return self._scalar(event)
        if depth == MAX_DEPTH:
            self._stop(
                _mark(event), f"more than {MAX_DEPTH} levels within each other; a policy needs no more than eight"
            )
        if type(event) is SequenceStartEvent:
            return self._items(event, depth, private=private)
        return self._mapping(event, depth, private=private)

    def _scalar(self, event: Any) -> Text | Nothing:
        made: Text | Nothing
        plain = event.style is None and event.ctag is None
        if plain and event.value in _NULL:
            made = Nothing()
        else:
            made = Text(event.value.encode(errors="replace").decode())
            made.plain = plain
        made.line, made.column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(made, Text) and made != event.value:
            self._fault(made, HALF_A_PAIR)
        return made

    def _items(self, start: Any, depth: int, *, private: bool) -> Items:
        made = Items()
        made.line, made.column = start.start_mark.line + 1, start.start_mark.column + 1
        while type(event := next(self._events)) is not SequenceEndEvent:
            value = self._value(event, depth + 1, private=private)
            if type(value) is Nothing:
                self._null(value, event.start_mark.index)
            made.append(value)
        return made

    def _mapping(self, start: Any, depth: int, *, private: bool) -> Mapping:
        made = Mapping()
        made.line, made.column = start.start_mark.line + 1, start.start_mark.column + 1
        while type(event := next(self._events)) is not MappingEndEvent:
            key = self._value(event, depth + 1, private=private)
            within = private or (isinstance(key, Text) and bool(PRIVATE.search(key)))
            value = self._value(next(self._events), depth + 1, private=within)
            if type(key) is not Text:
                self._fault(key, "a key that is no text; write `name: value`")
            elif key.plain and key == "<<":
                self._fault(key, "merge keys (`<<`) are not supported; write the keys out")
            elif key in made:
                self._fault(key, twice(key, made.key_at(key), private=private))
            else:
                made[key] = value
                if type(value) is Nothing:
                    # The parser places a null where the next token is, maybe lines below.
                    self._null(key, event.end_mark.index)
        return made

    def _alias(self, event: Any) -> Value:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            self._stop(_mark(event), "an alias (`*name`) of no anchor; quote a text that begins with `*`")
        if anchor.value is None:
            self._stop(_mark(event), "an alias within its own anchor, a value without end; write the value out")
        self._written += 1
        self._expanded += anchor.size
        if self._expanded - self._written > min(MAX_EXPANDED, MAX_EXPANSION * self._written):
            self._stop(_mark(event), "aliases that expand to far more than is written; write the values out")
        return anchor.value

    def _open_anchor(self, event: Any) -> "_Anchor":
        if event.anchor in self._anchors:
            first = self._anchors[event.anchor].line
            self._fault(_mark(event), f"an anchor named like the one in line {first}; give it a name of its own")
        anchor = self._anchors[event.anchor] = _Anchor(event.start_mark.line + 1, self._expanded - 1)
        return anchor

    def _check_tag(self, event: Any) -> None:
        if event.ctag is not None and not (type(event) is ScalarEvent and str(event.ctag) in _STRING_TAGS):
            self._fault(_mark(event), "a YAML tag (`!…`); leave it out, or quote a text that begins with `!`")

    def _null(self, at: Located, index: int) -> None:
        if _COMMENT.match(self._text, index):
            self._fault(at, "no value here, for `#` begins a comment; quote a text that begins with `#`")
        else:
            self._fault(at, NO_VALUE)

    def _fault(self, at: Located, message: str) -> None:
        self.faults.append(Fault(at.line, at.column, message))

    def _stop(self, at: Located, message: str) -> NoReturn:
        raise InvalidSource(Fault(at.line, at.column, message))


@dataclass(slots=True)
class _Anchor:
    """An anchored value; `value` is None while it is being read."""

    line: int
    before: int
    value: Value | None = None
    size: int = 0

    def close(self, value: Value, expanded: int) -> None:
        self.value, self.size = value, expanded - self.before


def twice(key: str, first: Located, *, private: bool) -> str:
    """What is said of a key that its mapping has already."""
    shown = "this key" if private else f"`{shorten(key)}`"
    return f"{shown} is given a second time, first in line {first.line}; leave one out"


def _mark(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)
