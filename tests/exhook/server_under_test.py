"""`python -m exhook serve` as a child process: its log lines, its port, its family, and a client that asks it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import grpc
from worker_under_test import CARRIER, MESSAGES, Served

from exhook.transport.call import Status

PATIENCE: Final = 45.0
"""Seconds that anything may take which is not itself measured: the machine is shared."""

HOST: Final = "127.0.0.1"
_WRITTEN_SECONDS: Final = 0.15
"""Longer than workers wait until they write what they counted (poll_ms), with room for a busy machine."""
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, as each of EMQX's eight is
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)

Line = dict[str, Any]
T = TypeVar("T")


def until(found: Callable[[], T], *, seconds: float = PATIENCE, what: object = "") -> T:
    """The first true thing that `found` gives."""
    deadline = time.monotonic() + seconds
    while True:
        if value := found():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


async def becomes(found: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait, in an event loop, until something holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            held = found()
            if await held if isawaitable(held) else held:
                return
            await asyncio.sleep(0.01)


class Server:
    """A server in a session of its own, so that none of its processes can be missed, or outlive the test."""

    def __init__(self, folder: Path, *arguments: str, listen: str = f"{HOST}:0", **environment: str) -> None:
        self.folder = folder
        self.db = folder / "exhook.db"
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        self._read = 0
        self._partial = b""
        self._lines: list[Line] = []
        command = [sys.executable, "-m", "exhook", "serve", "--db", str(self.db), "--listen", listen]
        command += [] if "--carrier" in arguments else ["--carrier", CARRIER]
        others = {name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")}
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--log-format", "json", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**others, "TMPDIR": str(folder), **environment},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Wait until it serves."""
        try:
            self.line("serving")
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return port_of(self.line("serving"))

    @property
    def lines(self) -> list[Line]:
        """What it has logged so far; what is no JSON stands under `text`."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        self._read += len(new)
        *whole, self._partial = (self._partial + new).split(b"\n")
        self._lines += [_line(text) for text in whole]
        return self._lines

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def events(self, event: str, since: int = 0, **fields: object) -> list[Line]:
        """The lines of an event, from line number `since` on, that have these fields."""
        return [
            line
            for line in self.lines[since:]
            if line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def line(self, event: str, since: int = 0, *, seconds: float = PATIENCE, **fields: object) -> Line:
        """The first such line; waited for."""

        def found() -> list[Line]:
            ended = self.process.poll() is not None
            lines = self.events(event, since, **fields)
            assert lines or not ended, f"ended with {self.process.returncode}: {self.said}"
            return lines

        return until(found, seconds=seconds, what=f"{event} {fields} in {self.said[-2000:]}")[0]

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; the exit code. One that does not end is killed, and leaves nothing behind."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise

    def kill(self) -> None:
        """Kill the supervisor alone, as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill every process of it, at one moment."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not self.alive(), what="the end of all processes")

    def alive(self) -> set[int]:
        """Its processes that live: all of its session."""
        pids = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal())
        return {pid for pid in pids if _session(pid) == self.pid}

    def workers(self) -> dict[str, int]:
        """Pids of the deciding processes, by name."""
        found = {}
        for pid in self.alive():
            name = _of_process(pid, "comm").decode().strip()
            if name.startswith("exhook-w"):
                found[name.removeprefix("exhook-w")] = pid
        return found

    def metrics(self) -> dict[str, float]:
        """Samples, by name and labels as they are written; what was counted until now is in them."""
        time.sleep(_WRITTEN_SECONDS)
        return samples(self.metrics_text())

    def metrics_text(self) -> str:
        port = port_of(self.line("metrics"))
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return text


def samples(text: str) -> dict[str, float]:
    found = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


def port_of(line: Line) -> int:
    return int(line["address"].rpartition(":")[2])


class Asker:
    """A broker: one connection to a server, which asks as EMQX asks."""

    def __init__(self, target: int | str) -> None:
        """A port of this machine, or any target of gRPC."""
        self.channel = grpc.insecure_channel(
            f"{HOST}:{target}" if isinstance(target, int) else target, options=_OPTIONS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, path: str, body: bytes, seconds: float = PATIENCE) -> bytes:
        ask = self.channel.unary_unary(path, None, None)
        answer: bytes = ask(body, timeout=seconds, wait_for_ready=True)
        return answer

    def connects(self, client_id: str, username: str, password: bytes, **info: Any) -> bool:
        """Whether a CONNECT is let in."""
        asked = MESSAGES["v3"].ClientAuthenticateRequest(
            clientinfo=_info(client_id, username, password=password, **info)
        )
        return Served.verdict(self.call("/emqx.exhook.v3.HookProvider/OnClientAuthenticate", asked.SerializeToString()))

    def publishes(self, client_id: str, username: str, topic: str, **info: Any) -> bool:
        """Whether a PUBLISH is let through."""
        return self._authorized(client_id, username, topic, "PUBLISH", info)

    def subscribes(self, client_id: str, username: str, topic: str, **info: Any) -> bool:
        """Whether a subscription is granted."""
        return self._authorized(client_id, username, topic, "SUBSCRIBE", info)

    def _authorized(self, client_id: str, username: str, topic: str, action: str, info: dict[str, Any]) -> bool:
        asked = MESSAGES["v3"].ClientAuthorizeRequest(
            clientinfo=_info(client_id, username, **info), type=action, topic=topic.encode()
        )
        return Served.verdict(self.call("/emqx.exhook.v3.HookProvider/OnClientAuthorize", asked.SerializeToString()))


@contextmanager
def one_of_each(server: Server) -> Iterator[dict[str, Asker]]:
    """A connection to every worker, by its name; the kernel chooses, so they are made until all are had.

    The server logs all decisions.
    """
    with ExitStack() as stack:
        reached: dict[str, Asker] = {}
        deadline = time.monotonic() + PATIENCE
        while set(reached) != set(server.workers()):
            assert time.monotonic() < deadline, reached
            broker = stack.enter_context(Asker(server.port))
            since = len(server.lines)
            assert not broker.connects("whose", "nobody", b"")
            reached.setdefault(server.line("decision", since, client_id="whose")["worker"], broker)
        yield reached


def failed(error: grpc.RpcError) -> Status:
    """The status that a call ended with."""
    code: grpc.StatusCode = error.code()
    return Status(code.value[0])


def _info(client_id: str, username: str, **more: Any) -> dict[str, Any]:
    return {"clientid": client_id.encode(), "username": username.encode(), "peerhost": HOST, **more}


def _line(text: bytes) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    return line if isinstance(line, dict) else {"text": text.decode(errors="replace")}


def _session(pid: int) -> int | None:
    """The session of a process that lives; a zombie does not."""
    # The name, in brackets, may hold blanks and brackets itself.
    fields = _of_process(pid, "stat").rpartition(b") ")[2].split()
    return int(fields[3]) if fields and fields[0] not in (b"Z", b"X") else None


def _of_process(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
