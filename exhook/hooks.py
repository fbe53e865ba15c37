"""The ExHook adapter: a `Call` in, the decision asked, answer bytes out; one table for v1, v2 and v3.

Every failure inside a hook answers deny: an error status would let clients in where a broker is set to
`failed_action = ignore` (pitfall 4). Answers are constants, since an empty message counts as *ignored*.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from exhook import metrics
from exhook.decider import Decider
from exhook.denials import Denials, Noted
from exhook.listeners import Origin
from exhook.logs import DecisionLog, decision_fields, error_place, logger
from exhook.renewing import TOPIC, renew
from exhook.sessions import Nodes, Sessions
from exhook.tail import Tails
from exhook.transport.call import Call
from protos import exhook_v1_pb2, exhook_v2_pb2, exhook_v3_pb2
from store.clock import Clock, now_ms
from store.decision import Decision, Reason, refused
from store.records import Action
from store.seal import SealError
from store.unavailable import StoreUnavailable
from store.view import Client

ALLOW: Final = exhook_v3_pb2.ValuedResponse(type="STOP_AND_RETURN", bool_result=True).SerializeToString()
DENY: Final = exhook_v3_pb2.ValuedResponse(type="STOP_AND_RETURN", bool_result=False).SerializeToString()
IGNORE: Final = exhook_v3_pb2.ValuedResponse(type="IGNORE").SerializeToString()
"""The broker goes on as if it had not asked."""
EMPTY: Final = exhook_v3_pb2.EmptySuccess().SerializeToString()

_ASKED: Final = (Action.PUB, Action.SUB)
"""By the request's type on the wire: PUBLISH = 0, SUBSCRIBE = 1."""


@dataclass(frozen=True, slots=True)
class Version:
    """How one version of the interface differs from the others."""

    package: str
    messages: Any
    authorize: str
    """Its RPC, and its request's name less `Request`."""
    hooks: tuple[str, str]

    def path(self, rpc: str) -> str:
        return f"/{self.package}.HookProvider/{rpc}"


VERSIONS: Final = (
    Version("emqx.exhook.v1", exhook_v1_pb2, "ClientCheckAcl", ("client.authenticate", "client.check_acl")),
    Version("emqx.exhook.v2", exhook_v2_pb2, "ClientAuthorize", ("client.authenticate", "client.authorize")),
    Version("emqx.exhook.v3", exhook_v3_pb2, "ClientAuthorize", ("client.authenticate", "client.authorize")),
)

Answerer = Callable[[Call], bytes | Awaitable[bytes]]


