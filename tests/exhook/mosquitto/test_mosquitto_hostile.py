"""The whole plugin under sanitizers in a real broker: a rough day, and servers that mean harm."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from mosquitto_under_test import Bridge, Broker, RawMqtt, bridged, built, listener, needs_sanitizer, sanitizing, user
from server_under_test import HOST, until

pytestmark = needs_sanitizer

REFUSED = bytes.fromhex("20020005")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.getbasetemp().parent, sanitized=True)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Bridge]:
    records = (*user("alice", "both a/#"), *user("bob", "both b/#", "sub a/#"))
    folder = tmp_path_factory.mktemp("sanitized")
    options = ("plugin_opt_read_check on", "plugin_opt_cache_size 8", "plugin_opt_deadline_ms 1000")
    with bridged(folder, plugin, *options, records=records, environment=sanitizing()) as bridge:
        yield bridge


def test_a_rough_day(bridge: Bridge) -> None:
    """Everything once: the sanitizers end the broker at the first wrong step, and its exit code tells."""
    assert "libasan" in Path(f"/proc/{bridge.broker.process.pid}/maps").read_text()
    alice, bob = bridge.connected("c1", "alice", will=("a/will", b"w")), bridge.connected("c2", "bob", 5)
    bob.subscribe("a/#", "b/#", "$share/g/a/#")
    for number in range(30):
        alice.publish(f"a/{number}", b"x" * number)
        bob.publish(f"b/{number % 3}", retain=True)
    alice.publish("a/" + "long/" * 5000)
    assert not bridge.lets_in("x" * 60_000, "y" * 60_000)
    takeover = bridge.connected("c1", "alice", clean=False)
    assert alice.gone()
    bridge.broker.tell(signal.SIGHUP)
    until(lambda: "Reloading config" in bridge.broker.said)
    bridge.store.put(*user("bob", "deny a/secret"))
    assert bob.gone()
    bridge.server.kill()
    assert not bridge.lets_in("c3", "alice")
    bridge.server.start()
    until(lambda: bridge.lets_in("c3", "alice"))
    crowd = [bridge.connected(f"crowd-{number}", "alice") for number in range(50)]
    bridge.store.put(*user("alice", "deny a/secret"))
    assert all(client.gone() for client in [takeover, *crowd])
    assert bridge.lets_in("c4", "alice")
    assert bridge.broker.stop() == 0, bridge.broker.said[-4000:]
    assert "Sanitizer" not in bridge.broker.said
    assert "runtime error" not in bridge.broker.said


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


SETTINGS: Final = frame(4, 0, 0)
ALLOWED: Final = b"\0\0\0\0\4\x08\2\x18\1"
TRAILERS: Final = b"\0\x0bgrpc-status\x010"

Serving = Callable[[socket.socket], None]


def garbage(one: socket.socket) -> None:
    one.sendall(os.urandom(100_000))


def hang_up(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(one: socket.socket) -> None:
    one.settimeout(3)
    while one.recv(65536):
        pass


def drip(one: socket.socket) -> None:
    for byte in SETTINGS + frame(1, 4, 1, b"\x88"):
        one.sendall(bytes([byte]))
        time.sleep(0.05)


def flood(one: socket.socket) -> None:
    while True:
        one.sendall(frame(6, 0, 0, bytes(8)) * 1000)


def endless_headers(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(1, 0, 1, b"\x88"))
    while True:
        one.sendall(frame(9, 0, 1, b"\0\1x\1y") * 1000)


def endless_data(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(1, 4, 1, b"\x88"))
    while True:
        one.sendall(frame(0, 0, 1, bytes(10_000)))


def no_window(one: socket.socket) -> None:
    one.sendall(frame(4, 0, 0, struct.pack(">HI", 4, 0)))
    time.sleep(3)


def go_away(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(7, 0, 0, bytes(8)))
    time.sleep(0.2)


def yes_without_a_status(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(1, 4, 1, b"\x88") + frame(0, 1, 1, ALLOWED))
    time.sleep(0.2)


def yes_with_another_status(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, ALLOWED))
    one.sendall(frame(1, 5, 1, TRAILERS[:-1] + b"7"))
    time.sleep(0.2)


def yes_and_then_garbage(one: socket.socket) -> None:
    one.sendall(SETTINGS + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, ALLOWED) + os.urandom(2000))
    time.sleep(0.2)


SERVERS: Final = (
    garbage, hang_up, silence, drip, flood, endless_headers, endless_data, no_window, go_away,
    yes_without_a_status, yes_with_another_status, yes_and_then_garbage,
)  # fmt: skip


class HostileServer:
    """Takes every connection, and does to it what it is told to do."""

    def __init__(self) -> None:
        self.serving: Serving = garbage
        self.served = 0
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Wakes the thread; closing alone would not.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        self.served += 1
        with one, contextlib.suppress(OSError):
            self.serving(one)


def test_hostile_servers_let_nobody_in_and_do_no_harm(tmp_path: Path, plugin: Path) -> None:
    """Each is given three clients; whatever it does costs the broker a deadline at most, and memory of none."""
    server = HostileServer()
    lines = listener(plugin, f"{HOST}:{server.port}", "plugin_opt_deadline_ms 100")
    try:
        with Broker(tmp_path, lines, **sanitizing()) as broker:
            for serving in SERVERS:
                server.serving = serving
                served = server.served
                # The breaker of the one before may still be open for a second.
                while server.served < served + 2:
                    with RawMqtt(broker.port) as client:
                        assert client.connect("c1", "alice", b"pw-alice") == REFUSED, serving.__name__
                    time.sleep(0.02)
                    assert broker.process.poll() is None, (serving.__name__, broker.said[-4000:])
            with RawMqtt(broker.port) as client:
                assert client.connect("c1", "alice", b"pw-alice") == REFUSED
            assert _resident(broker) < 300_000_000
            assert broker.stop() == 0, broker.said[-4000:]
            assert "Sanitizer" not in broker.said
    finally:
        server.close()


def _resident(broker: Broker) -> int:
    """Bytes of memory; the sanitizer takes most of them."""
    pages = int(Path(f"/proc/{broker.process.pid}/statm").read_text().split()[1])
    return pages * 4096
