"""Latency over load: calls at a fixed rate, whether answers come or not.

`python bench/open_loop.py [--records N] [--rates N,N,...] [--seconds S] [--markdown FILE] [--json FILE]`. Linux alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from baselines import CPP_NAME
from carrier import CHECKED, STREAMS, check, right_answers
from contenders import contenders
from load import CONNECTIONS, Load, ask_once, at_rate
from machine import load_core, pinned
from questions import publish
from results import Results, add_options
from servers import Server
from tables import Cell, Table, percentile

RATES: Final = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
CLIENTS: Final = 10_000
NAMES: Final = (CPP_NAME, "no-op, carrier h2", "exhook, grpc", "exhook, h2")
"""Of the servers that are measured: the yardstick, what the carrier costs, and the whole server."""
_SHARES: Final = (0.5, 0.99, 0.999)


def over_load(servers: Sequence[Server], records: int, rates: Sequence[int], rounds: int, seconds: float) -> Table:
    """A row for each server and rate; one that a server does not keep up with has no figures, and ends its rates.

    Raises:
        WrongAnswer: a server does not answer right.
    """
    table = Table(
        "Latency over load, one worker",
        ("server", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs/call"),
        f"{CONNECTIONS} connections in turn, calls at even distances, publishes that are allowed, of {CLIENTS:,} "
        "clients. Latency counts from when a call was meant to go out, so that none is left out while a server is "
        "busy. Medians of the rounds. A row without figures: not kept up with.",
    )
    servers = [server for server in servers if server.name in NAMES]
    numbers = Random(5).sample(range(records), min(CLIENTS, records))  # noqa: S311 - no secret
    questions = [publish(number, allowed=True) for number in numbers]
    with pinned(load_core()):
        for server in servers:
            right = right_answers(server, questions)
            table.answers += check(server, right[:CHECKED]) + ask_once(server, right, STREAMS).answers
        found: dict[tuple[Server, int], list[Load | None]] = {
            (server, rate): [] for server in servers for rate in rates
        }
        for _ in range(rounds):
            for rate in rates:
                for server in servers:
                    lower = [loads for (other, below), loads in found.items() if other is server and below < rate]
                    kept_up = all(all(loads) for loads in lower)
                    load = at_rate(server, right_answers(server, questions), rate, seconds) if kept_up else None
                    found[server, rate].append(load)
                    table.answers += load.answers if load else 0
    for server in servers:
        table.answers += check(server, right_answers(server, questions)[:CHECKED])
        for rate in rates:
            table.add(server.name, rate, *_figures(found[server, rate]))
    return table


def _figures(loads: Sequence[Load | None]) -> tuple[Cell, ...]:
    kept_up = [load for load in loads if load]
    if len(kept_up) < len(loads):
        return (None,) * (len(_SHARES) + 1)
    spread = (median(percentile(load.latencies, share) for load in kept_up) * 1e3 for share in _SHARES)
    return *spread, median(load.cpu_us for load in kept_up)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--records", type=int, default=100_000, help="identities in the store, and as many permissions")
    parser.add_argument(
        "--rates",
        type=lambda text: tuple(sorted(map(int, text.split(",")))),
        default=RATES,
        metavar="N,N,…",
        help="calls per second",
    )
    add_options(parser)
    asked = parser.parse_args(arguments)
    results = Results("Latency over load")
    with (
        TemporaryDirectory(prefix="exhook-bench-") as folder,
        contenders(Path(folder), asked.records, results.left_out) as servers,
    ):
        results.add("open-loop", over_load(servers, asked.records, asked.rates, asked.rounds, asked.seconds))
    results.write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
