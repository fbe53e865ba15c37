"""The first zygote is a fork of the supervisor: of what that began, it ends nothing."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from server_under_test import Server, until

from exhook.forking import Zygote
from exhook.offspring import UNKNOWN_CODE, Adopted, Offspring, fork_off
from exhook.spawning import CHILD_ENVIRONMENT, answer, first_line

ALONE = """
import os, sys
from exhook.offspring import fork_off
{body}
"""
"""pytest-xdist has threads in its workers, and there nothing is forked off."""


def run(body: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", ALONE.format(body=body)], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_ends_nothing_that_the_supervisor_began() -> None:
    """Neither by its end nor by an error: what is to be done at exit, or is still to be written, is the parent's."""
    done = run("""
import atexit, contextlib
def zygote(modules, orders):
    print("said", modules, flush=True)
    raise ValueError("an error")
with contextlib.ExitStack() as stack:
    stack.callback(lambda: print("left by", os.getpid()))
    atexit.register(lambda: print("ended by", os.getpid()))
    sys.stdout.write("once\\n")
    offspring = fork_off(zygote, ["one"])
    with os.fdopen(offspring.output) as output:
        print("heard", output.read(), end="")
    _, status = os.waitpid(offspring.pid, 0)
    print("code", os.waitstatus_to_exitcode(status), "parent", os.getpid())
""")
    once, heard, code, left, ended = done.stdout.splitlines()
    parent = code.rpartition(" ")[2]
    assert (once, heard) == ("once", "heard said ['one']")
    assert code == f"code {UNKNOWN_CODE} parent {parent}"
    assert (left, ended) == (f"left by {parent}", f"ended by {parent}")
    assert done.stderr.endswith("ValueError: an error\n")
    assert done.returncode == 0


def test_what_it_has() -> None:
    done = run("""
import signal
def zygote(modules, orders):
    ignored = [signal.getsignal(one) is signal.SIG_IGN for one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)]
    print(ignored, sys.stdin.read() == "", os.environ["GRPC_VERBOSITY"], os.environ["GRPC_EXPERIMENTS"])
    print("NOTIFY_SOCKET" in os.environ, "WATCHDOG_USEC" in os.environ)
    print(len(os.listdir("/proc/self/fd")) - 1, os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev)
    return 7
os.environ |= {"GRPC_VERBOSITY": "DEBUG", "NOTIFY_SOCKET": "@manager", "WATCHDOG_USEC": "1"}
offspring = fork_off(zygote, [])
print(os.fdopen(offspring.output).read(), os.waitstatus_to_exitcode(os.waitpid(offspring.pid, 0)[1]))
""")
    inherited, for_the_supervisor, descriptors, code = done.stdout.splitlines()
    assert inherited == f"[True, True, True] True DEBUG {CHILD_ENVIRONMENT['GRPC_EXPERIMENTS']}"
    assert for_the_supervisor == "False False"
    assert descriptors == "4 True"  # the standard ones, and the socket that brings orders
    assert code.strip() == "7"


def never(modules: Sequence[str], orders: socket.socket) -> int:
    raise AssertionError((modules, orders))


def test_several_threads_are_not_forked() -> None:
    ready = threading.Event()
    other = threading.Thread(target=ready.wait)
    other.start()
    assert fork_off(never, []) is None
    ready.set()
    other.join()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_process_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError("no more")

    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "fork", refused)
    before = descriptors()
    assert fork_off(never, []) is None
    assert descriptors() == before


@pytest.fixture
def sleeping() -> Iterator[Offspring]:
    """A process that says that it is ready and does nothing, as if it were forked off."""
    ours, theirs = socket.socketpair()
    output, said = os.pipe()
    program = "import sys\nprint('{\"ready\": 0}', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs.fileno(), stdout=said)
    theirs.close()
    os.close(said)
    yield Offspring(process.pid, ours, output)
    process.returncode = 0  # whoever has it waits for it


async def test_it_is_taken_over(sleeping: Offspring) -> None:
    adopted = await Adopted.of(sleeping)
    assert answer(await first_line(adopted)) == {"ready": 0}
    adopted.kill()
    assert await asyncio.wait_for(adopted.wait(), 30) == adopted.returncode == -signal.SIGKILL
    adopted.kill()  # which is nobody's process any more
    sleeping.channel.close()


async def test_somebody_else_waited_for_it(sleeping: Offspring) -> None:
    os.kill(sleeping.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, sleeping.pid, 0)
    adopted = await Adopted.of(sleeping)
    assert await asyncio.wait_for(adopted.wait(), 30) == UNKNOWN_CODE
    sleeping.channel.close()


async def test_the_first_one_is_not_started(sleeping: Offspring) -> None:
    zygote = Zygote(first=sleeping)
    await zygote.start()
    assert zygote._process is not None
    assert zygote._process.pid == sleeping.pid
    await zygote._there()
    await zygote.stop()
    assert zygote._process.returncode == 0


def test_nobody_takes_it_over(sleeping: Offspring) -> None:
    sleeping.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(sleeping.pid, 0)


def test_a_server_s_workers_are_of_its_own_modules(tmp_path: Path) -> None:
    """Supervisor, zygote and worker are one program; only what takes a dead zygote's place begins anew."""
    with Server(tmp_path) as server:
        until(server.workers, what="the worker")
        programs = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.alive()}
        assert len(programs) == 1
