"""The carrier that the settings choose, and where what it tells goes."""

import socket
from collections.abc import Callable
from typing import Final

from exhook import metrics
from exhook.certificate_files import certificates_of, names_of
from exhook.logs import error_place, logger
from exhook.settings import Settings
from exhook.strangers import Strangers
from exhook.transport.call import Carrier, Service
from exhook.transport.certificates import H2
from exhook.transport.h2.acceptor import Intake
from exhook.transport.h2.carrier import H2Carrier
from exhook.transport.h2.listening import UNIX
from exhook.transport.limits import Breach, Limits, Notices

_BREACHES: Final[dict[Breach, Callable[[], None]]] = {
    breach: metrics.BREACHES.labels(breach.value).inc for breach in Breach
}


def addresses(settings: Settings) -> tuple[str, ...]:
    """Where the carrier h2 listens."""
    path = settings.unix_socket
    return (settings.listen, f"{UNIX}{path}") if path else (settings.listen,)


def make_carrier(settings: Settings, service: Service, *, sockets: int | None = None) -> Carrier:
    """The carrier; `sockets` is the descriptor where it is handed connections, if it does not listen itself.

    Raises:
        OSError: a certificate cannot be used.
    """
    limits = Limits(
        message_bytes=settings.max_message_bytes,
        metadata_bytes=settings.max_metadata_bytes,
        half_open_seconds=settings.half_open_seconds,
    )
    notices = Notices(
        half_open=metrics.HALF_OPEN.inc,
        ended=lambda kind: metrics.CARRIER_ERRORS.labels(kind).inc(),
        breach=lambda breach: _BREACHES[breach](),
        stranger=Strangers("exhook"),
        failed=lambda error: logger.error("error in a service", error=error_place(error)),
    )
    if settings.carrier == "grpc":
        # Here, since it takes a tenth of a worker's start and of its memory.
        from exhook.transport.grpc import GrpcCarrier  # noqa: PLC0415 - see above

        return GrpcCarrier(service, settings.listen, limits, notices=notices)
    return H2Carrier(
        service,
        () if sockets is not None else addresses(settings),
        limits,
        notices=notices,
        certificates=certificates_of(settings, "exhook", H2),
        intake=Intake(socket.socket(fileno=sockets)) if sockets is not None else None,
    )


def take_on(carrier: Carrier, settings: Settings) -> None:
    """Let a carrier take on the settings of its own that need no restart."""
    if isinstance(carrier, H2Carrier):
        carrier.admit(names_of(settings, "exhook"))
