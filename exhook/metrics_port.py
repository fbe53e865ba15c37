"""The port that Prometheus reads: what all processes of a server counted, at any path."""

import socket
import ssl
import threading
from contextlib import closing
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from exhook.certificate_files import certificates_of
from exhook.counting_files import Counted
from exhook.faults import CannotStart
from exhook.settings import Settings, split_address
from exhook.strangers import Strangers
from exhook.transport.certificates import HTTP, Certificates, why_refused

READER_SECONDS: Final = 10.0
"""How long a reader may say or take nothing."""
MOST_READERS: Final = 16
"""More at one time are closed at once: each costs a thread."""


class _Handler(WSGIRequestHandler):
    timeout = READER_SECONDS

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class MetricsPort(ThreadingMixIn, WSGIServer):
    """Serves in threads of its own."""

    daemon_threads = True

    def __init__(self, host: str, port: int, certificates: Certificates | None = None) -> None:
        """Listen, and serve from now on.

        Raises:
            OSError: the address cannot be bound.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._certificates = certificates
        self._strangers = Strangers("metrics")
        self._free = threading.BoundedSemaphore(MOST_READERS)
        super().__init__((host, port), _Handler)
        registry = CollectorRegistry()
        Counted(registry)  # type: ignore[no-untyped-call] # untyped in the library
        self.set_app(make_wsgi_app(registry))
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._certificates is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(READER_SECONDS)
        try:
            # Each gets the certificate that is in force just then.
            secured = self._certificates.context().wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self._strangers(why_refused(error))
            return
        with closing(secured):
            if why := self._certificates.stranger(secured):
                self._strangers(why)
                return
            super().finish_request(secured, client_address)

    def handle_error(self, *_: object) -> None:
        """A reader that went away is no news."""


def serve(settings: Settings) -> int | None:
    """Serve metrics where the settings say; the port.

    Raises:
        CannotStart: the address cannot be bound, or certificate, key and CA cannot be used.
    """
    if settings.metrics is None:
        return None
    try:
        certificates = certificates_of(settings, "metrics", HTTP)
    except OSError as error:
        raise CannotStart(str(error)) from None
    try:
        return int(MetricsPort(*split_address(settings.metrics), certificates).server_port)
    except OSError as error:
        raise CannotStart(
            f"{settings.metrics}: cannot serve metrics there ({error.strerror}); choose another --metrics"
        ) from None
