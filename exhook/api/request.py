"""One HTTP request to the API, as it came: what a signature is computed over."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import parse_qsl

from exhook.api.refusal import Refusal

Pairs = tuple[tuple[str, str], ...]

MOST_PARAMETERS: Final = 100
"""No call has more than ten; a dictionary of millions would be an attack."""

FORM: Final = b"application/x-www-form-urlencoded"


@dataclass(frozen=True, repr=False)
class Request:
    """Method, path, query, headers and body. Never formatted: its body may hold a secret."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, in the order in which they came."""
    body: bytes = b""

    def header(self, name: bytes) -> bytes:
        """The one value of a header; empty where it is missing, or stands there more than once."""
        values = self.values.get(name, [])
        return values[0].strip() if len(values) == 1 else b""

    @cached_property
    def values(self) -> dict[bytes, list[bytes]]:
        """The values of each header."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            found.setdefault(name, []).append(value)
        return found

    @cached_property
    def query_pairs(self) -> Pairs:
        """Names and values of the query, decoded (a ``+`` is a blank).

        Raises:
            Refusal: not UTF-8, or too many.
        """
        return _pairs(self.query, "Query")

    @cached_property
    def form_pairs(self) -> Pairs:
        """Names and values of the form in the body.

        Raises:
            Refusal: a body that is no form; else as `query_pairs`.
        """
        if not self.body:
            return ()
        if self.header(b"content-type").partition(b";")[0].strip().lower() != FORM:
            raise Refusal.invalid("ContentType", f"a body is a form here: Content-Type: {FORM.decode()}")
        return _pairs(self.body, "Body")


def _pairs(text: bytes, place: str) -> Pairs:
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Refusal.invalid(
            place, f"not URL-encoded UTF-8 of at most {MOST_PARAMETERS} parameters, as it must be"
        ) from None
    return tuple(pairs)
