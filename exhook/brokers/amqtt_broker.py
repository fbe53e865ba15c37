"""amqtt, made to ask an ExHook server first.

What amqtt 0.12 does before, or without, asking is done here after asking:

- amqtt takes over a session, deletes it, or gives it another user name before it authenticates: whoever knew a
  client id could end that client's session, or lend it another's rights. Here a CONNECT touches nothing until
  the server has allowed it.
- A refused client stays registered there as connected. Here it never gets a session.
- A will is published unasked there. Here it is asked for, as a PUBLISH, when it is published; as EMQX does.
- On connect amqtt sends a client the retained messages of everybody's subscriptions. Here a client gets those of
  its own, once each was allowed.
- Packets that wait when a client disconnects are dropped there. Here everything a client sent is handled, in the
  order in which it was sent.
- An expired keep-alive and an illegal topic are only logged there. Here they end the connection.

No amqtt plugin is loaded: its plugin calls come too late for the first point.
"""

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass, field
from typing import Any

from amqtt.adapters import (  # type: ignore[import-untyped]
    ReaderAdapter,
    StreamReaderAdapter,
    StreamWriterAdapter,
    WriterAdapter,
)
from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType  # type: ignore[import-untyped]
from amqtt.errors import AMQTTError, MQTTError, NoDataError, ProtocolHandlerError  # type: ignore[import-untyped]
from amqtt.mqtt.connack import CONNECTION_ACCEPTED, NOT_AUTHORIZED, ConnackPacket  # type: ignore[import-untyped]
from amqtt.mqtt.protocol.broker_handler import (  # type: ignore[import-untyped]
    BrokerProtocolHandler,
    Subscription,
    UnSubscription,
)
from amqtt.session import IncomingApplicationMessage, Session  # type: ignore[import-untyped]

