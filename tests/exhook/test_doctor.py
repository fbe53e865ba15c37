"""`exhook doctor`: what of a cluster keeps this server's decisions from being in force, each with its mend."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands_under_test import Exhook
from emqx_api_under_test import EmqxApiUnderTest, exhook_entry
from pydantic import TypeAdapter
from server_under_test import Server
from worker_under_test import Store, identity, permission

from exhook.brokers.emqx import EmqxApi
from exhook.brokers.hocon import read_hocon
from exhook.doctor.emqx_checks import Checks
from exhook.doctor.emqx_checks import Server as ServerSettings
from exhook.doctor.emqx_rules import seconds
from exhook.doctor.finding import Finding, Grade, in_force
from exhook.doctor.reports import report_of
from store.clock import now_ms
from store.runtime import Runtime

ROOT = Path(__file__).parents[2]
Break = Callable[[EmqxApiUnderTest], object]


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


async def findings(broker: EmqxApiUnderTest, **more: Any) -> list[Finding]:
    async with EmqxApi(broker.cluster(), broker.environ) as api:
        report = await report_of(api)
    settings: dict[str, Any] = {"port": 9000, "workers": 1, "carrier": "grpc"}
    server = ServerSettings(**settings | more)
    return list(Checks("plant", report, server).findings())


def entry(**other: Any) -> Break:
    return lambda broker: broker.exhooks.__setitem__(0, exhook_entry(**other))


def unset(name: str) -> Break:
    return lambda broker: broker.exhooks[0].pop(name)


def second_database(broker: EmqxApiUnderTest) -> None:
    name = "scram:built_in_database"
    broker.authenticators += [
        {"id": "jwt", "mechanism": "jwt", "enable": False},
        {"id": name, "mechanism": "scram", "backend": "built_in_database"},
    ]
    broker.users[name] = [{"user_id": "x"}]


def setting(name: str, value: object) -> Break:
    return lambda broker: broker.settings.__setitem__(name, value)


async def test_a_cluster_that_is_well(broker: EmqxApiUnderTest) -> None:
    found = await findings(broker)
    assert in_force(found)
    assert {one.grade for one in found} == {Grade.OK}
    assert {one.check for one in found} == {
        "version", "floor", "authorization", "no_match", "deny_action", "cache", "clock", "loaded", "failed_action",
        "auto_reconnect", "request_timeout", "hooks", "pool_size", "configuration",
    }  # fmt: skip


WRONG: dict[str, tuple[Break, str, str]] = {
    "acl.conf is still there": (
        lambda broker: broker.sources.append({"type": "file", "enable": True}),
        "authorization",
        "authorization.sources = []",
    ),
    "another source decides": (
        lambda broker: broker.sources.append({"type": "http", "enable": True}),
        "authorization",
        "authorization.sources = []",
    ),
    "no floor at all": (lambda broker: broker.authenticators.clear(), "floor", "built_in_database"),
    "the floor is disabled": (
        lambda broker: broker.authenticators[0].update(enable=False), "floor", "built_in_database",
    ),
    "the floor knows somebody": (
        lambda broker: broker.users["password_based:built_in_database"].append({"user_id": "x"}),
        "authentication",
        "delete its users",
    ),
    "another authenticator decides": (
        lambda broker: broker.authenticators.append({"id": "jwt", "mechanism": "jwt", "enable": True}),
        "authentication",
        "take it out",
    ),
    "no_match = allow": (setting("no_match", "allow"), "no_match", "authorization.no_match = deny"),
    "failed_action = ignore": (entry(failed_action="ignore"), "failed_action", "failed_action = deny"),
    "auto_reconnect = 60s": (entry(auto_reconnect="60s"), "auto_reconnect", "auto_reconnect = 5s"),
    "auto_reconnect = false": (entry(auto_reconnect=False), "auto_reconnect", "auto_reconnect = 5s"),
    "no server entry": (lambda broker: broker.exhooks.clear(), "server entry", "http://ADDRESS:9000"),
    "the entry calls another port": (entry(url="http://127.0.0.1:9001"), "server entry", "http://ADDRESS:9000"),
    "the entry is disabled": (entry(enable=False), "server entry", "enable = true"),
    "one node is not connected": (
        entry(node_status=[{"node": "emqx@node1", "status": "connected"}, {"node": "emqx@node2", "status": "error"}]),
        "loaded",
        "auto_reconnect",
    ),
    "one node does not tell": (
        entry(node_status=[{"node": "emqx@node1", "status": "connected"}]), "loaded", "auto_reconnect",
    ),
    "one hook is missing": (entry(hooks=[{"name": "client.authenticate"}]), "hooks", "disable and enable"),
    "another ExHook server is asked first": (
        lambda broker: broker.exhooks.insert(0, exhook_entry(name="other", url="http://127.0.0.1:1")),
        "order",
        "in front of it",
    ),
    "a listener asks nobody": (
        lambda broker: broker.listeners[0].update(enable_authn=False),
        "listener",
        "listeners.tcp.default.enable_authn = true",
    ),
    "a node is down": (lambda broker: broker.nodes[1].update(node_status="stopped"), "nodes", "start them"),
    "auto_reconnect is left out": (unset("auto_reconnect"), "auto_reconnect", "auto_reconnect = 5s"),
    "the users of a second database": (second_database, "authentication", "delete its users"),
    "too old": (lambda broker: [node.update(version="4.4.19") for node in broker.nodes], "version", "4.4"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_not_in_force(broker: EmqxApiUnderTest, name: str) -> None:
    spoil, check, mend = WRONG[name]
    spoil(broker)
    found = await findings(broker)
    wrong = [one for one in found if one.grade is Grade.WRONG]
    assert [one.check for one in wrong] == [check]
    assert mend in wrong[0].mend
    assert not in_force(found)


ADVICE: dict[str, tuple[Break, str]] = {
    "answers live on for long": (setting("cache", {"enable": True, "ttl": "5m"}), "cache"),
    "an odd deny_action": (setting("deny_action", "kick"), "deny_action"),
    "too few connections": (entry(pool_size=4), "pool_size"),
    "every client is subscribed": (
        lambda broker: broker.auto_subscribed.append({"topic": "news/#", "qos": 1}),
        "auto_subscribe",
    ),
    "a node does not tell its configuration": (lambda broker: setattr(broker, "has_hocon", False), "configuration"),
    "too short a timeout": (entry(request_timeout="200ms"), "request_timeout"),
    "too long a timeout": (entry(request_timeout="1m"), "request_timeout"),
    "more hooks than ours": (
        entry(hooks=[{"name": name} for name in ("client.authenticate", "client.authorize", "message.publish")]),
        "hooks",
    ),
    "a clock that is ahead": (lambda broker: setattr(broker, "clock_ahead_seconds", 60), "clock"),
    "two versions": (lambda broker: broker.nodes[0].update(version="5.8.5"), "version"),
}


@pytest.mark.parametrize("name", ADVICE)
async def test_what_would_be_better(broker: EmqxApiUnderTest, name: str) -> None:
    spoil, check = ADVICE[name]
    spoil(broker)
    found = await findings(broker)
    assert {one.check for one in found if one.grade is not Grade.OK} == {check}
    assert all(one.mend for one in found if one.grade is not Grade.OK)
    assert in_force(found)


async def test_what_is_meant_so_is_no_finding(broker: EmqxApiUnderTest) -> None:
    broker.listeners.append(CERTIFICATES)
    broker.mqtt["peer_cert_as_username"] = "cn"
    broker.settings["cache"] = {"enable": False}
    broker.sources.append({"type": "file", "enable": False})
    assert {one.grade for one in await findings(broker, external_ports=frozenset({8884}))} == {Grade.OK}


CERTIFICATES: dict[str, Any] = {
    "id": "ssl:cert",
    "bind": "0.0.0.0:8884",
    "enable_authn": False,
    "enable": True,
    "ssl_options": {"verify": "verify_peer", "fail_if_no_peer_cert": True},
}


async def test_the_renewal_of_tokens_is_a_hook_of_ours(broker: EmqxApiUnderTest) -> None:
    renewal = {"name": "message.publish", "params": {"topics": ["$exhook/uploadToken"]}}
    broker.exhooks[0]["hooks"].append(renewal)
    assert {one.grade for one in await findings(broker)} == {Grade.OK}


async def test_tokens_are_renewed_by_a_message_that_is_renamed(broker: EmqxApiUnderTest) -> None:
    assert {one.grade for one in await findings(broker)} == {Grade.OK}
    (advice, _) = [one for one in await findings(broker, tokens=True) if one.grade is not Grade.OK]
    assert advice.check == "renewal"
    broker.rewrites.append(read_hocon(advice.mend)["rewrite"][0])
    assert {one.grade for one in await findings(broker, tokens=True)} == {Grade.OK}
    broker.listeners += [
        {"id": "tcp:tenant", "type": "tcp", "bind": "1884", "enable": True, "mountpoint": "tenant/"},
        {**CERTIFICATES, "mountpoint": "proven/"},
    ]
    broker.mqtt["peer_cert_as_username"] = "cn"
    seen = await findings(broker, tokens=True, external_ports=frozenset({8884}))
    (advice, _) = [one for one in seen if one.grade is not Grade.OK]
    assert advice.check == "renewal"
    assert "behind the mountpoint of tcp:tenant tokens are renewed by reconnecting alone" in advice.said
    shipped = read_hocon((ROOT / "deploy" / "emqx" / "emqx-5.hocon").read_text(encoding="utf-8"))
    assert broker.rewrites == shipped["rewrite"]


@pytest.mark.parametrize(
    ("version", "said"), [("5.3.2", "(v2)"), ("5.8.6", "(v2)"), ("5.9.0", "(v3)"), ("e6.0.1", "(v3)")]
)
async def test_version_and_interface(broker: EmqxApiUnderTest, version: str, said: str) -> None:
    for node in broker.nodes:
        node["version"] = version
    (found,) = [one for one in await findings(broker) if one.check == "version"]
    assert (found.grade, found.said) == (Grade.OK, f"2 nodes of EMQX {version} {said}")


@pytest.mark.parametrize(
    ("carrier", "workers", "found", "wanted"),
    [("grpc", 4, 8, 32), ("grpc", 1, 8, None), ("h2", 4, 8, None), ("h2", 3, 8, 9), ("h2", 16, 8, 16)],
)
async def test_workers_and_connections(
    broker: EmqxApiUnderTest, carrier: str, workers: int, found: int, wanted: int | None
) -> None:
    broker.exhooks[0]["pool_size"] = found
    advice = [one for one in await findings(broker, workers=workers, carrier=carrier) if one.grade is Grade.ADVICE]
    assert [one.mend for one in advice] == ([] if wanted is None else [f"pool_size = {wanted}"])


Roots = dict[str, Any]

APART: dict[str, tuple[Callable[[Roots], object], str, str]] = {
    "acl.conf was left there": (
        lambda roots: roots["authorization"]["sources"].append(
            {"type": "file", "enable": True, "path": "${EMQX_ETC_DIR}/acl.conf"}
        ),
        "authorization",
        "authorization.sources = []",
    ),
    "no floor": (lambda roots: roots["authentication"].clear(), "floor", "built_in_database"),
    "another authenticator": (
        lambda roots: roots["authentication"].append({"mechanism": "jwt", "enable": True}), "authentication", "take it",
    ),
    "no_match": (lambda roots: roots["authorization"].update(no_match="allow"), "no_match", "no_match = deny"),
    "no server": (lambda roots: roots["exhook"]["servers"].clear(), "server entry", "http://ADDRESS:9000"),
    "failed_action": (
        lambda roots: roots["exhook"]["servers"][0].update(failed_action="ignore"), "failed_action", "deny",
    ),
    "authenticators of a listener": (
        lambda roots: roots["listeners"]["tcp"]["default"].update(authentication=[{"mechanism": "jwt"}]),
        "listener",
        "listeners.tcp.default.authentication = []",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
async def test_one_node_is_configured_otherwise(broker: EmqxApiUnderTest, name: str) -> None:
    """The line was pasted on the other node alone: the cluster's answer, which is one node's, does not tell."""
    spoil, check, mend = APART[name]
    broker.by_node["emqx@node2"] = spoil
    found = [one for one in await findings(broker) if one.grade is not Grade.OK]
    assert [(one.where, one.check, one.grade) for one in found] == [("plant emqx@node2", check, Grade.WRONG)]
    assert mend in found[0].mend


@pytest.mark.parametrize(
    ("options", "username_from", "mend"),
    [
        ({}, "cn", "verify = verify_peer"),
        ({"verify": "verify_peer", "fail_if_no_peer_cert": False}, "cn", "fail_if_no_peer_cert = true"),
        (CERTIFICATES["ssl_options"], "disabled", "mqtt.peer_cert_as_username = cn"),
    ],
    ids=["no certificate", "none demanded", "the name is a claim"],
)
async def test_an_external_listener_that_proves_nothing(
    broker: EmqxApiUnderTest, options: Roots, username_from: str, mend: str
) -> None:
    broker.listeners.append(CERTIFICATES | {"ssl_options": options})
    broker.mqtt["peer_cert_as_username"] = username_from
    found = await findings(broker, external_ports=frozenset({8884}))
    wrong = [one for one in found if one.grade is Grade.WRONG]
    assert {one.check for one in wrong} == {"external listener"}
    assert all(mend in one.mend for one in wrong)


async def test_names_from_certificates_with_passwords(broker: EmqxApiUnderTest) -> None:
    broker.listeners.append(CERTIFICATES | {"enable_authn": True})
    broker.mqtt["peer_cert_as_username"] = "dn"
    advice = {one.mend for one in await findings(broker) if one.grade is not Grade.OK}
    assert advice == {"declare port 8884 external in [[listeners]], and say listeners.ssl.cert.enable_authn = false"}


async def test_a_configuration_that_cannot_be_read(broker: EmqxApiUnderTest) -> None:
    broker.fail = lambda _method, path: (200, "authorization {") if path.endswith("/configs") else None
    found = [one for one in await findings(broker) if one.grade is not Grade.OK]
    assert [one.check for one in found] == ["configuration"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("5s", 5), ("1m30s", 90), ("200ms", 0.2), (5000, 5), ("1h", 3600), (False, None), (None, None), ("x", None)],
)
def test_durations(text: object, found: float | None) -> None:
    assert seconds(text) == found


class TestCommand:
    @pytest.fixture
    def config(self, store: Store, broker: EmqxApiUnderTest, tmp_path: Path) -> Path:
        file = tmp_path / "exhook.toml"
        file.write_text(f'db = "{store.path}"\n[[emqx]]\nname = "plant"\nurl = "{broker.url}"\n', encoding="utf-8")
        return file

    def run(self, exhook: Exhook, config: Path, broker: EmqxApiUnderTest, *more: str) -> tuple[int, str]:
        (key,) = broker.environ.values()
        done = exhook("doctor", "--config", str(config), *more, EXHOOK_EMQX_API_KEY=key)
        return done.code, done.out + done.err

    def test_in_force_and_not(self, exhook: Exhook, config: Path, broker: EmqxApiUnderTest, store: Store) -> None:
        with Runtime.open(store.path) as runtime:
            runtime.report("0", os.getpid(), 1, now_ms())
        code, said = self.run(exhook, config, broker)
        assert (code, said.splitlines()[-1]) == (0, "in force")
        broker.settings["no_match"] = "allow"
        code, said = self.run(exhook, config, broker)
        assert (code, said.splitlines()[-1]) == (1, "NOT in force")
        assert (
            " !  plant  no_match: allow: without ExHook everything is allowed\n      authorization.no_match = deny\n"
            in said
        )
        code, said = self.run(exhook, config, broker, "--json")
        found = TypeAdapter(dict[str, Any]).validate_json(said)
        assert code == 1
        assert found["in_force"] is False
        assert [one["check"] for one in found["findings"] if one["grade"] == "wrong"] == ["no_match"]

    def test_an_api_that_is_not_there(self, exhook: Exhook, config: Path, broker: EmqxApiUnderTest) -> None:
        broker.down()
        code, said = self.run(exhook, config, broker)
        assert code == 1
        assert "plant  api: EMQX 'plant'" in said
        assert "server  status: no server runs on this store" in said

    def test_nothing_to_look_at(self, exhook: Exhook, store: Store) -> None:
        done = exhook("doctor", "--db", str(store.path))
        assert done.code == 64
        assert "[[emqx]]" in done.err

    def test_whom_to_probe_as(self, exhook: Exhook, store: Store) -> None:
        done = exhook("doctor", "--db", str(store.path), "--mqtt", "127.0.0.1:1883")
        assert done.code == 64
        assert "--probe-username" in done.err


def test_probes_prove_an_allow_and_a_deny(store: Store, exhook: Exhook, tmp_path: Path) -> None:
    """A real server, a real broker, a real client."""
    store.put(identity("probe", b"canary-probe"), permission("probe", "probe/#"))
    with Server(tmp_path, "--with-broker", "0") as server:
        broker = server.line("embedded broker, for trying: MQTT 3.1.1 alone")["address"]

        def run(*more: str, password: bytes = b"canary-probe\n") -> dict[str, Any]:
            done = exhook(
                "doctor", "--db", str(store.path), "--mqtt", broker, "--probe-username", "probe",
                "--password-stdin", "--allowed", "probe/x", "--denied", "other/#", "--json", *more, stdin=password,
            )  # fmt: skip
            assert "canary" not in done.out + done.err
            assert done.code == (0 if '"in_force": true' in done.out else 1)
            found: dict[str, Any] = json.loads(done.out)
            return found

        said = run()
        assert said["in_force"], said
        assert [(one["check"], one["said"]) for one in said["findings"][1:]] == [
            ("wrong password", "refused"),
            ("authenticate", "this server refused it"),
            ("connect", "the probe was let in"),
            ("subscribe", "probe/x was granted"),
            ("subscribe", "other/# was refused"),
            ("subscribe", "this server refused it"),
        ]
        wrong = run(password=b"canary-other\n")
        assert [one["said"] for one in wrong["findings"] if one["grade"] == "wrong"] == [
            "the probe was refused with its right password"
        ]
        swapped = run("--denied", "probe/y")
        assert "probe/y was granted" in [one["said"] for one in swapped["findings"] if one["grade"] == "wrong"]


def test_no_broker_there(store: Store, exhook: Exhook) -> None:
    done = exhook(
        "doctor", "--db", str(store.path), "--mqtt", "127.0.0.1:1", "--probe-username", "probe",
        EXHOOK_PROBE_PASSWORD="canary-probe",
    )  # fmt: skip
    assert done.code == 1
    assert "no MQTT broker answers there" in done.out


def test_the_configuration_that_is_shipped_is_in_order() -> None:
    """`deploy/emqx/emqx-5.hocon` sets what the doctor asks for."""
    text = (ROOT / "deploy" / "emqx" / "emqx-5.hocon").read_text(encoding="utf-8")
    for _, _, mend in WRONG.values():
        if " = " in mend and "listeners" not in mend and "enable" not in mend:
            assert mend.removeprefix("authorization.") in text, mend
