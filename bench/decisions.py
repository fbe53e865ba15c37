"""What a decision costs: in the pure core, in the reader, through the carrier; and what a change and a start cost.

`python bench/decisions.py [--quick] [--records N] [--json FILE]` prints Markdown tables. Linux alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from carrier import carrying, kinds
from delay import following
from filling import make_keys
from machine import describe, load_core, server_core
from memory import Sizes
from pure_core import authenticating, authorizing
from reading import reading
from servers import exhook, noop
from tables import Table


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    records: int = 1_000_000
    """Identities; there are as many permissions."""
    active: int = 100_000
    sample: int = 30_000
    """Records that are put through `Writing`."""
    rounds: int = 5
    starts: int = 3
    seconds: float = 0.8
    """Length of one run through the carrier."""
    commits: int = 100


FULL: Final = Effort()
QUICK: Final = Effort(records=20_000, active=4_000, sample=4_000, rounds=2, starts=1, seconds=0.25, commits=20)


def run(effort: Effort) -> list[Table]:
    """All tables.

    Raises:
        WrongAnswer: something that was benched did not answer right.
    """
    with TemporaryDirectory(prefix="exhook-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        db = folder / "store.db"
        keys, key_file = make_keys(folder)
        _say("filling a store")
        sizes = Sizes(effort.records)
        sizes.of_file(folder, db, keys, sample=effort.sample)
        _say("pure core, reader")
        tables = [
            authorizing(2 * effort.rounds),
            authenticating(2 * effort.rounds),
            reading(db, keys, effort.records, effort.rounds),
        ]
        _say("start")
        sizes.of_start(folder, db, key_file, keys, rounds=effort.starts)
        cores = (server_core(),)
        with exhook(db, key_file, cores=cores) as server:
            _say("active clients")
            sizes.of_worker(server, min(effort.active, effort.records))
            _say("end to end")
            nothing = [stack.enter_context(noop(kind, core=server_core())) for kind in ("aio", "h2")]
            tables.append(carrying([*nothing, server], kinds(effort.records), effort.rounds, effort.seconds))
        _say("commit to decision")
        with exhook(db, key_file, workers=2, cores=(server_core(), load_core())) as server:
            tables.append(following(server, db, keys, effort.commits))
        return [*tables, sizes.table]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="small store, short rounds: half a minute")
    parser.add_argument("--records", type=int, help="identities in the store, and as many permissions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args(arguments)
    effort = QUICK if asked.quick else FULL
    if asked.records:
        effort = replace(effort, records=asked.records)
    machine = describe()
    began = perf_counter()
    tables = run(effort)
    print(f"# Decisions\n\n{machine} All figures are medians of several rounds.\n")
    for table in tables:
        print(table.markdown())
    print(f"The whole run took {perf_counter() - began:.0f} s.")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, "tables": [table.as_json() for table in tables]}))
    return 0


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
