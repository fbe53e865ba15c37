"""Starting a child process, and hearing its first words."""

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any, Final, Protocol

START_SECONDS: Final = 30.0
CHILD_ENVIRONMENT: Final = {"GRPC_EXPERIMENTS": "-event_engine_listener", "GRPC_VERBOSITY": "NONE"}
"""Measured: grpcio's newer listener costs more CPU a call; it is chosen before the library is loaded."""


class Spoken(Protocol):
    """A process whose standard output is read here."""

    @property
    def stdout(self) -> asyncio.StreamReader | None: ...


async def spawn(module: Sequence[str], *, handed: socket.socket | None = None) -> Process:
    """Start a module, with its arguments; the descriptor of the socket that it is handed is its last argument."""
    descriptors = (handed.fileno(),) if handed else ()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module, *map(str, descriptors)),
        stdin=PIPE,
        stdout=PIPE,
        env=CHILD_ENVIRONMENT | os.environ,
        pass_fds=descriptors,
    )


async def first_line(process: Spoken) -> str:
    """What it says first; nothing, if it says nothing in good time."""
    if process.stdout is None:
        raise AssertionError("started without a pipe")
    try:
        async with asyncio.timeout(START_SECONDS):
            return (await process.stdout.readline()).decode().strip()
    except TimeoutError:
        return ""


def answer(line: str) -> dict[str, Any]:
    """What a process of ours said of itself; nothing, if that was no answer."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
