"""A node of a cluster, as far as its clients can tell: it takes them to a real broker, and can cut them off.

What comes and goes is told to the cluster's API; what the API disconnects is cut.
"""

import socket
import struct
import threading
from contextlib import suppress
from typing import Final, Self

from emqx_api_under_test import EmqxApiUnderTest, Session

HOST: Final = "127.0.0.1"
CONNACK_ALLOWED: Final = b"\x20\x02\x00\x00"


class MqttNode:
    """Passes bytes on between clients and the broker on a port; reads the first packet of each."""

    def __init__(self, broker_port: int, api: EmqxApiUnderTest) -> None:
        self._broker_port = broker_port
        self._api = api
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._clients: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for client_id in list(self._clients):
            self.cut(client_id)

    def cut(self, client_id: str) -> None:
        if client := self._clients.pop(client_id, None):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection((HOST, self._broker_port)) as broker:
            connect = client.recv(65536)
            client_id, username = _named(connect)
            broker.sendall(connect)
            answer = broker.recv(65536)
            if answer[:4] == CONNACK_ALLOWED:
                self._clients[client_id] = client
                self._api.join(Session(client_id, username))
            client.sendall(answer)
            threading.Thread(target=_pass_on, args=(broker, client), daemon=True).start()
            _pass_on(client, broker)
            if self._clients.get(client_id) is client:
                del self._clients[client_id]
                self._api.sessions.pop(client_id, None)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _named(connect: bytes) -> tuple[str, str]:
    """Client id and user name of a CONNECT of MQTT 3.1.1 without a will, shorter than 128 bytes."""
    flags, at = connect[9], 12
    (length,) = struct.unpack_from(">H", connect, at)
    client_id = connect[at + 2 : at + 2 + length].decode()
    if not flags & 0x80:
        return client_id, ""
    at += 2 + length
    (length,) = struct.unpack_from(">H", connect, at)
    return client_id, connect[at + 2 : at + 2 + length].decode()
