"""Requests as EMQX 5.10 sends them (see tests/data), each with the answer that is right."""

from dataclasses import dataclass
from typing import Final

from filling import client_id, secret_of, topic_of, username

from protos import exhook_v3_pb2
from store.credentials import sign

AUTHORIZE: Final = "/emqx.exhook.v3.HookProvider/OnClientAuthorize"
AUTHENTICATE: Final = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"

ALLOW: Final = exhook_v3_pb2.ValuedResponse(type="STOP_AND_RETURN", bool_result=True).SerializeToString()
DENY: Final = exhook_v3_pb2.ValuedResponse(type="STOP_AND_RETURN", bool_result=False).SerializeToString()

_NODE: Final = "emqx@127.0.0.1"
_META: Final = exhook_v3_pb2.RequestMeta(
    node=_NODE, version="5.10.0", sysdescr="EMQX Enterprise", cluster_name="emqxcl"
)


@dataclass(frozen=True, slots=True)
class Question:
    """One call, and the message that is its right answer."""

    path: str
    message: bytes
    answer: bytes


def publish(number: int, *, allowed: bool) -> Question:
    """A client publishes to its own topic, or to its neighbour's."""
    request = exhook_v3_pb2.ClientAuthorizeRequest(
        clientinfo=_client(number),
        type="PUBLISH",
        topic=topic_of(number if allowed else number + 1).encode(),
        result=True,
        meta=_META,
    )
    return Question(AUTHORIZE, request.SerializeToString(), ALLOW if allowed else DENY)


def connect(number: int) -> Question:
    """A client connects with the password that it signed."""
    client = _client(number)
    client.password = sign(secret_of(number), client_id(number))
    request = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=client, result=True, meta=_META)
    return Question(AUTHENTICATE, request.SerializeToString(), ALLOW)


def _client(number: int) -> exhook_v3_pb2.ClientInfo:
    return exhook_v3_pb2.ClientInfo(
        node=_NODE,
        clientid=client_id(number).encode(),
        username=username(number).encode(),
        peerhost="127.0.0.1",
        sockport=1883,
        protocol="mqtt",
        anonymous=True,
        peerport=33431,
    )
