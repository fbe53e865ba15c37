"""Which certificate each listener shows, as the settings say."""

from typing import Final

from exhook.settings import Settings
from exhook.transport.certificates import Certificates, Files, why_unusable

PREFIXES: Final = {"exhook": "", "api": "api_", "metrics": "metrics_"}
"""How the settings of a listener begin, by the word of ours for it: ``exhook`` is the port where brokers call."""


def files_of(settings: Settings, listener: str) -> Files | None:
    """None where it has no TLS."""
    prefix = PREFIXES[listener]
    certificate, key = getattr(settings, f"{prefix}tls_cert"), getattr(settings, f"{prefix}tls_key")
    if certificate is None or key is None:
        return None
    return Files(certificate, key, getattr(settings, f"{prefix}tls_client_ca"))


def names_of(settings: Settings, listener: str) -> frozenset[str]:
    """Names of peers that are let in; none: all that the CA signed."""
    return frozenset(getattr(settings, f"{PREFIXES[listener]}tls_client_names", ()))


def certificates_of(settings: Settings, listener: str, protocols: tuple[str, ...]) -> Certificates | None:
    """None where it has no TLS.

    Raises:
        OSError: they cannot be used; the message is its own sentence.
    """
    files = files_of(settings, listener)
    if files is None:
        return None
    try:
        return Certificates(files, names=names_of(settings, listener), protocols=protocols)
    except OSError as error:  # as is ssl.SSLError
        prefix = PREFIXES[listener]
        raise OSError(
            f"{files.certificate}: cannot be used as certificate, with its key and CA ({why_unusable(error)}); check "
            f"{prefix}tls_cert, {prefix}tls_key and {prefix}tls_client_ca"
        ) from None
