"""What one call costs by carrier: no-op servers and exhook in turn, against gRPC's C++ callback server where it builds.

`python bench/hot_path.py [--rounds N] [--seconds S] [--records N] [--markdown FILE] [--json FILE]` prints Markdown
tables. Linux alone.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import h2load
from carrier import ALLOWED, carrying, kinds, pressing
from contenders import contenders
from results import Results, add_options
from servers import Server


def run(results: Results, servers: Sequence[Server], records: int, rounds: int, seconds: float) -> None:
    """Both tables.

    Raises:
        WrongAnswer: a server does not answer right.
    """
    asked = kinds(records)
    table = carrying(servers, asked, rounds, seconds)
    table.title = "The hot path, by carrier"
    results.add("hot-path", table)
    if shutil.which(h2load.PROGRAM):
        with TemporaryDirectory(prefix="exhook-bench-") as folder:
            results.add("h2load", pressing(servers, asked[ALLOWED][0], rounds, seconds, Path(folder)))
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
    with (
        TemporaryDirectory(prefix="exhook-bench-") as folder,
        contenders(Path(folder), asked.records, results.left_out) as servers,
    ):
        run(results, servers, asked.records, asked.rounds, asked.seconds)
    results.write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
