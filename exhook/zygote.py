"""A process that has the workers' modules loaded and forks a worker whenever the supervisor asks for one.

To load them takes most of a worker's start and of its memory; a fork has them at once, in pages that all of them
share. The supervisor cannot fork by itself: it has threads and open stores. This process has neither.

The supervisor hands over a name, the worker's standard input and output and its socket, and hears on standard output
which process that became, and with which code it ended. When the supervisor is gone, this process ends; the workers,
whose standard input ends then, too, drain and follow.
"""

import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from select import select
from typing import Final

from exhook.child import say

_DESCRIPTORS: Final = 3


@dataclass(frozen=True, slots=True)
class Order:
    """A worker that is asked for, and what it is handed."""

    name: str
    descriptors: tuple[int, ...]
    """Standard input, standard output and, where it does not listen itself, the socket that brings connections."""


def preloaded(carrier: str) -> tuple[str, ...]:
    """Modules that a carrier needs and that are not loaded with every worker."""
    return ("exhook.transport.grpc",) if carrier == "grpc" else ("uvloop",)


def main() -> int:
    """Be it as a process of its own; the exit code."""
    *modules, descriptor = sys.argv[1:]
    return run(modules, socket.socket(fileno=int(descriptor)))


def run(modules: Sequence[str], orders: socket.socket) -> int:
    """Serve until the supervisor, whose orders come by a socket, is gone; or be a worker. The exit code."""
    # Ctrl-C and systemd's SIGTERM reach the whole group; the supervisor decides, and it needs workers until its end.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _be_called("exhook-zygote")
    from exhook import worker  # noqa: PLC0415 - takes a second; signals may come meanwhile

    for module in modules:
        with suppress(ImportError):  # an extra that is not there; the worker goes without, or says so
            import_module(module)
    # What the collector never looks at is never written to, and stays shared.
    gc.collect()
    gc.freeze()
    with orders:
        say({"ready": 0})
        order = _take_orders(orders)
    if order is None:
        return 0
    return worker.run(order.name, _become_worker(order))


def _take_orders(supervisor: socket.socket) -> Order | None:
    """Fork whatever is asked for: nothing, once the supervisor is gone; in a fork, the order that made it."""
    woken, waking = socket.socketpair()
    with woken, waking:
        woken.setblocking(False)
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select([supervisor, woken], [], [])
            if woken in ready:
                woken.recv(4096)
                _tell_who_ended()
            if supervisor in ready:
                try:
                    name, descriptors, _flags, _address = socket.recv_fds(supervisor, 256, _DESCRIPTORS)
                except OSError:
                    return None
                if not name:
                    return None
                order = Order(name.decode(), tuple(descriptors))
                if _fork(order):
                    signal.set_wakeup_fd(-1)
                    return order


def _fork(order: Order) -> bool:
    """Whether this is the fork."""
    try:
        pid = os.fork()
    except OSError as error:
        say({"refused": error.errno or errno.EAGAIN})
        pid = -1
    if pid == 0:
        return True
    for descriptor in order.descriptors:
        os.close(descriptor)
    if pid > 0:
        say({"forked": pid})
    return False


def _tell_who_ended() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become_worker(order: Order) -> int | None:
    """Take the place that `python -m exhook.worker` would have; its socket, where it has one."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for standard, descriptor in enumerate(order.descriptors[:2]):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    _be_called(f"exhook-w{order.name}")
    return order.descriptors[2] if order.descriptors[2:] else None


def _be_called(name: str) -> None:
    with suppress(OSError):  # what `ps -o comm` and `top` show, on Linux
        Path("/proc/self/comm").write_text(name, encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
