"""A real Mosquitto with the plugin, beside a real deciding process; and an MQTT client that shows every byte."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest
from server_under_test import HOST, PATIENCE, until
from worker_under_test import CARRIER, Store, identity, instance, permission

from exhook.brokers.mosquitto import build as build_module
from exhook.brokers.mosquitto.build import FLAGS, build, compile_plugin, compiler
from exhook.settings import Settings
from store.records import Action, Effect, Grantee, Record

SILENCE: Final = 0.25
"""What has not come by then does not come: on one machine it takes milliseconds."""

PORT_TAKEN: Final = 1
"""Mosquitto's exit code."""


def mosquitto() -> str | None:
    """The broker: EXHOOK_TEST_MOSQUITTO names it, else the installed one."""
    named = os.environ.get("EXHOOK_TEST_MOSQUITTO")
    return named or shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


SANITIZED: Final = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def built(folder: Path, *, sanitized: bool = False) -> Path:
    """The plugin, built once for all tests that share the folder, as the source is now."""
    plugin = folder / f"plugin-{digest()}{'-sanitized' * sanitized}.so"
    with one_at_a_time(folder):
        if plugin.exists():
            return plugin
        if sanitized:
            program = compiler()
            assert program is not None
            fresh = plugin.with_suffix(".fresh")
            without = [flag for flag in FLAGS if flag != "-O2" and "FORTIFY" not in flag]
            compile_plugin(fresh, program, [*without, *SANITIZED])
            fresh.replace(plugin)
        else:
            build(plugin)
    return plugin


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let no other process of this test run build meanwhile what this one builds."""
    with (folder / "building.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def source_folder() -> Path:
    return Path(build_module.__file__).parent / build_module.SOURCE


def digest(*more: Path) -> str:
    """What tells one state of the source from another."""
    files = [*sorted(source_folder().iterdir()), *more]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def sanitizer() -> str | None:
    """The run-time library of AddressSanitizer, which a broker that knows nothing of it has to be given."""
    program = compiler()
    if program is None:
        return None
    found = subprocess.run([program, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    return os.path.realpath(path) if "/" in path else None


ALL_SANITIZED: Final = os.environ.get("EXHOOK_TEST_SANITIZED") == "1"
"""Every broker of the suite runs the plugin with AddressSanitizer and UBSan, not only the tests made for it."""


def sanitizing() -> dict[str, str]:
    """The environment of a broker whose plugin is built with sanitizers."""
    found = sanitizer()
    assert found is not None
    # What the broker itself leaks is not ours to judge.
    return {"LD_PRELOAD": found, "ASAN_OPTIONS": "detect_leaks=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}


needs_mosquitto: Final = pytest.mark.skipif(
    mosquitto() is None or compiler() is None,
    reason="needs Mosquitto (EXHOOK_TEST_MOSQUITTO names one) and a C compiler",
)
needs_sanitizer: Final = pytest.mark.skipif(
    mosquitto() is None or sanitizer() is None, reason="needs Mosquitto and a C compiler with AddressSanitizer"
)
needs_compiler: Final = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")


def free_port() -> int:
    with socket.create_server((HOST, 0)) as one:
        port: int = one.getsockname()[1]
        return port


class Deciding:
    """A worker process on a store: what answers brokers, without what watches over it."""

    def __init__(self, store: Store, folder: Path, **settings: Any) -> None:
        self.store = store
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        self.port = free_port()
        self._settings: dict[str, Any] = {
            "db": store.path,
            "carrier": CARRIER,
            "decisions": "all",
            "log_format": "json",
            "drain_seconds": 0.1,
        } | settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        settings = Settings(listen=f"{HOST}:{self.port}", **self._settings)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "exhook.worker", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(settings.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()
        assert "ready" in json.loads(self._process.stdout.readline()), self.log.read_text()

    def tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process = None

    def decisions(self, **fields: object) -> list[dict[str, Any]]:
        """The decisions it has logged that have these fields."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        wanted = {"event": "decision"} | fields
        return [line for line in lines if wanted.items() <= line.items()]


