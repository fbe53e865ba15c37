"""The reference against a real Mosquitto 2: without one it is a belief, and the tests that use it are, too."""

import base64
import getpass
import hashlib
import json
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mosquitto_reference import READ, WRITE, AclLine, acl_allows, dynsec_allows
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
PLUGINS = [*Path("/usr").glob("lib/**/mosquitto_dynamic_security.so")]
SECONDS = 10
DENIED = 0x87
ALLOWED_CODES = {0x00, 0x01, 0x10}
"""Done; granted QoS 1; done, and nobody listens."""

pytestmark = pytest.mark.skipif(not MOSQUITTO, reason="no mosquitto is installed (apt-get install mosquitto)")

TOPICS = ["a", "b", "a/b", "a/a", "a/b/c", "u", "u/a", "c", "a/c", "$S/a", "/a", "a/"]
FILTERS = [*TOPICS, "#", "+", "a/+", "a/#", "+/b", "+/+", "+/#", "a/+/c", "$S/#", "a/b/#"]


class Client:
    """An MQTT 5 client that waits for each answer."""

    def __init__(self, port: int, username: str, client_id: str, password: str = "") -> None:
        self._answered = threading.Event()
        self._code = 0
        self.received: list[str] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(username, password or None)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = lambda *args: self.received.append(args[2].topic)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._wait()
        assert self._code == 0

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str) -> bool:
        self._answered.clear()
        self._client.publish(topic, b"x", qos=1)
        return self._wait()

    def subscribe(self, topic: str) -> bool:
        self._answered.clear()
        self._client.subscribe(topic, qos=1)
        return self._wait()

    def catch_up(self) -> None:
        """Take in all that was sent before now: the broker answers in order."""
        self.subscribe("none")

    def _wait(self) -> bool:
        assert self._answered.wait(SECONDS)
        assert self._code == DENIED or self._code in ALLOWED_CODES, self._code
        return self._code != DENIED

    def _answer(self, code: ReasonCode) -> None:
        self._code = code.value
        self._answered.set()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: ReasonCode, _p: Properties | None) -> None:
        self._answer(code)

    def _on_publish(self, _c: Any, _u: Any, _m: int, code: ReasonCode, _p: Properties | None) -> None:
        self._answer(code)

    def _on_subscribe(self, _c: Any, _u: Any, _m: int, codes: list[ReasonCode], _p: Properties | None) -> None:
        self._answer(codes[0])


@contextmanager
def broker(folder: Path, settings: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nuser {getpass.getuser()}\n{settings}", encoding="utf-8")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([str(MOSQUITTO), "-c", str(config)], stderr=log) as process,
    ):
        try:
            _wait_for(port, process, folder / "log")
            yield port
        finally:
            process.kill()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    pytest.fail("mosquitto did not begin to listen")


@pytest.mark.parametrize("seed", range(8))
def test_acl_file(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)  # noqa: S311 - cases, no keys
    topics = ["a/#", "a/b", "a/+", "#", "+/b", "$S/#", "b", "u/#", "+"]
    lines = [
        AclLine("", draw.choice(["read", "write", "readwrite", "deny"]), draw.choice([*topics, "%u/#", "a/%c", "%c"]))
        if draw.random() < 0.4
        else AclLine(
            draw.choice(["u", "u", "v"]), draw.choice(["read", "write", "readwrite", "deny"]), draw.choice(topics)
        )
        for _ in range(draw.randint(1, 6))
    ]
    everything = [AclLine("admin", "readwrite", "#"), AclLine("admin", "readwrite", "$S/#")]
    (tmp_path / "acl").write_text("\n".join(map(str, [*lines, *everything])), encoding="utf-8")
    with broker(tmp_path, f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n") as port:
        one, admin = Client(port, "u", "c"), Client(port, "admin", "admin")
        for topic in TOPICS:
            assert one.publish(topic) == acl_allows(lines, "u", "c", WRITE, topic), topic
        assert one.subscribe("#")
        assert one.subscribe("$S/#")
        for topic in TOPICS:
            assert admin.publish(topic)
        one.catch_up()
        assert {topic for topic in TOPICS if acl_allows(lines, "u", "c", READ, topic)} == set(one.received)
        one.close()
        admin.close()


@pytest.mark.skipif(not PLUGINS, reason="this mosquitto has no dynamic security plugin")
@pytest.mark.parametrize("seed", range(8))
def test_dynamic_security(seed: int, tmp_path: Path) -> None:
    config = _config(random.Random(seed))  # noqa: S311 - cases, no keys
    file = tmp_path / "dynsec.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    with broker(tmp_path, f"plugin {PLUGINS[0]}\nplugin_opt_config_file {file}\n") as port:
        one, admin = Client(port, "u", "c", "secret"), Client(port, "admin", "admin", "secret")
        for topic in TOPICS:
            assert one.publish(topic) == dynsec_allows(config, "u", "publishClientSend", topic), topic
        for filter_ in FILTERS:
            assert one.subscribe(filter_) == dynsec_allows(config, "u", "subscribe", filter_), filter_
        receives = Client(port, "v", "d", "secret")
        assert receives.subscribe("#")
        assert receives.subscribe("$S/#")
        for topic in TOPICS:
            assert admin.publish(topic)
        receives.catch_up()
        expected = {topic for topic in TOPICS if dynsec_allows(config, "v", "publishClientReceive", topic)}
        assert expected == set(receives.received)
        for client in (one, admin, receives):
            client.close()


def _config(draw: random.Random) -> dict[str, Any]:
    kinds = ["publishClientSend", "publishClientReceive", "subscribeLiteral", "subscribePattern"]
    topics = ["a/#", "a/b", "a/+", "#", "+/b", "$S/#", "b", "+/#", "+"]
    roles = [
        {
            "rolename": name,
            "acls": [
                {
                    "acltype": draw.choice(kinds),
                    "topic": draw.choice(topics),
                    "priority": draw.randint(-1, 2),
                    "allow": draw.random() < 0.6,
                }
                for _ in range(draw.randint(1, 5))
            ],
        }
        for name in ("r", "s", "t")
    ]
    for role in roles:
        # Of two literals alike, which one counts depends on the version.
        acls: Any = role["acls"]
        role["acls"] = list({(acl["acltype"], acl["topic"]): acl for acl in acls}.values())
    listens = [{"acltype": "subscribePattern", "topic": topic, "allow": True} for topic in ("#", "$S/#")]
    sends = [{"acltype": "publishClientSend", "topic": topic, "allow": True} for topic in ("#", "$S/#")]
    own = [{"rolename": name, "priority": draw.randint(0, 3)} for name in draw.sample(["r", "s"], draw.randint(0, 2))]
    return {
        "clients": [
            _client("u", own),
            _client("v", [{"rolename": "listens", "priority": 9}, *own]),
            _client("admin", [{"rolename": "sends"}]),
        ],
        "groups": [
            {
                "groupname": "g",
                "roles": [{"rolename": "t"}],
                "clients": [{"username": "u"}, {"username": "v"}],
            }
        ],
        "roles": [*roles, {"rolename": "listens", "acls": listens}, {"rolename": "sends", "acls": sends}],
        "defaultACLAccess": {
            "publishClientSend": draw.random() < 0.3,
            "publishClientReceive": draw.random() < 0.7,
            "subscribe": draw.random() < 0.3,
            "unsubscribe": True,
        },
    }


def _client(username: str, roles: list[dict[str, Any]]) -> dict[str, Any]:
    salt = b"twelve bytes"
    hashed = hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101, 64)
    return {
        "username": username,
        "password": base64.b64encode(hashed).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": 101,
        "roles": roles,
    }
