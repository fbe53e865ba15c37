"""Files of rows: what the readers of JSON lines and of CSV have in common."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from store.sync.source import Mapping
from store.sync.syntax import Fault

FLAGS: Final = frozenset({"protect", "everyone", "override", "stored"})
"""Keys of entries whose values are true or false; all others are texts, or hold texts."""


class Row(NamedTuple):
    """One row of a file."""

    line: int
    """Where it begins, from 1."""
    plain: dict[str, Any] | None
    """What it says, as JSON has it; None where it needs a second look."""
    raw: Any
    """What its reader needs for that."""


class Table(Protocol):
    """Reads the rows of a file, as often as one likes."""

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """What is dubious in the file as a whole; known once its rows were read."""
        ...

    def rows(self) -> Iterator[Row]:
        """Each row, in order.

        Raises:
            InvalidSource: the file cannot be read on.
        """
        ...

    def located(self, row: Row, faults: list[Fault]) -> Mapping | None:
        """A row with the places of its values; what is wrong with it is added to `faults`."""
        ...
