"""The embedded broker: a real process, real paho clients, and a real gRPC server that answers from a table."""

import asyncio
import contextlib
import queue
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from exhook.brokers import amqtt, amqtt_broker, provider
from protos import exhook_v3_pb2 as wire

Valued = wire.ValuedResponse
ALLOW = Valued(type=Valued.STOP_AND_RETURN, bool_result=True).SerializeToString()
DENY = Valued(type=Valued.STOP_AND_RETURN, bool_result=False).SerializeToString()
CONTINUE = Valued(type=Valued.CONTINUE, bool_result=True).SerializeToString()
# Any of these must keep a client out. None stands for a gRPC error.
NOT_A_YES: dict[str, bytes | None] = {
    "false": DENY,
    "ignore": Valued(type=Valued.IGNORE).SerializeToString(),
    "ignore, true": Valued(type=Valued.IGNORE, bool_result=True).SerializeToString(),
    "no value": Valued(type=Valued.STOP_AND_RETURN).SerializeToString(),
    "nothing": b"",
    "a message": Valued(type=Valued.STOP_AND_RETURN, message=wire.Message(topic=b"t")).SerializeToString(),
    "unknown type": Valued(type=7, bool_result=True).SerializeToString(),  # type: ignore[arg-type]
    "not protobuf": b"\xff\xff\xff",
    "error": None,
}
WAIT = 5.0
BINARY = b"\xff\xfe\x00\x80"
NOT_AUTHORIZED = b"\x20\x02\x00\x05"
ACCEPTED = b"\x20\x02\x00\x00"


class Hook:
    """An ExHook server in a thread of its own; what is not in the tables is refused."""

    def __init__(self) -> None:
        self.connect: dict[bytes, bytes | None] = {}
        self.publish: dict[bytes, bytes | None] = {}
        self.subscribe: dict[bytes, bytes | None] = {}
        self.hooks = ["client.authenticate", "client.authorize"]
        self.calls: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.remaining: list[float] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server: grpc.aio.Server | None = None

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WAIT)

    async def _start(self) -> None:
        def handler(request: Any, answer: Callable[[Any], bytes | None]) -> Any:
            async def call(message: Any, context: Any) -> bytes:
                self.calls.append(message)
                self.remaining.append(context.time_remaining())
                answered = answer(message)
                if answered is None:
                    await context.abort(grpc.StatusCode.INTERNAL, "asked to fail")
                    raise AssertionError
                return answered

            return grpc.unary_unary_rpc_method_handler(call, request.FromString, bytes)

        def load(_: Any) -> bytes:
            return wire.LoadedResponse(hooks=[wire.HookSpec(name=n) for n in self.hooks]).SerializeToString()

        def authorize(message: Any) -> bytes | None:
            return (self.subscribe if message.type else self.publish).get(message.topic, DENY)

        methods = {
            "OnProviderLoaded": handler(wire.ProviderLoadedRequest, load),
            "OnProviderUnloaded": handler(wire.ProviderUnloadedRequest, lambda _: b""),
            "OnClientAuthenticate": handler(
                wire.ClientAuthenticateRequest, lambda asked: self.connect.get(asked.clientinfo.clientid, DENY)
            ),
            "OnClientAuthorize": handler(wire.ClientAuthorizeRequest, authorize),
        }
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service = grpc.method_handlers_generic_handler("emqx.exhook.v3.HookProvider", methods)
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._server.stop(None), self._loop).result(WAIT)
            self._server = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forget(self) -> None:
        for table in (self.connect, self.publish, self.subscribe):
            table.clear()
        self.calls.clear()

    def authentications(self) -> list[wire.ClientAuthenticateRequest]:
        return [call for call in self.calls if isinstance(call, wire.ClientAuthenticateRequest)]

    def authorizations(self) -> list[wire.ClientAuthorizeRequest]:
        return [call for call in self.calls if isinstance(call, wire.ClientAuthorizeRequest)]


