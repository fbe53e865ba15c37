"""Token mode through Mosquitto: what a client may do hangs on the tokens of its last CONNECT, cache or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mosquitto_under_test import Bridge, RawMqtt, bridged, needs_mosquitto, user
from test_token_mode import KEY, TOKEN, end, issued

pytestmark = needs_mosquitto

DENIED = 0x87


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, mosquitto_plugin: Path) -> Iterator[Bridge]:
    """Deliveries to sessions that outlive their connections are asked about, too."""
    records = [KEY, *user("bob", "pub #"), *user("carol", "sub b/#")]
    options = "plugin_opt_read_check durable"
    with bridged(tmp_path_factory.mktemp("tokens"), mosquitto_plugin, options, records=records) as bridge:
        yield bridge


@pytest.fixture
def bridge(one: Bridge) -> Iterator[Bridge]:
    yield one
    one.close()


def shown(bridge: Bridge, client_id: str, token: str, **more: Any) -> RawMqtt:
    """A client that has come in by a token."""
    client = bridge.client(5)
    answer = client.connect(client_id, TOKEN, f"RW|{token}".encode(), **more)
    assert answer[3] == 0, answer.hex()
    return client


def may_publish(client: RawMqtt, topic: str) -> bool:
    return client.publish(topic)[4] != DENIED


def may_subscribe(client: RawMqtt, topic: str) -> bool:
    return client.subscribe(topic)[-1] != DENIED


def test_a_token_gives_what_it_names_and_is_asked_about_once(bridge: Bridge) -> None:
    client = shown(bridge, "once", issued(bridge.store, "a/#"))
    assert [may_publish(client, topic) for topic in ("a/1", "b/1", "a/1", "b/1")] == [True, False, True, False]
    assert [may_subscribe(client, topic) for topic in ("a/#", "b/#")] == [True, False]
    assert len(bridge.server.decisions(hook="publish", client_id="once")) == 2


def test_who_comes_back_with_another_token_has_what_that_one_gives(bridge: Bridge) -> None:
    """Nothing that was decided under the token before holds, whether it allowed or denied."""
    wide, narrow = issued(bridge.store, "a/#", "b/#"), issued(bridge.store, "a/#")
    for token, more in ((narrow, False), (wide, True), (narrow, False)):
        client = shown(bridge, "c1", token)
        assert may_publish(client, "a/1")
        assert may_publish(client, "b/1") is more
        assert may_subscribe(client, "b/1") is more
        client.disconnect()


def test_who_takes_its_own_place_has_what_the_new_token_gives(bridge: Bridge) -> None:
    wide, narrow = issued(bridge.store, "a/#", "b/#"), issued(bridge.store, "a/#")
    first = shown(bridge, "same", wide)
    assert may_publish(first, "b/1")
    second = shown(bridge, "same", narrow)
    assert first.gone()
    assert not may_publish(second, "b/1")


def test_others_with_tokens_do_not_empty_what_is_kept_of_a_client(bridge: Bridge) -> None:
    token = issued(bridge.store, "a/#")
    client = shown(bridge, "kept", token)
    for number in range(3):
        assert may_publish(client, "a/1")
        shown(bridge, f"other-{number}", token)
    assert len(bridge.server.decisions(hook="publish", client_id="kept")) == 1


def test_a_session_that_is_away_gets_what_its_last_token_gives(bridge: Bridge) -> None:
    """Mosquitto asks at each delivery to it, and about what waits for it when it comes back."""
    wide, narrow = issued(bridge.store, "a/#", "b/#"), issued(bridge.store, "a/#")
    bob = bridge.connected("bob", "bob")
    durable: dict[str, Any] = {"clean": False, "expiry": 600}
    away = shown(bridge, "away", wide, **durable)
    assert away.subscribe("b/1", qos=1)[-1] == 1
    for token, payload in ((wide, b"one"), (narrow, b"two"), (wide, b"three"), (wide, b"four")):
        shown(bridge, "away", token, **durable).disconnect()
        bob.publish("b/1", payload)
    assert shown(bridge, "away", wide, **durable).messages() == [("b/1", b"three"), ("b/1", b"four")]


def test_a_will_is_decided_by_the_token_it_came_with(bridge: Bridge) -> None:
    wide, narrow = issued(bridge.store, "a/#", "b/#"), issued(bridge.store, "a/#")
    listening = bridge.connected("listening", "carol")
    listening.subscribe("b/#")
    for token in (wide, narrow, wide):
        dying = shown(bridge, "dying", token, will=("b/will", token.encode()))
        dying.socket.close()
    assert listening.messages(0.5) == [("b/will", wide.encode())] * 2


def test_a_token_that_is_revoked_ends_its_connection(bridge: Bridge) -> None:
    token, other = issued(bridge.store, "a/#"), issued(bridge.store, "a/#")
    client = shown(bridge, "ended", token)
    assert may_publish(client, "a/1")
    end(bridge.store, token)
    assert client.gone()
    assert may_publish(shown(bridge, "ended", other), "a/1")
