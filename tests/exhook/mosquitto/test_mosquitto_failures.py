"""With the server killed, frozen, restarted: everything fails closed, and the broker goes on."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto_under_test import Bridge, bridged, needs_mosquitto, user
from server_under_test import until

pytestmark = needs_mosquitto

DEADLINE_MS = 400
PONG = bytes.fromhex("d000")
REFUSED = bytes.fromhex("20020005")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, mosquitto_plugin: Path) -> Iterator[Bridge]:
    records = (*user("alice", "both a/#"), *user("bob", "sub a/#"))
    options = f"plugin_opt_deadline_ms {DEADLINE_MS}"
    with bridged(tmp_path_factory.mktemp("failures"), mosquitto_plugin, options, records=records) as bridge:
        yield bridge


@pytest.fixture
def bridge(one: Bridge) -> Iterator[Bridge]:
    until(lambda: one.lets_in("probe", "alice"))
    yield one
    one.close()


def test_the_first_connect_after_a_restart_of_the_server_succeeds(bridge: Bridge) -> None:
    bridge.connected("c1", "alice")
    bridge.server.kill()
    bridge.server.start()
    bridge.connected("c2", "alice")


def test_a_killed_server(bridge: Bridge) -> None:
    alice = bridge.connected("c1", "alice", 5)
    assert alice.publish("a/cached")[4] != 0x87
    bridge.server.kill()
    try:
        # What is known of the last minute holds; what is not is denied; nobody waits.
        assert alice.publish("a/cached")[4] != 0x87
        assert alice.publish("a/new")[4] == 0x87
        assert alice.subscribe("a/new") == bytes.fromhex("900400010087")
        assert bridge.client().connect("c2", "alice", b"pw-alice") == REFUSED
        assert bridge.client(5).connect("c2", "alice", b"pw-alice") == bytes.fromhex("2003008700")
        assert alice.ping() == PONG
    finally:
        bridge.server.start()
    until(lambda: bridge.lets_in("c2", "alice"))
    # A failure was not kept.
    assert alice.publish("a/new")[4] != 0x87
    bridge.broker.says("cannot be reached")
    bridge.broker.says("answers again")


def test_a_session_that_is_away_loses_nothing_by_a_server_that_is_away_too(bridge: Bridge) -> None:
    """Nothing was taken from it: nobody is asked about what is delivered to it."""
    alice = bridge.connected("c1", "alice")
    alice.publish("a/x", b"heard by nobody")
    away = bridge.connected("away", "bob", clean=False)
    away.subscribe("a/#", qos=1)
    away.disconnect()
    bridge.server.kill()
    try:
        alice.publish("a/x", b"one")
    finally:
        bridge.server.start()
    until(lambda: bridge.lets_in("probe", "alice"))
    alice.publish("a/y", b"two")
    back = bridge.connected("away", "bob", clean=False)
    assert back.messages() == [("a/x", b"one"), ("a/y", b"two")]
    assert [one["topic"] for one in bridge.server.decisions(hook="subscribe", client_id="away")] == ["a/#"]
    back.disconnect()
    bridge.connected("away", "bob")


def test_sighup_while_the_server_is_away_disconnects_everyone(bridge: Bridge) -> None:
    """Mosquitto asks anew about everyone, and nobody says yes."""
    client = bridge.connected("c1", "alice")
    bridge.server.kill()
    try:
        bridge.broker.tell(signal.SIGHUP)
        assert client.gone()
    finally:
        bridge.server.start()


def test_a_frozen_server_costs_a_bystander_one_deadline(bridge: Bridge) -> None:
    bystander = bridge.connected("c1", "bob")
    clients = [bridge.client() for _ in range(5)]
    bridge.server.tell(signal.SIGSTOP)
    try:
        for client in clients:
            client.send_connect("x", "alice", b"pw-alice")
        began = time.monotonic()
        assert bystander.ping() == PONG
        waited = time.monotonic() - began
        assert [client.read() for client in clients] == [REFUSED] * 5
    finally:
        bridge.server.tell(signal.SIGCONT)
    # One deadline, not five; the rest is for a shared machine.
    assert waited < 3 * DEADLINE_MS / 1000
    bridge.broker.says("does not answer in time")
    until(lambda: bridge.lets_in("c9", "alice"))


def test_answers_that_deny_never_open_the_breaker(bridge: Bridge) -> None:
    for number in range(50):
        assert bridge.client().connect(f"guess-{number}", "alice", b"guess") == REFUSED
        bridge.close()
    bridge.connected("c1", "alice")


def test_a_broker_that_starts_before_its_server(tmp_path: Path, mosquitto_plugin: Path) -> None:
    with bridged(tmp_path, mosquitto_plugin, records=user("alice")) as bridge:
        bridge.server.kill()
        bridge.broker.stop()
        with bridge.broker:
            assert bridge.client().connect("c1", "alice", b"pw-alice") == REFUSED
            bridge.server.start()
            until(lambda: bridge.lets_in("c1", "alice"))
            assert '"event": "loaded by a broker"' in bridge.server.log.read_text()
            assert bridge.broker.stop() == 0


def test_a_thousand_clients(bridge: Bridge) -> None:
    """All connected at once, each heard by one; then a change for all of them, and they go."""
    bridge.store.put(*user("fleet", "pub a/fleet"))
    listening = bridge.connected("listening", "bob")
    listening.subscribe("a/fleet")
    clients = []
    for number in range(1000):
        client = bridge.client()
        assert client.connect(f"fleet-{number}", "fleet", b"pw-fleet")[3:] == b"\0"
        clients.append(client)
    for client in clients:
        client.send_publish("a/fleet", qos=0)
    assert len(listening.messages(20, 1000)) == 1000
    bridge.store.put(*user("fleet", "pub a/other"), *user("fleet", "deny a/fleet"))
    began = time.monotonic()
    assert all(client.gone() for client in clients)
    assert time.monotonic() - began < 20
    assert listening.ping() == PONG
