"""What is wrong, or dubious, in the files of a policy: one sentence each, with its place."""

from dataclasses import dataclass

from store.sync.source import Located


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
        self._errors: dict[PolicyError, None] = {}
        self._warnings: dict[PolicyWarning, None] = {}

    def begin(self, file: str) -> None:
        """From the order in which files begin follows the order of the findings."""
        self._files.setdefault(file, len(self._files))

    def error(self, file: str, at: Located, message: str) -> None:
        self._errors[PolicyError(file, at.line, at.column, message)] = None

    def warn(self, file: str, at: Located, message: str) -> None:
        self._warnings[PolicyWarning(file, at.line, at.column, message)] = None

    @property
    def errors(self) -> tuple[PolicyError, ...]:
        return tuple(sorted(self._errors, key=self._order))

    @property
    def warnings(self) -> tuple[PolicyWarning, ...]:
        return tuple(sorted(self._warnings, key=self._order))

    def _order(self, finding: Finding) -> tuple[int, int, int]:
        return self._files.get(finding.file, len(self._files)), finding.line, finding.column
