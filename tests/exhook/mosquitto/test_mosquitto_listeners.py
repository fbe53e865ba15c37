"""Options, two listeners of one broker, unix sockets, and certificates."""

import contextlib
import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mosquitto_under_test import (
    ALL_SANITIZED,
    Broker,
    Deciding,
    RawMqtt,
    bridged,
    everyone,
    free_port,
    listener,
    needs_mosquitto,
    password_of,
    sanitizing,
    user,
)
from server_under_test import HOST, until
from worker_under_test import INSTANCE, Store, identity, instance, permission

from exhook.brokers.mosquitto.build import compiler
from store.records import Instance, SignMode

pytestmark = needs_mosquitto

NOT_LOADED = 3
"""Mosquitto's exit code: what the plugin answered."""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("plugin_opt_adress 127.0.0.1:9000", "plugin_opt_adress 127.0.0.1:9000: there is no such option"),
        ("plugin_opt_auth maybe", "give password or certificate"),
        ("plugin_opt_read_check yes", "give off, revoked, durable or on"),
        ("plugin_opt_cache_size -1", "give a whole number from 0 to 1000000"),
        ("plugin_opt_deadline_ms 300ms", "give a whole number from 10 to 10000"),
        ("plugin_opt_address 9000", "write HOST:PORT"),
        ("plugin_opt_address ::1:9000", "stands in brackets"),
        ("plugin_opt_address unix:relative", "begins with /"),
        ("plugin_opt_address nowhere.invalid:9000", "no such host"),
        ("plugin_opt_instance " + "x" * 256, "1 to 255 bytes"),
    ],
    ids=lambda value: value[:32] if value.startswith("plugin") else "",
)
def test_an_option_that_cannot_be_read_keeps_the_broker_from_starting(
    tmp_path: Path, mosquitto_plugin: Path, line: str, why: str
) -> None:
    broker = Broker(tmp_path, f"listener {free_port()} {HOST}\nplugin {mosquitto_plugin}\n{line}\n")
    broker._start()
    try:
        assert broker.ended() == NOT_LOADED
    finally:
        broker.kill()
    (said,) = [one for one in broker.said.splitlines() if one.startswith("exhook:")]
    assert why in said


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "exhook.db")
    made.put(instance(), *user("alice", "both a/#"))
    return made


def code_of(port: int, username: str, client_id: str = "c1", version: int = 4) -> int:
    with RawMqtt(port, version) as client:
        return client.connect(client_id, username, password_of(username))[3]


def test_two_listeners_ask_for_two_instances(tmp_path: Path, mosquitto_plugin: Path, store: Store) -> None:
    """One library, two listeners: nothing of one is in the other."""
    other = "mqtt-other"
    store.put(
        Instance(name=other, source="policy"),
        *(replace(record, instance=other) for record in user("bob", "both a/#")),  # type: ignore[call-arg] # both kinds have one
    )
    with Deciding(store, tmp_path) as server:
        address = f"{HOST}:{server.port}"
        configuration = "per_listener_settings true\n" + "".join(
            listener(mosquitto_plugin, address, f"plugin_opt_instance {name}", f"plugin_opt_node {name}-node")
            for name in (INSTANCE, other)
        )
        with Broker(tmp_path, configuration) as broker:
            first, second = broker.ports
            assert [code_of(first, "alice"), code_of(first, "bob")] == [0, 5]
            assert [code_of(second, "alice"), code_of(second, "bob")] == [5, 0]
            assert {one["node"] for one in server.decisions(result="allow")} == {f"{INSTANCE}-node", f"{other}-node"}
            with RawMqtt(first) as alice, RawMqtt(second) as bob:
                alice.connect("c1", "alice", b"pw-alice")
                bob.connect("c2", "bob", b"pw-bob")
                assert alice.publish("a/x")[0] == bob.publish("a/x")[0] == 0x40
                alice.subscribe("a/#")
                store.put(everyone("a/x"))  # of the first instance
                until(lambda: cut_off(alice))
                assert bob.ping() == bytes.fromhex("d000")
                assert bob.publish("a/x")[0] == 0x40
            broker.tell(signal.SIGHUP)
            until(lambda: "Reloading config" in broker.said)
            assert code_of(second, "bob") == 0
            assert broker.stop() == 0


