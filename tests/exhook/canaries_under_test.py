"""Secrets that a test knows, and every form in which one may come to light."""

import base64
import hashlib
from collections.abc import Iterable, Iterator


def forms(canary: str) -> Iterator[tuple[str, bytes]]:
    """What a canary may look like: itself, encoded, or hashed without a key."""
    raw = canary.encode()
    yield "itself", raw
    yield "hex", raw.hex().encode()
    yield "reversed", raw[::-1]
    yield "UTF-16", canary.encode("utf-16-le")
    for shift in range(3):  # base64 of something that holds it: by where it begins there
        encoded = base64.b64encode(b"\0" * shift + raw)
        yield "base64", encoded[4:-4]
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, raw, usedforsecurity=False)
        yield name, digest.digest()
        yield name, digest.hexdigest().encode()
        yield name, base64.b64encode(digest.digest())


class Canaries:
    """Some secrets, by names that say what they are."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self._forms = tuple((name, form, text) for name, canary in named for form, text in forms(canary))

    def found(self, *places: str | bytes) -> set[tuple[str, str]]:
        """Which of them are there, and in which form."""
        data = b"\n".join(
            place if isinstance(place, bytes) else place.encode(errors="surrogateescape") for place in places
        )
        return {(name, form) for name, form, text in self._forms if text in data}
