"""All figures of docs/performance.md in one run: `python bench/report.py [--quick] [--write]`. Linux alone.

`--write` puts them into docs/performance/figures.json, and makes the page's tables and plots of them. Stores are kept
in `.bench`; the first run makes them, which takes some minutes more.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import cold
import growth
import hot_path
import page
from contenders import contenders
from delay import following
from machine import load_core, server_core
from open_loop import RATES, over_load
from pure_core import authenticating
from results import Results, add_options
from servers import exhook
from stores import kept
from tables import Table

from store.reader import MAX_SUBJECTS

CARRIER: Final = "h2"


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    records: int = 1_000_000
    rounds: int = 5
    seconds: float = 0.8
    rates: Sequence[int] = RATES
    rate_rounds: int = 3
    rate_seconds: float = 1.5
    memory: Sequence[int] = growth.RECORDS
    active: int = growth.ACTIVE
    cold: Sequence[int] = cold.RECORDS
    starts: int = 3
    commits: int = 200


FULL: Final = Effort()
QUICK: Final = Effort(
    rounds=1,
    seconds=0.3,
    rate_rounds=1,
    rate_seconds=0.5,
    active=10_000,
    cold=(1, 1_000_000),
    starts=1,
    commits=40,
)


def run(results: Results, effort: Effort) -> None:
    """Everything.

    Raises:
        WrongAnswer: something that was benched did not answer right.
    """
    # Half of all subjects are kept for certain, and a client is two: a user name and a client id.
    results.constants["remembered"] = MAX_SUBJECTS // 4
    _say("stores")
    with TemporaryDirectory(prefix="exhook-bench-") as folder:
        for number, records in enumerate({effort.records, *effort.memory, *effort.cold}):
            kept(records, Path(folder), str(number))
    with (
        TemporaryDirectory(prefix="exhook-bench-") as folder,
        contenders(Path(folder), effort.records, results.left_out) as servers,
    ):
        _say("the hot path")
        hot_path.run(results, servers, effort.records, effort.rounds, effort.seconds)
        _say("latency over load")
        table = over_load(servers, effort.records, effort.rates, effort.rate_rounds, effort.rate_seconds)
        results.add("open-loop", table)
    _say("memory over records")
    results.add("memory", growth.over_records(effort.memory, effort.active, CARRIER))
    _say("the first time")
    results.add("cold", cold.by_size(effort.cold, effort.starts, CARRIER))
    _say("commit to decision")
    results.add("following", commit_to_decision(effort.records, effort.commits))
    _say("passwords")
    results.add("passwords", authenticating(effort.rounds))


def commit_to_decision(records: int, commits: int) -> Table:
    """On a copy of the store, since it is written to."""
    with TemporaryDirectory(prefix="exhook-bench-") as name:
        store = kept(records, Path(name))
        db = Path(name) / "copy.db"
        shutil.copyfile(store.path, db)
        with exhook(db, store.key_file, workers=2, cores=(server_core(), load_core()), carrier=CARRIER) as server:
            return following(server, db, store.keys, commits)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one short round of each, and no store of 10 million")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance")
    add_options(parser)
    asked = parser.parse_args(arguments)
    results = Results("Performance")
    run(results, QUICK if asked.quick else FULL)
    results.write(asked)
    if asked.write:
        page.write(results.as_json())
    return 0


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
