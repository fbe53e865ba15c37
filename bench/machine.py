"""The machine under the figures: what it is, how busy, what a process costs it. Linux alone (`/proc`)."""

import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

BUSY_SHARE: Final = 0.3
"""Load per core above which the figures are said to be disturbed."""

_CPU_CLOCK: Final = 2
_KIB_A_MIB: Final = 1024
_READ_BYTES: Final = 2**22


def describe() -> str:
    """Cores, versions, and whether others use the machine."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    parts = [
        f"{cores} cores ({_model()})",
        f"Python {platform.python_version()}",
        f"grpcio {version('grpcio')}",
        f"protobuf {version('protobuf')}",
        f"SQLite {sqlite3.sqlite_version}",
    ]
    busy = (
        f"**Load average {load:.1f} before the start: others use this machine. "
        "Trust the ratios, which compare within one round, and no absolute figure.**"
        if load > BUSY_SHARE * cores
        else f"Load average {load:.1f} before the start."
    )
    return f"{', '.join(parts)}.\n{busy}"


def load_core() -> int:
    """The core for what makes the load."""
    return max(os.sched_getaffinity(0))


def server_core() -> int:
    """The core for the server; the only one where there is no other."""
    return min(os.sched_getaffinity(0))


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Keep this thread, and the processes it starts meanwhile, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process: what /proc/PID/stat says in steps of 10 ms, in ns."""
    # The clock of another process, as clock_getcpuclockid(3) makes its number on Linux.
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def resident_mib(pid: int) -> float:
    """Memory of a process that is in RAM, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIB_A_MIB
    raise ProcessLookupError(pid)


def memory_mib(pid: int) -> tuple[float, float, float]:
    """RSS, PSS and private memory of a process."""
    fields = dict(line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {name: int(size) for name, size in fields.items()}
    private = kib["Private_Clean:"] + kib["Private_Dirty:"]
    return kib["Rss:"] / _KIB_A_MIB, kib["Pss:"] / _KIB_A_MIB, private / _KIB_A_MIB


def owner_of_connection(client_port: int, server_port: int, pids: list[int]) -> int | None:
    """Which of some processes holds the server's end of a TCP connection of this machine."""
    inode = _inode(client_port, server_port)
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
            except FileNotFoundError:
                continue  # closed meanwhile
    return None


def forget_file(path: Path) -> None:
    """Ask the kernel to drop a file from its cache, so that it is read from disk again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_file(path: Path) -> None:
    """Have a file in the kernel's cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def _inode(client_port: int, server_port: int) -> str:
    # grpc-core listens on a dual-stack socket, which shows among the IPv6 ones.
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
            if ports == [server_port, client_port]:
                return fields[9]
    return ""


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
