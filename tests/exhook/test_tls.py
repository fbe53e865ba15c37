"""TLS of the API's and the metrics port: certificates that change, peers that prove who they are, or do not."""

import asyncio
import http.client
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from api_under_test import Sdk, Signed, make_store
from certificates_under_test import DAY, Authority, Pair, Resuming, one_day_passes
from cryptography.hazmat.primitives import serialization
from prometheus_client import REGISTRY
from server_under_test import becomes
from worker_under_test import Store

from exhook import metrics_port
from exhook.api.entrance import Entrance
from exhook.api.serving import ApiServer
from exhook.faults import CannotStart
from exhook.settings import Settings
from exhook.transport import certificates as certificates_module

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates_module, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "exhook.db")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority, shown: Pair | None = None) -> ssl.SSLContext:
    """A client that trusts an authority, and shows a certificate of its own."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if shown:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def connected(port: int, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """A client of the port; without TLS where there is no context."""
    if context is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)


def asks(connection: http.client.HTTPConnection, path: str = "/health") -> bool:
    """Whether there is an answer on this connection."""
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


def reaches(port: int, context: ssl.SSLContext | None) -> bool:
    with closing(connected(port, context)) as connection:
        try:
            return asks(connection)
        except (OSError, http.client.HTTPException):
            return False


class Api:
    def __init__(self, server: ApiServer, port: int) -> None:
        self.server = server
        self.port = port

    async def reaches(self, authority: Authority, shown: Pair | None = None) -> bool:
        return await asyncio.to_thread(reaches, self.port, trusting(authority, shown))


@asynccontextmanager
async def api(store: Store, pair: Pair, **settings: Any) -> AsyncIterator[Api]:
    chosen = Settings(
        db=store.path, api_tls_cert=pair.certificate, api_tls_key=pair.key, api="127.0.0.1:0", drain_seconds=1.0,
        **settings,
    )  # fmt: skip
    server = ApiServer(chosen, store.keys)
    try:
        yield Api(server, await server.start())
    finally:
        await server.stop()


class TestApi:
    async def test_the_vendors_client_calls_by_tls_and_nobody_without(self, store: Store, authority: Authority) -> None:
        async with api(store, authority.sign("server"), api_rate=0.0) as one:
            sdk = Sdk(one.port, protocol="https", ca=str(authority.certificate))
            assert (await asyncio.to_thread(sdk, "QueryCustomAuthIdentity", Size=1))["Code"] == 200
            assert not await asyncio.to_thread(reaches, one.port, None)
            old = trusting(authority)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            assert await asyncio.to_thread(reaches, one.port, old)

    async def test_another_certificate_is_shown_at_once_and_connections_stand(
        self, store: Store, authority: Authority, tmp_path: Path
    ) -> None:
        pair, renewed = authority.sign("server"), Authority(tmp_path, "renewed")
        async with api(store, pair) as one:
            with closing(connected(one.port, trusting(authority))) as standing:
                assert await asyncio.to_thread(asks, standing)
                assert not await one.reaches(renewed)
                pair.replace(renewed.sign("server"))
                assert await one.reaches(renewed)
                assert not await one.reaches(authority)
                before = standing.sock
                assert await asyncio.to_thread(asks, standing)
                assert standing.sock is before

    @pytest.mark.parametrize("broken", ["half", "other key", "gone", "passphrase"])
    async def test_a_broken_pair_leaves_the_last_good_one(
        self, store: Store, authority: Authority, broken: str, tmp_path: Path
    ) -> None:
        pair = authority.sign("server")
        async with api(store, pair) as one:
            if broken == "half":
                pair.certificate.write_bytes(pair.certificate.read_bytes()[:100])
            elif broken == "gone":
                pair.key.unlink()
            elif broken == "passphrase":
                _lock(pair.key)
            else:
                authority.sign("server", "other").key.replace(pair.key)
            assert await one.reaches(authority)
            renewed = Authority(tmp_path, "renewed")
            pair.replace(renewed.sign("server"))
            assert await one.reaches(renewed)

    async def test_callers_show_certificates_where_that_is_asked_for(
        self, store: Store, authority: Authority, tmp_path: Path
    ) -> None:
        asked = {"api_tls_client_ca": authority.certificate, "api_tls_client_names": ("app-1", "app-2")}
        before = refusals()
        async with api(store, authority.sign("server"), **asked) as one:
            for shown, let_in in (
                (authority.sign("app-1"), True),
                (authority.sign("app-2"), True),
                (authority.sign("app-3"), False),
                (authority.sign("app-1", "expired", until=-DAY / 2), False),
                (Authority(tmp_path, "stranger").sign("app-1"), False),
                (None, False),
            ):
                assert await one.reaches(authority, shown) is let_in
            await becomes(lambda: refusals() == before + 4)

    async def test_an_expired_certificate_does_not_come_in_by_a_session_from_before(
        self, store: Store, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with api(store, authority.sign("server"), api_tls_client_ca=authority.certificate) as one:
            caller = Resuming(one.port, authority, authority.sign("app-1"))
            for _ in range(2):
                assert await asyncio.to_thread(caller.comes, HEALTH) == b"HTTP/1.1 200 OK"
            one_day_passes(monkeypatch)
            assert not await asyncio.to_thread(caller.comes, HEALTH)

    async def test_a_call_needs_its_signature_all_the_same(self, store: Store, authority: Authority) -> None:
        shown = authority.sign("app-1")
        async with api(store, authority.sign("server"), api_tls_client_ca=authority.certificate, api_rate=0.0) as one:
            for secret, code in (("the secret of AKtest", 200), ("wrong", "SignatureDoesNotMatch")):
                said = await asyncio.to_thread(_call, one.port, trusting(authority, shown), Signed(secret=secret))
                assert said["Code"] == code

    async def test_names_that_are_taken_out_end_their_connections(self, store: Store, authority: Authority) -> None:
        asked = {"api_tls_client_ca": authority.certificate, "api_tls_client_names": ("app-1", "app-2")}
        first, second = authority.sign("app-1"), authority.sign("app-2")
        async with api(store, authority.sign("server"), **asked) as one:
            with (
                closing(connected(one.port, trusting(authority, first))) as leaving,
                closing(connected(one.port, trusting(authority, second))) as staying,
            ):
                assert await asyncio.to_thread(asks, leaving)
                assert await asyncio.to_thread(asks, staying)
                one.server.reload(one.server.settings.model_copy(update={"api_tls_client_names": ("app-2",)}))
                before = staying.sock
                assert await asyncio.to_thread(asks, staying)
                assert staying.sock is before
                leaving.auto_open = 0
                with pytest.raises((OSError, http.client.HTTPException)):
                    await asyncio.to_thread(asks, leaving)
            assert not await one.reaches(authority, first)

    async def test_who_does_not_shake_hands_is_let_go(
        self, store: Store, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Entrance, "handshake_seconds", 0.2)
        async with api(store, authority.sign("server")) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            assert await reader.read() == b""
            writer.close()

    async def test_files_that_cannot_be_used_are_named_at_the_start(self, store: Store, authority: Authority) -> None:
        good, bad = authority.sign("server"), authority.sign("server", "bad")
        bad.key.write_text("no key")
        empty = good.certificate.with_name("empty.pem")
        empty.touch()
        for pair, asked in (
            (bad, {}), (Pair(good.certificate, Path("missing")), {}), (good, {"api_tls_client_ca": empty}),
        ):  # fmt: skip
            with pytest.raises(CannotStart, match=rf"{pair.certificate.name}: cannot be used as certificate"):
                async with api(store, pair, **asked):
                    pass

    async def test_a_passphrase_is_not_asked_for(self, store: Store, authority: Authority) -> None:
        pair = authority.sign("server")
        _lock(pair.key)
        with pytest.raises(CannotStart, match="a key with a passphrase"):
            async with api(store, pair):
                pass


class TestMetrics:
    @pytest.fixture
    def counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "counted").mkdir()
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "counted"))

    @pytest.fixture
    def pair(self, authority: Authority) -> Pair:
        return authority.sign("server")

    def settings(self, pair: Pair, **more: Any) -> Settings:
        return Settings(
            metrics_tls_cert=pair.certificate, metrics_tls_key=pair.key, metrics="127.0.0.1:0", **more
        )  # fmt: skip

    @pytest.mark.usefixtures("counted")
    def test_another_certificate_is_shown_at_once(self, pair: Pair, authority: Authority, tmp_path: Path) -> None:
        port = metrics_port.serve(self.settings(pair))
        assert port
        renewed = Authority(tmp_path, "renewed")
        assert reaches(port, trusting(authority))
        pair.replace(renewed.sign("server"))
        assert reaches(port, trusting(renewed))
        assert not reaches(port, trusting(authority))
        pair.certificate.write_text("half")
        assert reaches(port, trusting(renewed))

    @pytest.mark.usefixtures("counted")
    def test_readers_prove_who_they_are_where_that_is_asked_for(
        self, pair: Pair, authority: Authority, tmp_path: Path
    ) -> None:
        port = metrics_port.serve(self.settings(pair, metrics_tls_client_ca=authority.certificate))
        assert port
        assert reaches(port, trusting(authority, authority.sign("prometheus")))
        for shown in (None, Authority(tmp_path, "stranger").sign("prometheus")):
            assert not reaches(port, trusting(authority, shown))
        assert not reaches(port, None)

    @pytest.mark.usefixtures("counted")
    def test_readers_are_judged_as_other_peers_are(
        self, pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = metrics_port.serve(self.settings(pair, metrics_tls_client_ca=authority.certificate))
        assert port
        monkeypatch.setattr(certificates_module.Certificates, "stranger", lambda *_: "expired since")
        assert not reaches(port, trusting(authority, authority.sign("prometheus")))

    @pytest.mark.usefixtures("counted")
    def test_readers_that_dawdle_keep_nobody_out_for_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics_port._Handler, "timeout", 0.1)
        port = metrics_port.serve(Settings(metrics="127.0.0.1:0"))
        assert port
        idle = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(metrics_port.MOST_READERS)]
        for connection in idle:
            connection.connect()
        deadline = time.monotonic() + 20
        while not reaches(port, None):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert threading.active_count() < 3 * metrics_port.MOST_READERS
        for connection in idle:
            connection.close()

    def test_files_that_cannot_be_used_are_named(self, pair: Pair) -> None:
        pair.key.write_text("no key")
        with pytest.raises(CannotStart, match="metrics_tls_key"):
            metrics_port.serve(self.settings(pair))


def _call(port: int, context: ssl.SSLContext, signed: Signed) -> Any:
    call = signed.v3()
    with closing(connected(port, context)) as connection:
        connection.putrequest("GET", f"/?{call.query.decode()}", skip_host=True, skip_accept_encoding=True)
        for name, value in call.headers:
            connection.putheader(name.decode(), value)
        connection.endheaders()
        return json.loads(connection.getresponse().read())


def refusals() -> float:
    return REGISTRY.get_sample_value("exhook_api_strangers_total") or 0.0


def _lock(key: Path) -> None:
    """Encrypt a private key under a passphrase."""
    held = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"passphrase")
    key.write_bytes(
        held.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )  # fmt: skip
