"""What a reader keeps, by subject: so many subjects at most, and of those that were asked for last, all."""

from collections.abc import Iterator
from typing import Final

from store.kept import Kept
from store.tables import Subject

_Generation = dict[tuple[str, str], dict[str, Kept]]
"""By instance and type, then by name: so an entry costs no tuple."""

LONG_NAME: Final = 128
"""So many characters of a name count as a subject more: who connects chooses its names, of up to 65,535 bytes."""


class PartCache:
    """Parts by subject; at least the half of `most` that were asked for last are there.

    An exact order of use would cost as much memory as a small part itself. Here are generations instead: whoever is
    found in the old one moves to the new one, and when that is half of `most`, it becomes the old one. What is left
    in the one before goes bit by bit, since to drop a hundred thousand at once would hold up an answer.
    """

    __slots__ = ("_count", "_dying", "_half", "_most", "_new", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        self._half = max(1, most // 2)
        self._empty()

    def _empty(self) -> None:
        self._new: _Generation = {}
        self._old: _Generation = {}
        self._dying: _Generation = {}
        self._young = 0
        """How many the new generation has, long names counted as more."""
        self._count = 0

    def clear(self) -> None:
        """Drop all; whoever holds one sees that it is gone."""
        for generation in (self._new, self._old, self._dying):
            for named in generation.values():
                for kept in named.values():
                    kept.current = False
        self._empty()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Subject]:
        for generation in (self._new, self._old, self._dying):
            for (instance, type_), named in generation.items():
                for name in named:
                    yield Subject(instance, type_, name)

    def get(self, instance: str, type_: str, name: str) -> Kept | None:
        place = instance, type_
        if (named := self._new.get(place)) is not None and (kept := named.get(name)) is not None:
            return kept
        for generation in (self._old, self._dying):
            if (named := generation.get(place)) is not None and (kept := named.pop(name, None)) is not None:
                self._count -= 1
                self.put(instance, type_, name, kept)
                return kept
        return None

    def put(self, instance: str, type_: str, name: str, kept: Kept) -> None:
        """Keep one that is not there."""
        if self._most == 1:
            self.clear()
        weight = _weight(name)
        for _ in range(weight):
            self._drop_one()
        if self._young >= self._half:
            # By now it is empty: as many were dropped as were put. Were it not, those left would not be told.
            while self._dying:
                self._drop_one()
            self._new, self._old, self._dying = {}, self._new, self._old
            self._young = 0
            self._drop_one()
        self._new.setdefault((instance, type_), {})[name] = kept
        self._young += weight
        self._count += 1

    def drop(self, instance: str, type_: str, name: str) -> None:
        """A commit touched a subject."""
        for generation in (self._new, self._old, self._dying):
            if (named := generation.get((instance, type_))) and (kept := named.pop(name, None)):
                kept.current = False
                self._count -= 1
                if generation is self._new:
                    self._young -= _weight(name)

    def _drop_one(self) -> None:
        while self._dying:
            place = next(iter(self._dying))
            if named := self._dying[place]:
                # A commit could not tell it any more.
                named.popitem()[1].current = False
                self._count -= 1
                return
            del self._dying[place]


def _weight(name: str) -> int:
    return 1 + len(name) // LONG_NAME
