"""What a reader keeps of one subject: its records, whether they are still what the store says, and its rights."""

from store.parts import Part
from store.rights import Rights, compiled


class Kept:
    """The part of one subject, in the cache or in use by sessions."""

    __slots__ = ("_rights", "current", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.current = True
        """Whether no commit touched the subject since; once it is false it stays so."""
        self._rights: Rights | None = None

    def rights(self, now_ms: int) -> Rights | None:
        """What its permissions come to now, compiled when first asked for; None where it has none."""
        rights = self._rights
        if rights is None or not rights.window.since <= now_ms < rights.window.until:
            self._rights = rights = compiled(self.part.grants.permissions, now_ms)
        return rights
