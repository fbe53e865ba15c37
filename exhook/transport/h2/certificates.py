"""TLS for the port: a certificate, its key, whose clients are let in. Read anew when the files change."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

ALPN: Final = "h2"
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are, in PEM."""

    certificate: Path
    """With the chain behind it."""
    key: Path
    client_ca: Path | None = None
    """Who signs certificates of clients; without one, clients show none."""
    client_names: frozenset[str] = frozenset()
    """Names (common name, or DNS name) of clients that are let in; none: all that the CA signed."""


class Certificates:
    """The TLS context in force."""

    def __init__(self, files: Files, broken: Callable[[Exception], None]) -> None:
        """Read the files; `broken` is told when they are changed to what cannot be read.

        Raises:
            OSError, ssl.SSLError: they cannot be read.
        """
        self._files = files
        self._broken = broken
        self._state = self._look()
        self._looked_at = monotonic()
        self._context = _context(files)

    def context(self) -> ssl.SSLContext:
        """The context for a connection that begins now; the last good one, if the files are broken."""
        now = monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            state = self._look()
            if state != self._state:
                self._state = state
                try:
                    self._context = _context(self._files)
                except (OSError, ssl.SSLError) as error:
                    self._broken(error)
        return self._context

    def admit(self, tls: Any) -> bool:
        """Whether the peer of a handshake that is done may speak: it speaks HTTP/2, and has a name that is let in."""
        if tls.selected_alpn_protocol() != ALPN:
            return False
        return not self._files.client_names or not self._files.client_names.isdisjoint(_names(tls.getpeercert()))

    def _look(self) -> tuple[Any, ...]:
        return tuple(_stat(path) for path in (self._files.certificate, self._files.key, self._files.client_ca))


def _stat(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found else None


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files.client_ca)
    return context


def _names(certificate: dict[str, Any] | None) -> set[str]:
    if not certificate:
        return set()
    subject = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return subject | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
