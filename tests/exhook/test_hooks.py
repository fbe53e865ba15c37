"""The adapter alone: what bytes it answers, and that nothing it is sent makes it answer allow."""

import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worker_under_test import Store, identity, instance, permission

from exhook.decider import Decider
from exhook.hashing import HashingPool
from exhook.hooks import ALLOW, DENY, EMPTY, IGNORE, VERSIONS, Hooks
from exhook.listeners import Listeners
from exhook.logs import DecisionLog
from exhook.settings import Settings
from exhook.tail import Tails
from exhook.transport.call import Call
from protos import exhook_v1_pb2, exhook_v2_pb2, exhook_v3_pb2
from store.bindings import Bindings
from store.clock import now_ms
from store.reader import Reader
from store.records import NoMatch
from store.runtime import Runtime


def answer(hooks: Hooks, path: str, body: bytes) -> bytes:
    answered = hooks.answer(Call(path, body, time.monotonic() + 5, "test"))
    assert not isinstance(answered, Awaitable)
    return answered


@pytest.fixture
def hooks(store: Store) -> Iterator[Hooks]:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    reader, pool = Reader(store.path, store.keys), HashingPool(threads=1, queue=1, remember_seconds=60)
    with Runtime.open(store.path) as runtime:
        yield Hooks(
            Decider(reader, pool, Listeners(()), Bindings(runtime), instance="", clock=now_ms),
            DecisionLog(Settings(decisions="none")),
            Tails(Path("none.db")),
        )
    pool.close()
    reader.close()


def test_the_answers_are_these_very_bytes() -> None:
    """An empty answer counts as *ignored* on EMQX, so a deny must say its false."""
    assert ALLOW == b"\x08\x02\x18\x01"
    assert DENY == b"\x08\x02\x18\x00"
    assert IGNORE == b"\x08\x01"
    assert EMPTY == b""


def test_every_rpc_of_every_version_is_answered(hooks: Hooks) -> None:
    modules = {"emqx.exhook.v1": exhook_v1_pb2, "emqx.exhook.v2": exhook_v2_pb2, "emqx.exhook.v3": exhook_v3_pb2}
    rpcs = 0
    for package, module in modules.items():
        for method in module.DESCRIPTOR.services_by_name["HookProvider"].methods:
            body = answer(hooks, f"/{package}.HookProvider/{method.name}", b"")
            getattr(module, method.output_type.name).FromString(body)
            rpcs += 1
    assert rpcs == len(hooks.paths) == 63


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.package)
def test_exactly_three_hooks_are_registered(hooks: Hooks, version: object) -> None:
    messages, path = version.messages, version.path("OnProviderLoaded")  # type: ignore[attr-defined]
    loaded = messages.LoadedResponse.FromString(answer(hooks, path, b""))
    assert [hook.name for hook in loaded.hooks] == [
        "client.authenticate",
        "client.check_acl" if messages is exhook_v1_pb2 else "client.authorize",
        "message.publish",
    ]
    # Of messages, those alone that renew tokens: each of the others would wait for an answer.
    assert [list(hook.topics) for hook in loaded.hooks] == [[], [], ["$exhook/uploadToken"]]


def test_no_match_pass_hands_the_question_back(hooks: Hooks, store: Store) -> None:
    def ask(topic: bytes) -> bytes:
        info = exhook_v3_pb2.ClientInfo(clientid=b"c", username=b"alice")
        request = exhook_v3_pb2.ClientAuthorizeRequest(clientinfo=info, topic=topic)
        return answer(hooks, "/emqx.exhook.v3.HookProvider/OnClientAuthorize", request.SerializeToString())

    assert (ask(b"a/b"), ask(b"x/y")) == (ALLOW, DENY)
    store.put(instance(no_match=NoMatch.PASS))
    hooks._decider.reader.poll()
    assert (ask(b"a/b"), ask(b"x/y"), ask(b"x/#")) == (ALLOW, IGNORE, DENY)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
def test_garbage_is_never_allowed(hooks: Hooks, body: bytes) -> None:
    for version in VERSIONS:
        for rpc in ("OnClientAuthenticate", f"On{version.authorize}"):
            assert answer(hooks, version.path(rpc), body) == DENY


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    client=st.binary(max_size=40),
    username=st.binary(max_size=40),
    password=st.binary(max_size=40),
    topic=st.binary(max_size=40),
)
def test_strangers_are_never_allowed(
    hooks: Hooks, client: bytes, username: bytes, password: bytes, topic: bytes
) -> None:
    info = exhook_v3_pb2.ClientInfo(clientid=client, username=username, password=password)
    connect = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=info).SerializeToString()
    asked = exhook_v3_pb2.ClientAuthorizeRequest(clientinfo=info, topic=topic).SerializeToString()
    known = (username, password) == (b"alice", b"right")
    assert known or answer(hooks, "/emqx.exhook.v3.HookProvider/OnClientAuthenticate", connect) == DENY
    assert username == b"alice" or answer(hooks, "/emqx.exhook.v3.HookProvider/OnClientAuthorize", asked) == DENY


def test_a_store_that_cannot_be_read_is_a_deny(hooks: Hooks, store: Store) -> None:
    info = exhook_v3_pb2.ClientInfo(clientid=b"c", username=b"alice", password=b"right")
    request = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=info).SerializeToString()
    path = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"
    assert answer(hooks, path, request) == ALLOW
    hooks._decider.reader._parts.clear()
    hooks._decider.reader._database.connection.close()
    assert answer(hooks, path, request) == DENY
    assert Path(store.path).exists()
