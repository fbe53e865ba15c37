"""One thing that the doctor looked at."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from store.sync.printable import printable


class Grade(StrEnum):
    OK = "ok"
    ADVICE = "advice"
    """In force all the same, but better otherwise."""
    WRONG = "wrong"
    """Not in force, or not always."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, and the line that mends it."""

    where: str
    """The cluster, the broker, or ``server``."""
    check: str
    """Which question this answers: a word of ours."""
    grade: Grade
    said: str
    mend: str = ""
    place: str = ""
    """``FILE:LINE`` of the broker's configuration, where it is of one line."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"mend": self.mend or None, "place": self.place or None}

    def as_text(self) -> Iterator[str]:
        mark = {Grade.OK: "ok ", Grade.ADVICE: " - ", Grade.WRONG: " ! "}[self.grade]
        place = f"{self.place}: " if self.place else ""
        yield f"{mark} {self.where}  {self.check}: {printable(place + self.said)}"
        for line in self.mend.splitlines():
            yield f"      {printable(line)}"


def in_force(findings: Iterable[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(finding.grade is not Grade.WRONG for finding in findings)
