"""How many files and sockets a process may have open."""

import resource
from contextlib import suppress
from typing import Final

ENOUGH: Final = 65_536
"""What a server may need: three for each connection that a worker takes, and then some."""


def take_what_is_allowed() -> None:
    """Raise the limit that counts (soft) as far as it may be (hard), up to `ENOUGH`; children inherit it.

    Shells and containers set 1,024 where far more is allowed: less than the connections that one worker takes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
