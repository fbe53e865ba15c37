"""Account modes over a real socket: bindings that every worker sees, that outlive a restart, and are renewed live."""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from server_under_test import PATIENCE, Asker, Server, becomes, one_of_each, port_of, until
from worker_under_test import INSTANCE, MESSAGES, Serve, Served, Store, identity, instance, permission, secret

from exhook.demo.clients import MqttClient
from exhook.demo.script import Login
from exhook.hooks import IGNORE
from exhook.listeners import ListenerRule
from exhook.renewing import MAX_BYTES, TOPIC, read_payload
from protos import exhook_v3_pb2
from store.account_records import AccessKey, DeviceCredential, TokenActions
from store.clock import now_ms
from store.credentials import sign
from store.database import Database
from store.records import Grantee
from store.runtime import Runtime
from store.tables import TOKENS
from store.tokens import issue, revoke, rotate_token_key

KEY = AccessKey(
    access_key_id="YYYYY", secrets=(secret("1", b"XXXXX"),), instances=(INSTANCE,), connect=True, all_topics=True
)
TOKEN = f"Token|YYYYY|{INSTANCE}"
SIGNATURE = f"Signature|YYYYY|{INSTANCE}"
MINUTE = 60_000
UPLOAD = "$SYS/uploadToken"


@dataclass
class Clock:
    now: int

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(now_ms())


def issued(store: Store, *resources: str, actions: TokenActions = TokenActions.RW, minutes: int = 10) -> str:
    now = now_ms()
    with Database.open(store.path, store.keys) as database:
        return issue(
            database,
            "YYYYY",
            instance=INSTANCE,
            actions=actions,
            resources=resources or ("a/#",),
            expires_at=now + minutes * MINUTE,
            now_ms=now,
            actor="test",
        ).text


def end(store: Store, text: str) -> None:
    with Database.open(store.path, store.keys) as database:
        assert revoke(database, text.split(".")[2], now_ms=now_ms(), actor="test")


async def uploaded(served: Served, client_id: str, payload: object, version: str = "v3", **meta: str) -> Any:
    messages = MESSAGES[version]
    said = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = {"from": client_id.encode(), "topic": TOPIC.encode(), "payload": said, "qos": 1, "id": "1"}
    request = messages.MessagePublishRequest(message=message, meta=meta)
    answer = await served.call(f"/emqx.exhook.{version}.HookProvider/OnMessagePublish", request.SerializeToString())
    return messages.ValuedResponse.FromString(answer)


async def test_the_seed_s_example_end_to_end(serve: Serve, store: Store) -> None:
    store.put(KEY)
    async with serve() as served:
        password = b"vI009IZJZVGRwBwZvnbwjfuXxVM="
        assert await served.authenticate("GID_Test@@@0001", SIGNATURE, password)
        assert not await served.authenticate("GID_Test@@@0002", SIGNATURE, password)
        assert await served.authorize("GID_Test@@@0001", SIGNATURE, "PUBLISH", "a")


async def test_a_device_s_credential(serve: Serve, store: Store) -> None:
    device = DeviceCredential(
        instance=INSTANCE, client_id="c1", device_access_key_id="DC.1", secrets=(secret("1", b"device"),)
    )
    store.put(device, permission("c1", "own/${clientid}/#", to=Grantee.CLIENT), identity("alice", b"x"))
    name = f"DeviceCredential|DC.1|{INSTANCE}"
    async with serve() as served:
        assert await served.authenticate("c1", name, sign(b"device", "c1"))
        assert await served.authorize("c1", name, "SUBSCRIBE", "own/c1/#")
        assert not await served.authorize("c1", name, "SUBSCRIBE", "own/#")
        assert not await served.authenticate("c2", name, sign(b"device", "c2"))
        assert not await served.authenticate("c1", "alice", b"x")
        store.remove(device)
        await becomes(lambda: served.authenticate("c1", "alice", b"x"))
        assert not await served.authorize("c1", name, "SUBSCRIBE", "own/c1/#")


