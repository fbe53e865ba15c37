"""How moments, counts and lists read in sentences."""

from datetime import UTC, datetime
from typing import Final

_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, behind which no date can be written."""
_FIRST_MS: Final = -62_135_596_800_000
"""The begin of the year 1."""


def moment(ms: int) -> str:
    """Milliseconds since the epoch as a policy file writes them, in UTC."""
    held = min(max(ms, _FIRST_MS), _LAST_MS)
    when = datetime.fromtimestamp(held // 1000, UTC).replace(tzinfo=None)
    fraction = f".{held % 1000:03}" if held % 1000 else ""
    return f"{when.isoformat()}{fraction}Z"


def some(names: list[str], most: int = 20) -> str:
    """A list for a sentence, cut where it is long."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 client``, ``2 clients``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
