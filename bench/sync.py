"""What a policy costs on its way into the store: time and memory of each step, and what CONNECTs feel of it.

`python bench/sync.py [--records N] [--changes N] [--json FILE]` prints Markdown tables. Linux alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from filling import make_keys
from machine import describe, load_core, server_core
from meanwhile import connecting
from servers import exhook
from steps import Steps
from tables import Table

RECORDS: Final = 50_000
"""Identities, and as many permissions: some ten seconds for each step on a laptop, at most."""
CHANGES: Final = 1_000
SECONDS: Final = 3.0
"""How long clients connect without an apply."""


def run(records: int, changes: int) -> list[Table]:
    """All tables.

    Raises:
        WrongAnswer: something that was benched did not do what it should.
    """
    with TemporaryDirectory(prefix="exhook-bench-") as name:
        folder = Path(name)
        keys, key_file = make_keys(folder)
        _say(f"validate, plan, apply {2 * records:,} records")
        steps = Steps(folder, key_file, records, changes)
        steps.run(keys)
        _say("connecting while a policy is applied")
        with exhook(steps.db, key_file, workers=2, cores=(server_core(), load_core())) as server:
            meanwhile = connecting(server, steps.db, key_file, records, SECONDS)
        return [steps.table, meanwhile]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=RECORDS, help="identities, and as many permissions")
    parser.add_argument("--changes", type=int, default=CHANGES, help="identities that change once all is in the store")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args(arguments)
    machine = describe().replace("All figures are medians of several rounds.", "Each step runs once.")
    began = perf_counter()
    tables = run(asked.records, asked.changes)
    print(f"# Sync\n\n{machine}\n")
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