class TestBinding:
    async def test_without_a_connect_there_is_none(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        text = issued(store)
        async with serve() as served:
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "a/x")
            assert await served.authenticate("c1", TOKEN, f"RW|{text}".encode())
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x")
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "b")
            assert not await served.authorize("c2", TOKEN, "PUBLISH", "a/x")

    async def test_it_is_of_one_connection(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        text = issued(store)
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{text}".encode(), peerport=1001)
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x", peerport=1001)
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "a/x", peerport=1002)
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "a/x", peerport=1001, peerhost="10.0.0.1")

    async def test_the_first_version_tells_no_port(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        text = issued(store)
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{text}".encode(), version="v1")
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x", version="v1")

    async def test_a_refused_connect_leaves_it(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        text = issued(store)
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{text}".encode())
            for name, password in ((TOKEN, b"RW|forged"), ("nobody", b"x"), (SIGNATURE, b"wrong")):
                assert not await served.authenticate("c1", name, password)
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x")

    @pytest.mark.parametrize("mode", ["custom", "signature"])
    async def test_an_allowed_connect_in_another_mode_ends_it(self, serve: Serve, store: Store, mode: str) -> None:
        store.put(KEY, identity("alice", b"right"))
        text = issued(store)
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{text}".encode())
            name, password = ("alice", b"right") if mode == "custom" else (SIGNATURE, sign(b"XXXXX", "c1"))
            assert await served.authenticate("c1", name, password)
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "a/x")

    async def test_each_worker_sees_what_another_bound(self, serve: Serve, store: Store, clock: Clock) -> None:
        store.put(KEY)
        text = issued(store)
        async with AsyncExitStack() as stack:
            one, two = [await stack.enter_async_context(serve(name=str(number), clock=clock)) for number in (0, 1)]
            assert await one.authenticate("c1", TOKEN, f"RW|{text}".encode())
            assert await two.authorize("c1", TOKEN, "PUBLISH", "a/x")
            clock.now += 10 * MINUTE + 1000
            assert not await two.authorize("c1", TOKEN, "PUBLISH", "a/x")
            clock.now -= MINUTE
            assert await one.authorize("c1", TOKEN, "PUBLISH", "a/x")
            end(store, text)
            await becomes(lambda: _refused(one))
            await becomes(lambda: _refused(two))

    async def test_what_cannot_be_bound_is_not_let_in(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        text = issued(store)
        async with serve() as served:
            with Runtime.open(store.path) as runtime:
                runtime.connection.execute("DROP TABLE bindings")
            assert not await served.authenticate("c1", TOKEN, f"RW|{text}".encode())

    async def test_a_new_token_key_is_known_before_it_is_polled(self, serve: Serve, store: Store) -> None:
        store.put(KEY)
        issued(store)
        async with serve(poll_ms=10_000) as served:
            assert not await served.authenticate("c1", TOKEN, b"RW|T1.k.t.1.x")
            with Database.open(store.path, store.keys) as database:
                rotate_token_key(database, now_ms=now_ms(), actor="test")
            assert await served.authenticate("c1", TOKEN, f"RW|{issued(store)}".encode())


async def _refused(served: Served) -> bool:
    return not await served.authorize("c1", TOKEN, "PUBLISH", "a/x")


class TestRenewal:
    @pytest.fixture
    def tokens(self, store: Store) -> tuple[str, str]:
        store.put(KEY)
        return issued(store, "a/#"), issued(store, "b/#")

    @pytest.mark.parametrize("version", ["v1", "v2", "v3"])
    async def test_a_good_token_takes_the_old_one_s_place(
        self, serve: Serve, tokens: tuple[str, str], version: str
    ) -> None:
        old, new = tokens
        async with AsyncExitStack() as stack:
            one, two = [await stack.enter_async_context(serve(name=str(number))) for number in (0, 1)]
            assert await one.authenticate("c1", TOKEN, f"RW|{old}".encode(), version=version)
            assert await one.authorize("c1", TOKEN, "PUBLISH", UPLOAD, version=version)
            answer = await uploaded(two, "c1", {"token": new, "type": "RW"}, version)
            assert answer.type == exhook_v3_pb2.ValuedResponse.STOP_AND_RETURN
            assert answer.message.headers["allow_publish"] == b"false"
            assert answer.message.topic == TOPIC.encode()
            assert new.encode() not in answer.SerializeToString()
            assert await one.authorize("c1", TOKEN, "PUBLISH", "b/x", version=version)
            assert not await one.authorize("c1", TOKEN, "PUBLISH", "a/x", version=version)

    async def test_one_that_has_run_out_may_be_renewed(
        self, serve: Serve, store: Store, tokens: tuple[str, str]
    ) -> None:
        old, new = tokens
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{old}".encode())
            end(store, old)
            await becomes(lambda: _refused(served))
            assert await served.authorize("c1", TOKEN, "PUBLISH", UPLOAD)
            await uploaded(served, "c1", {"token": new, "type": "RW"})
            assert await served.authorize("c1", TOKEN, "PUBLISH", "b/x")

    @pytest.mark.parametrize(
        "payload",
        [b"", b"{}", b"[]", b"\xff", b"{" * 3000, {"token": "x"}, {"token": "forged", "type": "RW"}, {"type": "RW"}],
        ids=str,
    )
    async def test_what_is_no_good_token_leaves_the_binding(
        self, serve: Serve, tokens: tuple[str, str], payload: object
    ) -> None:
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{tokens[0]}".encode())
            answer = await uploaded(served, "c1", payload)
            assert answer.message.headers["allow_publish"] == b"false"
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x")

    async def test_the_wrong_type_leaves_the_binding(self, serve: Serve, tokens: tuple[str, str]) -> None:
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{tokens[0]}".encode())
            await uploaded(served, "c1", {"token": tokens[1], "type": "R"})
            assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x")
            assert not await served.authorize("c1", TOKEN, "SUBSCRIBE", "b/x")

    async def test_a_client_that_is_not_bound_renews_nothing(self, serve: Serve, tokens: tuple[str, str]) -> None:
        async with serve() as served:
            await uploaded(served, "c1", {"token": tokens[0], "type": "RW"})
            assert not await served.authorize("c1", TOKEN, "PUBLISH", "a/x")
            assert not await served.authorize("c1", TOKEN, "PUBLISH", UPLOAD)

    async def test_behind_a_mountpoint_it_is_refused(self, serve: Serve, tokens: tuple[str, str]) -> None:
        """There the broker would deliver the token, as a message to `tenant/$SYS/uploadToken`."""
        async with serve() as served:
            for mountpoint, let in ((b"tenant/", False), (b"", True)):
                came: dict[str, Any] = {"mountpoint": mountpoint}
                assert await served.authenticate("c1", TOKEN, f"RW|{tokens[0]}".encode(), **came)
                assert await served.authorize("c1", TOKEN, "PUBLISH", "a/x", **came)
                assert await served.authorize("c1", TOKEN, "PUBLISH", UPLOAD, **came) is let

    async def test_another_cluster_s_message_renews_nothing(self, serve: Serve, tokens: tuple[str, str]) -> None:
        rules = (ListenerRule(name="east", cluster="east"), ListenerRule(name="west", cluster="west"))
        async with serve(listeners=rules) as served:
            messages = MESSAGES["v3"]
            info = {"clientid": b"c1", "username": TOKEN.encode(), "peerhost": "127.0.0.1"}
            asked = messages.ClientAuthenticateRequest(
                clientinfo={**info, "password": f"RW|{tokens[0]}".encode()}, meta={"cluster_name": "east"}
            )
            path = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"
            assert served.verdict(await served.call(path, asked.SerializeToString()))
            authorize = messages.ClientAuthorizeRequest(clientinfo=info, topic=b"b/x", meta={"cluster_name": "east"})
            for cluster, renewed in (("west", False), ("east", True)):
                await uploaded(served, "c1", {"token": tokens[1], "type": "RW"}, cluster_name=cluster)
                path = "/emqx.exhook.v3.HookProvider/OnClientAuthorize"
                assert served.verdict(await served.call(path, authorize.SerializeToString())) is renewed

    async def test_other_messages_go_on(self, serve: Serve) -> None:
        async with serve() as served:
            request = exhook_v3_pb2.MessagePublishRequest(message={"topic": b"a", "payload": b"x"})
            path = "/emqx.exhook.v3.HookProvider/OnMessagePublish"
            assert await served.call(path, request.SerializeToString()) == IGNORE
            assert await served.call(path, b"\xff") == IGNORE

    async def test_nobody_writes_to_the_renamed_topic(self, serve: Serve, tokens: tuple[str, str]) -> None:
        async with serve() as served:
            assert await served.authenticate("c1", TOKEN, f"RW|{tokens[0]}".encode())
            for topic in (TOPIC, "$exhook/#", f"$share/g/{TOPIC}"):
                for action in ("PUBLISH", "SUBSCRIBE"):
                    assert not await served.authorize("c1", TOKEN, action, topic)


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        ({"token": "t", "type": "R"}, ("R", "t")),
        ({"token": "t", "type": "RW", "more": 1}, ("RW", "t")),
        ({"token": "t", "type": "R,W"}, None),
        ({"token": "t", "type": ["R"]}, None),
        ({"token": 1, "type": "R"}, None),
        ({"token": "é", "type": "R"}, None),
        ({"token": "t" * MAX_BYTES, "type": "R"}, None),
        ([], None),
        ("R", None),
    ],
)
def test_a_renewal_s_payload(payload: object, read: tuple[str, str] | None) -> None:
    assert read_payload(json.dumps(payload, ensure_ascii=False).encode()) == read


