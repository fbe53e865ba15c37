"""The server that is soaked, as a process: what it says, what it holds, and what is done to it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from machine import owner_of_connection
from soak_fleet import INSTANCE, MOVING_PORT, OTHER_INSTANCE, Fleet, InForce, is_here

from exhook.settings import PREFIX
from store.database import Database
from store.runtime import Runtime
from store.seal import SealKeys

HOST: Final = "127.0.0.1"
WORKERS: Final = 2
PATIENCE: Final = 60.0
"""Seconds that anything may take before the run is given up."""
_APPLY: Final = Path(sys.executable).with_name("exhook-sync")
_DIED: Final = "worker died; another takes its place"
_KIB_A_MIB: Final = 1024


@dataclass(frozen=True)
class Held:
    """What all processes of the server hold at one moment."""

    pss_mib: float
    """Memory, what is shared counted once."""
    rss_mib: float
    descriptors: int
    processes: int


class SoakedServer:
    """`exhook serve` on a policy of its own, beside which another source's is applied."""

    def __init__(self, folder: Path, served: Fleet, synced: Fleet) -> None:
        self.folder = folder
        self.served, self.synced = served, synced
        self.served_by, self.synced_by, self.settings = InForce(), InForce(), InForce()
        self.log = folder / "serve.log"
        self._db = folder / "exhook.db"
        self._toml = folder / "exhook.toml"
        self._lines: list[dict[str, Any]] = []
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._runtime: Runtime | None = None

    async def start(self) -> int:
        """Serve the first versions of everything; the port."""
        self.served.write(self.folder / "served.yaml", 0)
        self.synced.write(self.folder / "synced.yaml", 0)
        self._write_settings(0)
        await self._apply()
        command = [sys.executable, "-m", "exhook", "serve", "--config", str(self._toml), "--log-format", "json"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
                command, stdin=subprocess.DEVNULL, stderr=log, env=_environment(), start_new_session=True
            )
        serving = await self._line("serving", 0)
        self._runtime = Runtime.open(self._db)
        await _until(lambda: len(self.workers()) == WORKERS)
        return int(serving["address"].rpartition(":")[2])

    def stop(self) -> int:
        """End it; its exit code."""
        if self._runtime:
            self._runtime.close()
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE)
        finally:
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def workers(self) -> dict[str, int]:
        """Processes that decide, by name."""
        assert self._runtime is not None
        return {worker.worker: worker.pid for worker in self._runtime.workers()}

    def pids(self) -> list[int]:
        """All of its processes."""
        assert self._process is not None
        found = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal())
        return [pid for pid in found if _session(pid) == self._process.pid]

    def held(self) -> Held:
        """What they hold now."""
        pss = rss = descriptors = processes = 0
        for pid in self.pids():
            rollup = _of(pid, "smaps_rollup").decode()
            if not rollup:
                continue  # it has just ended
            processes += 1
            pss += int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0])
            rss += int(re.findall(r"^Rss:\s+(\d+)", rollup, re.MULTILINE)[0])
            try:
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
            except OSError:
                continue
        return Held(pss / _KIB_A_MIB, rss / _KIB_A_MIB, descriptors, processes)

    def spread(self, ports: list[int], port: int) -> dict[str, int]:
        """How many of these connections (by the client's port) each worker has."""
        workers = self.workers()
        names = {pid: name for name, pid in workers.items()}
        found = dict.fromkeys(workers, 0)
        for one in ports:
            owner = owner_of_connection(one, port, list(names))
            if owner is not None:
                found[names[owner]] += 1
        return found

    async def apply(self) -> None:
        """The next version of the one source, by `exhook-sync apply`."""
        self.synced.write(self.folder / "synced.yaml", self.synced_by.begins())
        await self._apply()
        await self._in_force()
        self.synced_by.is_settled()

    async def change_served(self) -> None:
        """The next version of the other, which the server notices. Settings are not reloaded meanwhile, which would
        say of the version before that it is in force.
        """
        since = self._now()
        self.served.write(self.folder / "served.yaml", self.served_by.begins())
        await self._line("policy in force", since)
        await self._in_force()
        self.served_by.is_settled()

    async def reload(self) -> None:
        """The next version of the settings, by SIGHUP. Nothing is killed meanwhile."""
        assert self._process is not None
        since = self._now()
        self._write_settings(self.settings.begins())
        self._process.send_signal(signal.SIGHUP)
        for name in self.workers():
            await self._line("settings reloaded", since, worker=name)
        await self._line("policy in force", since)
        self.settings.is_settled()

    async def kill(self, name: str) -> float:
        """Kill a worker; seconds until another one in its place decides."""
        pid = self.workers()[name]
        began = monotonic()
        os.kill(pid, signal.SIGKILL)
        await _until(lambda: self.workers().get(name, pid) != pid)
        return monotonic() - began

    async def scrape(self) -> tuple[float, float]:
        """Denials because of an error of ours so far, and the seconds that it took to ask."""
        address = (await self._line("metrics", 0))["address"]
        began = monotonic()
        text = await asyncio.to_thread(_get, f"http://{address}/metrics")
        took = monotonic() - began
        errors = re.findall(r"^exhook_hook_errors_total (\S+)", text, re.MULTILINE)
        return float(errors[0]), took

    def errors(self) -> list[str]:
        """Lines of the log that tell of something that nobody did to it."""
        self._now()
        return [
            json.dumps(line)
            for line in self._lines
            if line.get("level") not in {"debug", "info", "warning"} and line.get("event") != _DIED
        ]

    def _write_settings(self, version: int) -> None:
        instance = INSTANCE if is_here(version) else OTHER_INSTANCE
        self._toml.write_text(
            f'db = "{self._db}"\nlisten = "{HOST}:0"\nworkers = {WORKERS}\ncarrier = "h2"\ndecisions = "none"\n'
            f'metrics = "{HOST}:0"\npolicy = "{self.folder / "served.yaml"}"\ninstance = "{INSTANCE}"\n'
            f"verified_seconds = 5\npoll_ms = {20 + version % 2}\n"
            f'[[listeners]]\nname = "moving"\nport = {MOVING_PORT}\ninstance = "{instance}"\n',
            encoding="utf-8",
        )

    async def _apply(self) -> None:
        command = (_APPLY, "apply", str(self.folder / "synced.yaml"), "--db", str(self._db), "--quiet")
        applying = await asyncio.create_subprocess_exec(
            *command, env=_environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            said, _ = await applying.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):  # it has just ended
                applying.kill()
            await applying.wait()
            raise
        if applying.returncode:
            raise RuntimeError(f"exhook-sync apply ended with {applying.returncode}: {said.decode()}")

    async def _in_force(self) -> None:
        with Database.open(self._db, SealKeys()) as database:
            revision = database.revision
        runtime = self._runtime
        if runtime is not None:
            await _until(lambda: runtime.in_force(revision))

    async def _line(self, event: str, since: int, **fields: str) -> dict[str, Any]:
        wanted = {"event": event, **fields}
        found: list[dict[str, Any]] = []

        def said() -> bool:
            self._now()
            found[:] = [line for line in self._lines[since:] if wanted.items() <= line.items()]
            ended = self._process is not None and self._process.poll() is not None
            if ended and not found:
                raise RuntimeError(f"the server ended: {self.log.read_text(encoding='utf-8')[-2000:]}")
            return bool(found)

        await _until(said)
        return found[0]

    def _now(self) -> int:
        """Read on in its log; how many lines there are."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            whole, end, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        self._lines += [_parsed(line) for line in whole.splitlines()]
        return len(self._lines)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"event": line.decode(errors="replace")}


async def _until(held: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not held():
        if monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE} s")
        await asyncio.sleep(0.01)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own server's
        text: str = answer.read().decode()
    return text


def _session(pid: int) -> int | None:
    fields = _of(pid, "stat").rpartition(b") ")[2].split()
    return int(fields[3]) if fields and fields[0] not in (b"Z", b"X") else None


def _of(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
