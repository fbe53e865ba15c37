"""The supervisor's end of the zygote: workers by fork, and what becomes of them."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from typing import Any, Final

from exhook.counting_files import retire
from exhook.logs import error_place, logger
from exhook.offspring import UNKNOWN_CODE, Adopted, Offspring
from exhook.spawning import START_SECONDS, answer, spawn

_LAST_WORDS_SECONDS: Final = 1.0
"""How long the exit code of a worker may take to come behind the worker's end."""
_RETRY_SECONDS: Final = 1.0


class Forked:
    """A worker that was forked; it is used as `asyncio.subprocess.Process` is."""

    def __init__(
        self, pid: int, code: asyncio.Future[int], stdin: asyncio.WriteTransport, stdout: asyncio.StreamReader
    ) -> None:
        """`code` is set when the zygote tells of its end, and cancelled when the zygote ends first."""
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._code = code
        self._gone = asyncio.Event()
        code.add_done_callback(lambda told: None if told.cancelled() else self.lost())

    async def wait(self) -> int:
        """Wait for its end; its exit code, where that is known."""
        await self._gone.wait()
        if self.returncode is None:
            await asyncio.wait([self._code], timeout=_LAST_WORDS_SECONDS)
            told = self._code.done() and not self._code.cancelled()
            self.returncode = self._code.result() if told else UNKNOWN_CODE
        return self.returncode

    def kill(self) -> None:
        if not self._gone.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def lost(self) -> None:
        """It is gone, whether somebody is there to tell its exit code or not."""
        self._gone.set()
        self.stdin.close()


class Zygote:
    """A process that forks workers (`exhook.zygote`), and another should it die."""

    def __init__(self, modules: Sequence[str] = (), first: Offspring | None = None) -> None:
        """`modules` are what workers need besides what all of them do; `first` is one that loads it already."""
        self._modules = modules
        self._first = first
        self._process: Process | Adopted | None = None
        self._channel: socket.socket | None = None
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """Its answers; an empty one is its end."""
        self._ready = False
        self._listening: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Begin to load what workers need.

        Raises:
            OSError: no process is to be had.
        """
        self._close_channel()
        if self._first:
            first, self._first = self._first, None
            self._channel = first.channel
            process: Process | Adopted = await Adopted.of(first)
        else:
            process = await self._spawn()
        self._process = process
        self._ready = False
        self._said = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen(process, self._said))

    async def _spawn(self) -> Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await spawn(["exhook.zygote", *self._modules], handed=theirs)
            except OSError:
                ours.close()
                raise
        self._channel = ours
        return process

    async def fork(self, name: str, sockets: socket.socket | None = None) -> Forked:
        """A worker, which has yet to be told its settings; `sockets` is its end of the pair that brings connections.

        Raises:
            OSError: no process is to be had.
        """
        async with self._one_at_a_time:
            await self._there()
            with ExitStack() as theirs, ExitStack() as ours:
                to_worker, our_input = _pipe(theirs, ours)
                our_output, from_worker = _pipe(ours, theirs)
                handed = [to_worker.fileno(), from_worker.fileno(), *([sockets.fileno()] if sockets else [])]
                pid, code = await self._ask(name, handed)
                forked = await _forked(pid, code, our_input, our_output)
                ours.pop_all()
                return forked

    async def keep(self) -> None:
        """Wait; whenever it dies, start another, so that it is there when a worker is to be replaced."""
        while (process := self._process) is not None:
            code = await process.wait()
            retire(process.pid)
            logger.error("the process that forks workers died; another takes its place", exit_code=code)
            try:
                async with self._one_at_a_time:
                    await self._there()
            except Exception as failed:  # noqa: BLE001 - as with workers: whatever it is, it may pass
                why = str(failed) if isinstance(failed, OSError) else error_place(failed)
                logger.error("the process that forks workers did not start", why=why)
                await asyncio.sleep(_RETRY_SECONDS)

    async def stop(self) -> None:
        """End it; workers that are left stay."""
        self._close_channel()
        if self._process:
            if not self._ready and self._process.returncode is None:
                self._process.kill()  # it is still loading, and would not look up before that is done
            try:
                async with asyncio.timeout(2.0):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._listening:
            await self._listening

    async def _there(self) -> None:
        """See to it that there is one, and that it has loaded everything."""
        if self._process is None or self._process.returncode is not None:
            await self.start()
        if not self._ready:
            if "ready" not in await self._answer():
                raise OSError("the process that forks workers did not start; its own lines say why")
            self._ready = True

    async def _ask(self, name: str, descriptors: list[int]) -> tuple[int, asyncio.Future[int]]:
        """Process and exit code to come of a worker; the code may be there already."""
        if self._channel is None:
            raise OSError("the process that forks workers is being ended")
        socket.send_fds(self._channel, [name.encode()], descriptors)
        said = await self._answer()
        if "forked" in said:
            return said["forked"], said["code"]
        code = said.get("refused")
        raise OSError(code, os.strerror(code)) if code else OSError("the process that forks workers died")

    async def _answer(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(START_SECONDS):
                return await self._said.get()
        except TimeoutError:
            if self._process and self._process.returncode is None:
                self._process.kill()  # it hangs; another will do
            return {}

    async def _listen(self, process: Process | Adopted, said: "asyncio.Queue[dict[str, Any]]") -> None:
        if process.stdout is None:
            raise AssertionError("started without a pipe")
        codes: dict[int, asyncio.Future[int]] = {}
        while line := await process.stdout.readline():
            word = answer(line.decode())
            if "ended" in word:
                # Maybe before anybody asked for the word that it was forked.
                codes.pop(word["ended"]).set_result(word["code"])
                continue
            if "forked" in word:
                word["code"] = codes[word["forked"]] = asyncio.get_running_loop().create_future()
            said.put_nowait(word)
        said.put_nowait({})
        for code in codes.values():
            code.cancel()

    def _close_channel(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a pipe, each of which is closed with what it belongs to."""
    to_read, to_write = os.pipe()
    return (
        reading.enter_context(FileIO(to_read, "r")),
        writing.enter_context(FileIO(to_write, "w")),
    )


async def _forked(pid: int, code: asyncio.Future[int], our_input: FileIO, our_output: FileIO) -> Forked:
    loop = asyncio.get_running_loop()
    stdout = asyncio.StreamReader()
    output = _Output(stdout)
    from_worker, _ = await loop.connect_read_pipe(lambda: output, our_output)
    try:
        stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, our_input)
    except BaseException:
        from_worker.close()
        raise
    forked = Forked(pid, code, stdin, stdout)
    output.ended.add_done_callback(lambda _: forked.lost())
    return forked


class _Output(asyncio.StreamReaderProtocol):
    """Standard output of a worker. That it ends is how a worker's end is seen where there is no parent to tell it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)