def test_it_holds_in_every_process_and_over_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "exhook.db")
    store.put(instance(), KEY, replace(KEY, access_key_id="other"))
    text = issued(store)
    with Server(tmp_path, "--workers", "2", "--decisions", "all") as server:
        with one_of_each(server) as brokers:
            one, two = brokers.values()
            assert one.connects("c1", TOKEN, f"RW|{text}".encode(), peerport=7)
            assert two.publishes("c1", TOKEN, "a/x", peerport=7)
        server.kill_all()
    with Server(tmp_path, "--workers", "1") as server, Asker(server.port) as broker:
        assert broker.publishes("c1", TOKEN, "a/x", peerport=7)
        assert not broker.publishes("c1", f"Token|other|{INSTANCE}", "a/x", peerport=7)
        end(store, text)
        until(lambda: not broker.publishes("c1", TOKEN, "a/x", peerport=7))
        assert text not in server.said


def test_what_becomes_of_a_token_is_felt_in_the_other_process(tmp_path: Path) -> None:
    store = Store(tmp_path / "exhook.db")
    store.put(instance(), KEY)
    with Server(tmp_path, "--workers", "2", "--decisions", "all") as server, one_of_each(server) as brokers:
        one, two = brokers.values()
        shown = {name: issued(store) for name in ("kept", "revoked", "expired", "renewed")}
        for name, text in shown.items():
            assert one.connects(name, TOKEN, f"RW|{text}".encode(), peerport=7)
            assert two.publishes(name, TOKEN, "a/x", peerport=7)

        end(store, shown["revoked"])
        until(lambda: not two.publishes("revoked", TOKEN, "a/x", peerport=7))
        until(lambda: not one.subscribes("revoked", TOKEN, "a/x", peerport=7))

        with Database.open(store.path, store.keys) as database:
            record = database.get(TOKENS, (shown["expired"].split(".")[2],))
        assert record is not None
        store.put(replace(record, expires_at=now_ms()))
        until(lambda: not two.publishes("expired", TOKEN, "a/x", peerport=7))
        until(lambda: not one.subscribes("expired", TOKEN, "a/x", peerport=7))

        payload = json.dumps({"token": issued(store, "b/#"), "type": "RW"}).encode()
        message = {"from": b"renewed", "topic": TOPIC.encode(), "payload": payload, "qos": 1, "id": "1"}
        asked = MESSAGES["v3"].MessagePublishRequest(message=message)
        two.call("/emqx.exhook.v3.HookProvider/OnMessagePublish", asked.SerializeToString())
        for broker in (one, two):
            assert broker.publishes("renewed", TOKEN, "b/x", peerport=7)
            assert not broker.publishes("renewed", TOKEN, "a/x", peerport=7)
            assert broker.publishes("kept", TOKEN, "a/x", peerport=7)


