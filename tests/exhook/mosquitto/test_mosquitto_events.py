"""Every row of the bridge's event table, from the side of the client: the bytes that Mosquitto answers with."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto_under_test import SILENCE, Bridge, bridged, everyone, needs_mosquitto, password_of, user
from server_under_test import until
from worker_under_test import identity

pytestmark = needs_mosquitto

NOT_UTF8 = b"\xff\xfe\x80"
RECORDS = (
    *user("alice", "both a/#", "sub wide/+", "deny a/secret/#"),
    *user("bob", "pub a/#", "sub b/#"),
    *user("carol", "sub a/#"),
    identity("binary", NOT_UTF8),
)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, mosquitto_plugin: Path) -> Iterator[Bridge]:
    with bridged(tmp_path_factory.mktemp("events"), mosquitto_plugin, records=RECORDS) as bridge:
        yield bridge


@pytest.fixture
def bridge(one: Bridge) -> Iterator[Bridge]:
    yield one
    one.close()


class TestConnect:
    def test_who_proves_itself_is_let_in(self, bridge: Bridge) -> None:
        assert bridge.client().connect("c1", "alice", b"pw-alice") == bytes.fromhex("20020000")
        assert bridge.client(5).connect("c2", "alice", b"pw-alice")[2:4] == b"\0\0"

    @pytest.mark.parametrize(
        ("username", "password"),
        [("alice", b"guess"), ("mallory", b"guess"), ("alice", b""), ("alice", None), (None, None)],
        ids=["wrong password", "unknown", "empty password", "no password", "anonymous"],
    )
    def test_all_others_are_not(self, bridge: Bridge, username: str | bytes | None, password: bytes | None) -> None:
        assert bridge.client().connect("c1", username, password) == bytes.fromhex("20020005")
        assert bridge.client(5).connect("c1", username, password) == bytes.fromhex("2003008700")

    @pytest.mark.parametrize("version", [4, 5])
    def test_names_that_are_not_utf8_are_nobodys(self, bridge: Bridge, version: int) -> None:
        """Mosquitto hangs up on some of them by itself."""
        for client_id, username in ((b"c1", NOT_UTF8), (NOT_UTF8, b"alice"), (b"c1", b"a\xed\xa0\x80")):
            answer = bridge.client(version).connect(client_id, username, b"pw-alice")
            assert answer == b"" or answer[3] != 0, answer.hex()

    def test_a_password_is_bytes(self, bridge: Bridge) -> None:
        assert bridge.client().connect("c1", "binary", NOT_UTF8) == bytes.fromhex("20020000")
        assert bridge.client().connect("c1", "binary", NOT_UTF8[:2]) == bytes.fromhex("20020005")

    def test_mosquitto_cuts_a_password_at_a_nul(self, bridge: Bridge) -> None:
        assert bridge.client().connect("c1", "alice", b"pw-alice\0more") == bytes.fromhex("20020000")
        assert bridge.client().connect("c1", "alice", b"pw\0-alice") == bytes.fromhex("20020005")

    def test_an_empty_client_id_comes_as_one_that_the_broker_made_up(self, bridge: Bridge) -> None:
        assert bridge.client().connect("", "alice", b"pw-alice") == bytes.fromhex("20020000")
        made_up = bridge.server.decisions(hook="authenticate", username="alice", result="allow")[-1]["client_id"]
        assert len(made_up) > 10

    def test_the_address_and_the_broker_are_told(self, bridge: Bridge) -> None:
        bridge.connected("told", "alice")
        (told,) = bridge.server.decisions(hook="authenticate", client_id="told")
        assert told["address"] == "127.0.0.1"
        assert told["node"].startswith("mosquitto@")


class TestSubscribe:
    def test_what_is_granted(self, bridge: Bridge) -> None:
        assert bridge.connected("c1", "carol").subscribe("a/#", qos=1) == bytes.fromhex("9003000101")
        assert bridge.connected("c2", "alice", 5).subscribe("a/x", qos=2) == bytes.fromhex("900400010002")

    @pytest.mark.parametrize("topic", ["b/x", "#", "+/x", "wide/#", "a/secret/x", "a/+/x/secret/../#"])
    def test_what_is_not(self, bridge: Bridge, topic: str) -> None:
        assert bridge.connected("c1", "bob").subscribe(topic.replace("b/x", "c/x")) == bytes.fromhex("9003000180")
        assert bridge.connected("c2", "bob", 5).subscribe(topic.replace("b/x", "c/x")) == bytes.fromhex("900400010087")

    def test_a_wider_filter_does_not_step_over_a_deny(self, bridge: Bridge) -> None:
        bridge.store.put(everyone("wide/vault"))
        until(lambda: bridge.connected("c1", "alice").subscribe("wide/+") == bytes.fromhex("9003000180"))

    def test_each_filter_has_its_own_answer(self, bridge: Bridge) -> None:
        assert bridge.connected("c1", "alice").subscribe("a/x", "b/x", "a/y") == bytes.fromhex("90050001008000")

    @pytest.mark.parametrize(
        ("topic", "granted"),
        [
            ("$share/g/a/x", True),
            ("$share/g/b/x", False),
            ("$share/g/#", False),
            ("$share/+/a/x", False),
            ("$share/g/$share/g/a/x", False),
            ("$queue/a/x", False),
        ],
    )
    def test_a_shared_subscription_is_read_as_what_it_shares(self, bridge: Bridge, topic: str, granted: bool) -> None:
        code = bridge.connected("c1", "alice", 5).subscribe(topic)[-1:]
        # 0x8F and 0x97 are Mosquitto's own: it refuses some of these before it asks.
        assert (code == b"\0") is granted, code.hex()

    def test_unsubscribing_is_always_allowed(self, bridge: Bridge) -> None:
        assert bridge.connected("c1", "bob").unsubscribe("never/had") == bytes.fromhex("b0020002")


class TestPublish:
    def test_what_is_granted_arrives(self, bridge: Bridge) -> None:
        listening = bridge.connected("c1", "carol")
        listening.subscribe("a/#")
        assert bridge.connected("c2", "bob").publish("a/x", b"one") == bytes.fromhex("40020003")
        assert listening.message() == ("a/x", b"one")

    def test_what_is_not_is_dropped_and_acknowledged_as_each_version_can(self, bridge: Bridge) -> None:
        listening = bridge.connected("c1", "carol")
        listening.subscribe("a/#")
        old, new = bridge.connected("c2", "alice"), bridge.connected("c3", "alice", 5)
        assert old.publish("a/secret/x", qos=1) == bytes.fromhex("40020003")
        assert old.publish("a/secret/x", qos=2) == bytes.fromhex("50020003")
        assert new.publish("a/secret/x", qos=1)[:5] == bytes.fromhex("4003000387")
        assert new.publish("a/secret/x", qos=2)[:5] == bytes.fromhex("5003000387")
        for client in (old, new):
            client.send_publish("a/secret/x", qos=0)
            assert client.ping() == bytes.fromhex("d000")
        assert listening.messages() == []

    def test_a_topic_that_is_not_utf8_is_no_topic(self, bridge: Bridge) -> None:
        client = bridge.connected("c1", "alice")
        client.send_publish(b"a/\xff")
        assert client.gone()
        assert bridge.connected("c2", "alice").ping() == bytes.fromhex("d000")

    def test_a_denied_message_is_not_retained(self, bridge: Bridge) -> None:
        bob, alice = bridge.connected("c1", "bob"), bridge.connected("c2", "alice")
        bob.publish("a/kept", b"one", retain=True)
        bob.publish("b/kept", b"two", retain=True)
        alice.subscribe("a/kept")
        assert alice.message() == ("a/kept", b"one")
        bob.subscribe("b/kept")
        assert bob.messages() == []
        bob.publish("a/kept", b"", retain=True)

    @pytest.mark.parametrize("version", [4, 5])
    def test_a_will_is_asked_about(self, bridge: Bridge, version: int) -> None:
        listening = bridge.connected("c1", "carol")
        listening.subscribe("a/#")
        for topic in ("a/will", "a/secret/will", "b/will"):
            dying = bridge.connected("c2", "alice", version, will=(topic, b"gone"))
            dying.socket.close()
        assert listening.messages(SILENCE * 2) == [("a/will", b"gone")]


def test_deliveries_are_not_asked_about(bridge: Bridge) -> None:
    """As EMQX has it: what stands is delivered."""
    listening = bridge.connected("reading", "carol")
    listening.subscribe("a/#")
    bridge.connected("c2", "bob").publish("a/secret/x", b"delivered")
    assert listening.message() == ("a/secret/x", b"delivered")
    assert bridge.server.decisions(client_id="reading", topic="a/secret/x") == []


def test_sighup_asks_about_everyone_anew(bridge: Bridge) -> None:
    client = bridge.connected("hup", "alice")
    asked = len(bridge.server.decisions(hook="authenticate", client_id="hup"))
    bridge.broker.tell(signal.SIGHUP)
    until(lambda: len(bridge.server.decisions(hook="authenticate", client_id="hup")) > asked)
    assert bridge.server.decisions(hook="authenticate", client_id="hup")[-1]["result"] == "allow"
    assert client.ping() == bytes.fromhex("d000")
    assert password_of("alice") not in bridge.broker.log.read_bytes()
