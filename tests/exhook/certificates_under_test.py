"""A certificate authority of the test's own."""

import datetime as dt
import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exhook.transport import certificates as certificates_module

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass
class Pair:
    """A certificate and its key, as files and as bytes."""

    certificate: Path
    key: Path

    def replace(self, other: "Pair") -> None:
        """Put other files in the place of these, as whoever renews a certificate does."""
        other.key.replace(self.key)
        other.certificate.replace(self.certificate)

    @property
    def pem(self) -> tuple[bytes, bytes]:
        return self.key.read_bytes(), self.certificate.read_bytes()


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        certificate = (
            _builder(self._subject, self._subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, file: str | None = None, *, until: dt.timedelta = DAY) -> Pair:
        """A certificate for `name`, which is good for 127.0.0.1 and localhost, too; `until` counts from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        certificate = (
            _builder(_name(name), self._subject, key, until)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = f"{self.name}-{file or name}"
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


class Resuming:
    """A client that speaks TLS 1.2, and resumes its first session by its id each time it comes again."""

    def __init__(self, port: int, authority: Authority, shown: Pair, *protocols: str) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(authority.certificate))
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(shown.certificate, shown.key)
        self._context.set_alpn_protocols(list(protocols))
        self._session: ssl.SSLSession | None = None

    def comes(self, said: bytes = b"") -> bytes:
        """The beginning of what is answered to what it says; nothing where it is shut out."""
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=20) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=self._session) as tls,
        ):
            assert tls.session_reused is (self._session is not None)
            self._session = self._session or tls.session
            answer = b""
            with suppress(OSError):
                if said:
                    tls.sendall(said)
                    answer = tls.recv(15)
                tls.unwrap()  # else the server forgets the session
            return answer


def one_day_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the server's own look at certificates; OpenSSL has a clock of its own."""
    monkeypatch.setattr(certificates_module, "time", lambda: time() + DAY.total_seconds())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: dt.timedelta = DAY
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + until)
    )
