"""`exhook demo --against`: brokers that are there, their cluster's API, a client that loses its right."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from commands_under_test import Exhook
from emqx_api_under_test import KEY, SECRET, EmqxApiUnderTest, exhook_entry
from mosquitto_under_test import Broker, listener, needs_mosquitto
from mqtt_node_under_test import MqttNode
from server_under_test import HOST, Server, port_of

from exhook.brokers.emqx_cluster import API_KEY_VARIABLE
from exhook.demo.against import alike
from exhook.demo.cluster import ClusterApi
from exhook.demo.outcome import Outcome
from exhook.demo.script import SCRIPT

POLICY = (files("exhook.demo") / "policy.yaml").read_text(encoding="utf-8")
REVOKED = [
    ("a sensor, by signature", "let in"),
    ("… is known to the cluster", "there"),
    ("… blacklisted while connected", "disconnected"),
    ("… and the cluster forgot it", "no session left"),
    ("… comes back", "refused"),
    ("… taken off the blacklist", "let in"),
]
AT_THE_BROKER = [one for one in REVOKED if "cluster" not in one[0]]


@pytest.fixture
def api() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def serving(folder: Path, *options: str, policy: str = POLICY, **environment: str) -> Server:
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")
    return Server(folder, "--policy", str(folder / "policy.yaml"), *options, **environment)


def broker_of(server: Server) -> int:
    return port_of(server.line("embedded broker, for trying: MQTT 3.1.1 alone"))


def against(*ports: int) -> list[str]:
    return [part for port in ports for part in ("--against", f"{HOST}:{port}")]


def told(exhook: Exhook, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = exhook("demo", *arguments, "--json", EXHOOK_EMQX_API_KEY=f"{KEY}:{SECRET}")
    assert done.code == code, done
    assert SECRET not in done.out + done.err
    outcomes: list[dict[str, Any]] = json.loads(done.out)
    return outcomes


def test_a_cluster_of_two_nodes(exhook: Exhook, api: EmqxApiUnderTest, tmp_path: Path) -> None:
    """The server ends the session of whom it revokes, through the API, and the client sees it."""
    config = tmp_path / "exhook.toml"
    config.write_text(f'[[emqx]]\nname = "plant"\nurl = "{api.url}"\n', encoding="utf-8")
    key = {API_KEY_VARIABLE: f"{KEY}:{SECRET}"}
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, "--with-broker", "0", "--config", str(config), **key))
        nodes = [stack.enter_context(MqttNode(broker_of(server), api)) for _ in range(2)]

        def cut(client_id: str) -> None:
            for node in nodes:
                node.cut(client_id)

        api.cut = cut
        options = [*against(*(node.port for node in nodes)), "--emqx-api", api.url, "--db", str(server.db)]
        outcomes = told(exhook, *options)
    assert all(one["as_the_policy_says"] for one in outcomes), outcomes
    loaded, *rest = outcomes
    assert loaded["happened"] == "emqx@node1 connected, emqx@node2 connected"
    scripts, (alike, *revoked) = rest[: 2 * len(SCRIPT)], rest[2 * len(SCRIPT) :]
    assert [one["title"] for one in scripts] == 2 * [step.title for step in SCRIPT]
    assert {one["broker"] for one in scripts} == {f"{HOST}:{node.port}" for node in nodes}
    assert alike["happened"] == "the same answers"
    assert [(one["title"], one["happened"]) for one in revoked] == 2 * REVOKED
    assert api.disconnected == 2 * ["GID_Sensors@@@0002"]


def test_without_the_store_the_api_ends_a_session(exhook: Exhook, api: EmqxApiUnderTest, tmp_path: Path) -> None:
    with serving(tmp_path, "--with-broker", "0") as server, MqttNode(broker_of(server), api) as node:
        api.cut = node.cut
        outcomes = told(exhook, *against(node.port), "--emqx-api", api.url)
        assert [one["happened"] for one in outcomes[-3:]] == ["let in", "there", "disconnected"]
        api.cut = lambda _client_id: None
        api.fail = lambda method, _path: (403, {"code": "FORBIDDEN"}) if method == "DELETE" else None
        *_, last = told(exhook, *against(node.port), "--emqx-api", api.url, code=1)
        assert "refuses the API key" in last["happened"]


@needs_mosquitto
def test_mosquitto_cuts_off_whom_the_store_revokes(exhook: Exhook, tmp_path: Path, mosquitto_plugin: Path) -> None:
    with serving(tmp_path) as server:
        lines = listener(mosquitto_plugin, f"{HOST}:{server.port}", "plugin_opt_deadline_ms 3000")
        with Broker(tmp_path, lines) as broker:
            outcomes = told(exhook, *against(broker.port), "--db", str(server.db))
            assert [(one["title"], one["happened"]) for one in outcomes[len(SCRIPT) :]] == AT_THE_BROKER
            shown = exhook("demo", *against(broker.port), "--db", str(server.db))
            assert shown.code == 0
            assert "A right that is taken away" in shown.out
            assert shown.out.rstrip().endswith("4 of 4 went as the policy says.")


def test_a_broker_that_is_not_told_cuts_nobody_off(
    exhook: Exhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing ends the sessions of the embedded broker; and the entry on the blacklist does not stay."""
    monkeypatch.setattr("exhook.demo.revoked.CUT_SECONDS", 2.0)
    with serving(tmp_path, "--with-broker", "0") as server:
        outcomes = told(exhook, *against(broker_of(server)), "--db", str(server.db), code=1)
    wrong = [(one["title"], one["happened"]) for one in outcomes if not one["as_the_policy_says"]]
    assert wrong == [("… blacklisted while connected", "still connected")]
    assert outcomes[-1]["happened"] == "let in"


