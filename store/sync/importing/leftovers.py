"""What an import could not carry over, or only stricter: line by line, what, why, and the nearest equivalent.

None of its sentences holds a password or a hash.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from store.sync.importing.original import Spot
from store.sync.phrases import counted, some
from store.sync.printable import printable

_LONGEST: Final = 200
_MOST_NAMES: Final = 5


class Sort(StrEnum):
    """What became of a line."""

    LEFT_OUT = "left out"
    """What it allows is not in the policy."""
    STRICTER = "stricter"
    """It is in the policy, which allows less than the line did."""
    NOTE = "note"
    """It is not written, and nothing changes by that."""


@dataclass(slots=True)
class Leftover:
    """One sentence about one line."""

    sort: Sort
    at: Spot
    what: str
    """The line as it is written."""
    why: str
    instead: str = ""
    """The nearest equivalent, or what to do."""
    who: dict[str, None] = field(default_factory=dict)
    """The clients that it is said of, where not all of them."""

    def __str__(self) -> str:
        whom = f" (for {some(list(self.who), _MOST_NAMES)})" if self.who else ""
        instead = f"; {self.instead}" if self.instead else ""
        return printable(f"{self.at}: {self.sort}: {self.what}{whom}: {self.why}{instead}")


class Leftovers:
    """Collects them; the same sentence about the same line is said once, with all whom it concerns."""

    def __init__(self) -> None:
        self._found: dict[tuple[Sort, Spot, str, str, str], Leftover] = {}
        self._files: dict[str, int] = {}
        self._differences: dict[str, None] = {}

    def left_out(self, at: Spot, what: str, why: str, instead: str = "", who: str = "") -> None:
        """A line whose meaning is not in the policy."""
        self._add(Sort.LEFT_OUT, at, what, why, instead=instead, who=who)

    def stricter(self, at: Spot, what: str, why: str, instead: str = "", who: str = "") -> None:
        """A line that is in the policy, which allows less than it did."""
        self._add(Sort.STRICTER, at, what, why, instead=instead, who=who)

    def note(self, at: Spot, what: str, why: str, who: str = "") -> None:
        """A line that is not written, and need not be."""
        self._add(Sort.NOTE, at, what, why, instead="", who=who)

    def differs(self, sentence: str) -> None:
        """Where the rules of the two systems differ in meaning, whatever the line."""
        self._differences[sentence] = None

    def __bool__(self) -> bool:
        """Whether something is allowed less than before, so that a person has to look."""
        return any(one.sort is not Sort.NOTE for one in self._found.values())

    def __iter__(self) -> Iterator[Leftover]:
        """In order of place."""
        return iter(sorted(self._found.values(), key=lambda one: (self._files[one.at.file], one.at.line)))

    def of(self, *sorts: Sort) -> list[Leftover]:
        return [one for one in self if one.sort in sorts]

    @property
    def differences(self) -> tuple[str, ...]:
        return tuple(self._differences)

    def lines(self) -> list[str]:
        """All of it, a sentence each."""
        return [*map(str, self), *(f"note: {sentence}" for sentence in self._differences)]

    def summary(self) -> str:
        """``3 lines left out, 1 stricter``; nothing where all was carried over."""
        spots = {sort: {one.at for one in self.of(sort)} for sort in (Sort.LEFT_OUT, Sort.STRICTER)}
        parts = [f"{counted(len(found), 'line')} {sort}" for sort, found in spots.items() if found]
        return ", ".join(parts)

    def _add(self, sort: Sort, at: Spot, what: str, why: str, *, instead: str, who: str) -> None:
        self._files.setdefault(at.file, len(self._files))
        found = self._found.setdefault(
            (sort, at, what, why, instead), Leftover(sort, at, shortened(what), why, instead)
        )
        if who:
            found.who[who] = None


def shortened(text: str) -> str:
    """A line for a sentence: blanks run together, cut where it is long."""
    flat = re.sub(r"\s+", " ", text).strip()
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}…"
