"""Memory of a worker over the records in the store, and over the clients that it knows.

`python bench/growth.py [--records N,N,...] [--active N] [--carrier h2] [--markdown FILE] [--json FILE]`. Linux alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from carrier import CHECKED, STREAMS, check
from load import ask_once
from machine import load_core, memory_mib, pinned, server_core
from questions import publish
from results import Results, add_options
from servers import exhook
from stores import kept
from tables import Table

RECORDS: Final = (0, 10_000, 100_000, 1_000_000)
ACTIVE: Final = 100_000


def over_records(sizes: Sequence[int], active: int, carrier: str) -> Table:
    """A row for a worker that has just started, and one after so many different clients published once.

    Raises:
        WrongAnswer: a client was decided wrong.
    """
    table = Table(
        f"Memory of a worker over records, carrier {carrier}",
        ("identities, and as many permissions", "active clients", "RSS MiB", "PSS MiB", "private MiB"),
        "RSS counts pages that the worker shares with its supervisor and with other workers, PSS its part of them, "
        "private none. An active client has published once.",
    )
    with TemporaryDirectory(prefix="exhook-bench-") as name, pinned(load_core()):
        for records in sizes:
            store = kept(records, Path(name))
            with exhook(store.path, store.key_file, cores=(server_core(),), carrier=carrier) as server:
                (pid,) = server.pids
                table.add(records, 0, *memory_mib(pid))
                if not (clients := min(active, records)):
                    continue
                step = records // clients
                questions = [publish(number * step, allowed=True) for number in range(clients)]
                table.answers += ask_once(server, questions, STREAMS).answers
                table.add(records, clients, *memory_mib(pid))
                table.answers += check(server, questions[:CHECKED])
    return table


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--records",
        type=lambda text: tuple(map(int, text.split(","))),
        default=RECORDS,
        metavar="N,N,…",
        help="identities in the stores, and as many permissions",
    )
    parser.add_argument("--active", type=int, default=ACTIVE, help="clients that publish")
    parser.add_argument("--carrier", choices=("grpc", "h2"), default="h2")
    add_options(parser)
    asked = parser.parse_args(arguments)
    results = Results("Memory over records")
    results.add("memory", over_records(asked.records, asked.active, asked.carrier))
    results.write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