def test_brokers_that_answer_otherwise() -> None:
    def answers(broker: str, *happened: str) -> list[Outcome]:
        steps = zip(("connects", "reads"), happened, strict=True)
        return [Outcome(title, "c", "", said, "", "", True, broker) for title, said in steps]

    one, other = answers("a:1", "let in", "refused"), answers("b:1", "let in", "subscribed")
    assert alike([one, one]).happened == "the same answers"
    assert alike([one, one]).as_the_policy_says
    assert alike([one, one, other]).happened == "reads: refused at a:1, subscribed at b:1"
    assert not alike([one, one, other]).as_the_policy_says


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (exhook_entry(node_status=[{"node": "emqx@node1", "status": "connected"}]), "emqx@node2 not there"),
        (exhook_entry(hooks=[{"name": "client.authenticate"}]), "no ExHook server with both hooks"),
    ],
    ids=["one node", "one hook"],
)
def test_not_loaded_on_every_node(
    api: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, f"{KEY}:{SECRET}")
    api.exhooks = [entry]
    outcome = ClusterApi(api.cluster(), patience_seconds=0.0).loaded()
    assert not outcome.as_the_policy_says
    assert said in outcome.happened


def test_an_api_that_does_not_answer(api: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, f"{KEY}:{SECRET}")
    api.down()
    asked = ClusterApi(api.cluster(), patience_seconds=0.0)
    assert "cannot be reached" in asked.loaded().happened
    assert not asked.knows("c", wanted=True, within_seconds=0.0)
    assert asked.knows("c", wanted=False, within_seconds=0.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against", f"{HOST}:1", "--emqx-api", "http://emqx.example:18083"], "or say --insecure"),
        (["--against", f"{HOST}:1", "--emqx-api", "emqx"], "is no address of an API"),
        (["--emqx-api", "http://127.0.0.1:18083"], "name one by --against"),
        (["--db", "exhook.db"], "name one by --against"),
        (["--against", f"{HOST}:1", "--against", "cluster"], "'cluster' is no ADDRESS:PORT"),
    ],
    ids=["in the clear", "no address", "no broker", "no broker for a store", "no port"],
)
def test_what_cannot_be_meant(exhook: Exhook, arguments: list[str], said: str) -> None:
    done = exhook("demo", *arguments)
    assert (done.code, done.out) == (64, "")
    assert said in done.err