def test_real_clients_connect_and_renew(tmp_path: Path) -> None:
    """The seed's client by its signature, and one whose token is renewed while it is connected."""
    store = Store(tmp_path / "exhook.db")
    store.put(instance(), KEY)
    old, new = issued(store, "a/#"), issued(store, "b/#")
    with Server(tmp_path, "--with-broker", "0", "--decisions", "all") as server:
        port = port_of(server.line("embedded broker, for trying: MQTT 3.1.1 alone"))
        with MqttClient(Login(SIGNATURE, "GID_Test@@@0001", b"vI009IZJZVGRwBwZvnbwjfuXxVM="), port) as signing:
            assert signing.connect()
            assert signing.subscribe("#")
            # As wide as a subscription may be, it does not reach what renews tokens.
            with MqttClient(Login(TOKEN, "c1", f"RW|{old}".encode()), port) as client:
                assert client.connect()
                assert client.subscribe("a/x")
                assert not client.subscribe("b/x")
                client.publish(UPLOAD, json.dumps({"token": new, "type": "RW"}).encode())
                server.line("decision", hook="renew", result="allow")
                assert client.subscribe("b/x")
                assert not client.subscribe("a/x")
                client.publish("b/x")
                assert signing.messages.get(timeout=PATIENCE) == "b/x"
        with MqttClient(Login(TOKEN, "c1", b"RW|forged"), port) as client:
            assert not client.connect()
        assert not [text for text in (old, new, "XXXXX") if text in server.said]
