"""What a deployment needs, worked out from measured figures by the formulas of docs/performance.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Final

from carrier import ALLOWED, CONNECTING, REFUSED
from cold import FIRST_CPU, LATER_CPU, START
from load import CONNECTIONS
from tables import Table

BUSY_SHARE: Final = 0.6
"""Of a core, that a worker is to be busy at most, so that a burst finds room."""
FILTERS: Final = 2
"""That a device subscribes to when it connects."""
CACHE_SECONDS: Final = 60
"""EMQX's authorization cache, by default."""
CORE_US: Final = 1_000_000

_CALM: Final = "CPU µs/call calm"
_BUSY: Final = "CPU µs/call"
_EXHOOK: Final = "exhook, h2"
_SLOW: Final = "HASHED (argon2id)"
_OURS: Final = (ALLOWED, REFUSED, CONNECTING)


@dataclass(frozen=True)
class Fleet:
    """A fleet of devices, by what it asks of the broker."""

    name: str
    devices: int
    connects: int
    """A second."""
    publishes: int
    """A second."""
    topics: int = 0
    """That a device publishes to, where EMQX's cache is on; 0: it is off."""

    @property
    def publishes_asked(self) -> float:
        """A second: each topic of a device at most once while EMQX remembers the answer."""
        if not self.topics:
            return self.publishes
        return min(self.publishes, self.devices * self.topics / CACHE_SECONDS)


FLEETS: Final = (
    Fleet("10,000 devices, 50 connects/s, 1,000 publishes/s", 10_000, 50, 1_000),
    Fleet("100,000 devices, 500 connects/s, 10,000 publishes/s", 100_000, 500, 10_000),
    Fleet("the same, EMQX's cache on, 1 topic a device", 100_000, 500, 10_000, topics=1),
    Fleet("1,000,000 devices, 1,000 connects/s, 100,000 publishes/s, cache on, 1 topic", 1_000_000, 1_000, 100_000,
          topics=1),
)  # fmt: skip


def costs(tables: Mapping[str, Table]) -> Table:
    """CPU of each kind of call, and how many of them to plan for."""
    hot = tables["hot-path"]
    made = Table(
        "What a worker of a core carries, carrier h2",
        ("call", "CPU µs, busy", "CPU µs, calm", "calls/s to plan for"),
        f"To plan for: {BUSY_SHARE * 100:.0f} % of a core, at the cost of a calm server. A slow hash costs this "
        "until it is remembered.",
    )
    for kind in _OURS:
        row = f"{kind}: {_EXHOOK}"
        calm = hot.figure(row, _CALM)
        made.add(kind, hot.figure(row, _BUSY), calm, BUSY_SHARE * CORE_US / calm)
    hashing = tables["passwords"].figure(f"{_SLOW}, allowed", "µs")
    made.add(f"authenticate, {_SLOW}", hashing, hashing, BUSY_SHARE * CORE_US / hashing)
    return made


def fleets(tables: Mapping[str, Table], remembered: int) -> Table:
    """Cores, workers, connections and memory for some fleets; `remembered` clients are what a worker keeps."""
    hot, cold = tables["hot-path"], tables["cold"]
    authorize, authenticate = (hot.figure(f"{kind}: {_EXHOOK}", _CALM) for kind in (ALLOWED, CONNECTING))
    largest = cold.columns[-1]
    reading = cold.figure(FIRST_CPU, largest) - cold.figure(LATER_CPU, largest)
    idle, per_client = _memory(tables["memory"])
    made = Table(
        "Fleets",
        ("fleet", "calls/s", "busy cores", "workers", "pool_size", "MiB a worker"),
        f"Each device subscribes to {FILTERS} filters when it connects. One EMQX node; of several, each has a pool. "
        f"Memory: {idle:.0f} MiB, and {per_client * 1024:.1f} KiB for each active client, {remembered:,} for certain.",
    )
    for fleet in FLEETS:
        authorized = fleet.connects * FILTERS + fleet.publishes_asked
        calls = fleet.connects + authorized
        warm = (fleet.connects * authenticate + authorized * authorize) / CORE_US
        for workers in count(1):
            devices = fleet.devices / workers
            known = min(1.0, remembered / devices)
            cores = warm + calls * (1 - known) * reading / CORE_US
            if cores <= BUSY_SHARE * workers:
                break
        made.add(fleet.name, calls, cores, workers, pool_size(workers), idle + per_client * devices * known)
    return made


def pool_size(workers: int) -> int:
    """For the carrier h2, which hands connections to its workers evenly: a multiple, no less than EMQX's default."""
    return ceil(CONNECTIONS / workers) * workers


def aims(tables: Mapping[str, Table]) -> Table:
    """What was aimed at, and what was measured."""
    hot, cold, following, memory = (tables[name] for name in ("hot-path", "cold", "following", "memory"))
    ours = f"{ALLOWED}: {_EXHOOK}"
    largest = cold.columns[-1]
    _, active, rss, *_ = memory.rows[-1]
    made = Table("Aims", ("what", "aim", "measured"))
    first = str(hot.rows[0][0]).removeprefix(f"{ALLOWED}: ")
    made.add(f"CPU of an authorize, busy, times that of {first}", "≤ 0.6", hot.figure(ours, "times first"))
    made.add("p99 of an authorize, calm, ms", "≤ 0.5", hot.figure(ours, "p99 ms"))
    made.add(
        "a commit, until every worker decides by it, p99, ms", "≤ 50", following.figure("all workers follow", "p99 ms")
    )
    made.add(f"memory of a worker, {active:,} clients active, RSS, MiB", "≤ 150", rss)
    for place in ("in memory", "on disk"):
        made.add(
            f"{START}, {largest} identities, file {place}, s", "≤ 1", cold.figure(f"{START}, file {place}, s", largest)
        )
    return made


def _memory(memory: Table) -> tuple[float, float]:
    """MiB of a worker without clients, and for each client, at the largest store."""
    (_, _, idle, *_), (_, clients, active, *_) = memory.rows[-2:]
    assert isinstance(idle, float)
    assert isinstance(active, float)
    assert isinstance(clients, int)
    return idle, (active - idle) / clients
