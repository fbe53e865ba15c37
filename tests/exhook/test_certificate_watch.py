"""A certificate that ends, is broken, or is renewed: what log, metrics, `status` and `doctor` say of it."""

import signal
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates_under_test import DAY, NOW, Authority, Pair
from commands_under_test import Exhook
from prometheus_client import REGISTRY
from server_under_test import Server, until
from structlog.testing import capture_logs
from worker_under_test import Store

from exhook.certificate_state import STALE_MS
from exhook.certificate_watch import CertificateWatch, Validity, watches
from exhook.settings import Settings
from exhook.status import Status
from exhook.transport import certificates as certificates_module
from exhook.transport.certificates import Files
from store.database import Database
from store.sync.phrases import moment

Lines = list[MutableMapping[str, Any]]
AT = int(NOW.timestamp()) * 1000
DAY_MS = 86_400_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as found:
        yield found


@pytest.fixture
def clock() -> list[int]:
    return [AT]


class Watched:
    """A watch on a listener, the time it thinks it is, and what it said."""

    def __init__(self, pair: Pair, store: Store, clock: list[int], ca: Path | None = None) -> None:
        self._store = store
        self._clock = clock
        self.watch = CertificateWatch(
            "exhook", Files(pair.certificate, pair.key, ca), store.path, clock=lambda: clock[0]
        )

    def look(self, at: int | None = None) -> None:
        if at is not None:
            self._clock[0] = at
        self.watch.look()

    def status(self, later: int = 0) -> Status:
        with Database.open(self._store.path, self._store.keys) as database:
            return Status.of(database, self._clock[0] + later)


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates_module, "_LOOK_SECONDS", 0.0)


def events(lines: Lines, level: str) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == level]


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"listener": "exhook"} | labels)


def ends(file: str) -> float | None:
    return gauge("exhook_certificate_expires_timestamp_seconds", file=file)


def test_one_that_is_good_for_long_is_told_once(
    authority: Authority, store: Store, clock: list[int], lines: Lines
) -> None:
    watched = Watched(authority.sign("server", until=90 * DAY), store, clock)
    for _ in range(3):
        watched.look()
    assert [(line["event"], line["expires"]) for line in lines] == [("certificate", moment(AT + 90 * DAY_MS))]
    assert ends("certificate") == pytest.approx(AT / 1000 + 90 * 86_400, abs=1)
    assert gauge("exhook_certificate_broken") == 0
    assert not list(watched.status().advice())