def cut_off(client: RawMqtt) -> bool:
    """Whether a client is disconnected or, by a broker that has no ticks for such listeners, hears nothing more."""
    try:
        client.publish("a/x")
        return not client.messages(0.05)
    except OSError:
        return True


@pytest.mark.parametrize("option", ["revoked", "durable", "on"])
def test_who_is_cut_off_stays_so_when_the_broker_reloads(
    tmp_path: Path, mosquitto_plugin: Path, store: Store, option: str
) -> None:
    """Mosquitto asks anew about everyone then, which gives nobody back what was taken."""
    grant = permission("alice", "secret/#")
    store.put(grant, *user("bob", "pub secret/#"))
    with Deciding(store, tmp_path) as server:
        options = listener(mosquitto_plugin, f"{HOST}:{server.port}", f"plugin_opt_read_check {option}")
        configuration = f"per_listener_settings true\n{options}"
        with Broker(tmp_path, configuration) as broker, RawMqtt(broker.port) as alice, RawMqtt(broker.port) as bob:
            alice.connect("c1", "alice", b"pw-alice")
            bob.connect("c2", "bob", b"pw-bob")
            alice.subscribe("secret/#")
            assert hears(alice, bob, "secret/x")
            store.remove(grant)
            until(lambda: not hears(alice, bob, "secret/x"))
            broker.tell(signal.SIGHUP)
            until(lambda: len(server.decisions(client_id="c2", hook="authenticate")) == 2)
            assert not hears(alice, bob, "secret/x")


def hears(client: RawMqtt, publisher: RawMqtt, topic: str) -> bool:
    """Whether a message reaches a client, which a broker that has ticks may have disconnected."""
    publisher.publish(topic)
    with contextlib.suppress(OSError):
        return bool(client.messages())
    return False


def test_an_instance_that_there_is_not_decides_nothing_but_deny(
    tmp_path: Path, mosquitto_plugin: Path, store: Store
) -> None:
    with Deciding(store, tmp_path) as server:
        options = listener(mosquitto_plugin, f"{HOST}:{server.port}", "plugin_opt_instance mqtt-tset")
        with Broker(tmp_path, options) as broker:
            assert code_of(broker.port, "alice") == 5


def test_a_rule_of_the_server_may_name_another_instance(tmp_path: Path, mosquitto_plugin: Path, store: Store) -> None:
    rule = {"name": "plant", "cluster": "plant-a", "instance": INSTANCE}
    with Deciding(store, tmp_path, listeners=[rule]) as server:
        options = listener(mosquitto_plugin, f"{HOST}:{server.port}", "plugin_opt_instance plant-a")
        with Broker(tmp_path, options) as broker:
            assert code_of(broker.port, "alice") == 0
            assert server.decisions()[-1]["listener"] == "plant"


@pytest.mark.parametrize(("option", "delivered"), [("off", True), ("revoked", True), ("durable", True), ("on", False)])
def test_read_checks(tmp_path: Path, mosquitto_plugin: Path, option: str, delivered: bool) -> None:
    """A denial that stood before the subscription keeps its messages from it only where deliveries are asked about."""
    records = (*user("alice", "both a/#"), *user("bob", "pub a/#"))
    with bridged(tmp_path, mosquitto_plugin, f"plugin_opt_read_check {option}", records=records) as bridge:
        alice = bridge.connected("c1", "alice")
        alice.subscribe("a/#")
        bob = bridge.connected("c2", "bob")
        bob.publish("a/x", b"heard")
        assert alice.message() == ("a/x", b"heard")
        # Kept from the plugin by another grantee's name: nobody is disconnected, since nobody here lost it.
        durable = bridge.connected("c3", "alice", clean=False)
        durable.subscribe("a/#")
        bob.publish("a/y", b"heard")
        assert durable.message() == ("a/y", b"heard")
        asked = bridge.server.decisions(client_id="c1", topic="a/x", hook="subscribe")
        assert bool(asked) is not delivered
        asked = bridge.server.decisions(client_id="c3", topic="a/y", hook="subscribe")
        assert bool(asked) is (option in ("durable", "on"))


