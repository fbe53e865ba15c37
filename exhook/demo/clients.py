"""Real MQTT clients that do one thing at a time and say what the broker answered."""

import contextlib
import queue
import threading
from pathlib import Path
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from exhook.demo.script import Login

PATIENCE_SECONDS: Final = 5.0
SUBACK_FAILURE: Final = 0x80
_ANSWERED: Final = ("CONNECT", "SUBSCRIBE", "PUBLISH")
"""Packets that are answered: each kind has its own queue, so that a late answer is not taken for another's."""


class NoAnswer(Exception):
    """The broker did not answer in time; the message says to what."""


class MqttClient:
    """One MQTT 3.1.1 client."""

    def __init__(self, login: Login, port: int, *, host: str = "127.0.0.1", ca_file: Path | None = None) -> None:
        self.login = login
        self._host = host
        self.messages: queue.Queue[str] = queue.Queue()
        """Topics of the messages that came."""
        self.last: dict[str, bytes] = {}
        """The last payload of each of them."""
        self._port = port
        self._answers: dict[str, queue.Queue[Any]] = {kind: queue.Queue() for kind in _ANSWERED}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, login.client_id, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        if ca_file is not None:
            self._client.tls_set(str(ca_file))
        if login.username:
            self._client.username_pw_set(login.username, login.password)  # type: ignore[arg-type] # bytes go as they are
        self._client.on_connect = lambda *found: self._answers["CONNECT"].put(found[3])
        self._client.on_subscribe = lambda *found: self._answers["SUBSCRIBE"].put(found[3])
        self._client.on_publish = lambda *found: self._answers["PUBLISH"].put(found[3])
        self._gone = threading.Event()
        self._client.on_disconnect = lambda *_: self._gone.set()
        self._client.on_message = lambda *found: self._came(found[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def connect(self) -> bool:
        """Whether the broker let it in.

        Raises:
            NoAnswer: no CONNACK came.
        """
        self._client.connect(self._host, self._port, keepalive=30)
        self._client.loop_start()
        return not self._answer("CONNECT").is_failure

    def subscribe(self, topic: str) -> bool:
        """Whether the broker granted the subscription.

        Raises:
            NoAnswer: no SUBACK came.
        """
        self._client.subscribe(topic, qos=1)
        (code,) = self._answer("SUBSCRIBE")
        return int(code.value) < SUBACK_FAILURE

    def publish(self, topic: str, payload: bytes = b"demo") -> None:
        """Send a message; MQTT 3.1.1 does not tell its sender whether it was let through."""
        self._client.publish(topic, payload, qos=1)
        with contextlib.suppress(queue.Empty):
            self._answers["PUBLISH"].get(timeout=1.0)

    def is_gone(self, within_seconds: float = 0.0) -> bool:
        """Whether the broker ended the connection, or ends it in that time."""
        return self._gone.wait(within_seconds)

    def _came(self, message: mqtt.MQTTMessage) -> None:
        self.last[message.topic] = bytes(message.payload)
        self.messages.put(message.topic)

    def _answer(self, to: str) -> Any:
        try:
            return self._answers[to].get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise NoAnswer(f"the broker did not answer a {to} of {self.login.client_id}") from None
