"""The parameters of a call: from the query or the form, wherever they stand, but not from both."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, TypeVar

from exhook.api.refusal import Refusal
from exhook.api.request import Pairs
from store.topics import MAX_BYTES

MOST_CHARS: Final = 4096
"""Characters of a parameter, where the vendor says nothing narrower."""

CLIENT_ID_CHARS: Final = MAX_BYTES
"""Of a client id, which its client chooses: whatever may connect can be named here. Records count its bytes."""

_MOST_DIGITS: Final = 18

E = TypeVar("E", bound=StrEnum)


class Parameters:
    """What a call is given. What no call knows is passed over, as the vendor does: SDKs send `RegionId` and more."""

    def __init__(self, query: Pairs, form: Pairs = ()) -> None:
        """Raises Refusal: a parameter stands there twice; then nobody could say which one was meant."""
        self._values: dict[str, str] = {}
        for name, value in (*query, *form):
            if name in self._values:
                raise Refusal.invalid(_safe(name), "stands in the request more than once")
            self._values[name] = value

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from self._values.items()

    def has(self, name: str) -> bool:
        return name in self._values

    def optional(self, name: str, *, most: int = MOST_CHARS) -> str:
        """A text, empty where it is missing.

        Raises:
            Refusal: too long.
        """
        value = self._values.get(name, "")
        if len(value) > most:
            raise Refusal.invalid(name, f"{len(value)} characters; at most {most} are allowed")
        return value

    def text(self, name: str, *, most: int = MOST_CHARS) -> str:
        """A text that must be there.

        Raises:
            Refusal: missing, empty or too long.
        """
        value = self.optional(name, most=most)
        if not value:
            raise Refusal.invalid(name, "is missing")
        return value

    def choice(self, name: str, among: tuple[E, ...]) -> E:
        """One of a few words.

        Raises:
            Refusal: missing, or another word.
        """
        found = self.optional_choice(name, among)
        if found is None:
            raise Refusal.invalid(name, f"is missing; it is one of {', '.join(among)}")
        return found

    def optional_choice(self, name: str, among: tuple[E, ...]) -> E | None:
        """One of a few words, or None where it is missing.

        Raises:
            Refusal: another word.
        """
        value = self.optional(name)
        if not value:
            return None
        for known in among:
            if value == known:
                return known
        raise Refusal.invalid(name, f"is none of {', '.join(among)}")

    def number(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number.

        Raises:
            Refusal: missing without a default, no number, or out of its bounds.
        """
        value = self.optional(name)
        if not value and default is not None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS and least <= int(value) <= most):
            raise Refusal.invalid(name, f"is no whole number from {least} to {most}")
        return int(value)


def _safe(name: str) -> str:
    """A name that came from outside, fit to stand in a code."""
    return name if name.isascii() and name.isalnum() and len(name) <= 64 else "Name"  # noqa: PLR2004 - no name is longer
