"""What is wrong, or dubious, in the files of a policy: one sentence each, with its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from store.sync.source import Located

MAX_TOLD: Final = 1000
"""Of one file; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one place; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str
    """What is wrong; what to do. Never holds a secret."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class PolicyError(Finding):
    """One mistake, because of which the policy is refused."""


@dataclass(frozen=True, slots=True)
class PolicyWarning(Finding):
    """Something that is allowed and seldom meant."""


class InvalidPolicy(ValueError):
    """The files are no policy. `errors` holds all mistakes of all files, in order of place."""

    def __init__(self, errors: tuple[PolicyError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class Findings:
    """Collects findings; the same sentence about the same place counts once."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._errors = _Told(PolicyError, "mistakes")
        self._warnings = _Told(PolicyWarning, "warnings")

    def begin(self, file: str) -> None:
        """From the order in which files begin follows the order of the findings."""
        self._files.setdefault(file, len(self._files))

    def error(self, file: str, at: Located, message: str) -> None:
        self._errors.add(file, at, message)

    def warn(self, file: str, at: Located, message: str) -> None:
        self._warnings.add(file, at, message)

    def errors_in(self, file: str) -> int:
        """How many mistakes of one file there are so far."""
        return self._errors.count(file)

    @property
    def errors(self) -> tuple[PolicyError, ...]:
        return tuple(sorted(self._errors.all(), key=self._order))

    @property
    def warnings(self) -> tuple[PolicyWarning, ...]:
        return tuple(sorted(self._warnings.all(), key=self._order))

    def _order(self, finding: Finding) -> tuple[int, int, int]:
        return self._files.get(finding.file, len(self._files)), finding.line, finding.column


F = TypeVar("F", bound=Finding)


class _Told(Generic[F]):
    """Findings of one kind, at most `MAX_TOLD` of a file: a file of a million rows may be wrong in each."""

    def __init__(self, kind: type[F], noun: str) -> None:
        self._kind = kind
        self._noun = noun
        self._found: dict[str, dict[F, None]] = {}
        self._more: dict[str, int] = {}

    def add(self, file: str, at: Located, message: str) -> None:
        found = self._found.setdefault(file, {})
        if len(found) < MAX_TOLD:
            found[self._kind(file, at.line, at.column, message)] = None
        else:
            self._more[file] = self._more.get(file, 0) + 1

    def count(self, file: str) -> int:
        return len(self._found.get(file, ()))

    def all(self) -> Iterator[F]:
        for file, found in self._found.items():
            yield from found
            if more := self._more.get(file):
                last = max(found, key=lambda one: (one.line, one.column))
                yield self._kind(file, last.line, last.column, f"and {more:,} more {self._noun} in this file")
