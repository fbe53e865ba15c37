"""Bytes to the events of the YAML parser, and its complaints as sentences a person can act on.

None of them repeats what the file says at the place: it may be a secret.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.reader import ReaderError

MAX_BYTES: Final = 64 * 1024 * 1024
"""A larger file is refused unread."""

BOM: Final = b"\xef\xbb\xbf"
_COMMENT_IN_BRACKETS: Final = re.compile(r"[\[{,][ \t]*(#)")

_SENTENCES: Final = (
    (r"found character '\t'", "a tab; indent and separate with blanks"),
    ("found character", "a text that begins with a character YAML reserves; quote it"),
    ("mapping values are not allowed", "a colon out of place; check the indentation, or quote a text that holds `: `"),
    ("could not find expected ':'", "a key without a colon; write `key: value`"),
    ("found unexpected end of stream", "a quotation mark that is never closed; close it"),
    ("found unexpected document separator", "a quotation mark that is never closed; close it"),
    ("found unknown escape", "an unknown escape; write the text in single quotes, or the backslash twice"),
    ("expected escape sequence", "an escape with too few digits; write the text in single quotes"),
    ("expected ',' or", "a list or mapping in brackets goes wrong here; close it, or put a comma before this"),
    ("found unexpected ':'", "a colon within brackets; quote the text that holds it"),
    ("expected <block end>", "this does not fit what is above it; check the indentation, and quote what has brackets"),
    ("sequence entries are not allowed", "a list that begins behind a key; put its first `- ` on the next line"),
    ("expected the node content, but found '<stream end>'", "the file ends within brackets; close them"),
    ("expected the node content", "a bracket or comma where a value is expected; quote it, or leave it out"),
    ("found undefined tag handle", "a YAML tag (`!…`); leave it out, or quote a text that begins with `!`"),
    ("expected '<document start>'", "this does not fit what is above it; check the indentation"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in a file; line and column count from 1."""

    line: int
    column: int
    message: str


class InvalidSource(ValueError):
    """A file that cannot be read on from one place."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def decode(data: bytes) -> str:
    """UTF-8, with or without a byte order mark.

    Raises:
        InvalidSource: too large, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise InvalidSource(Fault(1, 1, f"a file of more than {MAX_BYTES // 2**20} MiB; split it"))
    data = data.removeprefix(BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as wrong:
        good = data[: wrong.start].decode()
    raise InvalidSource(Fault(*_position(good, len(good)), "not UTF-8 from here on; save the file as UTF-8"))


def read_events(text: str) -> Iterator[Any]:
    """The parser's events; whatever it raises becomes one sentence.

    Its own bugs show as other exceptions (``chr()`` out of range at an escape, say): refused as well, and
    without the exception's text, which may quote the file.

    Raises:
        InvalidSource: not YAML.
    """
    end: Any = None
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            end = event.end_mark
            yield event
    except YAMLError as wrong:
        fault = _explain(text, wrong)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        line, column = (1, 1) if end is None else (end.line + 1, end.column + 1)
        fault = Fault(line, column, "YAML that cannot be read from here on; check escapes and quotes")
    else:
        return
    raise InvalidSource(fault)


def _explain(text: str, wrong: YAMLError) -> Fault:
    """One sentence, and the place that a person has to look at."""
    if isinstance(wrong, ReaderError):
        line, column = _position(text, wrong.position)
        return Fault(line, column, "a control character, which YAML forbids; leave it out, or write it as an escape")
    problem: str = getattr(wrong, "problem", None) or ""
    at: Any = getattr(wrong, "problem_mark", None)
    begin: Any = getattr(wrong, "context_mark", None)
    in_brackets = problem.startswith(("expected ',' or", "expected the node content"))
    if in_brackets and at and begin and (fault := _unquoted(text, at, begin)):
        return fault
    if begin is not None and (at is None or "end of stream" in problem or "'<stream end>'" in problem):
        at = begin
    if at is None:
        return Fault(1, 1, "not YAML; check quotes, colons and indentation")
    if begin is not None and "alias" in (getattr(wrong, "context", None) or ""):
        said = "`*` begins an alias here; every topic is `#`, and a text that begins with `*` must be quoted"
        return Fault(begin.line + 1, begin.column + 1, said)
    message = next((said for start, said in _SENTENCES if problem.startswith(start)), None)
    return Fault(at.line + 1, at.column + 1, message or "not YAML here; check quotes, colons and indentation")


def _unquoted(text: str, at: Any, begin: Any) -> Fault | None:
    """What a topic filter does to brackets where it is not quoted."""
    if text[at.index - 1 : at.index + 1] == "${":
        message = '`${…}` inside [ ] or { } must be quoted; write ["plant/${clientid}/up"]'
        return Fault(at.line + 1, at.column, message)
    # The bracket that stays open, or the line above the one that no longer fits.
    for start in (begin.index, text.rfind("\n", 0, len(text[: at.index - at.column].rstrip())) + 1):
        end = text.find("\n", start)
        if found := _COMMENT_IN_BRACKETS.search(text, start, end if end >= 0 else len(text)):
            message = (
                '`#` begins a comment here, so that the bracket stays open; quote a filter that begins with it: ["#"]'
            )
            return Fault(*_position(text, found.start(1)), message)
    return None


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column of an index, line ends as YAML has them."""
    lines = re.split(r"\r\n|\r|\n", text[:index])
    return len(lines), len(lines[-1]) + 1


def shorten(text: str, limit: int = 60) -> str:
    """A text fit for one line of a message."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
