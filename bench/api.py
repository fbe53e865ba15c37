"""What the management API carries: AddCustomAuthIdentity calls a second, while the same server decides.

`python bench/api.py [--calls N] [--connections N] [--json FILE]` prints a Markdown table. Linux alone.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, TypeVar

from api_load import ACCESS_KEY, ACCESS_SECRET, ACTION
from filling import INSTANCE, fill, make_keys
from http2 import Connection
from machine import cpu_seconds, describe, load_core, pinned, resident_mib, server_core
from questions import publish
from servers import Server, exhook
from tables import Table, WrongAnswer, percentile

from store.account_records import AccessKey
from store.clock import now_ms
from store.database import Database
from store.key_material import secret_of
from store.seal import SealKeys
from store.tables import IDENTITIES

T = TypeVar("T")

RECORDS: Final = 20_000
"""Identities that stand in the store before, and as many permissions."""
CLIENTS: Final = 200
"""Who publishes meanwhile."""
PAUSE_SECONDS: Final = 0.002
CALM_SECONDS: Final = 3.0
_LOAD: Final = Path(__file__).with_name("api_load.py")


@dataclass(frozen=True)
class Effort:
    calls: int = 5_000
    connections: int = 64
    records: int = RECORDS
    calm_seconds: float = CALM_SECONDS


def run(effort: Effort) -> Table:
    """The table.

    Raises:
        WrongAnswer: a call was refused, an identity did not come to stand in the store, or a client was decided wrong.
    """
    with TemporaryDirectory(prefix="exhook-bench-") as name:
        folder = Path(name)
        db = folder / "store.db"
        keys, key_file = make_keys(folder)
        fill(db, keys, effort.records)
        _add_key(db, keys)
        cores = tuple({server_core(), load_core()})
        with exhook(db, key_file, cores=cores, api=True) as server:
            return asyncio.run(_measure(server, db, keys, effort))


async def _measure(server: Server, db: Path, keys: SealKeys, effort: Effort) -> Table:
    table = Table(
        f"Management API: {effort.calls:,} AddCustomAuthIdentity calls, store of {effort.records:,} identities",
        ("what", "figure"),
        f"{effort.connections} connections, one call at a time each; each answer comes when the worker follows. "
        "Signed as the SDK signs, by a process beside; all share the machine's cores.",
    )
    calm, _ = await _deciding(server, table, asyncio.sleep(effort.calm_seconds))
    before = resident_mib(server.api_pid)
    cpu = cpu_seconds(server.api_pid)
    busy, loaded = await _deciding(server, table, _load(server.api_port, effort))
    cpu = cpu_seconds(server.api_pid) - cpu
    took: list[float] = loaded["took"]
    with Database.open(db, keys) as database:
        held = database.find(IDENTITIES, "source = 'api'", (), unsealed=False)
        table.check([sum(1 for _ in held)], [effort.calls])
    table.answers += len(took)
    table.add("calls per second", len(took) / loaded["seconds"])
    table.add("a call, p50, ms", median(took) * 1e3)
    table.add("a call, p99, ms", percentile(took, 0.99) * 1e3)
    table.add("CPU of the API process a call, µs", cpu / len(took) * 1e6)
    table.add("revisions (commits)", _revisions(db, keys))
    table.add("memory of the API process before, MiB", before)
    table.add("memory of the API process after, MiB", resident_mib(server.api_pid))
    table.add("memory of the worker after, MiB", resident_mib(server.pids[0]))
    table.add("authorize, p50 before, ms", median(calm) * 1e3)
    table.add("authorize, p50 meanwhile, ms", median(busy) * 1e3)
    table.add("authorize, p50, ratio", median(busy) / median(calm))
    table.add("authorize, p99 before, ms", percentile(calm, 0.99) * 1e3)
    table.add("authorize, p99 meanwhile, ms", percentile(busy, 0.99) * 1e3)
    return table


async def _deciding(server: Server, table: Table, beside: Coroutine[Any, Any, T]) -> tuple[list[float], T]:
    """Have clients publish, one after the other, while something runs; seconds of each answer, and what came of it."""
    connection = await Connection.open(server.port)
    questions = [publish(number, allowed=number % 2 == 0) for number in range(CLIENTS)]
    for question in questions:
        await connection.ask(question)
    until, took = asyncio.create_task(beside), list[float]()
    while not until.done():
        question = questions[len(took) % len(questions)]
        began = perf_counter()
        answer = await connection.ask(question)
        took.append(perf_counter() - began)
        table.check([answer], [question.answer])
        await asyncio.sleep(PAUSE_SECONDS)
    connection.close()
    return took, await until


async def _load(port: int, effort: Effort) -> dict[str, Any]:
    with pinned(load_core()):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_LOAD), str(port), INSTANCE, "0", str(effort.calls), str(effort.connections),
            stdout=subprocess.PIPE,
        )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise WrongAnswer("a call was refused")
    figures: dict[str, Any] = json.loads(said)
    return figures


def _add_key(db: Path, keys: SealKeys) -> None:
    with (
        Database.open(db, keys) as database,
        database.writing(actor="bench", source="bench", now_ms=now_ms()) as write,
    ):
        secrets = (secret_of(database, ACCESS_SECRET.encode()),)
        write.put(AccessKey(access_key_id=ACCESS_KEY, secrets=secrets, instances=(INSTANCE,), calls=(ACTION,)))


def _revisions(db: Path, keys: SealKeys) -> int:
    with Database.open(db, keys) as database:
        found = database.connection.execute(
            "SELECT count(*) FROM revisions WHERE actor = ?", (f"access-key {ACCESS_KEY}",)
        )
        return int(found.fetchone()[0])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=Effort.calls, help="calls to make; 100000 takes a minute or so")
    parser.add_argument("--connections", type=int, default=Effort.connections, help="calls under way at one time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args(arguments)
    machine = describe()
    table = run(Effort(calls=asked.calls, connections=asked.connections))
    print(f"# Management API\n\n{machine}\n")
    print(table.markdown())
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, "tables": [table.as_json()]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