class Hooks:
    """Answers every RPC of the three packages."""

    def __init__(self, decider: Decider, log: DecisionLog, tails: Tails, *, clock: Clock = now_ms) -> None:
        self.log = log
        self.tails = tails
        self.denials = Denials()
        self.sessions = Sessions(decider)
        self._decider = decider
        self._clock = clock
        self._answers: dict[str, Answerer] = {}
        for version in VERSIONS:
            self._answers |= self._table(version)

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self._answers)

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        return self._answers[call.path](call)

    def _table(self, version: Version) -> dict[str, Answerer]:
        service = version.messages.DESCRIPTOR.services_by_name["HookProvider"]
        by_type = {"EmptySuccess": lambda _: EMPTY, "ValuedResponse": lambda _: IGNORE}
        table: dict[str, Answerer] = {
            version.path(method.name): by_type[method.output_type.name]
            for method in service.methods
            if method.output_type.name in by_type
        }
        hooks: list[Any] = [{"name": hook} for hook in version.hooks]
        # Limited to the one topic, it costs nothing for any other message.
        hooks.append({"name": "message.publish", "topics": [TOPIC]})
        loaded = version.messages.LoadedResponse(hooks=hooks).SerializeToString()
        authenticate = version.messages.ClientAuthenticateRequest.FromString
        authorize = getattr(version.messages, f"{version.authorize}Request").FromString
        table[version.path("OnProviderLoaded")] = lambda call: self._loaded(call, version, loaded)
        table[version.path("OnClientAuthenticate")] = lambda call: self._authenticate(call, authenticate)
        table[version.path("OnMessagePublish")] = lambda call: self._message(call, version)
        nodes = Nodes()
        table[version.path(f"On{version.authorize}")] = lambda call: self._authorize(call, authorize, nodes)
        return table

    def _loaded(self, call: Call, version: Version, answer: bytes) -> bytes:
        try:
            request = version.messages.ProviderLoadedRequest.FromString(call.body)
        except DecodeError:
            logger.warning("loaded by a broker that does not say which", package=version.package, peer=call.peer)
        else:
            broker, meta = request.broker, request.meta
            logger.info(
                "loaded by a broker",
                broker=f"{broker.sysdescr} {broker.version}",
                node=meta.node,
                cluster=meta.cluster_name,
                hooks=list(version.hooks),
                peer=call.peer,
            )
        return answer

    def _authenticate(self, call: Call, parse: Callable[[bytes], Any]) -> bytes | Awaitable[bytes]:
        asked = _Asked("authenticate", time.perf_counter())
        try:
            request = parse(call.body)
            info = request.clientinfo
            asked.node = request.meta.node
            asked.client = self._client(info, request.meta)
            if asked.client is None:
                return self._finish(asked, refused(Reason.INVALID_INPUT, self._decider.reader.revision))
            decision = self._decider.authenticate(asked.client, info.password, call.deadline)
            if isinstance(decision, Decision):
                return self._finish(asked, decision)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is deny
            return self._fail(asked, error)
        return self._finish_later(asked, decision)

    def _authorize(self, call: Call, parse: Callable[[bytes], Any], nodes: Nodes) -> bytes:
        began = time.perf_counter()
        unknown = False
        try:
            # Most requests are allowed, and nobody wants to see by what.
            if not (self.tails.listening or self.log.allows):
                allowed = self.sessions.allowed(nodes, call.body)
                if allowed:
                    hook = "publish" if allowed is Action.PUB else "subscribe"
                    metrics.count_allowed(hook, time.perf_counter() - began)
                    return ALLOW
                unknown = allowed is None
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is deny
            return self._fail(_Asked("authorize", began), error)
        return self._weigh(call, parse, nodes if unknown else None, _Asked("authorize", began))

    def _weigh(self, call: Call, parse: Callable[[bytes], Any], nodes: Nodes | None, asked: "_Asked") -> bytes:
        """Authorize with a reason; with `nodes`, the client's next requests are answered by its session."""
        try:
            request = parse(call.body)
            info = request.clientinfo
            asked.node = request.meta.node
            moves = self._decider.reader.moves
            asked.client = self._client(info, request.meta)
            revision = self._decider.reader.revision
            if asked.client is None or request.type not in (0, 1):
                return self._finish(asked, refused(Reason.INVALID_INPUT, revision))
            try:
                asked.topic = request.topic.decode()
            except UnicodeDecodeError:
                return self._finish(asked, refused(Reason.INVALID_TOPIC, revision))
            action = _ASKED[request.type]
            asked.hook = "publish" if action is Action.PUB else "subscribe"
            decision = self._decider.authorize(asked.client, action, asked.topic)
            if nodes is not None:
                self.sessions.remember(nodes, call.body, info, asked.client, moves)
            return self._finish(asked, decision)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is deny
            return self._fail(asked, error)

    def _message(self, call: Call, version: Version) -> bytes:
        """A renewal of tokens, which goes no further; any other message goes on as it is."""
        asked = _Asked("renew", time.perf_counter())
        try:
            request = version.messages.MessagePublishRequest.FromString(call.body)
        except DecodeError:
            # Nothing that could be stopped: an answer has to hold the message. Nobody may subscribe to its topic.
            self._finish(asked, refused(Reason.INVALID_INPUT, self._decider.reader.revision))
            return IGNORE
        message = request.message
        if message.topic != TOPIC.encode():
            return IGNORE
        try:
            asked.node = request.meta.node
            done = renew(self._decider, request.meta.cluster_name, _sender(message), message.payload)
            asked.client = done.client
            self._finish(asked, done.decision)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is renewed
            self._fail(asked, error)
        # Where a broker does not know the header, the token is not delivered either.
        message.headers["allow_publish"] = b"false"
        message.payload = b""
        return bytes(version.messages.ValuedResponse(type="STOP_AND_RETURN", message=message).SerializeToString())

    def _client(self, info: Any, meta: Any) -> Client | None:
        mountpoint = info.mountpoint.decode(errors="replace") if info.mountpoint else ""
        origin = Origin(info.sockport, mountpoint, meta.cluster_name, meta.sysdescr)
        listener = self._decider.listener(origin)
        # The first version of the interface knows no port of the client.
        port = getattr(info, "peerport", 0)
        return Client.from_wire(info.username, info.clientid, listener, cn=info.cn, address=info.peerhost, port=port)

    async def _finish_later(self, asked: "_Asked", pending: Awaitable[Decision]) -> bytes:
        try:
            decision = await pending
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is deny
            return self._fail(asked, error)
        return self._finish(asked, decision)

    def _fail(self, asked: "_Asked", error: Exception) -> bytes:
        if isinstance(error, DecodeError):
            reason = Reason.INVALID_INPUT
        elif isinstance(error, StoreUnavailable | SealError):
            reason = Reason.STORE_UNAVAILABLE
            logger.error("store unavailable", hook=asked.hook, why=str(error))
        else:
            reason = Reason.INTERNAL_ERROR
            logger.error("error in a hook", hook=asked.hook, error=error_place(error))
        return self._finish(asked, refused(reason, self._decider.reader.revision))

    def _finish(self, asked: "_Asked", decision: Decision) -> bytes:
        seconds = time.perf_counter() - asked.began
        metrics.count(asked.hook, decision, seconds)
        logged = self.log.wants(decision)
        if logged or not decision.allow or self.tails.listening:
            try:
                self._tell(asked, decision, seconds, logged=logged)
            except Exception as error:  # noqa: BLE001 - what cannot be told is answered all the same
                logger.error("a decision could not be told", error=error_place(error))
        if decision.passed_on:
            return IGNORE
        return ALLOW if decision.allow else DENY

    def _tell(self, asked: "_Asked", decision: Decision, seconds: float, *, logged: bool) -> None:
        decision_id = secrets.token_hex(8)
        if not decision.allow and not decision.passed_on and asked.client is not None:
            told = self._clock(), asked.client, asked.hook, asked.topic or "", decision, decision_id, asked.node
            self.denials.note(Noted(*told))
        if logged or self.tails.listening:
            fields = decision_fields(
                decision, hook=asked.hook, client=asked.client, node=asked.node, took_ms=seconds * 1000,
                decision_id=decision_id, topic=asked.topic,
            )  # fmt: skip
            if logged:
                self.log.write(fields)
            self.tails.tell(fields)


def _sender(message: Any) -> str:
    """The client id; nothing is bound to one that is not UTF-8."""
    sender: bytes = getattr(message, "from")
    return sender.decode(errors="replace")


@dataclass(slots=True)
class _Asked:
    """What is known of a request while it is being answered; an allow-list of what may be logged."""

    hook: str
    began: float
    node: str = ""
    client: Client | None = None
    topic: str | None = None
