"""Records, and entries, with the places that they come from."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from store.sync.source import Located

T = TypeVar("T")


class Placed(NamedTuple, Generic[T]):
    """Something, and the place that made it."""

    item: T
    file: str
    at: Located

    @property
    def where(self) -> str:
        return f"{self.file}:{self.at.line}"


class Written(NamedTuple):
    """One entry of a policy, and the records that it makes."""

    section: str
    document: int
    """The place of its policy file among all of them, from 0; files that it includes count as it does."""
    name: tuple[str, ...]
    """What a later file calls it to replace it; empty for an entry without an id."""
    named: Placed[str]
    """Its id and where that stands; the entry where it has none."""
    override: bool
    records: Sequence[Placed[Any]]
