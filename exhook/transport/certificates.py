"""TLS for a listener: a certificate, its key, whose clients are let in. Read anew when the files change."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

H2: Final = ("h2",)
"""Application protocol (ALPN) of gRPC, which a client must choose."""
HTTP: Final = ("http/1.1",)
"""Of HTTP/1.1, which a client may leave unsaid."""
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are, in PEM."""

    certificate: Path
    """With the chain behind it."""
    key: Path
    client_ca: Path | None = None
    """Who signs certificates of clients; without one, clients show none."""


class Certificates:
    """The TLS context in force."""

    def __init__(self, files: Files, *, names: frozenset[str] = frozenset(), protocols: tuple[str, ...] = H2) -> None:
        """Read the files.

        Raises:
            OSError, ssl.SSLError: they cannot be read.
        """
        self.names = names
        """Names (common name, or DNS name) of clients that are let in; none: all that the CA signed."""
        self.broken = ""
        """Why the files as they are now cannot be used, and others from before are; nothing where they can."""
        self._files = files
        self._protocols = protocols
        self._state = self._look()
        self._looked_at = monotonic()
        self._context = _context(files, protocols)

    def context(self) -> ssl.SSLContext:
        """The context for a connection that begins now; the last good one, if the files are broken."""
        now = monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            state = self._look()
            if state != self._state:
                self._state = state
                try:
                    self._context = _context(self._files, self._protocols)
                    self.broken = ""
                except (OSError, ssl.SSLError) as error:
                    self.broken = why_unusable(error)
        return self._context

    def stranger(self, tls: Any) -> str:
        """Why the peer of a handshake that is done may not speak; nothing where it may."""
        if self._protocols == H2 and tls.selected_alpn_protocol() not in H2:
            return "speaks no HTTP/2"
        if self.names:
            shown = _names(tls.getpeercert())
            if self.names.isdisjoint(shown):
                return f"no name that is let in: {', '.join(sorted(shown)) or '(none)'}"
        # By TLS 1.2 a session can be resumed for two hours: its certificate was looked at when it began.
        if tls.session_reused and not _in_time(tls.getpeercert()):
            return "certificate of the peer: certificate has expired"
        return ""

    def _look(self) -> tuple[Any, ...]:
        return tuple(_stat(path) for path in (self._files.certificate, self._files.key, self._files.client_ca))


def why_unusable(error: OSError) -> str:
    """What is wrong with a certificate, key or CA file, in words that hold nothing of them."""
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "no PEM, or a key with a passphrase"
    return f"{error.strerror or 'unreadable'}{f': {error.filename}' if error.filename else ''}"


def why_refused(error: Exception) -> str:
    """What went wrong with a handshake: a word of the TLS library's own, or that there was none."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of the peer: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "no handshake"


def _stat(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found else None


def _context(files: Files, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    # With a passphrase given, though an empty one: else OpenSSL would ask for it at the terminal, and wait.
    context.load_cert_chain(files.certificate, files.key, password="")
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files.client_ca)
        # Who resumes a session shows no certificate anew. Python cannot have OpenSSL forget those that TLS 1.2 resumes
        # by their ids, and clients (Erlang's, Java's) rely on that: whether they may is looked at in `stranger`.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _in_time(certificate: dict[str, Any] | None) -> bool:
    """Whether the certificate of a peer, if it showed one, is good at this moment."""
    return not certificate or time() < ssl.cert_time_to_seconds(certificate["notAfter"])


def _names(certificate: dict[str, Any] | None) -> set[str]:
    if not certificate:
        return set()
    subject = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return subject | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
