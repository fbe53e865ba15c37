"""What is wrong, or dubious, in the files of a policy: one sentence each, with its place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from store.sync.lint_off import Off
from store.sync.source import Located

MAX_TOLD: Final = 1000
"""Of one kind in one file; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one place; line and column count from 1, and are 0 where the whole file is meant."""

    file: str
    line: int
    column: int
    message: str
    """What is wrong; what to do. Never holds a secret."""

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class PolicyError(Finding):
    """One mistake, because of which the policy is refused."""


@dataclass(frozen=True, slots=True)
class PolicyWarning(Finding):
    """Something that is allowed and seldom meant."""

    rule: str = ""
    """Its lint rule."""
    record: str = ""
    """What a flag, or a rule turned off, calls the record."""


class InvalidPolicy(ValueError):
    """The files are no policy. `errors` holds all mistakes of all files, in order of place."""

    def __init__(self, errors: tuple[PolicyError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class Findings:
    """Collects findings; the same sentence about the same place counts once."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._errors = _Told[PolicyError]("mistakes")
        self._warnings: dict[str, _Told[PolicyWarning]] = {}
        self._off: tuple[Off, ...] = ()
        self._used: set[Off] = set()

    def begin(self, file: str) -> None:
        """From the order in which files begin follows the order of the findings."""
        self._files.setdefault(file, len(self._files))

    def turn_off(self, off: Sequence[Off]) -> None:
        """Let no warning be told from now on that one of these covers."""
        self._off = tuple(off)

    def off_for_one(self, rule: str) -> bool:
        """Whether a rule is turned off for single records: then one warning must not stand for all of a file."""
        return any(one.record and one.rule == rule for one in self._off)

    def error(self, file: str, at: Located, message: str) -> None:
        self._errors.add(PolicyError(file, at.line, at.column, message))

    def warn(self, file: str, at: Located, message: str, *, rule: str, record: str = "") -> None:
        """Tell of something that the lint rule is about, unless it is turned off."""
        off = [one for one in self._off if one.covers(rule, record)]
        self._used.update(off)
        if not off:
            told = self._warnings.setdefault(rule, _Told("warnings"))
            told.add(PolicyWarning(file, at.line, at.column, message, rule, record))

    def errors_in(self, file: str) -> int:
        """How many mistakes of one file there are so far."""
        return self._errors.count(file)

    @property
    def errors(self) -> tuple[PolicyError, ...]:
        return tuple(sorted(self._errors.all(), key=self._order))

    @property
    def warnings(self) -> tuple[PolicyWarning, ...]:
        return tuple(sorted((one for told in self._warnings.values() for one in told.all()), key=self._order))

    @property
    def silencing(self) -> frozenset[Off]:
        """What was turned off and kept a warning from being told."""
        return frozenset(self._used)

    def _order(self, finding: Finding) -> tuple[int, int, int]:
        return self._files.get(finding.file, len(self._files)), finding.line, finding.column


F = TypeVar("F", bound=Finding)


class _Told(Generic[F]):
    """Findings of one kind, at most `MAX_TOLD` of a file: a file of a million rows may be wrong in each."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._found: dict[str, dict[F, None]] = {}
        self._more: dict[str, int] = {}

    def add(self, finding: F) -> None:
        found = self._found.setdefault(finding.file, {})
        if len(found) < MAX_TOLD:
            found[finding] = None
        else:
            self._more[finding.file] = self._more.get(finding.file, 0) + 1

    def count(self, file: str) -> int:
        return len(self._found.get(file, ()))

    def all(self) -> Iterator[F]:
        for file, found in self._found.items():
            yield from found
            if more := self._more.get(file):
                last = max(found, key=lambda one: (one.line, one.column))
                yield replace(last, message=f"and {more:,} more {self._noun} in this file")
