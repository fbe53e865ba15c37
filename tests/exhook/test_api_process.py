"""The management API beside its server, and by itself: real MQTT clients, crashes, signals, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_under_test import INSTANCE, KEY, SECRET, Sdk, Signed, api_port, make_store, send
from commands_under_test import Exhook
from mosquitto_under_test import needs_mosquitto
from server_under_test import PATIENCE, Asker, Line, Server, port_of, until

from exhook.brokers.mosquitto.running import Mosquitto
from exhook.demo.clients import MqttClient
from exhook.demo.script import Login
from store.clock import now_ms
from store.credentials import sign

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api-process")
    make_store(folder / "exhook.db")
    settings = folder / "exhook.toml"
    settings.write_text("api_rate = 0\n")
    arguments = ("--api", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--with-broker", "0", "--instance", INSTANCE)
    with Server(folder, *arguments, "--config", str(settings)) as running:
        yield running


def broker_port(server: Server) -> int:
    return port_of(server.line("embedded broker, for trying: MQTT 3.1.1 alone"))


def connects(server: Server, client_id: str, username: str, password: bytes) -> bool:
    with MqttClient(Login(username, client_id, password), broker_port(server)) as client:
        return client.connect()


def test_clients_come_in_with_what_was_uploaded(server: Server) -> None:
    sdk = Sdk(api_port(server))
    sdk("AddCustomAuthIdentity", Username="meters", IdentityType="USER", Secret="key", SignMode="SIGNED")
    sdk("AddCustomAuthPermission", Identity="meters", IdentityType="USER", Topic="m/${clientid}/up",
        PermitAction="PUB", Effect="ALLOW")  # fmt: skip
    sdk("AddCustomAuthPermission", Identity="m-1", IdentityType="CLIENT", Topic="m/+/up",
        PermitAction="SUB", Effect="ALLOW")  # fmt: skip
    assert not connects(server, "m-1", "meters", b"key")
    with MqttClient(Login("meters", "m-1", sign(b"key", "m-1")), broker_port(server)) as client:
        assert client.connect()
        assert client.subscribe("m/+/up")
        assert not client.subscribe("m/#")
        client.publish("m/m-1/up")
        assert client.messages.get(timeout=PATIENCE) == "m/m-1/up"
        sdk("AddCustomAuthPermission", Identity="m-1", IdentityType="CLIENT", Topic="m/+/up",
            PermitAction="SUB", Effect="DENY")  # fmt: skip
        assert not client.subscribe("m/+/up")
    sdk("AddCustomAuthConnectBlack", ClientId="m-1")
    assert not connects(server, "m-1", "meters", sign(b"key", "m-1"))
    sdk("DeleteCustomAuthConnectBlack", ClientId="m-1")
    assert connects(server, "m-1", "meters", sign(b"key", "m-1"))
    sdk("DeleteCustomAuthIdentity", Username="meters", IdentityType="USER")
    assert not connects(server, "m-1", "meters", sign(b"key", "m-1"))


def test_a_client_comes_in_with_a_token_until_it_is_revoked(server: Server) -> None:
    sdk = Sdk(api_port(server))
    token = sdk("ApplyToken", Resources="t/+", Actions="R", ExpireTime=now_ms() + HOUR_MS)["Token"]
    login = Login(f"Token|{KEY}|{INSTANCE}", "t-1", f"R|{token}".encode())
    with MqttClient(login, broker_port(server)) as client:
        assert client.connect()
        assert client.subscribe("t/+")
        assert not client.subscribe("t/#")
        sdk("RevokeToken", Token=token)
        assert not client.subscribe("t/a")
    assert not connects(server, login.client_id, login.username, login.password)


def test_a_device_comes_in_with_its_own_credential_until_it_has_another(server: Server) -> None:
    sdk = Sdk(api_port(server))
    made = sdk("RegisterDeviceCredential", ClientId="GID_Dev@@@1")["DeviceCredential"]

    def comes_in(credential: dict[str, str], client_id: str = "GID_Dev@@@1") -> bool:
        username = f"DeviceCredential|{credential['DeviceAccessKeyId']}|{INSTANCE}"
        return connects(server, client_id, username, sign(credential["DeviceAccessKeySecret"].encode(), client_id))

    assert comes_in(made)
    assert not comes_in(made, "GID_Dev@@@2")
    fresh = sdk("RefreshDeviceCredential", ClientId="GID_Dev@@@1")["DeviceCredential"]
    assert comes_in(fresh)
    assert not comes_in(made)
    sdk("UnRegisterDeviceCredential", ClientId="GID_Dev@@@1")
    assert not comes_in(fresh)


@needs_mosquitto
def test_clients_of_mosquitto_come_in_with_what_was_uploaded(server: Server, tmp_path: Path) -> None:
    """All modes; and whoever loses what was uploaded is refused, in a second or so."""
    sdk = Sdk(api_port(server))
    with Mosquitto(tmp_path, f"127.0.0.1:{server.port}", 0) as broker:

        def lets_in(client_id: str, username: str, password: bytes) -> bool:
            with MqttClient(Login(username, client_id, password), broker.port) as client:
                return client.connect()

        sdk("AddCustomAuthIdentity", Username="house", IdentityType="USER", Secret="key", SignMode="SIGNED")
        sdk("AddCustomAuthPermission", Identity="house", IdentityType="USER", Topic="h/${clientid}/#",
            PermitAction="PUB_SUB", Effect="ALLOW")  # fmt: skip
        with MqttClient(Login("house", "h-1", sign(b"key", "h-1")), broker.port) as client:
            assert client.connect()
            assert client.subscribe("h/h-1/+")
            assert not client.subscribe("h/#")
            client.publish("h/h-1/up")
            assert client.messages.get(timeout=PATIENCE) == "h/h-1/up"
        assert not lets_in("h-1", "house", b"key")
        token = sdk("ApplyToken", Resources="t/+", Actions="R", ExpireTime=now_ms() + HOUR_MS)["Token"]
        bearer = Login(f"Token|{KEY}|{INSTANCE}", "t-9", f"R|{token}".encode())
        with MqttClient(bearer, broker.port) as client:
            assert client.connect()
            assert client.subscribe("t/+")
            assert not client.subscribe("t/#")
        made = sdk("RegisterDeviceCredential", ClientId="GID_Dev@@@9")["DeviceCredential"]
        device = f"DeviceCredential|{made['DeviceAccessKeyId']}|{INSTANCE}"
        assert lets_in("GID_Dev@@@9", device, sign(made["DeviceAccessKeySecret"].encode(), "GID_Dev@@@9"))
        assert lets_in("s-9", f"Signature|AKdevice|{INSTANCE}", sign(SECRET.encode(), "s-9"))

        sdk("RevokeToken", Token=token)
        sdk("DeleteCustomAuthIdentity", Username="house", IdentityType="USER")
        until(lambda: not lets_in(bearer.client_id, bearer.username, bearer.password))
        until(lambda: not lets_in("h-1", "house", sign(b"key", "h-1")))


def test_a_key_that_devices_carry_lets_them_in_and_signs_no_call(server: Server) -> None:
    assert connects(server, "s-1", f"Signature|AKdevice|{INSTANCE}", sign(SECRET.encode(), "s-1"))
    error = Sdk(api_port(server), key="AKdevice").refused("QueryCustomAuthIdentity", Size=1)
    assert error.code == "InstancePermissionCheckFailed"


def api_pid(server: Server) -> int | None:
    for pid in server.alive():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"exhook.api.process" in command.split(b"\0"):
            return pid
    return None


def test_an_api_that_dies_is_replaced_and_takes_no_decider_with_it(server: Server) -> None:
    workers, port, old, call = server.workers(), api_port(server), api_pid(server), Signed()
    assert send(port, call.v3()).status == 200
    assert old
    os.kill(old, signal.SIGKILL)
    server.line("API died; another takes its place", exit_code=-signal.SIGKILL)
    with Asker(server.port) as broker:
        assert not broker.connects("c", "nobody", b"")
    until(lambda: _answers(port), what="the API on its port again")
    assert api_pid(server) != old
    assert server.workers() == workers
    assert send(port, call.v3()).code == "SignatureNonceUsed"


def test_sighup_takes_on_another_rate(server: Server) -> None:
    port = api_port(server)
    until(lambda: _answers(port))
    (server.folder / "exhook.toml").write_text("api_rate = 0.001\n")
    server.tell(signal.SIGHUP)
    server.line("API settings reloaded")
    codes = [send(port, Signed(key="AKtwo", secret="old").v3()).code for _ in range(2)]
    assert codes == ["", "Throttling.User"]
    (server.folder / "exhook.toml").write_text("api_rate = 0\n")
    since = len(server.lines)
    server.tell(signal.SIGHUP)
    server.line("API settings reloaded", since)


def test_calls_are_counted(server: Server) -> None:
    counted = 'exhook_api_calls_total{action="QueryCustomAuthIdentity",code="%s"}'
    before = server.metrics()
    send(api_port(server), Signed().v3())
    send(api_port(server), Signed(query={"InstanceId": INSTANCE}).v3())
    after = server.metrics()
    for code in ("success", "InvalidParameter"):
        assert after[counted % code] == before.get(counted % code, 0.0) + 1


def test_by_itself_it_serves_the_same_store_and_outlives_the_server(server: Server) -> None:
    """The server's workers follow before it answers, and a nonce that the one saw, the other knows."""
    with alone(server.db) as port:
        sdk, call = Sdk(port), Signed()
        assert send(port, call.v3()).status == 200
        assert send(api_port(server), call.v3()).code == "SignatureNonceUsed"
        with Asker(server.port) as broker:
            for turn in range(3):
                sdk(
                    "AddCustomAuthIdentity", Username="alone", IdentityType="USER", Secret=f"s{turn}", SignMode="ORIGIN"
                )
                assert broker.connects("c", "alone", f"s{turn}".encode())
        server.tell(signal.SIGTERM)
        assert server.ended() == 0
        assert server.alive() == set()
        sdk("DeleteCustomAuthIdentity", Username="alone", IdentityType="USER")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no address for the API"),
        (("--api", "0.0.0.0:0"), "is reached from other machines, unencrypted"),
        (("--api", "127.0.0.1:0", "--api-tls-cert", "missing"), "cannot have api_tls_cert without api_tls_key"),
        (("--api", "127.0.0.1:0", "--api-tls-cert", "missing", "--api-tls-key", "missing"), "cannot be used"),
        (("--api", "nowhere"), "is no ADDRESS:PORT"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(exhook: Exhook, arguments: tuple[str, ...], said: str) -> None:
    make_store(Path("exhook.db"))
    found = exhook("api", *arguments)
    assert found.code == 64
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@contextmanager
def alone(db: Path) -> Iterator[int]:
    """The port of `exhook api` on a store; ended by SIGTERM, which is no failure."""
    log = db.with_name("api.log")
    command = [sys.executable, "-m", "exhook", "api", "--api", "127.0.0.1:0", "--db", str(db), "--log-format", "json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")}
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment)

    def line() -> Line:
        assert process.poll() is None, log.read_text()
        return next((_parsed(text) for text in log.read_text().splitlines() if '"management API"' in text), {})

    try:
        yield port_of(until(line))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _parsed(text: str) -> Line:
    line: Line = json.loads(text)
    return line


def _answers(port: int) -> bool:
    try:
        return send(port, Signed().v3()).status == 200
    except OSError:
        time.sleep(0.02)
        return False