def test_the_cache_forgets(tmp_path: Path, mosquitto_plugin: Path) -> None:
    options = ("plugin_opt_cache_size 2", "plugin_opt_cache_seconds 1")
    with bridged(tmp_path, mosquitto_plugin, *options, records=user("alice", "both a/#")) as bridge:
        alice = bridge.connected("c1", "alice", 5)

        def asked(topic: str) -> int:
            return len(bridge.server.decisions(topic=topic))

        for _ in range(3):
            alice.publish("a/1")
            alice.publish("b/1")
        assert (asked("a/1"), asked("b/1")) == (1, 1)
        alice.publish("a/2")
        alice.publish("a/1")  # was the least used: it made room
        assert asked("a/1") == 2
        until(lambda: alice.publish("a/2") and asked("a/2") >= 2)


def test_without_a_cache_every_operation_is_asked_about(tmp_path: Path, mosquitto_plugin: Path) -> None:
    with bridged(tmp_path, mosquitto_plugin, "plugin_opt_cache_size 0", records=user("alice", "both a/#")) as bridge:
        alice = bridge.connected("c1", "alice", 5)
        for _ in range(3):
            alice.publish("a/1")
        assert len(bridge.server.decisions(topic="a/1")) == 3


def test_a_client_that_comes_by_a_unix_socket_has_no_address(
    tmp_path: Path, mosquitto_plugin: Path, store: Store
) -> None:
    path = Path("/tmp") / f"exhook-{os.getpid()}.sock"  # noqa: S108 - a socket's path is short
    with Deciding(store, tmp_path) as server:
        options = listener(mosquitto_plugin, f"{HOST}:{server.port}")
        with Broker(tmp_path, f"listener 0 {path}\n{options}") as broker:
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(path))
            with RawMqtt(broker.port, sock=one) as client:
                assert client.connect("c1", "alice", b"pw-alice") == bytes.fromhex("20020000")
            assert server.decisions(client_id="c1")[0].get("address", "") == ""
    path.unlink(missing_ok=True)


def test_a_server_on_a_unix_socket(tmp_path: Path, mosquitto_plugin: Path, store: Store) -> None:
    path = Path("/tmp") / f"exhook-server-{os.getpid()}.sock"  # noqa: S108 - a socket's path is short
    with (
        Deciding(store, tmp_path, carrier="h2", unix_socket=path),
        Broker(tmp_path, listener(mosquitto_plugin, f"unix:{path}")) as broker,
    ):
        assert [code_of(broker.port, "alice"), code_of(broker.port, "bob")] == [0, 5]
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_a_server_whose_name_has_several_addresses(
    tmp_path: Path, mosquitto_plugin: Path, store: Store, silent: bool
) -> None:
    """It listens at the last; at the first nobody does, or somebody who takes no connection."""
    with ExitStack() as stack:
        server = stack.enter_context(Deciding(store, tmp_path))
        if silent:
            stack.enter_context(busy(FIRST_ADDRESS, server.port))
        options = listener(mosquitto_plugin, f"several.test:{server.port}")
        broker = stack.enter_context(Broker(tmp_path, options, **several_addresses(tmp_path)))
        until(lambda: code_of(broker.port, "alice") == 0)
        client = stack.enter_context(RawMqtt(broker.port))
        assert client.connect("c2", "alice", b"pw-alice") == bytes.fromhex("20020000")
        store.remove(identity("alice", b"pw-alice"))
        assert client.gone()  # the connection by which changes are asked for found the way, too


FIRST_ADDRESS = "127.0.0.2"


