"""Moments and durations as commands take them; files of a policy take dates alone."""

import re
from datetime import UTC, datetime
from typing import Final

from store.sync.exit_codes import Usage

_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment_of(text: str, option: str) -> int:
    """Milliseconds since the epoch; without a zone it is UTC.

    Raises:
        Usage: no moment.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"{option} {text!r}: no moment; write 2027-01-31T12:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def duration_of(text: str, option: str) -> int:
    """Milliseconds of ``90s``, ``30m``, ``12h`` or ``7d``.

    Raises:
        Usage: no duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Usage(f"{option} {text!r}: no duration; write 90s, 30m, 12h or 7d, say")
    return int(found[1]) * _MS[found[2]]
