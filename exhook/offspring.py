"""The first process that forks workers is a fork of the supervisor itself, while that is still one thread.

Both need much the same modules. A fork has those that are loaded already, where a process that begins anew loads them
a second time: half of what a server's start takes of a core.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from exhook import systemd
from exhook.spawning import CHILD_ENVIRONMENT

UNKNOWN_CODE: Final = 255
"""The exit code of a process that nobody waited for, as asyncio has it."""

Zygote = Callable[[Sequence[str], socket.socket], int]


@dataclass(frozen=True, slots=True)
class Offspring:
    """A fork of this process, by the ends that are ours."""

    pid: int
    channel: socket.socket
    output: int
    """The descriptor where what it says is read."""

    def kill(self) -> None:
        """End it, and wait for that: nobody took it over."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.channel.close()
        os.close(self.output)


def fork_off(zygote: Zygote, modules: Sequence[str]) -> Offspring | None:
    """Fork this process, to be a zygote; None where that cannot be, and a process of its own has to do.

    A fork of several threads would hold locks that nobody opens. No file of the store may be open either.
    """
    if threading.active_count() > 1:
        return None
    ours, theirs = socket.socketpair()
    output, said = os.pipe()
    # What is still to be written would be written by both.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        os.close(output)
        os.close(said)
        return None
    if pid == 0:
        _be(zygote, modules, theirs, said, (ours.detach(), output))
    theirs.close()
    os.close(said)
    return Offspring(pid, ours, output)


def _be(zygote: Zygote, modules: Sequence[str], orders: socket.socket, said: int, not_ours: Sequence[int]) -> None:
    """Be the zygote, or the worker that it forks, to the end: of what the supervisor began, nothing is ended here."""
    code = UNKNOWN_CODE
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for descriptor in not_ours:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for standard, descriptor in ((0, nothing), (1, said)):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor, for good
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
        for name in systemd.VARIABLES:  # children shall not speak for the service
            os.environ.pop(name, None)
        for name, value in CHILD_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        code = zygote(modules, orders)
    except BaseException:  # noqa: BLE001 - as the interpreter does it, which must not end what is the supervisor's
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


class Adopted:
    """An offspring in the hands of the supervisor's loop; it is used as `asyncio.subprocess.Process` is."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        threading.Thread(
            target=self._wait, args=(asyncio.get_running_loop(),), name=f"waiting for {pid}", daemon=True
        ).start()

    @classmethod
    async def of(cls, offspring: Offspring) -> "Adopted":
        stdout = asyncio.StreamReader()
        pipe = os.fdopen(offspring.output, "rb", 0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), pipe)
        return cls(offspring.pid, stdout)

    async def wait(self) -> int:
        """Wait for its end; its exit code."""
        await self._ended.wait()
        return UNKNOWN_CODE if self.returncode is None else self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            code = UNKNOWN_CODE
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(self._end, code)

    def _end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()
