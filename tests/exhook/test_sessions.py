"""The short way of a request, by its bytes: it answers as the long way does, or leaves the request to it."""

import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker_under_test import INSTANCE, MESSAGES, Store, identity, instance, permission, recorded

from exhook import metrics
from exhook.authorize_wire import meta_in, read_authorize
from exhook.decider import Decider
from exhook.hashing import HashingPool
from exhook.hooks import ALLOW, DENY, IGNORE, Hooks
from exhook.listeners import ListenerRule, Listeners
from exhook.logs import DecisionLog
from exhook.settings import Settings
from exhook.tail import Tails
from exhook.transport.call import Call
from protos import exhook_v3_pb2
from store.bindings import Bindings
from store.decision import Decision, Reason, authorize, instance_of
from store.reader import Reader
from store.records import Action, BlacklistEntry, Effect, Grantee, Instance, Record
from store.runtime import Runtime
from store.view import Client

NOW = 1_800_000_000_000
AUTHORIZE = "/emqx.exhook.v3.HookProvider/OnClientAuthorize"
RECORDED = [
    request.body
    for name in ("emqx-5.3.2", "emqx-5.10.0")
    for request in recorded(name)
    if request.path.endswith("OnClientAuthorize")
]


class Asking:
    """Hooks on a store, and what they were heard to decide."""

    def __init__(self, store: Store) -> None:
        self.now = NOW
        self.store = store
        self.reader = Reader(store.path, store.keys)
        self.runtime = Runtime.open(store.path)
        self.pool = HashingPool(threads=1, queue=1, remember_seconds=60)
        self.decider = Decider(
            self.reader, self.pool, Listeners(()), Bindings(self.runtime), instance="", clock=lambda: self.now
        )
        self.hooks = Hooks(
            self.decider, DecisionLog(Settings(decisions="none")), Tails(Path("none.db")), clock=lambda: self.now
        )
        self.surely = 0
        """How many requests a session answered."""

    def close(self) -> None:
        self.pool.close()
        self.runtime.close()
        self.reader.close()

    def answer(self, body: bytes, path: str = AUTHORIZE) -> tuple[bytes, str]:
        """The answer's bytes, and the reason that was counted."""
        with (
            mock.patch.object(metrics, "count", side_effect=metrics.count) as long,
            mock.patch.object(metrics, "count_allowed", side_effect=metrics.count_allowed) as short,
        ):
            answered = self.hooks.answer(Call(path, body, time.monotonic() + 5, "test"))
        assert not isinstance(answered, Awaitable)
        assert long.call_count + short.call_count == 1
        if short.called:
            self.surely += 1
            return answered, Reason.ALLOWED.value
        return answered, long.call_args.args[1].reason.value


@contextmanager
def asking(store: Store) -> Iterator[Asking]:
    made = Asking(store)
    try:
        yield made
    finally:
        made.close()


def request(topic: bytes | str = b"a/b", **more: Any) -> bytes:
    told = topic.encode() if isinstance(topic, str) else topic
    info: dict[str, Any] = {
        "node": "emqx@n",
        "clientid": b"c",
        "username": b"alice",
        "peerhost": "10.0.0.1",
        "sockport": 1883,
    }
    meta = exhook_v3_pb2.RequestMeta(node="emqx@n", sysdescr="EMQX", cluster_name="one")
    action = more.pop("type", "PUBLISH")
    asked = exhook_v3_pb2.ClientAuthorizeRequest(
        clientinfo=exhook_v3_pb2.ClientInfo(**(info | more)), type=action, topic=told, result=True, meta=meta
    )
    return asked.SerializeToString()