def several_addresses(folder: Path) -> dict[str, str]:
    """The environment of a broker to which several.test is FIRST_ADDRESS and HOST."""
    shim, program = folder / "several_addresses.so", compiler()
    assert program is not None
    source = Path(__file__).with_name("several_addresses.c")
    subprocess.run([program, "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    before = sanitizing()["LD_PRELOAD"] + " " if ALL_SANITIZED else ""
    return {"LD_PRELOAD": f"{before}{shim}", "FIRST_ADDRESS": FIRST_ADDRESS}


@contextlib.contextmanager
def busy(host: str, port: int) -> Iterator[None]:
    """Somebody who listens, and whose queue is full: whoever connects hears nothing."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((host, port))
        yield


# Certificates


class Authority:
    """Makes certificates, and files of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")])
        self.file = folder / "ca.crt"
        self.file.write_bytes(_pem(self._sign(self._name, self._key.public_key(), ca=True)))

    def make(self, name: str, *attributes: tuple[x509.ObjectIdentifier, str]) -> tuple[Path, Path]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
        certificate, secret = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(_pem(self._sign(subject, key.public_key())))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool = False) -> x509.Certificate:
        today = dt.datetime.now(dt.UTC)
        local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - dt.timedelta(days=1))
            .not_valid_after(today + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(local, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def tls(authority: Authority, port: int, certificate: tuple[Path, Path]) -> RawMqtt:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(*map(str, certificate))
    plain = socket.create_connection((HOST, port))
    return RawMqtt(port, sock=context.wrap_socket(plain, server_hostname=HOST))


def certificate_lines(authority: Authority, *more: str) -> tuple[str, ...]:
    certificate, key = authority.make("server", (NameOID.COMMON_NAME, HOST))
    return (f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true", *more)


def test_a_listener_that_lets_in_by_certificate(
    tmp_path: Path, mosquitto_plugin: Path, store: Store, authority: Authority
) -> None:
    """No BASIC_AUTH is called there: every operation proves that the identity is one of certificates, and still is."""
    store.put(
        identity("pump", mode=SignMode.EXTERNAL), permission("pump", "p/${cn}/#"), permission("alice", "p/#"),
    )  # fmt: skip
    pump = authority.make("pump", (NameOID.ORGANIZATION_NAME, "Plant, Ltd"), (NameOID.COMMON_NAME, "pump"))
    alice = authority.make("alice", (NameOID.COMMON_NAME, "alice"))
    lines = certificate_lines(authority, "use_identity_as_username true", "plugin_opt_auth certificate")
    with (
        Deciding(store, tmp_path) as server,
        Broker(tmp_path, listener(mosquitto_plugin, f"{HOST}:{server.port}", *lines)) as broker,
    ):
        with tls(authority, broker.port, pump) as client:
            assert client.connect("c1") == bytes.fromhex("20020000")
            assert client.subscribe("p/pump/#") == bytes.fromhex("9003000100")
            assert client.subscribe("p/other/#") == bytes.fromhex("9003000180")
            client.publish("p/pump/x", b"own")
            assert client.message() == ("p/pump/x", b"own")
        # A certificate that is named like an identity with a password inherits nothing from it.
        with tls(authority, broker.port, alice) as client:
            assert client.connect("c2") == bytes.fromhex("20020000")
            assert client.subscribe("p/#") == bytes.fromhex("9003000180")
        assert server.decisions(username="alice", hook="subscribe")[0]["reason"] == "external_only"
        # Nobody is let in there by a password.
        with tls(authority, broker.port, pump) as client:
            client.connect("c3")
            assert client.publish("p/pump/x")[0] == 0x40
            store.remove(identity("pump", mode=SignMode.EXTERNAL))
            assert client.gone()


def test_a_certificate_beside_a_password(
    tmp_path: Path, mosquitto_plugin: Path, store: Store, authority: Authority
) -> None:
    """The certificate's name is a placeholder's value; the password proves."""
    store.put(permission("alice", "machines/${cn}"))
    one = authority.make("machine", (NameOID.COMMON_NAME, "Maschine-ß"))
    lines = certificate_lines(authority)
    with (
        Deciding(store, tmp_path) as server,
        Broker(tmp_path, listener(mosquitto_plugin, f"{HOST}:{server.port}", *lines)) as broker,
    ):
        with tls(authority, broker.port, one) as client:
            assert client.connect("c1", "alice", b"guess") == bytes.fromhex("20020005")
        with tls(authority, broker.port, one) as client:
            assert client.connect("c1", "alice", b"pw-alice") == bytes.fromhex("20020000")
            assert client.subscribe("machines/Maschine-ß") == bytes.fromhex("9003000100")
            assert client.subscribe("machines/other") == bytes.fromhex("9003000180")
