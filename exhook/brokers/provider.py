"""A HookProvider as a broker sees it: asked over gRPC at every connect, publish and subscribe.

Speaks ``emqx.exhook.v3``. Whatever goes wrong with a question - no server, an error, no answer in time, an
answer without a value - is a refusal; nothing here raises because of an answer.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio

from protos import exhook_v3_pb2 as wire

SERVICE = "/emqx.exhook.v3.HookProvider/"
NEEDED = ("client.authenticate", "client.authorize")
ANSWER_SECONDS = 5.0  # EMQX's default `request_timeout`
UNLOAD_SECONDS = 1.0
# A proxy from the environment must not see passwords; a server that came back is found within a second.
CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
UPLOAD_TOPIC = "$SYS/uploadToken"
RENAMED = b"$exhook/uploadToken"
PUBLISH = wire.ClientAuthorizeRequest.AuthorizeReqType.PUBLISH
SUBSCRIBE = wire.ClientAuthorizeRequest.AuthorizeReqType.SUBSCRIBE

log = logging.getLogger(__name__)


class ProviderNotLoaded(Exception):
    """OnProviderLoaded failed or did not name the two hooks; the message says which, and what to do."""


class Provider:
    """One gRPC channel to an ExHook server, and the four calls a broker makes over it.

    Make it inside a running event loop; ``meta`` goes with every request.
    """

    def __init__(self, target: str, meta: wire.RequestMeta) -> None:
        self._target = target
        self._meta = meta
        self._loaded = False
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL)
        self._load = self._method("OnProviderLoaded", wire.LoadedResponse)
        self._unload = self._method("OnProviderUnloaded", wire.EmptySuccess)
        # Their answers are parsed in `_ask`: gRPC would log a traceback for one that is not protobuf.
        self._authenticate = self._method("OnClientAuthenticate", None)
        self._authorize = self._method("OnClientAuthorize", None)
        self._message = self._method("OnMessagePublish", None)

    def _method(self, name: str, answer: Any) -> Any:
        parse = None if answer is None else answer.FromString
        return self._channel.unary_unary(SERVICE + name, _serialize, parse)

    async def load(self) -> None:
        """Announce the broker and see that the server wants to be asked.

        Raises:
            ProviderNotLoaded: no answer, or an answer that leaves out one of the two hooks.
        """
        now = datetime.now(UTC).isoformat()
        broker = wire.BrokerInfo(version=self._meta.version, sysdescr=self._meta.sysdescr, datetime=now)
        request = wire.ProviderLoadedRequest(broker=broker, meta=self._meta)
        try:
            answer = await self._load(request, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise ProviderNotLoaded(
                f"the ExHook server at {self._target} did not answer OnProviderLoaded ({error.code().name}):"
                " start it first, or give its address with --target HOST:PORT"
            ) from error
        missing = [name for name in NEEDED if name not in {hook.name for hook in answer.hooks}]
        if missing:
            raise ProviderNotLoaded(
                f"the ExHook server at {self._target} does not ask for {' and '.join(missing)}:"
                " without it every client would be let in; check that it is the right server"
            )
        self._loaded = True

    async def authenticate(self, client: wire.ClientInfo, password: bytes) -> bool:
        """Whether this client may connect; the password travels in this request alone."""
        asked = wire.ClientInfo()
        asked.CopyFrom(client)
        asked.password = password
        return await self._ask(self._authenticate, wire.ClientAuthenticateRequest(clientinfo=asked, meta=self._meta))

    async def publish(self, client: wire.ClientInfo, topic: str) -> bool:
        """Whether this client may publish to a topic."""
        return await self._permitted(client, PUBLISH, topic)

    async def subscribe(self, client: wire.ClientInfo, topic_filter: str) -> bool:
        """Whether this client may subscribe to a topic filter."""
        return await self._permitted(client, SUBSCRIBE, topic_filter)

    async def renew(self, client: wire.ClientInfo, payload: bytes) -> None:
        """Show a message to `UPLOAD_TOPIC`, renamed as EMQX's rewrite rule does; it goes no further."""
        message = wire.Message(node=client.node, topic=RENAMED, payload=payload)
        setattr(message, "from", client.clientid)  # a word of the language
        await self._ask(self._message, wire.MessagePublishRequest(message=message, meta=self._meta))

    async def _permitted(
        self, client: wire.ClientInfo, action: wire.ClientAuthorizeRequest.AuthorizeReqType, topic: str
    ) -> bool:
        request = wire.ClientAuthorizeRequest(clientinfo=client, type=action, topic=topic.encode(), meta=self._meta)
        return await self._ask(self._authorize, request)

    async def _ask(self, method: Any, request: Any) -> bool:
        try:
            answer = await method(request, timeout=ANSWER_SECONDS)
            return allows(wire.ValuedResponse.FromString(answer))
        except grpc.aio.AioRpcError as error:
            log.warning("the ExHook server at %s failed (%s): refused", self._target, error.code().name)
        except asyncio.CancelledError:
            # Closing the channel cancels its calls; only a cancelled task may go on unwinding.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the client stays out
            log.warning("asking %s failed (%s): refused", self._target, type(error).__name__)
        return False

    async def close(self) -> None:
        """Say goodbye, if anyone listens, and close the channel."""
        if self._loaded:
            request = wire.ProviderUnloadedRequest(meta=self._meta)
            try:
                await self._unload(request, timeout=UNLOAD_SECONDS)
            except grpc.aio.AioRpcError as error:
                log.debug("OnProviderUnloaded: %s", error.code().name)
        await self._channel.close(None)


def allows(answer: wire.ValuedResponse) -> bool:
    """Only a value of true that is meant to be used; IGNORE and an empty answer are refusals."""
    used = answer.type in (wire.ValuedResponse.CONTINUE, wire.ValuedResponse.STOP_AND_RETURN)
    return used and answer.bool_result  # which reads as false when another value, or none, was given


def _serialize(request: Any) -> bytes:
    serialized: bytes = request.SerializeToString()
    return serialized