class Broker:
    """The process under test."""

    def __init__(self, target: str, errors: Path, *arguments: str, port: int = 0, stdin: int | None = None) -> None:
        command = [sys.executable, "-m", "exhook.brokers.amqtt", "--port", str(port), "--target", target]
        self._errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, *arguments], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
            )

    def ready(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(b"ready "), (line, self.errors())
        return int(line.removeprefix(b"ready "))

    def errors(self) -> str:
        return self._errors.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(WAIT)
        finally:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdout, self.process.stdin):
                if pipe is not None:
                    pipe.close()


class Device:
    """A paho client; ``reason`` is what CONNACK said."""

    def __init__(self, port: int, client_id: str, username: str | None = None, password: Any = None) -> None:
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        self.client.username_pw_set(username, password)
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.reason: Any = None
        self._port = port
        self._events: queue.Queue[Any] = queue.Queue()
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self._events.put(reason)
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._events.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)

    def __enter__(self) -> Self:
        self.client.connect("127.0.0.1", self._port)
        self.client.loop_start()
        self.reason = self._events.get(timeout=WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        self.client.subscribe(list(filters))
        return [reason.value for reason in self._events.get(timeout=WAIT)]

    def publish(self, topic: str, payload: bytes = b"", qos: int = 0, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos, retain).wait_for_publish(WAIT)

    def next(self) -> tuple[str, bytes]:
        message = self.messages.get(timeout=WAIT)
        return message.topic, bytes(message.payload)


def data(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


def connect_packet(
    client_id: bytes, username: bytes | None = None, *, clean: bool = True, keep_alive: int = 60, level: int = 4
) -> bytes:
    flags = (0x02 if clean else 0) | (0xC0 if username is not None else 0)
    fields = data(client_id) + (data(username) + data(BINARY) if username is not None else b"")
    return packet(0x10, data(b"MQTT") + struct.pack("!BBH", level, flags, keep_alive) + fields)


def publish_packet(topic: bytes, payload: bytes) -> bytes:
    return packet(0x30, data(topic) + payload)


@contextlib.contextmanager
def raw(port: int, first: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), WAIT) as sock:
        sock.settimeout(WAIT)
        sock.sendall(first)
        yield sock


def eventually(condition: Callable[[], object], seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared_hook() -> Iterator[Hook]:
    hook = Hook()
    hook.start()
    yield hook
    hook.close()


@pytest.fixture
def hook(shared_hook: Hook) -> Hook:
    shared_hook.forget()
    return shared_hook


@pytest.fixture(scope="module")
def running(shared_hook: Hook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, int]]:
    broker = Broker(f"127.0.0.1:{shared_hook.port}", tmp_path_factory.mktemp("broker") / "stderr")
    yield broker, broker.ready()
    assert broker.end() == 0
    assert "Traceback" not in broker.errors()
    assert "retrieved" not in broker.errors()


@pytest.fixture
def port(running: tuple[Broker, int]) -> int:
    return running[1]


# Who comes in


def test_an_allowed_client_connects_and_the_server_was_told_who_it_is(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = ALLOW
    with Device(port, "dev", "alice", "geheim\N{SNOWMAN}") as device:
        assert not device.reason.is_failure
        local = device.client.socket().getsockname()  # type: ignore[union-attr]
    (asked,) = hook.authentications()
    client = asked.clientinfo
    assert (client.clientid, client.username, client.password) == (b"dev", b"alice", "geheim\N{SNOWMAN}".encode())
    assert (client.peerhost, client.peerport, client.sockport) == (*local, port)
    assert (client.protocol, client.node) == ("mqtt", "amqtt@127.0.0.1")
    assert (asked.meta.node, asked.meta.sysdescr) == ("amqtt@127.0.0.1", "amqtt")
    assert asked.meta.cluster_name == "embedded"
    assert 4.0 < hook.remaining[-1] < 5.5


def test_a_refused_client_gets_return_code_5(hook: Hook, port: int) -> None:
    with Device(port, "stranger", "alice", "wrong") as device:
        assert device.reason == "Not authorized"
    with raw(port, connect_packet(b"stranger")) as sock:
        assert sock.recv(100) == NOT_AUTHORIZED
        assert sock.recv(100) == b""
    assert len(hook.authentications()) == 2


@pytest.mark.parametrize("answer", NOT_A_YES)
def test_only_a_clear_yes_lets_in(hook: Hook, port: int, answer: str) -> None:
    hook.connect[b"dev"] = NOT_A_YES[answer]
    with raw(port, connect_packet(b"dev")) as sock:
        assert sock.recv(100) == NOT_AUTHORIZED
    assert len(hook.authentications()) == 1


def test_continue_with_true_is_a_yes_too(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = CONTINUE
    with Device(port, "dev") as device:
        assert not device.reason.is_failure


def test_a_client_without_user_name_is_asked_for_like_any_other(hook: Hook, port: int) -> None:
    with Device(port, "anonymous") as device:
        assert device.reason == "Not authorized"
    hook.connect[b"anonymous"] = ALLOW
    with Device(port, "anonymous") as device:
        assert not device.reason.is_failure
    assert {(ask.clientinfo.username, ask.clientinfo.password) for ask in hook.authentications()} == {(b"", b"")}


def test_a_generated_client_id_is_shown_to_the_server(hook: Hook, port: int) -> None:
    with raw(port, connect_packet(b"")) as sock:
        assert sock.recv(100) == NOT_AUTHORIZED
    (asked,) = hook.authentications()
    assert asked.clientinfo.clientid.startswith(b"auto-")


def test_a_password_that_is_not_utf8_arrives_as_it_is(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = ALLOW
    with Device(port, "dev", "alice", BINARY) as device:
        assert not device.reason.is_failure
    assert hook.authentications()[0].clientinfo.password == BINARY


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (connect_packet(b"dev", level=5), b"\x20\x02\x00\x01"),
        (connect_packet(b"", clean=False), b"\x20\x02\x00\x02"),
        (connect_packet(b"\xff"), b""),
        (connect_packet(b"dev", b"\xff"), b""),
        (publish_packet(b"t", b"no CONNECT"), b""),
        (b"\x10\xff\xff\xff\x7f", b""),
    ],
)
def test_what_is_no_connect_of_mqtt_3_1_1_is_not_asked_for(hook: Hook, port: int, first: bytes, answer: bytes) -> None:
    with raw(port, first) as sock:
        assert sock.recv(100) == answer
    assert hook.calls == []


# What it may do


def test_each_filter_gets_its_own_answer(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = ALLOW
    hook.subscribe |= {b"a/+": ALLOW, b"c/#": ALLOW, b"$SYS/x": NOT_A_YES["ignore"], b"e": None}
    with Device(port, "dev", "alice", "pw") as device:
        assert device.subscribe(("a/+", 1), ("b", 0), ("c/#", 2), ("$SYS/x", 0), ("e", 0)) == [1, 128, 2, 128, 128]
    asked = hook.authorizations()
    assert [(ask.topic, ask.type) for ask in asked] == [(t, 1) for t in (b"a/+", b"b", b"c/#", b"$SYS/x", b"e")]
    assert {(ask.clientinfo.username, ask.clientinfo.password) for ask in asked} == {(b"alice", b"")}


def test_shared_and_malformed_filters_are_refused_unasked(hook: Hook, port: int) -> None:
    filters = ["$share/g/a", "$queue/a", "a/#/b", "a+", "+a/b", "#a"]
    hook.connect[b"dev"] = ALLOW
    hook.subscribe |= {text.encode(): ALLOW for text in [*filters, "a"]}
    subscribe = packet(0x82, b"\x00\x01" + b"".join(data(text.encode()) + b"\x00" for text in filters))
    with raw(port, connect_packet(b"dev") + subscribe) as sock:
        assert read_exactly(sock, 4) == ACCEPTED
        assert read_exactly(sock, 4 + len(filters)) == b"\x90\x08\x00\x01" + b"\x80" * len(filters)
    assert hook.authorizations() == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_refused_message_does_not_arrive(hook: Hook, port: int, qos: int) -> None:
    hook.connect |= {b"dev": ALLOW, b"reader": ALLOW}
    hook.subscribe[b"#"] = ALLOW
    hook.publish |= {b"good": ALLOW, b"ignored": NOT_A_YES["ignore"], b"failed": None}
    with Device(port, "reader") as reader, Device(port, "dev", "alice", "pw") as device:
        assert reader.subscribe(("#", qos)) == [qos]
        for topic in ("bad", "ignored", "failed", "good"):
            device.publish(topic, b"1", qos)
        assert reader.next() == ("good", b"1")
        assert reader.messages.empty()
    asked = [(ask.topic, ask.clientinfo.username) for ask in hook.authorizations() if ask.type == 0]
    assert asked == [(topic, b"alice") for topic in (b"bad", b"ignored", b"failed", b"good")]


def test_dollar_topics_are_asked_for_and_hidden_from_wildcards(hook: Hook, port: int) -> None:
    hook.connect |= {b"dev": ALLOW, b"reader": ALLOW}
    hook.subscribe |= {b"#": ALLOW, b"$SYS/up": ALLOW}
    hook.publish |= {b"$SYS/up": ALLOW, b"end": ALLOW}
    with Device(port, "reader") as reader, Device(port, "dev") as device:
        reader.subscribe(("#", 0))
        device.publish("$SYS/down")
        device.publish("$SYS/up")
        device.publish("end")
        assert reader.next() == ("end", b"")
        reader.subscribe(("$SYS/up", 0))
        device.publish("$SYS/up")
        assert reader.next() == ("$SYS/up", b"")


def test_subscribing_again_replaces_and_unsubscribing_ends(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = ALLOW
    hook.subscribe |= {b"t": ALLOW, b"end": ALLOW}
    hook.publish |= {b"t": ALLOW, b"end": ALLOW}
    with Device(port, "dev") as device:
        assert [device.subscribe(("t", 0)), device.subscribe(("t", 1)), device.subscribe(("end", 0))] == [[0], [1], [0]]
        device.publish("t", b"1", 1)
        message = device.messages.get(timeout=WAIT)
        assert (message.payload, message.qos) == (b"1", 1)
        device.client.unsubscribe("t")
        device.publish("t", b"2")
        device.publish("end")
        assert device.next() == ("end", b"")


def test_everything_sent_before_a_disconnect_is_handled_in_order(hook: Hook, port: int) -> None:
    topics = [f"n/{number}".encode() for number in range(50)]
    hook.connect |= {b"dev": ALLOW, b"reader": ALLOW}
    hook.subscribe[b"n/#"] = ALLOW
    hook.publish |= dict.fromkeys(topics, ALLOW)
    with Device(port, "reader") as reader:
        reader.subscribe(("n/#", 0))
        burst = b"".join(publish_packet(topic, b"") for topic in topics)
        with raw(port, connect_packet(b"dev") + burst + b"\xe0\x00") as sock:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == ACCEPTED
        assert [reader.next()[0].encode() for _ in topics] == topics


def test_a_retained_message_is_stored_and_sent_only_with_leave(hook: Hook, port: int) -> None:
    hook.connect |= {b"dev": ALLOW, b"reader": ALLOW, b"other": ALLOW}
    hook.subscribe |= {b"kept/#": ALLOW, b"own": ALLOW}
    hook.publish |= {b"kept/good": ALLOW, b"own": ALLOW}
    with Device(port, "reader") as reader, Device(port, "dev") as device:
        reader.subscribe(("kept/#", 0))  # amqtt sends what fits anyone's subscription to whoever connects
        device.publish("kept/bad", b"1", 1, retain=True)
        device.publish("kept/good", b"2", 1, retain=True)
        assert reader.next() == ("kept/good", b"2")
        with Device(port, "other") as other:
            other.subscribe(("own", 0))
            other.publish("own", b"3")
            assert other.next() == ("own", b"3")
            other.subscribe(("kept/#", 0))
            assert other.next() == ("kept/good", b"2")
            assert other.messages.empty()
        device.publish("kept/good", b"", 1, retain=True)
        assert reader.next() == ("kept/good", b"")


# Wills, sessions, and who they belong to


@pytest.mark.parametrize(("answer", "expected"), [(ALLOW, [b"will", b"end"]), (DENY, [b"end"]), (None, [b"end"])])
def test_a_will_is_asked_for_when_it_is_published(
    hook: Hook, port: int, answer: bytes | None, expected: list[bytes]
) -> None:
    hook.connect |= {b"mortal": ALLOW, b"reader": ALLOW}
    hook.subscribe[b"#"] = ALLOW
    hook.publish |= {b"will": answer, b"end": ALLOW}
    flags = 0x06
    fields = data(b"mortal") + data(b"will") + data(b"gone")
    connect = packet(0x10, data(b"MQTT") + struct.pack("!BBH", 4, flags, 60) + fields)
    with Device(port, "reader") as reader:
        reader.subscribe(("#", 0))
        with raw(port, connect) as sock:
            assert sock.recv(100) == ACCEPTED
            assert [ask.topic for ask in hook.authorizations()] == [b"#"]
        eventually(lambda: b"will" in {ask.topic for ask in hook.authorizations()})
        with raw(port, connect + b"\xe0\x00") as sock:  # a DISCONNECT takes the will back
            assert read_to_end(sock) == ACCEPTED
        reader.publish("end")
        assert [reader.next()[0].encode() for _ in expected] == expected


@pytest.mark.parametrize("clean", [True, False])
def test_a_refused_client_does_not_disturb_the_one_whose_id_it_took(hook: Hook, port: int, clean: bool) -> None:
    hook.connect[b"victim"] = ALLOW
    hook.subscribe[b"t"] = ALLOW
    hook.publish[b"t"] = ALLOW
    with Device(port, "victim", "alice", "pw") as victim:
        victim.subscribe(("t", 1))
        hook.connect[b"victim"] = DENY
        with raw(port, connect_packet(b"victim", b"admin", clean=clean)) as sock:
            assert sock.recv(100) == NOT_AUTHORIZED
        victim.publish("t", b"still here", 1)
        assert victim.next() == ("t", b"still here")
        assert hook.authorizations()[-1].clientinfo.username == b"alice"


@pytest.mark.parametrize("clean", [True, False])
def test_an_allowed_client_takes_over_with_nothing_of_the_old_session(hook: Hook, port: int, clean: bool) -> None:
    hook.connect |= {b"twin": ALLOW, b"sender": ALLOW}
    hook.subscribe |= {b"old": ALLOW, b"new": ALLOW}
    hook.publish |= {b"old": ALLOW, b"new": ALLOW}
    with raw(port, connect_packet(b"twin", b"first", clean=clean)) as first:
        assert first.recv(100) == ACCEPTED
        first.sendall(packet(0x82, b"\x00\x01" + data(b"old") + b"\x00"))
        assert read_exactly(first, 5) == b"\x90\x03\x00\x01\x00"
        with raw(port, connect_packet(b"twin", b"second", clean=clean)) as second, Device(port, "sender") as sender:
            assert second.recv(100) == ACCEPTED
            assert first.recv(100) == b""
            second.sendall(packet(0x82, b"\x00\x02" + data(b"new") + b"\x00"))
            assert read_exactly(second, 5) == b"\x90\x03\x00\x02\x00"
            sender.publish("old", b"1")
            sender.publish("new", b"2")
            assert second.recv(100) == publish_packet(b"new", b"2")


def test_of_many_clients_with_one_id_one_remains(hook: Hook, port: int) -> None:
    hook.connect[b"twin"] = ALLOW
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(raw(port, connect_packet(b"twin"))) for _ in range(10)]
        assert {sock.recv(4) for sock in sockets} <= {ACCEPTED, b""}
        eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == 9)  # what is readable has ended
        (survivor,) = set(sockets) - set(select.select(sockets, [], [], 0)[0])
        survivor.sendall(b"\xc0\x00")
        assert survivor.recv(100) == b"\xd0\x00"


def test_a_client_that_does_not_read_cannot_hold_its_id(hook: Hook, port: int) -> None:
    hook.connect |= {b"deaf": ALLOW, b"sender": ALLOW}
    hook.subscribe[b"big"] = ALLOW
    hook.publish[b"big"] = ALLOW
    with raw(port, connect_packet(b"deaf") + packet(0x82, b"\x00\x01" + data(b"big") + b"\x00")) as sock:
        assert read_exactly(sock, 9) == ACCEPTED + b"\x90\x03\x00\x01\x00"
        with Device(port, "sender") as sender:
            for _ in range(16):
                sender.publish("big", bytes(1_000_000))
            eventually(lambda: len(hook.authorizations()) == 17)
            with raw(port, connect_packet(b"deaf")) as successor:
                assert successor.recv(100) == ACCEPTED


@pytest.mark.parametrize("rest", [connect_packet(b"dev"), publish_packet(b"", b"no topic")])
def test_a_violation_ends_the_connection(hook: Hook, port: int, rest: bytes) -> None:
    hook.connect[b"dev"] = ALLOW
    with raw(port, connect_packet(b"dev") + rest) as sock:
        assert read_to_end(sock) == ACCEPTED


def test_a_client_that_falls_silent_is_cut_off(hook: Hook, port: int) -> None:
    hook.connect[b"dev"] = ALLOW
    with raw(port, connect_packet(b"dev", keep_alive=1)) as sock:
        start = time.monotonic()
        assert read_to_end(sock) == ACCEPTED
        assert 1.4 < time.monotonic() - start < 4


async def test_a_slow_connect_is_cut_off_and_nothing_is_left_of_clients_that_went(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqtt_broker, "CONNECT_SECONDS", 0.1)
    hook.connect[b"dev"] = ALLOW
    hook.subscribe[b"t"] = ALLOW
    asked = provider.Provider(f"127.0.0.1:{hook.port}", wire.RequestMeta())
    broker = amqtt_broker.AskingBroker(asked, "node", 0)
    await broker.start()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    subscribe = packet(0x82, b"\x00\x01" + data(b"t") + b"\x00")
    for first, answer in ((b"\x10", b""), (connect_packet(b"dev") + subscribe, ACCEPTED + b"\x90\x03\x00\x01\x00")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        assert await asyncio.wait_for(reader.readexactly(len(answer)), WAIT) == answer
        assert len(broker.sessions) == len(broker.subscriptions) == bool(answer)
        if answer:
            writer.write(b"\xe0\x00")
        assert await asyncio.wait_for(reader.read(), WAIT) == b""
        writer.close()
    server.close()
    for _ in range(100):  # the client hears of the end a moment before all is put away
        await asyncio.sleep(0.01 if broker.sessions else 0)
    assert broker.sessions == broker.subscriptions == {}
    await broker.shutdown()
    await asked.close()


# The server comes and goes, and so does the broker


def test_without_the_server_everything_is_refused_until_it_is_back(tmp_path: Path) -> None:
    hook = Hook()
    hook.connect |= {b"dev": ALLOW, b"late": ALLOW}
    hook.subscribe[b"t"] = ALLOW
    hook.publish[b"t"] = ALLOW
    try:
        hook.start()
        broker = Broker(f"127.0.0.1:{hook.port}", tmp_path / "stderr")
        port = broker.ready()
        with Device(port, "dev") as device:
            assert device.subscribe(("t", 0)) == [0]
            hook.stop()
            device.publish("t", b"unasked", 1)
            assert device.subscribe(("t", 0)) == [128]
            with Device(port, "late") as late:
                assert late.reason == "Not authorized"
            hook.start()
            eventually(lambda: device.subscribe(("t", 0)) == [0])
            device.publish("t", b"asked", 1)
            assert device.next() == ("t", b"asked")
        assert broker.end() == 0
        assert isinstance(hook.calls[-1], wire.ProviderUnloadedRequest)
        assert "UNAVAILABLE): refused" in broker.errors()
    finally:
        hook.close()


async def test_no_answer_in_time_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> bytes:
        await asyncio.sleep(60)
        raise AssertionError

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(never, None, None)
    methods = {"OnClientAuthenticate": handler, "OnClientAuthorize": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("emqx.exhook.v3.HookProvider", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setattr(provider, "ANSWER_SECONDS", 0.2)
    asked = provider.Provider(f"127.0.0.1:{port}", wire.RequestMeta(node="n"))
    try:
        client = wire.ClientInfo(clientid=b"dev")
        assert await asked.authenticate(client, b"pw") is False
        assert await asked.publish(client, "t") is False
        monkeypatch.setattr(provider, "ANSWER_SECONDS", 60.0)
        pending = asyncio.create_task(asked.subscribe(client, "t"))
        await asyncio.sleep(0.05)
        await asked.close()
        assert await pending is False
        assert await asked.publish(client, "t") is False
    finally:
        await server.stop(None)


def test_it_says_what_it_is_before_it_says_ready(running: tuple[Broker, int]) -> None:
    broker, port = running
    first = broker.errors().splitlines()[0]
    assert first == f"amqtt, MQTT 3.1.1 on 127.0.0.1:{port}: for trying and testing, not for production"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_exits_0_on_a_signal_with_clients_connected(hook: Hook, tmp_path: Path, number: int) -> None:
    hook.connect[b"dev"] = ALLOW
    broker = Broker(f"127.0.0.1:{hook.port}", tmp_path / "stderr")
    port = broker.ready()
    with raw(port, connect_packet(b"dev")) as sock, raw(port, b"\x10") as unfinished:
        assert sock.recv(100) == ACCEPTED
        assert broker.end(number) == 0
        assert sock.recv(100) == b""
        with contextlib.suppress(ConnectionResetError):
            assert unfinished.recv(100) == b""
    assert broker.errors().count("\n") == 1


def test_it_dies_with_its_parent_if_asked_to(hook: Hook, tmp_path: Path) -> None:
    broker = Broker(f"127.0.0.1:{hook.port}", tmp_path / "stderr", "--stdin-lifeline", stdin=subprocess.PIPE)
    broker.ready()
    assert broker.process.poll() is None
    assert broker.process.stdin is not None
    broker.process.stdin.close()
    assert broker.wait() == 0


def test_an_unreachable_server_fails_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = f"127.0.0.1:{free.getsockname()[1]}"
    broker = Broker(target, tmp_path / "stderr")
    assert broker.wait() == 1
    assert broker.errors() == (
        f"the ExHook server at {target} did not answer OnProviderLoaded (UNAVAILABLE):"
        " start it first, or give its address with --target HOST:PORT\n"
    )


def test_a_server_that_leaves_out_a_hook_fails_the_start(tmp_path: Path) -> None:
    hook = Hook()
    hook.hooks = ["client.authenticate", "message.publish"]
    try:
        hook.start()
        broker = Broker(f"127.0.0.1:{hook.port}", tmp_path / "stderr")
        assert broker.wait() == 1
        assert "does not ask for client.authorize: without it" in broker.errors()
        assert len(broker.errors().splitlines()) == 1
        assert [type(call) for call in hook.calls] == [wire.ProviderLoadedRequest]
    finally:
        hook.close()


def test_a_port_in_use_fails_the_start(hook: Hook, port: int, tmp_path: Path) -> None:
    broker = Broker(f"127.0.0.1:{hook.port}", tmp_path / "stderr", port=port)
    assert broker.wait() == 1
    assert broker.errors().startswith(f"cannot listen on 127.0.0.1:{port} (")
    assert len(broker.errors().splitlines()) == 1
    assert hook.calls == []


def test_without_amqtt_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "amqtt", None)
    assert amqtt.main(["--port", "0"]) == 64
    assert capsys.readouterr().err == "the embedded broker needs amqtt: pip install 'exhook[broker]'\n"


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "-1"], ["--port", "\N{SUPERSCRIPT TWO}"], ["x"]])
def test_wrong_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        amqtt.main(arguments)
    assert exited.value.code == 64
    assert len(capsys.readouterr().err.splitlines()) == 1


def read_exactly(sock: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        more = sock.recv(count - len(taken))
        assert more, taken
        taken += more
    return taken


def read_to_end(sock: socket.socket) -> bytes:
    taken = b""
    while more := sock.recv(1000):
        taken += more
    return taken