class TestWire:
    @pytest.mark.parametrize("body", [request(), request("t" * 5000, type="SUBSCRIBE", clientid=b"c" * 300), *RECORDED])
    def test_what_emqx_sends_is_read(self, body: bytes) -> None:
        assert agrees_with_protobuf(body) or len(body) > 10_000

    def test_a_length_that_is_longer_than_it_need_be(self) -> None:
        body = lengthened(b"a/b")
        assert exhook_v3_pb2.ClientAuthorizeRequest.FromString(body).topic == b"denied"
        assert not agrees_with_protobuf(body)

    @settings(max_examples=200)
    @given(body=st.binary(max_size=60))
    @example(body=b"\x0a\x00\x1a\x01a\x2a\x00")
    @example(body=b"\x0a\x80\x00\x1a\x81\x00a\x2a\x80\x00")
    @example(body=b"\x0a\x00\x1a\x01a\x2a\x00\x0a\x00")
    @example(body=b"\x0a\x00\x1a\x01a\x20\x01\x20\x00\x2a\x00")
    @example(body=b"\x0a\x00\x10\x00\x1a\x01a\x2a\x00")
    @example(body=b"\x0a\x00\x10\x01\x1a\x01a\x2a\x02\x0a\x00")
    def test_anything(self, body: bytes) -> None:
        agrees_with_protobuf(body)

    @settings(max_examples=300)
    @given(
        body=st.sampled_from([request(), request("x/+", type="SUBSCRIBE"), *RECORDED[:6]]),
        at=st.integers(0, 300),
        cut=st.integers(0, 4),
        put=st.binary(max_size=4),
    )
    def test_what_emqx_sends_changed(self, body: bytes, at: int, cut: int, put: bytes) -> None:
        agrees_with_protobuf(body[:at] + put + body[at + cut :])

    @settings(max_examples=300)
    @given(
        fields=st.lists(
            st.one_of(
                st.tuples(st.sampled_from([0x0A, 0x1A, 0x2A, 0x32]), st.binary(max_size=9)),
                st.tuples(st.sampled_from([0x10, 0x20, 0x30]), st.integers(0, 300)),
            ),
            max_size=7,
        )
    )
    def test_fields_in_any_order(self, fields: list[tuple[int, Any]]) -> None:
        agrees_with_protobuf(b"".join(bytes([tag]) + wire(value) for tag, value in fields))


def lengthened(topic: bytes) -> bytes:
    """A request whose last length has a third byte, of no value: two would say 16,384 more, and hide another topic."""
    hidden = b"\x1a\x06denied"
    filling = 0x4000 - 1 - len(hidden) - 3
    meta = exhook_v3_pb2.RequestMeta(node="n", sysdescr="EMQX").SerializeToString()
    end = bytes([0x2A, len(meta) | 0x80, 0x80, 0]) + meta + hidden
    end += bytes([0x7A, filling & 0x7F | 0x80, filling >> 7]) + bytes(filling)
    info = exhook_v3_pb2.ClientInfo(clientid=b"c", username=b"alice").SerializeToString()
    return b"\x0a" + wire(info) + b"\x1a" + wire(topic) + end


def wire(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return bytes([len(value)]) + value
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7])


def agrees_with_protobuf(body: bytes) -> bool:
    """Whether the short way reads a request at all; if it does, protobuf reads the same, in every version."""
    asked = read_authorize(body)
    if asked is None or (meta := meta_in(asked[3])) is None:
        return False
    info, action, topic, _ = asked
    for version, messages in MESSAGES.items():
        message = getattr(messages, "ClientCheckAclRequest" if version == "v1" else "ClientAuthorizeRequest")
        try:
            parts = messages.ClientInfo.FromString(info), messages.RequestMeta.FromString(meta)
        except DecodeError:
            # What is no message in part is none as a whole.
            with pytest.raises(DecodeError):
                message.FromString(body)
            continue
        whole = message.FromString(body)
        assert (whole.clientinfo, whole.meta, whole.topic) == (*parts, topic)
        assert whole.type == (0 if action is Action.PUB else 1)
    return True


def right(asking: Asking, body: bytes) -> tuple[bytes, str]:
    """The long way, on a reader that has cached nothing."""
    asked = exhook_v3_pb2.ClientAuthorizeRequest.FromString(body)
    reader = Reader(asking.store.path, asking.store.keys)
    with mock.patch.object(asking.decider, "reader", reader):
        client = asking.hooks._client(asked.clientinfo, asked.meta)
        decision = _decided(reader, client, asked, asking.now)
    reader.close()
    return (IGNORE if decision.passed_on else ALLOW if decision.allow else DENY), decision.reason.value