class Broker:
    """One Mosquitto. `{port}` in its configuration is a free one, the next for each time it stands there."""

    def __init__(self, folder: Path, configuration: str, **environment: str) -> None:
        self.ports: list[int] = []
        self.log = folder / f"mosquitto-{time.monotonic_ns()}.log"
        self.file = folder / f"{self.log.stem}.conf"
        self._configuration = configuration
        self._environment = (sanitizing() if ALL_SANITIZED else {}) | environment
        self.process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return self.ports[0]

    def __enter__(self) -> Self:
        for _ in range(5):
            self._start()
            with contextlib.suppress(_PortTaken):
                self._await()
                return self
        raise AssertionError(self.said)

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _start(self) -> None:
        first, *rest = self._configuration.split("{port}")
        self.ports = [free_port() for _ in rest]
        text = first + "".join(f"{port}{part}" for port, part in zip(self.ports, rest, strict=True))
        user = "user root\n" if os.geteuid() == 0 else ""
        self.file.write_text(f"{user}log_type all\nlog_timestamp false\n{text}")
        program = mosquitto()
        assert program is not None
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )

    def _await(self) -> None:
        def is_up() -> bool:
            code = self.process.poll()
            if code == PORT_TAKEN and "Address already in use" in self.said:
                raise _PortTaken
            assert code is None, f"ended with {code}: {self.said}"
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.ports[-1]), 1):
                return True
            return False

        until(is_up, what="the broker")

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str) -> None:
        until(lambda: text in self.said, what=f"{text} in {self.said[-2000:]}")


class _PortTaken(Exception):
    pass


def listener(plugin: Path, address: str, *lines: str) -> str:
    """A listener of a broker's configuration, with the plugin on it."""
    return "\n".join(
        [
            f"listener {{port}} {HOST}",
            "allow_anonymous false",
            f"plugin {plugin}",
            f"plugin_opt_address {address}",
            *lines,
            "",
        ]
    )


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _packet(first: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)[0], left % 128
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + length + body


