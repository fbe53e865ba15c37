"""The server and gRPC's clients of other languages: C++ (Debian's), Go (Debian's) and JavaScript (npm's).

In the soak, since they are built first, and the last one is fetched from a registry. `clients/README.md` says how they
are spoken to.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final

import argon2
import pytest
from certificates_under_test import Authority
from grpc_health.v1 import health_pb2
from server_under_test import HOST, Server, until
from worker_under_test import CARRIERS, Served, Store, identity, instance, permission

from protos import exhook_v3_pb2
from store.records import SignMode

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SOURCES: Final = Path(__file__).parent / "clients"
GRPC_JS: Final = "@grpc/grpc-js@1.14.7"
LANGUAGES: Final = ("c++", "go", "javascript")
HOOKS: Final = "/emqx.exhook.v3.HookProvider/"
IDLE_SECONDS: Final = 25.0
FLOOD_SECONDS: Final = 12


@dataclass(frozen=True)
class Told:
    """What calls came to."""

    counts: dict[int, int]
    answer: bytes | None

    @property
    def status(self) -> int:
        """Of all of them."""
        (status,) = self.counts
        return status

    @property
    def verdict(self) -> bool:
        assert self.status == 0
        return Served.verdict(self.answer or b"")


class Client:
    """A program that calls when it is told to."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def told(self) -> Told:
        assert self._process.stdout
        *counts, answer = self._process.stdout.readline().split()
        pairs = [pair.split(":") for pair in counts]
        return Told(
            {int(status): int(count) for status, count in pairs}, None if answer == "-" else bytes.fromhex(answer)
        )

    def ask(
        self, path: str, message: bytes, *, deadline_ms: int = 20_000, count: int = 1, metadata: int = 0, gzip: int = 0
    ) -> Told:
        self.tell(f"{path} {deadline_ms} {count} {metadata} {gzip} {message.hex() or '-'}")
        return self.told()

    def authenticate(self, username: str, password: bytes, **more: Any) -> Told:
        info = {"clientid": b"c", "username": username.encode(), "password": password}
        asked = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=info)
        return self.ask(f"{HOOKS}OnClientAuthenticate", asked.SerializeToString(), **more)

    def publish(self, topic: str, **more: Any) -> Told:
        return self.ask(f"{HOOKS}OnClientAuthorize", publishing(topic), **more)

    def end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def publishing(topic: str) -> bytes:
    info = {"clientid": b"c", "username": b"alice"}
    request: bytes = exhook_v3_pb2.ClientAuthorizeRequest(clientinfo=info, topic=topic.encode()).SerializeToString()
    return request