def _decided(reader: Reader, client: Client | None, asked: Any, now: int) -> Decision:
    assert client is not None
    view = reader.view(instance_of(client), client)
    return authorize(view, client, Action.SUB if asked.type else Action.PUB, asked.topic.decode(), now)


ALICE = identity("alice", b"right")
BOB = identity("bob", b"right", client_ids_prefix="c")
OTHER = "mqtt-other"
MOVES: dict[str, list[Record]] = {
    "alice may more": [permission("alice", "b/+")],
    "alice may not": [permission("alice", "a/b", effect=Effect.DENY)],
    "everyone may": [permission("", "all/${clientid}/#", to=Grantee.ALL)],
    "everyone may not": [permission("", "a/#", to=Grantee.ALL, effect=Effect.DENY, expires_at=NOW + 1)],
    "for a while": [permission("alice", "x/#", expires_at=NOW + 1)],
    "gone soon": [identity("alice", b"right", expires_at=NOW + 1)],
    "owned": [identity("bob", b"right", client_id="c")],
    "blacklisted": [BlacklistEntry(instance=INSTANCE, client_id="c2", expires_at=NOW + 1)],
    "stranger": [identity("carol", b"right")],
    "another instance": [
        Instance(name=OTHER, source="policy"),
        replace(ALICE, instance=OTHER),
        permission("alice", "o/#", instance=OTHER),
    ],
    "parents": [instance(parent_topics=("a", "x"))],
}
BODIES = [
    request(topic, type=action, clientid=client, username=name, sockport=port)
    for topic, action in (
        ("a/b", "PUBLISH"), ("b/c", "PUBLISH"), ("x", "PUBLISH"), ("all/c/1", "PUBLISH"), ("o/1", "PUBLISH"),
        ("a/#", "SUBSCRIBE"), ("b/+", "SUBSCRIBE"), ("#", "SUBSCRIBE"), ("a/b", "SUBSCRIBE"), ("all/+/1", "SUBSCRIBE"),
    )
    for client, name, port in ((b"c", b"alice", 1883), (b"c2", b"alice", 8883), (b"c", b"bob", 1883))
]  # fmt: skip
RULES = ((), (ListenerRule(name="tls", port=8883, instance=OTHER),), (ListenerRule(name="all", external=True),))


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from(sorted(MOVES))),
            st.tuples(st.just("remove"), st.sampled_from(sorted(MOVES))),
            st.tuples(st.just("clock"), st.sampled_from([NOW - 1, NOW, NOW + 1])),
            st.tuples(st.just("listeners"), st.integers(0, 2)),
        ),
        min_size=2,
        max_size=6,
    ),
    bodies=st.lists(st.sampled_from(BODIES), min_size=2, max_size=6, unique=True),
)
def test_the_short_way_answers_as_the_long_way(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]], bodies: list[bytes]
) -> None:
    """Through commits, expiries, a clock that jumps and listeners that change; each request thrice."""
    store = Store(tmp_path_factory.mktemp("short") / "exhook.db")
    store.put(instance(), ALICE, BOB, permission("alice", "a/#"), permission("bob", "#"))
    with asking(store) as asker:
        for step, value in steps:
            if step == "put":
                store.put(*MOVES[value])
            elif step == "remove" and value != "parents":
                store.remove(*reversed(MOVES[value]))
            elif step == "clock":
                asker.now = value
            elif step == "listeners":
                asker.decider.listeners = Listeners(RULES[value])
                asker.decider.instance = INSTANCE
            asker.reader.poll()
            for body in bodies * 3:
                assert asker.answer(body) == right(asker, body), (step, value)


