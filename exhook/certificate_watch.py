"""Watches a listener's certificate: tells when it was changed, when it is broken, and before it ends.

What shakes hands reads the files by itself; this tells of it, in the log, by metrics and for `exhook status`.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exhook import metrics
from exhook.certificate_files import files_of
from exhook.certificate_state import SAY_MS, SOON_MS, WORD
from exhook.logs import logger
from exhook.settings import Settings
from exhook.transport.certificates import Certificates, Files
from store.clock import Clock, now_ms
from store.runtime import Runtime
from store.sync.phrases import moment
from store.unavailable import StoreUnavailable

LOOK_SECONDS: Final = 1.0
AGAIN_MS: Final = 86_400_000
"""How often the same is told again."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Until when certificates are good, in ms since the epoch."""

    certificate: int
    """The one that is shown, or one of its chain, should that end before."""
    client_ca: int | None = None
    """The CA of clients; of several the one that ends next."""

    @classmethod
    def of(cls, files: Files, now: int) -> "Validity":
        """Read them.

        Raises:
            OSError, ValueError: they cannot be read.
        """
        shown = _ends(files.certificate)
        if files.client_ca is None:
            return cls(min(shown))
        trusted = _ends(files.client_ca)
        return cls(min(shown), min((end for end in trusted if end > now), default=max(trusted)))

    @property
    def ends(self) -> Iterator[tuple[str, int]]:
        """Each with the word that stands for the file."""
        yield "certificate", self.certificate
        if self.client_ca is not None:
            yield "client_ca", self.client_ca


class CertificateWatch:
    """Of one listener."""

    def __init__(self, listener: str, files: Files, store: Path, *, clock: Clock = now_ms) -> None:
        """`listener` is a word of ours: ``exhook``, ``api``, ``metrics``.

        Raises:
            OSError, ssl.SSLError: the files cannot be read.
        """
        self._listener = listener
        self._files = files
        self._store = store
        self._clock = clock
        # With no protocol of its own: only whether they can be used counts here.
        self._certificates = Certificates(files)
        self._context: ssl.SSLContext | None = None
        self._validity: Validity | None = None
        self._broken = ""
        self._told: dict[str, int] = {}
        """When it was told last that a file ends."""
        self._said_at = 0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once."""
        now = self._clock()
        changed = self._see(now)
        metrics.CERTIFICATE_BROKEN.labels(self._listener).set(1 if self._broken else 0)
        if self._validity is None:
            return
        for file, ends in self._validity.ends:
            metrics.CERTIFICATE_EXPIRES.labels(self._listener, file).set(ends / 1000)
            self._warn(file, ends, now)
        if changed or now - self._said_at >= SAY_MS:
            self._say(self._validity, now)

    def _see(self, now: int) -> bool:
        """Take notice of the files; whether they are others than before."""
        context, broken = self._certificates.context(), self._certificates.broken
        changed = False
        if context is not self._context:
            first, self._context, changed = self._context is None, context, True
            self._told.clear()
            try:
                found = self._validity = Validity.of(self._files, now)
            except (OSError, ValueError):  # changed again, in between: the next look sees it
                self._context = None
            else:
                event = "certificate" if first else "certificate reloaded"
                logger.info(event, listener=self._listener, expires=moment(found.certificate))
        if broken != self._broken:
            self._broken, changed = broken, True
            if broken:
                logger.error(
                    "certificate not reloaded; the last good one stays in use", listener=self._listener, why=broken,
                    file=str(self._files.certificate),
                )  # fmt: skip
        return changed

    def _warn(self, file: str, ends: int, now: int) -> None:
        if ends - now > SOON_MS:
            return
        word = f"{file} {now >= ends}"
        if now - self._told.get(word, -AGAIN_MS) < AGAIN_MS:
            return
        self._told[word] = now
        fields = {"listener": self._listener, "which": file, "expires": moment(ends)}
        if now >= ends:
            logger.error("certificate expired; peers that look refuse it", **fields)
        else:
            logger.warning("certificate expires soon", **fields)

    def _say(self, validity: Validity, now: int) -> None:
        value = {
            "file": str(self._files.certificate),
            "expires": validity.certificate,
            "client_ca": str(self._files.client_ca) if self._files.client_ca else None,
            "client_ca_expires": validity.client_ca,
            "broken": self._broken,
        }
        try:
            with Runtime.open(self._store) as runtime:
                runtime.say(WORD + self._listener, value, now)
        except StoreUnavailable as error:
            logger.warning("runtime file unavailable", why=str(error))
        else:
            self._said_at = now


def watches(settings: Settings, listeners: Iterable[str]) -> list[CertificateWatch]:
    """Of those listeners that serve and have TLS.

    Raises:
        OSError, ssl.SSLError: files cannot be read.
    """
    found = ((listener, files_of(settings, listener)) for listener in listeners)
    return [CertificateWatch(listener, files, settings.db) for listener, files in found if files is not None]


def _ends(file: Path) -> list[int]:
    """Ends of all certificates in a file, in ms."""
    from cryptography import x509  # noqa: PLC0415 - a start without TLS goes without it

    found = x509.load_pem_x509_certificates(file.read_bytes())
    return [int(one.not_valid_after_utc.timestamp() * 1000) for one in found]
