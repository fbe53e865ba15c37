"""What a reader keeps of one subject: its records, whether they are still what the store says, and its rights."""

from typing import Final

from store.grants import GrantIndex
from store.packing import packed, unpacked
from store.parts import Part
from store.rights import AnyRights, compiled
from store.tables import Subject

MAX_UNPACKED: Final = 1_000


class Kept:
    """The part of one subject, in the cache or in use by sessions."""

    __slots__ = ("_rights", "current", "held")

    def __init__(self, part: Part, subject: Subject) -> None:
        self.held: Part | bytes = packed(part, subject) or part
        """The records, or the bytes that they are packed in."""
        self.current = True
        """Whether no commit touched the subject since; once it is false it stays so."""
        self._rights: AnyRights | None = None

    def part(self, subject: Subject) -> Part:
        """The records; made anew each time where they are packed."""
        return unpacked(self.held, subject) if isinstance(self.held, bytes) else self.held

    def rights(self, grants: GrantIndex, now_ms: int) -> AnyRights | None:
        """What its permissions, which are `grants`, come to now, compiled when first asked for; None if it has none."""
        rights = self._rights
        if rights is None or not rights.window.since <= now_ms < rights.window.until:
            self._rights = rights = compiled(grants.permissions, now_ms)
        return rights


class Unpacked:
    """Parts that were asked for lately, and need not be unpacked again: who is refused asks again soon."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[Kept, Part] = {}

    def part(self, kept: Kept, subject: Subject) -> Part:
        """The records of what is kept."""
        if isinstance(kept.held, Part):
            return kept.held
        part = self._parts.get(kept)
        if part is None:
            self.note(kept, part := kept.part(subject))
        return part

    def note(self, kept: Kept, part: Part) -> None:
        """Remember what the records were that are packed now."""
        if len(self._parts) >= MAX_UNPACKED:
            self._parts.clear()
        self._parts[kept] = part