class TestShortWay:
    def test_it_is_the_usual_one(self, store: Store) -> None:
        store.put(ALICE, permission("alice", "a/#"), permission("alice", "of/${clientid}/+"))
        bodies = [request("a/b"), request("of/c/x"), request("a/+", type="SUBSCRIBE")]
        with asking(store) as asker:
            assert [asker.answer(body) for body in bodies] == [(ALLOW, "allowed")] * 3
            assert asker.surely == 2  # the first one made the session
            store.put(identity("stranger", b"x"))
            asker.reader.poll()
            asker.answer(request(username=b"stranger", clientid=b"s"))
            assert [asker.answer(body) for body in bodies] == [(ALLOW, "allowed")] * 3
            assert asker.surely == 5  # what touches others costs nothing

    def test_it_asks_sqlite_nothing(self, store: Store) -> None:
        store.put(ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            asker.answer(request())
            said: list[str] = []
            asker.reader._database.connection.set_trace_callback(said.append)
            assert asker.answer(request("a/c")) == (ALLOW, "allowed")
            assert asker.answer(request("x/c")) == (DENY, "no_match")
            assert said == []

    def test_no_password_is_remembered(self, store: Store) -> None:
        """EMQX sends none with authorize; were one there, it would stay in memory as long as the session."""
        store.put(ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            for _ in range(3):
                assert asker.answer(request(password=b"canary-password")) == (ALLOW, "allowed")
            assert (asker.surely, len(asker.hooks.sessions)) == (0, 0)

    def test_token_mode_takes_the_long_way(self, store: Store) -> None:
        with asking(store) as asker:
            for _ in range(2):
                asker.answer(request(username=f"Token|key|{INSTANCE}".encode()))
            assert len(asker.hooks.sessions) == 0

    def test_a_second_instance_that_comes_between_two_looks(self, store: Store) -> None:
        """The client is taken for one of the only instance, and the commit is seen while its records are read."""
        store.put(instance(), ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            asker.answer(request(username=b"another", clientid=b"x"))
            store.put(Instance(name=OTHER, source="policy"))
            asker.answer(request())
            asker.reader.poll()
            for _ in range(3):
                assert asker.answer(request()) == right(asker, request()) == (DENY, "wrong_instance")

    def test_nobody_is_remembered_whose_names_fill_memory(self, store: Store) -> None:
        store.put(instance(), ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            for size, known in ((500, 1), (2_000, 1)):
                for _ in range(2):
                    assert asker.answer(request(clientid=b"c" * size)) == (ALLOW, "allowed")
                assert (asker.surely, len(asker.hooks.sessions)) == (known, known)

    def test_versions_do_not_share(self, store: Store) -> None:
        """The first one knows no port of the client: the same bytes say less there."""
        store.put(ALICE, permission("alice", "a/#"))
        path = "/emqx.exhook.v1.HookProvider/OnClientCheckAcl"
        with asking(store) as asker:
            for _ in range(2):
                asker.answer(request())
            assert asker.surely == 1
            asker.answer(request(), path)
            assert asker.surely == 1

    def test_it_is_not_taken_where_somebody_wants_to_see(self, store: Store) -> None:
        store.put(ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            asker.hooks.log = DecisionLog(Settings(decisions="all"))
            for _ in range(2):
                assert asker.answer(request()) == (ALLOW, "allowed")
            assert (asker.surely, len(asker.hooks.sessions)) == (0, 0)

    def test_it_stays_within_its_bound(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exhook.sessions.MAX_SESSIONS", 10)
        store.put(ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            for number in range(40):
                asker.answer(request(peerport=number + 1))
                before = asker.surely
                asker.answer(request(peerport=number + 1))
                asker.answer(request(peerport=max(1, number)))
                assert asker.surely == before + 2
                assert len(asker.hooks.sessions) <= 10

    def test_nodes_stay_within_their_bound(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exhook.sessions.MAX_NODES", 3)
        store.put(ALICE, permission("alice", "a/#"))
        asked = exhook_v3_pb2.ClientAuthorizeRequest.FromString(request())
        with asking(store) as asker:
            for number in range(20):
                asked.meta.version = f"5.{number}"
                for _ in range(2):
                    assert asker.answer(asked.SerializeToString()) == (ALLOW, "allowed")
            assert asker.surely == 20

    def test_a_fault_on_it_is_a_deny(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.put(ALICE, permission("alice", "a/#"))
        with asking(store) as asker:
            asker.answer(request())
            monkeypatch.setattr(asker.hooks.sessions, "_holds", lambda _: 1 / 0)
            assert asker.answer(request()) == (DENY, "internal_error")
