"""The servers under measurement, as processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from machine import pinned

from exhook.settings import PREFIX
from store.runtime import Runtime

START_SECONDS: Final = 60.0
_NOOP: Final = Path(__file__).with_name("noop_server.py")


@dataclass(frozen=True)
class Server:
    """A server that serves."""

    name: str
    port: int
    pids: tuple[int, ...]
    """The processes that answer calls."""
    started_seconds: float
    """From the command to serving."""
    api_port: int = 0
    api_pid: int = 0
    others: tuple[int, ...] = ()
    """Processes of it that answer no calls: their CPU counts, too."""

    decides: bool = False
    """No constant answer."""
    speaks_grpc: bool = True

    @property
    def all_pids(self) -> tuple[int, ...]:
        return (*self.pids, *self.others)


@contextmanager
def exhook(
    db: Path, key_file: Path, *, workers: int = 1, cores: tuple[int, ...], api: bool = False, carrier: str = "h2"
) -> Iterator[Server]:
    """`exhook serve` on a store, with default settings but for the carrier; with the management API, without its limit,
    where asked.
    """
    log = db.with_name(f"{db.stem}.log")
    command = ["-m", "exhook", "serve", "--db", str(db), "--listen", "127.0.0.1:0", "--log-format", "json"]
    command += ["--workers", str(workers), "--seal-key-file", str(key_file), "--carrier", carrier]
    if api:
        settings = db.with_name("bench.toml")
        settings.write_text("api_rate = 0\n")
        command += ["--api", "127.0.0.1:0", "--config", str(settings)]
    began = time.perf_counter()
    with log.open("w") as stderr, _process(command, cores, stderr=stderr) as process:
        port = _port(_said(process, log, "serving"))
        took = time.perf_counter() - began
        runtime = Runtime.open(db)
        try:
            pids = tuple(worker.pid for worker in _all_of(runtime, workers))
        finally:
            runtime.close()
        api_port = _port(_said(process, log, "management API")) if api else 0
        api_pid = _api_pid(process.pid) if api else 0
        others = tuple(pid for pid in _family(process.pid) if pid not in pids)
        yield Server(f"exhook, {carrier}", port, pids, took, api_port, api_pid, others, decides=True)


@contextmanager
def noop(kind: str, *, core: int) -> Iterator[Server]:
    """A server that decides nothing: see noop_server.py."""
    name = "no-op, grpc.aio" if kind == "aio" else f"no-op, carrier {kind}"
    with saying_its_port(name, sys.executable, str(_NOOP), kind, cores=(core,)) as server:
        yield server


@contextmanager
def saying_its_port(name: str, program: str, *arguments: str, cores: tuple[int, ...]) -> Iterator[Server]:
    """A server that prints its port once it serves.

    Raises:
        RuntimeError: it does not.
    """
    began = time.perf_counter()
    with _process(list(arguments), cores, program=program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline() or 0)
        if not port:
            raise RuntimeError(f"{name} did not start")
        yield Server(name, port, (process.pid,), time.perf_counter() - began)


@contextmanager
def listening(name: str, command: Sequence[str], *, cores: tuple[int, ...]) -> Iterator[Server]:
    """A server of files, not of gRPC, that takes its port as the last argument.

    Raises:
        RuntimeError: it does not come to listen.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program, *arguments = command
    began = time.perf_counter()
    with _process([*arguments, str(port)], cores, program=program, stdout=subprocess.DEVNULL) as process:
        while not _is_listening(port):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.01)
        yield Server(name, port, (process.pid,), time.perf_counter() - began, speaks_grpc=False)


@contextmanager
def _process(
    arguments: list[str], cores: tuple[int, ...], *, program: str = sys.executable, **more: Any
) -> Iterator[subprocess.Popen[str]]:
    # What this shell sets must not change what is measured; the listener is the one the supervisor chooses, too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"GRPC_EXPERIMENTS": "-event_engine_listener", "GRPC_VERBOSITY": "NONE"}
    with pinned(*cores):
        process = subprocess.Popen([program, *arguments], env=environment, stdin=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _said(process: subprocess.Popen[str], log: Path, event: str) -> dict[str, Any]:
    """The line that says that it serves."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            if f'"{event}"' in line:
                said: dict[str, Any] = json.loads(line)
                return said
        time.sleep(0.002)
    raise RuntimeError(f"exhook did not come to serve; it says: {log.read_text()[-2000:]}")


def _is_listening(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _port(line: dict[str, Any]) -> int:
    return int(line["address"].rpartition(":")[2])


def _api_pid(supervisor: int) -> int:
    """The API's process among the supervisor's children."""
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if b"exhook.api.process" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise RuntimeError("the server has no process for its API")


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _all_of(runtime: Runtime, workers: int) -> list[Any]:
    until = time.monotonic() + START_SECONDS
    while len(found := runtime.workers()) < workers and time.monotonic() < until:
        time.sleep(0.01)
    assert len(found) == workers, found
    return found