def test_one_that_ends_is_told_once_a_day_and_is_advice_then_a_finding(
    authority: Authority, store: Store, clock: list[int], lines: Lines
) -> None:
    pair = authority.sign("server", until=15 * DAY)
    watched = Watched(pair, store, clock)
    for hours in range(0, 15 * 24, 6):
        watched.look(AT + hours * DAY_MS // 24)
    assert events(lines, "warning") == ["certificate expires soon"] * 14
    until_then = moment(AT + 15 * DAY_MS)
    assert list(watched.status().advice()) == [f"{pair.certificate}: the certificate of exhook expires at {until_then}"]
    assert not any("certificate" in finding for finding in watched.status().findings())
    watched.look(AT + 15 * DAY_MS)
    assert events(lines, "error") == ["certificate expired; peers that look refuse it"]
    assert f"{pair.certificate}: the certificate of exhook expired at {until_then}" in watched.status().findings()
    assert any(text.startswith("!") and "expired at" in text for text in watched.status().as_text())


def test_what_a_server_said_that_is_gone_is_passed_over(authority: Authority, store: Store, clock: list[int]) -> None:
    watched = Watched(authority.sign("server", until=-DAY / 2), store, clock)
    watched.look()
    assert any("expired" in finding for finding in watched.status(STALE_MS).findings())
    assert not any("expired" in finding for finding in watched.status(STALE_MS + 1).findings())


def test_renewed_ones_take_it_all_back(authority: Authority, store: Store, clock: list[int], lines: Lines) -> None:
    pair = authority.sign("server", until=-DAY / 2)
    watched = Watched(pair, store, clock)
    watched.look()
    assert events(lines, "error") == ["certificate expired; peers that look refuse it"]
    pair.replace(authority.sign("server", "renewed", until=90 * DAY))
    watched.look()
    assert lines[-1]["event"] == "certificate reloaded"
    assert not any("certificate" in finding for finding in watched.status().findings())
    assert ends("certificate") == pytest.approx(AT / 1000 + 90 * 86_400, abs=1)


def test_broken_ones_are_told_once_until_they_are_mended(
    authority: Authority, store: Store, clock: list[int], lines: Lines
) -> None:
    pair = authority.sign("server", until=90 * DAY)
    watched = Watched(pair, store, clock)
    good = pair.certificate.read_bytes()
    watched.look()
    pair.certificate.write_bytes(good[:200])
    for _ in range(3):
        watched.look()
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["event"] == "certificate not reloaded; the last good one stays in use"
    assert line["why"] == "no PEM, or a key with a passphrase"
    assert gauge("exhook_certificate_broken") == 1
    (finding,) = [finding for finding in watched.status().findings() if "certificate" in finding]
    assert finding.endswith("the certificate of exhook was not reloaded (no PEM, or a key with a passphrase)")
    authority.sign("server", "other").key.replace(pair.key)
    pair.certificate.write_bytes(good)
    watched.look()
    assert lines[-1]["why"] == "key values mismatch"
    pair.replace(authority.sign("server", "renewed", until=80 * DAY))
    watched.look()
    assert gauge("exhook_certificate_broken") == 0
    assert lines[-1]["event"] == "certificate reloaded"
    assert not any("certificate" in finding for finding in watched.status().findings())


def test_the_chain_and_the_ca_of_peers_count_too(
    authority: Authority, store: Store, clock: list[int], tmp_path: Path, lines: Lines
) -> None:
    pair, old = authority.sign("server", until=90 * DAY), Authority(tmp_path, "old")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(old.certificate.read_bytes())
    watched = Watched(pair, store, clock, bundle)
    watched.look()
    assert ends("client_ca") == pytest.approx(AT / 1000 + 86_400, abs=1)
    assert [line["which"] for line in lines if line["log_level"] == "warning"] == ["client_ca"]
    watched.look(AT + 2 * DAY_MS)
    assert any("the CA of the peers of exhook expired" in finding for finding in watched.status().findings())
    with pair.certificate.open("ab") as chain:
        chain.write(old.certificate.read_bytes())
    assert Validity.of(Files(pair.certificate, pair.key), AT).certificate == pytest.approx(AT + DAY_MS, abs=1000)


def test_of_several_cas_the_one_that_ends_next_counts(authority: Authority, tmp_path: Path) -> None:
    """One that has ended keeps nobody out while another is good."""
    bundle = tmp_path / "bundle.pem"
    pairs = [
        authority.sign("a", until=-DAY / 2),
        authority.sign("b", until=5 * DAY),
        authority.sign("c", until=9 * DAY),
    ]
    bundle.write_bytes(b"".join(pair.certificate.read_bytes() for pair in pairs))
    files = Files(pairs[1].certificate, pairs[1].key, bundle)
    assert Validity.of(files, AT).client_ca == pytest.approx(AT + 5 * DAY_MS, abs=1000)
    assert Validity.of(files, AT + 6 * DAY_MS).client_ca == pytest.approx(AT + 9 * DAY_MS, abs=1000)
    assert Validity.of(files, AT + 10 * DAY_MS).client_ca == pytest.approx(AT + 9 * DAY_MS, abs=1000)


def test_listeners_without_tls_are_not_watched(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign("server")
    settings = Settings(
        db=tmp_path / "exhook.db", api="127.0.0.1:0", api_tls_cert=pair.certificate, api_tls_key=pair.key
    )  # fmt: skip
    assert [watch._listener for watch in watches(settings, ["exhook", "api", "metrics"])] == ["api"]


def test_an_expired_certificate_of_a_server_and_its_recovery(
    authority: Authority, tmp_path: Path, exhook: Exhook
) -> None:
    """Brokers that look refuse it; the server says so everywhere, and is well as soon as the files are."""
    pair, broker = authority.sign("server", until=-DAY / 2), authority.sign("broker-1")
    config = tmp_path / "exhook.toml"
    config.write_text(
        f'carrier = "h2"\ntls_cert = "{pair.certificate}"\ntls_key = "{pair.key}"\n'
        f'tls_client_ca = "{authority.certificate}"\n'
        'tls_client_names = ["broker-1"]\n[[emqx]]\nname = "gone"\nurl = "http://127.0.0.1:9"\n'
    )
    own = ("--db", str(tmp_path / "exhook.db"))
    arguments = ("--config", str(config), "--carrier", "h2", "--metrics", "127.0.0.1:0")
    with Server(tmp_path, *arguments) as server:
        server.line("certificate expired; peers that look refuse it", listener="exhook", which="certificate")
        assert not _asks(server.port, authority, broker)
        server.line("peer not let in", listener="exhook")
        counted = server.metrics()
        (name,) = [name for name in counted if 'expires_timestamp_seconds{file="certificate"' in name]
        assert counted[name] == pytest.approx((NOW - DAY / 2).timestamp(), abs=1)
        said = exhook("status", *own)
        assert said.code == 1
        assert f"{pair.certificate}: the certificate of exhook expired at" in said.out
        assert "the certificate of exhook expired at" in exhook("doctor", "--config", str(config), *own).out

        pair.replace(authority.sign("server", "renewed"))
        server.line("certificate reloaded", listener="exhook")
        until(lambda: _asks(server.port, authority, broker), what="a broker that is let in")
        until(lambda: "certificate of exhook expired" not in exhook("status", *own).out)
        assert "the certificate of exhook expires at" in exhook("status", *own).out

        config.write_text(config.read_text().replace("broker-1", "broker-2"))
        server.tell(signal.SIGHUP)
        until(lambda: not _asks(server.port, authority, broker), what="a broker whose name was taken out")


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def _asks(port: int, authority: Authority, shown: Pair) -> bool:
    """Whether a broker that looks at the certificate gets an answer."""
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), *shown.pem)
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check", None, None)(b"", timeout=2.0)
        except grpc.RpcError:
            return False
    return True
