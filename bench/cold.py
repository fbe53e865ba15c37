"""What is slow the first time: a server's start, and a client's first call, by the size of the store.

`python bench/cold.py [--records N,N,...] [--carrier h2] [--markdown FILE] [--json FILE]`. Linux alone.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from carrier import CHECKED, check
from load import Load, ask_once, drive
from machine import cpu_seconds, forget_file, load_core, pinned, read_file, server_core
from questions import Question, publish
from results import Results, add_options
from servers import Server, exhook
from stores import Store, kept
from tables import Cell, Table, percentile

RECORDS: Final = (1, 1_000_000, 10_000_000)
CLIENTS: Final = 20_000
"""Who calls for the first time, of a file that is in memory; of one that is not, a quarter of these."""
LATER_CLIENTS: Final = 1_000
SECONDS: Final = 0.5
START: Final = "start to first answer"
FIRST_CALL: Final = "a client's first call"
FIRST_CPU: Final = f"{FIRST_CALL}, file in memory, CPU µs"
LATER_CPU: Final = "its later calls, CPU µs"
_MIB: Final = 2**20

Spent = tuple[float, float]
"""On a start: seconds by the clock, and of CPU."""


class Cold:
    """The figures of one store."""

    def __init__(self, store: Store, records: int, carrier: str) -> None:
        self.answers = 0
        self._store = store
        self._file = store.path.resolve()
        self._records = records
        self._carrier = carrier
        self._numbers = Random(6).sample(range(records), min(CLIENTS, records))  # noqa: S311 - no secret

    def figures(self, starts: int) -> Iterator[tuple[str, Cell]]:
        """Names and figures, in the order of the table.

        Raises:
            WrongAnswer: a client was decided wrong.
        """
        yield "store, MiB", self._file.stat().st_size / _MIB
        for place, prepare, share in (("on disk", forget_file, 4), ("in memory", read_file, 1)):
            spent = [self._start(prepare) for _ in range(starts - 1)]
            with self._starting(prepare, spent) as server:
                prepare(self._file)
                first = self._asked(ask_once(server, _questions(self._numbers[::share]), 1))
                questions = _questions(self._numbers[::share][:LATER_CLIENTS])
                later = self._asked(drive(server, questions, 1, SECONDS))
                self.answers += check(server, questions[:CHECKED])
            yield f"{START}, file {place}, s", median(seconds for seconds, _ in spent)
            yield f"CPU of a start, file {place}, s", median(cpu for _, cpu in spent)
            yield f"{FIRST_CALL}, file {place}, p50 ms", percentile(first.latencies, 0.5) * 1e3
            yield f"{FIRST_CALL}, file {place}, p99 ms", percentile(first.latencies, 0.99) * 1e3
            yield f"{FIRST_CALL}, file {place}, CPU µs", first.cpu_us
        yield "its later calls, p50 ms", percentile(later.latencies, 0.5) * 1e3
        yield "its later calls, p99 ms", percentile(later.latencies, 0.99) * 1e3
        yield LATER_CPU, later.cpu_us

    def _start(self, prepare: Callable[[Path], None]) -> Spent:
        spent: list[Spent] = []
        with self._starting(prepare, spent):
            return spent[0]

    @contextmanager
    def _starting(self, prepare: Callable[[Path], None], spent: list[Spent]) -> Iterator[Server]:
        """A server that has answered its first call; `spent` is told what that took."""
        prepare(self._file)
        began = perf_counter()
        with exhook(self._store.path, self._store.key_file, cores=(server_core(),), carrier=self._carrier) as server:
            self.answers += check(server, [publish(0, allowed=True)])
            spent.append((perf_counter() - began, sum(map(cpu_seconds, server.all_pids))))
            yield server

    def _asked(self, load: Load) -> Load:
        self.answers += load.answers
        return load


def by_size(sizes: Sequence[int], starts: int, carrier: str) -> Table:
    """A column for each size of the store."""
    with TemporaryDirectory(prefix="exhook-bench-") as name, pinned(load_core()):
        cold = [Cold(kept(records, Path(name)), records, carrier) for records in sizes]
        found = [dict(one.figures(starts)) for one in cold]
    table = Table(
        f"The first time, carrier {carrier}",
        ("what", *(f"{records:,}" for records in sizes)),
        "By identities in the store, and as many permissions. Start: from the command to the first right answer to a "
        f"real client. Calls: 8 connections of 1; {CLIENTS:,} different clients, a quarter of them where the file is "
        "on disk, that is, dropped from the kernel's cache.",
    )
    for what in found[0]:
        table.add(what, *(figures[what] for figures in found))
    table.answers = sum(one.answers for one in cold)
    return table


def _questions(numbers: Sequence[int]) -> list[Question]:
    return [publish(number, allowed=True) for number in numbers]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--records",
        type=lambda text: tuple(map(int, text.split(","))),
        default=RECORDS,
        metavar="N,N,…",
        help="identities in the stores, and as many permissions",
    )
    parser.add_argument("--starts", type=int, default=3, help="starts of the server on each store")
    parser.add_argument("--carrier", choices=("grpc", "h2"), default="h2")
    add_options(parser)
    asked = parser.parse_args(arguments)
    results = Results("The first time")
    results.add("cold", by_size(asked.records, asked.starts, asked.carrier))
    results.write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
