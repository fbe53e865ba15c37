"""Tables of figures: Markdown for people, JSON for comparison with another run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from statistics import median
from textwrap import fill
from time import process_time
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")
_LINE_LENGTH = 120

Cell = str | int | float | None


class WrongAnswer(AssertionError):
    """A benched answer was not the right one: its time is worth nothing, and the run ends."""


@dataclass
class Table:
    """One table; `answers` is how many answers were compared with the right one on the way to its figures."""

    title: str
    columns: tuple[str, ...]
    note: str = ""
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    answers: int = 0

    def add(self, *cells: Cell) -> None:
        assert len(cells) == len(self.columns), (self.title, cells)
        self.rows.append(cells)

    def check(self, given: Sequence[object], right: Sequence[object]) -> None:
        """Count answers that are right.

        Raises:
            WrongAnswer: one is not.
        """
        if len(given) != len(right):
            raise WrongAnswer(f"{self.title}: {len(given)} answers to {len(right)} questions")
        for number, (one, other) in enumerate(zip(given, right, strict=True)):
            if one != other:
                raise WrongAnswer(f"{self.title}: question {number} was answered {one!r}; right is {other!r}")
        self.answers += len(given)

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.body()}"

    def body(self) -> str:
        """As Markdown, without the title."""
        lines = [_line(self.columns), _line(["---", *["--:"] * (len(self.columns) - 1)])]
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        said = [fill(self.note, _LINE_LENGTH)] if self.note else []
        said += [f"{self.answers:,} answers checked."] if self.answers else []
        return "\n".join([*lines, *([""] if said else []), *said, ""])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Table":
        """What `as_json` made, after a way through JSON."""
        return cls(said["title"], tuple(said["columns"]), said["note"], [tuple(row) for row in said["rows"]],
                   said["answers"])  # fmt: skip

    def figure(self, row: str, column: str) -> float:
        """A figure by the name of its row and of its column.

        Raises:
            KeyError: there is none.
        """
        for cells in self.rows:
            found = cells[self.columns.index(column)]
            if cells[0] == row and isinstance(found, int | float):
                return found
        raise KeyError(f"{self.title}: {row}, {column}")


def timed(run: Callable[[T], A], asks: Sequence[T]) -> tuple[float, list[A]]:
    """Seconds of CPU per ask, which others on the machine disturb less than those of a clock; and the answers."""
    began = process_time()
    answers = [run(ask) for ask in asks]
    return (process_time() - began) / len(asks), answers


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all (0 to 1) do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the quotients round by round: what slows a whole round falls out of it."""
    return median(value / other for value, other in zip(values, others, strict=True))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