def build(language: str, folder: Path) -> tuple[str | Path, ...]:
    """The command of a client; the test is skipped where it cannot be built."""
    match language:
        case "c++":
            _need("g++", "pkg-config")
            found = subprocess.run(
                ["pkg-config", "--cflags", "--libs", "grpc++"], check=False, capture_output=True, text=True
            )
            if found.returncode:
                pytest.skip("libgrpc++-dev is not installed")
            _run("g++", "-O1", "-std=c++17", SOURCES / "unary.cc", "-o", folder / "unary", *found.stdout.split())
            return (folder / "unary",)
        case "go":
            _need("go")
            packages = Path("/usr/share/gocode")
            if not (packages / "src/google.golang.org/grpc").is_dir():
                pytest.skip("golang-google-grpc-dev is not installed")
            places = {"GO111MODULE": "off", "GOPATH": str(packages), "GOCACHE": str(folder / "cache")}
            _run("go", "build", "-o", folder / "unary", SOURCES / "unary.go", **places)
            return (folder / "unary",)
        case _:
            _need("node", "npm")
            options = ("--no-audit", "--no-fund", "--ignore-scripts")
            try:
                _run("npm", "install", "--prefix", folder, *options, GRPC_JS)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                pytest.skip("npm reaches no registry")
            shutil.copy(SOURCES / "unary.js", folder)
            return ("node", folder / "unary.js")


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def _run(*command: str | Path, **environment: str) -> None:
    subprocess.run(command, check=True, timeout=300, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module", params=LANGUAGES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str | Path, ...]:
    return build(request.param, tmp_path_factory.mktemp("client"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slow = argon2.PasswordHasher(time_cost=12, memory_cost=65_536, parallelism=1).hash(b"right")
    Store(tmp_path / "exhook.db").put(
        instance(),
        identity("alice", b"right"),
        identity("slow", slow.encode(), mode=SignMode.HASHED),
        permission("alice", "a/#"),
    )
    return tmp_path


@contextmanager
def client_of(program: tuple[str | Path, ...], port: int, *files: Path) -> Iterator[Client]:
    client = Client(*program, f"{HOST}:{port}", *files)
    try:
        yield client
    finally:
        client.end()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_calls_of_all_kinds(program: tuple[str | Path, ...], folder: Path, carrier: str) -> None:
    with (
        Server(folder, "--carrier", carrier, "--workers", "2", "--metrics", f"{HOST}:0") as server,
        client_of(program, server.port) as client,
    ):
        of_all_kinds(client, compressed={"h2": 12, "grpc": 0}[carrier])
        counted = server.metrics()
        breaches = {name: count for name, count in counted.items() if "breaches" in name and count}
        assert not {name for name in breaches if "message" not in name and "headers" not in name}, breaches


def of_all_kinds(client: Client, *, compressed: int) -> None:
    loaded = client.ask(f"{HOOKS}OnProviderLoaded", b"")
    assert exhook_v3_pb2.LoadedResponse.FromString(loaded.answer or b"").hooks
    health = client.ask("/grpc.health.v1.Health/Check", b"")
    assert health_pb2.HealthCheckResponse.FromString(health.answer or b"").status == 1
    assert client.authenticate("alice", b"right").verdict is True
    assert client.authenticate("alice", b"wrong").verdict is False
    assert client.publish("a/b").verdict is True
    assert client.publish("b").verdict is False
    assert client.ask(f"{HOOKS}OnClientTeleport", b"").status == 12
    assert client.ask(f"{HOOKS}OnClientAuthorize", bytes(2_000_000)).status == 8
    assert client.authenticate("slow", b"right", deadline_ms=100).counts in ({4: 1}, {0: 1})
    assert client.authenticate("slow", b"right").verdict is True
    many = client.publish("a/b", count=1000)
    assert (many.counts, many.verdict) == ({0: 1000}, True)
    large = client.ask(f"{HOOKS}OnClientAuthorize", publishing("a/" + "x" * 60_000), count=40)
    assert (large.counts, large.verdict) == ({0: 40}, True)
    assert client.publish("a/b", metadata=10_000).verdict is True
    assert client.publish("a/" + "x" * 10_000, gzip=1).status == compressed
    assert client.publish("a/b").verdict is True


def test_tls_with_certificates_on_both_sides(program: tuple[str | Path, ...], folder: Path) -> None:
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    pair, broker, other = authority.sign("server"), authority.sign("broker-1"), stranger.sign("broker-1")
    files = {
        "EXHOOK_TLS_CERT": str(pair.certificate),
        "EXHOOK_TLS_KEY": str(pair.key),
        "EXHOOK_TLS_CLIENT_CA": str(authority.certificate),
    }
    with Server(folder, "--carrier", "h2", "--workers", "2", **files) as server:
        with client_of(program, server.port, authority.certificate, broker.certificate, broker.key) as client:
            of_all_kinds(client, compressed=12)
        with client_of(program, server.port, authority.certificate, other.certificate, other.key) as client:
            assert client.publish("a/b", deadline_ms=2000).status in (4, 14)


def test_headers_past_the_limit(program: tuple[str | Path, ...], folder: Path) -> None:
    with Server(folder, "--carrier", "h2") as server, client_of(program, server.port) as client:
        # grpc-go heeds the limit that it is told, sends nothing, and tries again until the deadline.
        refused = client.publish("a/b", metadata=30_000, deadline_ms=3000).status
        assert refused == (4 if program[0] != "node" and Path(program[0]).with_name("cache").is_dir() else 8)
        assert client.publish("a/b").verdict is True


def test_pings_of_an_idle_client(program: tuple[str | Path, ...], folder: Path) -> None:
    with (
        Server(folder, "--carrier", "h2", "--metrics", f"{HOST}:0") as server,
        client_of(program, server.port) as client,
    ):
        assert client.publish("a/b").verdict is True
        time.sleep(IDLE_SECONDS)
        assert client.publish("a/b", count=10).counts == {0: 10}
        assert not [name for name, count in server.metrics().items() if "breaches" in name and count]


def test_a_server_that_is_replaced_costs_no_call(program: tuple[str | Path, ...], folder: Path) -> None:
    with Server(folder, "--carrier", "h2", "--workers", "2") as first, client_of(program, first.port) as client:
        client.tell(f"flood {HOOKS}OnClientAuthorize {FLOOD_SECONDS} 16 {publishing('a/b').hex()}")
        time.sleep(3.0)
        first.tell(SIGTERM)
        assert first.ended() == 0
        with Server(folder, "--carrier", "h2", "--workers", "2", listen=f"{HOST}:{first.port}"):
            told = client.told()
    assert set(told.counts) == {0}
    assert told.counts[0] > 100
    assert told.verdict is True


def test_workers_that_are_killed_are_found_again(program: tuple[str | Path, ...], folder: Path) -> None:
    with Server(folder, "--carrier", "h2", "--workers", "2") as server, client_of(program, server.port) as client:
        client.tell(f"flood {HOOKS}OnClientAuthorize {FLOOD_SECONDS} 16 {publishing('a/b').hex()}")
        time.sleep(3.0)
        killed = server.workers()
        for pid in killed.values():
            os.kill(pid, SIGKILL)
        until(lambda: len(set(server.workers().values()) - set(killed.values())) == 2, what="other workers")
        told = client.told()
        assert set(told.counts) <= {0, 14}
        assert told.counts.get(14, 0) <= 16 * 4, "more than what was under way, and tried again, when they died"
        assert client.publish("a/b", count=100).counts == {0: 100}
