"""What a server says of its certificates in the runtime file, and what of that is to be told."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from store.sync.phrases import moment

WORD: Final = "certificate "
"""Begins the name of what is said; the listener follows."""
SAY_MS: Final = 60_000
"""How often it is said."""
STALE_MS: Final = 3 * SAY_MS
"""What was said before that is of a server, or a listener, that is gone."""
SOON_MS: Final = 14 * 86_400_000
"""From when on a certificate that ends is told of."""


def findings(listener: str, said: Mapping[str, Any], now: int) -> Iterator[tuple[bool, str]]:
    """What is to be told of a certificate, and whether it is wrong already."""
    if said["broken"]:
        yield True, f"{said['file']}: the certificate of {listener} was not reloaded ({said['broken']})"
    for file, ends, which in (
        (said["file"], said["expires"], "certificate"),
        (said["client_ca"], said["client_ca_expires"], "CA of the peers"),
    ):
        if ends is not None and now >= ends:
            yield True, f"{file}: the {which} of {listener} expired at {moment(ends)}"
        elif ends is not None and ends - now <= SOON_MS:
            yield False, f"{file}: the {which} of {listener} expires at {moment(ends)}"
