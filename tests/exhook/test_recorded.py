"""Every request that real EMQX nodes were seen to send, replayed through the real socket."""

import pytest
import structlog
from worker_under_test import Serve, Served, Store, identity, permission, recorded, secret

from exhook.hooks import EMPTY, IGNORE
from protos import exhook_v2_pb2, exhook_v3_pb2
from store.records import Action, Effect

RECORDINGS = {"emqx-5.3.2": exhook_v2_pb2, "emqx-5.10.0": exhook_v3_pb2}

USERS = {  # user name: live passwords, as the recorded clients sent them
    "alice": (b"s3cret", b"pw"),
    "bob": ("pässwörd".encode(),),
}


def fill(store: Store) -> None:
    """A policy that lets some of the recorded clients in, and some of their topics through."""
    store.put(
        identity("alice", secrets=tuple(secret(word.decode(), word) for word in USERS["alice"])),
        identity("bob", USERS["bob"][0]),
        permission("alice", "sensors/#"),
        permission("alice", "home/+", Action.SUB),
        permission("bob", "#"),
        permission("bob", "d/#", effect=Effect.DENY),
    )


@pytest.mark.parametrize("name", RECORDINGS)
async def test_every_recorded_request_is_answered(name: str, serve: Serve, store: Store) -> None:
    fill(store)
    paths: dict[str, set[bytes]] = {}
    with structlog.testing.capture_logs() as lines:
        async with serve(decisions="all") as served:
            for request in recorded(name):
                paths.setdefault(request.path.rsplit("/", 1)[1], set()).add(
                    await served.call(request.path, request.body)
                )
    assert not [line for line in lines if line["log_level"] == "error"]
    deciding = paths.pop("OnClientAuthenticate") | paths.pop("OnClientAuthorize")
    assert {Served.verdict(answer) for answer in deciding} == {True, False}
    (loaded,) = paths.pop("OnProviderLoaded")
    assert [hook.name for hook in RECORDINGS[name].LoadedResponse.FromString(loaded).hooks] == [
        "client.authenticate",
        "client.authorize",
        "message.publish",
    ]
    assert paths.pop("OnMessagePublish") == {IGNORE}
    assert paths
    assert all(answers == {EMPTY} for answers in paths.values())


@pytest.mark.parametrize("name", RECORDINGS)
async def test_recorded_clients_get_what_the_policy_says(name: str, serve: Serve, store: Store) -> None:
    """Every recorded decision, against the rule re-stated: right password in, own topics through, else refused."""
    fill(store)
    messages = RECORDINGS[name]
    wrong = []
    async with serve() as served:
        for request in recorded(name):
            rpc = request.path.rsplit("/", 1)[1]
            if rpc == "OnClientAuthenticate":
                asked = messages.ClientAuthenticateRequest.FromString(request.body)
                info = asked.clientinfo
                expected = info.password in USERS.get(info.username.decode(), ())
            elif rpc == "OnClientAuthorize":
                asked = messages.ClientAuthorizeRequest.FromString(request.body)
                expected = _granted(asked.clientinfo.username.decode(), asked.type == 1, asked.topic.decode())
            else:
                continue
            if served.verdict(await served.call(request.path, request.body)) is not expected:
                wrong.append((request.action, rpc, expected))
    assert not wrong


def _granted(username: str, subscribing: bool, topic: str) -> bool:
    if username == "alice":
        return topic == "sensors" or topic.startswith("sensors/") or (subscribing and topic == "home/+")
    denied = topic == "d" or topic.startswith("d/") or (subscribing and topic[0] in "#+")
    return username == "bob" and not topic.startswith("$") and not denied


@pytest.mark.parametrize("name", RECORDINGS)
async def test_oddities_are_denied_with_their_reason(name: str, serve: Serve, store: Store) -> None:
    fill(store)
    expected = {
        "username, no password": "invalid_input",
        "v5 password without username": "unknown_identity",
        "long client id (65535 bytes)": "allowed",
        "client id with / + # and space": "allowed",
        "v5 CONNECT with Authentication Method SCRAM-SHA-1 + data": "invalid_input",
    }
    reasons = {}
    async with serve(decisions="all") as served:
        for request in recorded(name):
            if request.action in expected and request.path.endswith("OnClientAuthenticate"):
                with structlog.testing.capture_logs() as lines:
                    await served.call(request.path, request.body)
                reasons[request.action] = next(line["reason"] for line in lines if line["event"] == "decision")
    assert reasons == expected


async def test_the_same_requests_as_emqx_4_sends_them(serve: Serve, store: Store) -> None:
    """No 4.x was recorded; its messages differ from v2's in names and paths, not in the fields that decide."""
    fill(store)
    compared = 0
    async with serve() as served:
        for request in recorded("emqx-5.3.2"):
            if request.path.endswith(("OnClientAuthenticate", "OnClientAuthorize")):
                path = request.path.replace("exhook.v2", "exhook.v1").replace("Authorize", "CheckAcl")
                assert await served.call(path, request.body) == await served.call(request.path, request.body)
                compared += 1
    assert compared == 95
