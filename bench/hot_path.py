"""What one call costs by carrier: no-op servers and exhook in turn, against gRPC's C++ callback server where it builds.

`python bench/hot_path.py [--rounds N] [--seconds S] [--records N] [--markdown FILE] [--json FILE]` prints Markdown
tables. Linux alone.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h2load
from baselines import baselines
from carrier import ALLOWED, carrying, kinds, pressing
from machine import server_core
from results import Results, add_options
from servers import Server, exhook, noop
from stores import kept

CARRIERS = ("grpc", "h2")


@contextmanager
def contenders(folder: Path, records: int, left_out: list[str]) -> Iterator[list[Server]]:
    """Every server that can be had here, on one core: those of others, no-op servers on our carriers, exhook."""
    core = server_core()
    with ExitStack() as stack:
        servers = stack.enter_context(baselines(folder, left_out, core=core))
        servers += [stack.enter_context(noop(kind, core=core)) for kind in ("aio", *CARRIERS)]
        for carrier in CARRIERS:
            store = kept(records, folder, carrier)
            servers.append(stack.enter_context(exhook(store.path, store.key_file, cores=(core,), carrier=carrier)))
        yield servers


def run(results: Results, records: int, rounds: int, seconds: float) -> None:
    """All tables.

    Raises:
        WrongAnswer: a server does not answer right.
    """
    asked = kinds(records)
    with TemporaryDirectory(prefix="exhook-bench-") as name:
        folder = Path(name)
        with contenders(folder, records, results.left_out) as servers:
            table = carrying(servers, asked, rounds, seconds)
            table.title = "The hot path, by carrier"
            results.add("hot-path", table)
            if shutil.which(h2load.PROGRAM):
                results.add("h2load", pressing(servers, asked[ALLOWED][0], rounds, seconds, folder))
            else:
                packages = f"on Debian, `apt install {h2load.PACKAGE}` brings it."
                results.left_out.append(f"The load of {h2load.PROGRAM}: it is not here; {packages}")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.8, help="length of one run")
    parser.add_argument("--records", type=int, default=100_000, help="identities in the store, and as many permissions")
    add_options(parser)
    asked = parser.parse_args(arguments)
    results = Results("The hot path")
    run(results, asked.records, asked.rounds, asked.seconds)
    results.write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