from exhook.brokers.connect import Connect, MalformedConnect, RefusedConnect, read_connect
from exhook.brokers.provider import UPLOAD_TOPIC, Provider
from protos import exhook_v3_pb2 as wire

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 1.0
FAILURE = 0x80  # in a SUBACK
LISTENER = "default"
UNSUPPORTED = ("$share", "$queue")
BROKEN = (AMQTTError, MQTTError, NoDataError, ProtocolHandlerError, MalformedConnect, TimeoutError, OSError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gone:
    """The last thing in a client's inbox: it disconnected, or (not ``clean``) just went."""

    clean: bool


class IllegalTopic(MQTTError):  # type: ignore[misc]
    """A PUBLISH to something that is no topic name."""


class InOrderHandler(BrokerProtocolHandler):  # type: ignore[misc] # amqtt comes without types
    """Puts all that one client sends into one queue: the session's, where amqtt puts the publishes."""

    def _put(self, item: object) -> None:
        self.session.delivered_message_queue.put_nowait(item)

    async def handle_subscribe(self, subscribe: Any) -> None:
        self._put(Subscription(subscribe.variable_header.packet_id, subscribe.payload.topics))

    async def handle_unsubscribe(self, unsubscribe: Any) -> None:
        self._put(UnSubscription(unsubscribe.variable_header.packet_id, unsubscribe.payload.topics))

    async def handle_disconnect(self, disconnect: Any) -> None:
        """Called for a DISCONNECT and, with None, for a connection that closed."""
        self._put(Gone(clean=disconnect is not None))

    async def handle_connect(self, connect: Any) -> None:  # noqa: ARG002 - amqtt's signature
        """A second CONNECT is a violation [MQTT-3.1.0-2]."""
        self._put(Gone(clean=False))

    def handle_read_timeout(self) -> None:
        self._put(Gone(clean=False))


class TurnTaking(ReaderAdapter):  # type: ignore[misc] # amqtt comes without types
    """Lets the task that amqtt makes for each packet run before the next packet is read.

    Without it an end of the stream read in the same turn (from Python 3.12 on) cancels tasks not yet begun.
    """

    def __init__(self, reader: ReaderAdapter) -> None:
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        await asyncio.sleep(0)
        taken: bytes = await self._reader.read(n)
        return taken

    def feed_eof(self) -> None:
        self._reader.feed_eof()


@dataclass(eq=False)
class Client:
    """One connected client: what it is to ExHook, and how to end it."""

    info: wire.ClientInfo  # without the password
    connect: Connect
    transport: asyncio.WriteTransport
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class AskingBroker(Broker):  # type: ignore[misc] # amqtt comes without types
    """An amqtt broker that lets in and passes on only what ``provider`` allowed.

    Sessions are not kept: every CONNECT gets a new one. Give its connections to ``serve``.
    """

    def __init__(self, provider: Provider, node: str, port: int) -> None:
        listener = ListenerConfig(type=ListenerType.EXTERNAL)
        super().__init__(BrokerConfig(listeners={LISTENER: listener}, plugins={}))
        self._provider = provider
        self._node = node
        self._port = port
        self._clients: dict[str, Client] = {}
        self._stopping = False

    async def shutdown(self) -> None:
        """Close every session and stop; no wills."""
        self._stopping = True
        await super().shutdown()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from its first byte to its last."""
        peer = writer.get_extra_info("peername") or ("", 0)
        out = StreamWriterAdapter(writer)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connect = await read_connect(reader)
            client = Client(self._describe(connect, peer), connect, writer.transport)
            if await self._provider.authenticate(client.info, connect.password):
                await self._serve_client(client, StreamReaderAdapter(reader), out)
            else:
                await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(out)
        except RefusedConnect as refused:
            log.warning("connection from %s refused: %s", peer[0], refused)
            with contextlib.suppress(OSError):
                await ConnackPacket.build(0, refused.code).to_stream(out)
        except asyncio.IncompleteReadError:
            log.debug("%s went before it sent a CONNECT", peer[0])
        except BROKEN as broken:
            log.warning("connection from %s closed: %s", peer[0], broken or type(broken).__name__)
        finally:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await out.close()
            writer.transport.abort()

    def _describe(self, connect: Connect, peer: tuple[Any, ...]) -> wire.ClientInfo:
        return wire.ClientInfo(
            node=self._node,
            clientid=connect.client_id.encode(),
            username=connect.username.encode(),
            peerhost=peer[0],
            peerport=peer[1],
            sockport=self._port,
            protocol="mqtt",
        )

    async def _serve_client(self, client: Client, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        client_id = client.connect.client_id
        while client_id in self._clients:
            await self._cleanup_session(client_id)
        # From here to the registration nothing is awaited: there is one session for a client id at a time.
        session = Session()
        session.client_id = client_id
        session.clean_session = True
        session.keep_alive = math.ceil(client.connect.keep_alive * 1.5)  # [MQTT-3.1.2-24]
        session.transitions.connect()
        handler = InOrderHandler(self.plugins_manager)
        handler.attach(session, TurnTaking(reader), writer)
        self._sessions[client_id] = (session, handler)
        self._clients[client_id] = client
        clean = False
        try:
            await ConnackPacket.build(0, CONNECTION_ACCEPTED).to_stream(writer)
            await handler.start()
            clean = await self._work(client, session, handler)
        finally:
            try:
                await self._stop(handler)
                await self._del_all_subscriptions(session)
                session.transitions.disconnect()
                if not clean:
                    await self._publish_will(client)
            finally:
                del self._sessions[client_id]
                del self._clients[client_id]
                client.ended.set()

    async def _publish_will(self, client: Client) -> None:
        will = client.connect.will
        if will is not None and not self._stopping:
            with contextlib.suppress(IllegalTopic):
                await self._publish(client, will.topic, will.payload, qos=None, retain=will.retain)

    async def _stop(self, handler: InOrderHandler) -> None:
        """Close a connection; a peer that does not read cannot hold it open (``serve`` aborts it in the end)."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await handler.stop()

    async def _cleanup_session(self, client_id: str) -> None:
        """Cut a client's connection and wait until what was read of it is handled and it is gone."""
        client = self._clients.get(client_id)
        if client is not None:
            # Its own task stops the handler: amqtt's handlers do not bear being stopped while they start.
            client.transport.abort()
            await client.ended.wait()

    async def _work(self, client: Client, session: Session, handler: InOrderHandler) -> bool:
        """Handle what a client sends, in order; whether it said goodbye."""
        while True:
            item = await session.delivered_message_queue.get()
            match item:
                case Gone():
                    return item.clean
                case Subscription():
                    await self._subscribe(client, session, handler, item)
                case UnSubscription():
                    for topic_filter in item.topics:
                        self._del_subscription(topic_filter, session)
                    await handler.mqtt_acknowledge_unsubscription(item.packet_id)
                case IncomingApplicationMessage():
                    retain = item.publish_packet.retain_flag
                    try:
                        await self._publish(client, item.topic, item.data, qos=item.qos, retain=retain)
                    except IllegalTopic as illegal:
                        log.warning("client %r: %s", session.client_id, illegal)
                        return False

    async def _publish(self, client: Client, topic: str, payload: bytes, *, qos: int | None, retain: bool) -> None:
        if not topic or any(sign in topic for sign in "+#\0"):
            raise IllegalTopic(f"{topic!r} is not a topic to publish to [MQTT-4.7]")
        if not await self._provider.publish(client.info, topic):
            return
        if topic == UPLOAD_TOPIC:
            # Tokens are for the server, and nobody else.
            await self._provider.renew(client.info, payload)
            return
        await self.internal_message_broadcast(topic, payload)
        if retain:
            await self.retain_message(None, topic, payload, qos)

    async def _subscribe(self, client: Client, session: Session, handler: InOrderHandler, wanted: Subscription) -> None:
        codes = [await self._subscription(client, session, *one) for one in wanted.topics]
        await handler.mqtt_acknowledge_subscription(wanted.packet_id, codes)
        for (topic_filter, _), code in zip(wanted.topics, codes, strict=True):
            if code != FAILURE:
                await self._publish_retained_messages_for_subscription((topic_filter, code), session)

    async def _subscription(self, client: Client, session: Session, topic_filter: str, qos: int) -> int:
        """The return code for one filter of a SUBSCRIBE; an allowed one replaces the one before [MQTT-3.8.4-3]."""
        if qos not in (0, 1, 2) or not well_formed(topic_filter):
            return FAILURE
        if topic_filter.split("/", maxsplit=1)[0] in UNSUPPORTED:
            log.warning("client %r: shared subscriptions are not supported here: %r", session.client_id, topic_filter)
            return FAILURE
        if not await self._provider.subscribe(client.info, topic_filter):
            return FAILURE
        self._del_subscription(topic_filter, session)
        self._subscriptions.setdefault(topic_filter, []).append((session, qos))
        return qos

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:  # noqa: ARG002
        """Asked by amqtt's broadcast alone: what was subscribed with leave may be received."""
        return action == Action.RECEIVE and self._sessions.get(session.client_id, (None,))[0] is session

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:  # noqa: ARG002
        """No client comes in by amqtt's own way."""
        return False


def well_formed(topic_filter: str) -> bool:
    """Whether wildcards stand where MQTT 3.1.1 section 4.7 lets them."""
    levels = topic_filter.split("/")
    return (
        topic_filter != ""
        and "\0" not in topic_filter
        and all(level == "+" or "+" not in level for level in levels)
        and all(level == "#" or "#" not in level for level in levels)
        and "#" not in levels[:-1]
    )
