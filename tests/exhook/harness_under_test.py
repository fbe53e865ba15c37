"""The parts of the Mosquitto plugin that read what a server sends, behind a pipe, under sanitizers."""

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from mosquitto_under_test import SANITIZED, digest, one_at_a_time, source_folder

from exhook.brokers.mosquitto.build import FLAGS, compiler

HARNESS: Final = Path(__file__).parent / "mosquitto" / "harness.c"


class Result(IntEnum):
    """enum h2_result."""

    IDLE = 0
    PENDING = 1
    ANSWERED = 2
    REFUSED = 3
    RESET = 4
    UNHANDLED = 5
    BROKEN = 6
    LATE = 7


@dataclass(frozen=True)
class Called:
    """What came of a call."""

    result: Result
    grpc_status: int
    going: bool
    answer: bytes
    said: bytes
    """What the client sent."""


class Harness:
    """A process that does what it is told until a sanitizer ends it."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        errors = self._process.communicate(timeout=20)[1]
        # Leaks are found at the end.
        assert self._process.returncode == 0, errors.decode(errors="replace")[-3000:]

    def headers(self, blocks: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]] | None:
        """The headers of each block, read with one table; None where one is malformed."""
        *read, last = self._ask("H", b"".join(map(chunk, blocks))).split(";")
        if last.strip() != "good":
            return None
        return [[_pair(one) for one in block.split()] for block in read]

    def verdict(self, answer: bytes) -> int:
        return int(self._ask("V", answer))

    def changes(self, answer: bytes) -> list[str]:
        return self._ask("C", answer).split()

    def concerned(
        self, losses: Sequence[tuple[int, bytes]], clients: Sequence[tuple[bytes, bytes]]
    ) -> tuple[int, list[bool]]:
        """How many losses (kind, name) are kept, and which clients (id, user name) they concern."""
        body = b"".join(struct.pack(">I", kind) + chunk(name) for kind, name in losses)
        who = b"".join(chunk(client_id) + chunk(username) for client_id, username in clients)
        body = struct.pack(">I", len(losses)) + body + struct.pack(">I", len(clients)) + who
        kept, whom = self._ask("L", body).split(" ")
        return int(kept), [one == "1" for one in whom]

    def call(self, *chunks: bytes, message: int = 3, hang_up: bool = False) -> Called:
        """Call a server that sends these chunks, with a message of so many bytes."""
        head = struct.pack(">II", message, hang_up)
        line = self._ask("A", head + b"".join(map(chunk, chunks)))
        result, status, going, answer, said = line.split(" ")
        return Called(Result(int(result)), int(status), going == "1", bytes.fromhex(answer), bytes.fromhex(said))

    def cached(self, most: int, keep_ms: int, steps: Sequence[tuple[str, int, int, tuple[int, bytes]]]) -> list[str]:
        """What is found: steps are `k`, `f` or `c`, time, answer, key (binding and what is asked)."""
        body = b"".join(
            struct.pack(">IIII", ord(what), now, answer, binding) + chunk(asked)
            for what, now, answer, (binding, asked) in steps
        )
        return self._ask("K", struct.pack(">II", most, keep_ms) + body).split()

    def _ask(self, operation: str, body: bytes) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(operation.encode() + struct.pack(">I", len(body)) + body)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline().decode()
        if not line.endswith("\n"):
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read().decode(errors="replace")[-3000:])
        return line.rstrip("\n")


def chunk(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def harness(folder: Path) -> Path:
    """The harness, built once for all tests that share the folder."""
    program = folder / f"harness-{digest(HARNESS)}"
    compiled = compiler()
    assert compiled is not None
    with one_at_a_time(folder):
        if program.exists():
            return program
        flags = [flag for flag in FLAGS if flag not in ("-O2", "-shared", "-D_FORTIFY_SOURCE=2")]
        sources = sorted(str(file) for file in source_folder().glob("*.c") if file.name != "plugin.c")
        fresh = program.with_suffix(".fresh")
        command = [compiled, *flags, *SANITIZED, f"-I{source_folder()}", "-o", str(fresh), str(HARNESS), *sources]
        made = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        fresh.replace(program)
    return program


def _pair(text: str) -> tuple[bytes, bytes]:
    name, _, value = text.partition("=")
    return bytes.fromhex(name), bytes.fromhex(value)