class RawMqtt:
    """An MQTT client that says and shows bytes. Version 4 is 3.1.1, 5 is 5.0."""

    def __init__(self, port: int, version: int = 4, *, sock: socket.socket | None = None) -> None:
        self.version = version
        self.socket = sock or socket.create_connection((HOST, port), PATIENCE)
        self.socket.settimeout(PATIENCE)
        self._seen = b""
        self._before: list[bytes] = []  # packets that came while another kind was waited for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def _no_properties(self) -> bytes:
        return b"\0" if self.version == 5 else b""

    def connect(self, client_id: str | bytes, *credentials: Any, **more: Any) -> bytes:
        """The CONNACK."""
        self.send_connect(client_id, *credentials, **more)
        return self.read()

    def send_connect(
        self,
        client_id: str | bytes,
        username: str | bytes | None = None,
        password: bytes | None = None,
        *,
        will: tuple[str, bytes] | None = None,
        clean: bool = True,
        expiry: int = 0,
    ) -> None:
        flags = 0x02 * clean | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
        body = _text(_bytes(client_id))
        if will:
            flags |= 0x04
            body += self._no_properties + _text(will[0].encode()) + _text(will[1])
        body += b"".join(_text(_bytes(value)) for value in (username, password) if value is not None)
        properties = self._no_properties
        if self.version == 5 and expiry:
            properties = b"\x05\x11" + struct.pack(">I", expiry)
        self.socket.sendall(
            _packet(0x10, _text(b"MQTT") + bytes([self.version, flags]) + b"\0\x3c" + properties + body)
        )

    def subscribe(self, *filters: str | bytes, qos: int = 0) -> bytes:
        """The SUBACK."""
        body = b"\0\x01" + self._no_properties
        self.socket.sendall(_packet(0x82, body + b"".join(_text(_bytes(one)) + bytes([qos]) for one in filters)))
        return self.read(0x90)

    def unsubscribe(self, topic: str) -> bytes:
        """The UNSUBACK."""
        self.socket.sendall(_packet(0xA2, b"\0\x02" + self._no_properties + _text(topic.encode())))
        return self.read(0xB0)

    def publish(self, topic: str | bytes, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> bytes:
        """What answers it: nothing for QoS 0, PUBACK, PUBREC."""
        self.send_publish(topic, payload, qos=qos, retain=retain)
        return self.read({1: 0x40, 2: 0x50}[qos]) if qos else b""

    def send_publish(self, topic: str | bytes, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> None:
        head = _text(_bytes(topic)) + (b"\0\x03" if qos else b"") + self._no_properties
        self.socket.sendall(_packet(0x30 | qos << 1 | retain, head + payload))

    def ping(self) -> bytes:
        self.socket.sendall(b"\xc0\0")
        return self.read(0xD0)

    def disconnect(self) -> None:
        self.socket.sendall(b"\xe0\0")
        self.socket.close()

    def read(self, kind: int | None = None) -> bytes:
        """The next packet, of a kind where one is given; empty where the broker hung up."""
        if kind is None and self._before:
            return self._before.pop(0)
        while True:
            packet = self._read()
            if kind is None or not packet or packet[0] & 0xF0 == kind:
                return packet
            self._before.append(packet)

    def messages(self, seconds: float = SILENCE, most: int = 1000) -> list[tuple[str, bytes]]:
        """The messages that come within a time: topic and payload."""
        found: list[tuple[str, bytes]] = []
        deadline = time.monotonic() + seconds
        while len(found) < most and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                packet = self.read()
            except TimeoutError:
                break
            if not packet:
                break
            if packet[0] & 0xF0 == 0x30:
                found.append(self._message(packet))
        self.socket.settimeout(PATIENCE)
        return found

    def message(self) -> tuple[str, bytes]:
        """The next message; waited for."""
        (found,) = self.messages(PATIENCE, 1)
        return found

    def gone(self, seconds: float = PATIENCE) -> bool:
        """Whether the broker hangs up within a time."""
        self.socket.settimeout(seconds)
        try:
            while self.read():
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return True

    def _message(self, packet: bytes) -> tuple[str, bytes]:
        at = 2
        while packet[at - 1] & 0x80:
            at += 1
        (length,) = struct.unpack_from(">H", packet, at)
        topic = packet[at + 2 : at + 2 + length]
        rest = packet[at + 2 + length + (2 if packet[0] & 6 else 0) :]
        return topic.decode(errors="replace"), rest[1 + rest[0] :] if self.version == 5 else rest

    def _read(self) -> bytes:
        while True:
            if packet := self._whole():
                self._seen = self._seen[len(packet) :]
                return packet
            more = self.socket.recv(65536)
            if not more:
                return b""
            self._seen += more

    def _whole(self) -> bytes:
        length, shift = 0, 0
        for at in range(1, len(self._seen)):
            length |= (self._seen[at] & 0x7F) << shift
            shift += 7
            if not self._seen[at] & 0x80:
                end = at + 1 + length
                return self._seen[:end] if len(self._seen) >= end else b""
        return b""


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def password_of(username: str) -> bytes:
    return f"pw-{username}".encode()


def user(username: str, *grants: str, **more: Any) -> list[Record]:
    """A user with a password, and its grants: `pub TOPIC`, `sub FILTER`, `both FILTER`, `deny FILTER`."""
    actions = {"pub": Action.PUB, "sub": Action.SUB}
    records: list[Record] = [identity(username, password_of(username), **more)]
    for grant in grants:
        word, _, topic = grant.partition(" ")
        effect = Effect.DENY if word == "deny" else Effect.ALLOW
        records.append(permission(username, topic, actions.get(word, Action.PUB_SUB), effect=effect))
    return records


def everyone(topic: str, effect: Effect = Effect.DENY) -> Record:
    return permission("", topic, to=Grantee.ALL, effect=effect)


class Bridge:
    """A store, its server, and a broker that asks it."""

    def __init__(self, store: Store, server: Deciding, broker: Broker) -> None:
        self.store = store
        self.server = server
        self.broker = broker
        self._stack = ExitStack()

    @property
    def port(self) -> int:
        return self.broker.port

    def client(self, version: int = 4, port: int | None = None) -> RawMqtt:
        """A client without a CONNECT yet; closed at the end of the test."""
        return self._stack.enter_context(RawMqtt(port or self.port, version))

    def connected(self, client_id: str, username: str, version: int = 4, **more: Any) -> RawMqtt:
        client = self.client(version)
        answer = client.connect(client_id, username, password_of(username), **more)
        assert answer[3] == 0, answer.hex()
        return client

    def lets_in(self, client_id: str, username: str) -> bool:
        """Whether a client is let in, which goes again at once."""
        with RawMqtt(self.port) as client:
            return client.connect(client_id, username, password_of(username)) == bytes.fromhex("20020000")

    def close(self) -> None:
        self._stack.close()


@contextmanager
def bridged(
    folder: Path,
    plugin: Path,
    *lines: str,
    records: Sequence[Record] = (),
    environment: dict[str, str] | None = None,
    **settings: Any,
) -> Iterator[Bridge]:
    """A broker with one listener that asks a server with these records."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "exhook.db")
    store.put(instance(), *records)
    with Deciding(store, folder, **settings) as server:
        configuration = listener(plugin, f"{HOST}:{server.port}", *lines)
        with Broker(folder, configuration, **(environment or {})) as broker:
            bridge = Bridge(store, server, broker)
            try:
                yield bridge
            finally:
                bridge.close()
