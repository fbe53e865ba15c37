"""A file of another system, as it is: its text, and the places in it."""

import sys
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from store.sync.findings import InvalidPolicy, PolicyError
from store.sync.source import WHOLE
from store.sync.syntax import MAX_BYTES, InvalidSource, decode

STDIN: Final = Path("-")


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A line of a file, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Original:
    """The text of one file."""

    file: str
    text: str

    @classmethod
    def read(cls, path: Path) -> "Original":
        """The file, or standard input for ``-``.

        Raises:
            InvalidPolicy: not readable, too large, not UTF-8, or with a NUL, at which C programs stop reading.
        """
        name = "<stdin>" if path == STDIN else str(path)
        try:
            data = sys.stdin.buffer.read(MAX_BYTES + 1) if path == STDIN else _bytes_of(path)
        except OSError as wrong:
            raise malformed(name, *WHOLE, f"cannot be read ({wrong.strerror}); name a file that is there") from None
        try:
            made = cls(name, decode(data))
        except InvalidSource as wrong:
            raise malformed(name, wrong.fault.line, wrong.fault.column, wrong.fault.message) from None
        if (at := made.text.find("\0")) >= 0:
            raise made.fault(at, "a NUL character, which no such file has; is it the right file?")
        return made

    def spot(self, index: int) -> Spot:
        """The line of a character."""
        return Spot(self.file, bisect_right(self._starts, index))

    def fault(self, index: int, message: str) -> InvalidPolicy:
        """The file cannot be understood at a character: the sentence for it, with its place."""
        line = bisect_right(self._starts, index)
        return malformed(self.file, line, index - self._starts[line - 1] + 1, message)

    def lines(self) -> list[tuple[Spot, str]]:
        """Every line, without what ends it."""
        return [(Spot(self.file, number), line) for number, line in enumerate(self.text.split("\n"), start=1)]

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        while (end := self.text.find("\n", starts[-1])) >= 0:
            starts.append(end + 1)
        return starts


def malformed(file: str, line: int, column: int, message: str) -> InvalidPolicy:
    """One mistake in a file of another system; the message never holds a secret."""
    return InvalidPolicy((PolicyError(file, line, column, message),))


def all_of(faults: list[InvalidPolicy]) -> InvalidPolicy:
    """Several mistakes as one failure."""
    return InvalidPolicy(tuple(error for fault in faults for error in fault.errors))


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)
