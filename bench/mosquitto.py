"""What a policy costs Mosquitto: connects, publishes and deliveries a second, under several ways to decide.

`python bench/mosquitto.py [--rounds N] [--json FILE]` prints a Markdown table. All brokers run at once, and take turns
within each round, so that whatever else the machine does falls on all of them alike. Needs Mosquitto and a C compiler.
"""

import argparse
import json
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from machine import describe
from mosquitto_brokers import HOST, PASSWORD, USERNAME, broker, ways
from tables import Table, median_ratio

from exhook.brokers.mosquitto.running import why_not

CONNECTS: Final = 400
AT_ONCE: Final = 16
PUBLISHES: Final = 8_000
WINDOW: Final = 100
SUBSCRIBERS: Final = 20
MESSAGES: Final = 500

CONNACK: Final = bytes.fromhex("20020000")
PUBACK: Final = b"\x40\x02"


def connect_packet(client_id: str) -> bytes:
    body = _text(b"MQTT") + b"\x04\xc2\0\x3c" + _text(client_id.encode()) + _text(USERNAME.encode()) + _text(PASSWORD)
    return b"\x10" + bytes([len(body)]) + body


def connected(port: int, client_id: str) -> socket.socket:
    one = socket.create_connection((HOST, port), 20)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.sendall(connect_packet(client_id))
    assert _exactly(one, 4) == CONNACK
    return one


def connects(port: int) -> tuple[float, int]:
    """Connects a second, some at once, each with its own client id; and how many were right."""
    began = perf_counter()
    for first in range(0, CONNECTS, AT_ONCE):
        clients = []
        for number in range(first, first + AT_ONCE):
            one = socket.create_connection((HOST, port), 20)
            one.sendall(connect_packet(f"c-{number}"))
            clients.append(one)
        for one in clients:
            assert _exactly(one, 4) == CONNACK
            one.close()
    return CONNECTS / (perf_counter() - began), CONNECTS


def publishes(port: int) -> tuple[float, int]:
    """Publishes of QoS 1 a second, of one client on ten topics, the cache warm."""
    with connected(port, "publisher") as one:
        batch = b"".join(_publish(f"bench/{number % 10}", number + 1) for number in range(WINDOW))
        for warm in (True, False):
            began = perf_counter()
            for _ in range(1 if warm else PUBLISHES // WINDOW):
                one.sendall(batch)
                assert _exactly(one, 4 * WINDOW)[:2] == PUBACK
        return PUBLISHES / (perf_counter() - began), PUBLISHES


def deliveries(port: int) -> tuple[float, int]:
    """Deliveries of QoS 0 a second, each message to all subscribers."""
    with ExitStack() as stack:
        listening = [stack.enter_context(connected(port, f"subscriber-{number}")) for number in range(SUBSCRIBERS)]
        for one in listening:
            topic = _text(b"bench/news") + b"\0"
            one.sendall(b"\x82" + bytes([len(topic) + 2]) + b"\0\x01" + topic)
            assert _exactly(one, 5) == bytes.fromhex("9003000100")
        publisher = stack.enter_context(connected(port, "publisher"))
        message = _publish("bench/news", 0)
        for count in (1, MESSAGES):
            began = perf_counter()
            publisher.sendall(message * count)
            for one in listening:
                assert len(_exactly(one, len(message) * count)) == len(message) * count
        return SUBSCRIBERS * MESSAGES / (perf_counter() - began), SUBSCRIBERS * MESSAGES


KINDS: Final[dict[str, Callable[[int], tuple[float, int]]]] = {
    "connects/s": connects,
    "publishes/s": publishes,
    "deliveries/s": deliveries,
}


@dataclass
class Figures:
    """What one way did, by kind, a figure a round."""

    by_kind: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def measured(rounds: int) -> Table:
    """All ways, alternated."""
    columns = ["", *(column for kind in KINDS for column in (kind, "of no auth"))]
    table = Table("Mosquitto", tuple(columns), note="Medians; ratios round by round.")
    found: dict[str, Figures] = {}
    with TemporaryDirectory(prefix="exhook-bench-") as folder, ExitStack() as stack:
        ports = {
            way.name: stack.enter_context(broker(way, Path(folder) / str(number))) for number, way in enumerate(ways())
        }
        found = {name: Figures() for name in ports}
        for number in range(rounds):
            names = list(ports)
            # Whoever comes first in a round finds another machine than who comes last.
            for name in names[number % len(names) :] + names[: number % len(names)]:
                for kind, run in KINDS.items():
                    figure, right = run(ports[name])
                    found[name].by_kind[kind].append(figure)
                    table.answers += right
    plain = next(iter(found.values())).by_kind
    for name, figures in found.items():
        cells = [
            cell
            for kind, values in figures.by_kind.items()
            for cell in (median(values), median_ratio(values, plain[kind]))
        ]
        table.add(name, *cells)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args(arguments)
    if obstacle := why_not():
        sys.stderr.write(f"Mosquitto is not benched: {obstacle}\n")
        return 0
    print(describe(), end="\n\n")
    table = measured(asked.rounds)
    print(table.markdown())
    if asked.json:
        asked.json.write_text(json.dumps(table.as_json(), indent=2))
    return 0


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _publish(topic: str, packet: int) -> bytes:
    """QoS 1 with a packet id, QoS 0 where that is 0."""
    body = _text(topic.encode()) + (struct.pack(">H", packet) if packet else b"") + b"payload"
    return bytes([0x32 if packet else 0x30, len(body)]) + body


def _exactly(one: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = one.recv(length - len(found))
        assert more, "the broker hung up"
        found += more
    return found


if __name__ == "__main__":
    sys.exit(main())
