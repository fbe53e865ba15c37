"""Soak: a mixed load for a long time, while policy and settings change, workers are killed and hostile peers come.

    python bench/soak.py --minutes 60 --jsonl soak.jsonl

Each answer is compared with what is right, which is worked out apart from exhook's code (soak_fleet.py). A line of
JSON each minute says what happened until then, so that a run that is interrupted tells, too. At the end there is a
table and a verdict; the exit code is 1 where something is not well:

- a wrong answer; a call that failed when nothing was killed; a denial because of an error of the server,
- memory (PSS of all processes together) at the end more than 1.1 times that after the first minute, or more open
  descriptors or processes,
- p99 of the last quarter more than twice that of the second, and so, too, against that of a process which only echoes.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic
from typing import Any, Final

from machine import describe
from soak_control import Control
from soak_fleet import Fleet
from soak_load import Load
from soak_peers import IDLE, Peers
from soak_samples import Sample, Samples, findings
from soak_server import PATIENCE, Held, SoakedServer
from tables import percentile

CALLERS: Final = 8
LOOKS: Final = 10
"""How often memory is looked at within a minute."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often what happens, in seconds."""

    minute: float = 60.0
    call: float = CALLERS / 400
    """Of one caller."""
    kill: tuple[float, float] = (30.0, 60.0)
    apply: float = 20.0
    serve: float = 25.0
    reload: float = 17.0
    hostile: float = 1.0
    ping: float = 60.0


class Soak:
    """One run."""

    def __init__(self, folder: Path, samples: Samples, pace: Pace, seed: int = 1, users: int = 60) -> None:
        self.samples = samples
        self.pace = pace
        self._seed = seed
        self._dice = Random(seed)  # noqa: S311 - a mixture, no secret
        self._server = SoakedServer(folder, Fleet("served", users // 3), Fleet("synced", users, hashes=True))
        self._control = Control()
        self._kills = self._applies = self._reloads = 0
        self._back: list[float] = []
        self._uneven: list[int] = []
        self._calm = asyncio.Lock()
        """Held while settings are reloaded, the server takes a policy on, or a worker is killed: one at a time."""

    async def run(self, minutes: int) -> list[str]:
        """Soak for so many minutes; what is not well."""
        server = self._server
        try:
            port = await server.start()
            sources = ((server.served, server.served_by), (server.synced, server.synced_by))
            load = Load(port, sources, server.settings, self._seed)
            await load.connect(CALLERS)
            await load.warm()
            load.taken()
            peers = Peers(port, self._seed)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one) for one in self._all_at_once(load, peers)]
                await self._sample(load, peers, minutes)
                for task in tasks:
                    task.cancel()
            errors = [f"the log says: {line}" for line in server.errors()[:20]]
        finally:
            code = server.stop()
        found = [*findings(self.samples.taken), *errors]
        return [*found, f"the server ended with {code}"] if code else found

    def _all_at_once(self, load: Load, peers: Peers) -> list[Coroutine[Any, Any, None]]:
        pace = self.pace
        return [
            *(load.call(number, pace.call) for number in range(CALLERS)),
            *(peers.idle(pace.ping) for _ in range(IDLE)),
            peers.come(pace.hostile),
            self._control.ask(pace.call),
            self._apply(),
            self._serve(),
            self._reload(),
            self._kill(load),
        ]

    async def _apply(self) -> None:
        while True:
            await asyncio.sleep(self.pace.apply)
            await self._server.apply()
            self._applies += 1

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(self.pace.serve)
            async with self._calm:
                await self._server.change_served()
            self._applies += 1

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(self.pace.reload)
            async with self._calm:
                await self._server.reload()
            self._reloads += 1

    async def _kill(self, load: Load) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(*self.pace.kill))
            async with self._calm:
                await self._kill_worker(load)

    async def _kill_worker(self, load: Load) -> None:
        name = self._dice.choice(sorted(self._server.workers()))
        began = monotonic()
        with load.disturbed():
            await self._server.kill(name)
            while min(load.last_answers.values()) < began:
                if monotonic() - began > PATIENCE:
                    raise RuntimeError(f"a caller has no answer for {PATIENCE} s after a worker was killed")
                await asyncio.sleep(0.01)
            self._back.append(monotonic() - began)
        self._kills += 1
        ports = [connection.own_port for connection in load.connections.values()]
        spread = self._server.spread(ports, load.port)
        self._uneven.append(max(spread.values()) - min(spread.values()))

    async def _sample(self, load: Load, peers: Peers, minutes: int) -> None:
        began = monotonic()
        for minute in range(1, minutes + 1):
            held = []
            for look in range(LOOKS):
                due = began + (minute - 1 + (look + 1) / LOOKS) * self.pace.minute
                await asyncio.sleep(max(0.0, due - monotonic()))
                held.append(await asyncio.to_thread(self._server.held))
            self.samples.add(await self._minute(minute, load, peers, held))

    async def _minute(self, minute: int, load: Load, peers: Peers, held: list[Held]) -> Sample:
        counts = load.taken()
        for wrong in counts.wrong:
            self.samples.note({"wrong": wrong, "minute": minute})
        errors, scrape_seconds = await self._server.scrape()
        sample = Sample(
            minute=minute,
            calls=counts.answered,
            wrong=len(counts.wrong),
            failed_at_kills=counts.failed_at_kills,
            failed=counts.failed,
            p50_ms=_ms(counts.seconds, 0.5),
            p99_ms=_ms(counts.seconds, 0.99),
            quiet_p99_ms=_ms(counts.quiet_seconds, 0.99),
            control_p99_ms=_ms(self._control.taken(), 0.99),
            pss_mib=median(one.pss_mib for one in held),
            rss_mib=median(one.rss_mib for one in held),
            descriptors=min(one.descriptors for one in held),
            processes=int(median(one.processes for one in held)),
            kills=self._kills,
            back_seconds=max(self._back, default=0.0),
            uneven=max(self._uneven, default=0),
            applies=self._applies,
            reloads=self._reloads,
            hostile=peers.hostile,
            sent_away=peers.sent_away,
            errors=int(errors),
            scrape_ms=scrape_seconds * 1000,
            load_average=os.getloadavg()[0],
        )
        self._kills = self._applies = self._reloads = peers.hostile = peers.sent_away = 0
        self._back.clear()
        self._uneven.clear()
        return sample


def _ms(seconds: list[float], share: float) -> float:
    return percentile(seconds, share) * 1000 if seconds else 0.0


def main(arguments: list[str] | None = None) -> int:
    """Soak; the exit code."""
    parser = argparse.ArgumentParser(description="A mixed load for long; docs/performance.md says what it is.")
    parser.add_argument("--minutes", type=int, default=60, help="how long")
    parser.add_argument("--rate", type=float, default=400.0, help="calls a second")
    parser.add_argument("--seed", type=int, default=1, help="of the mixture")
    parser.add_argument("--jsonl", type=Path, help="a file for the samples, a line each minute")
    given = parser.parse_args(arguments)
    machine = describe()
    # By either signal it ends as by Ctrl-C, which takes the server along.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    samples = Samples(given.jsonl)
    with tempfile.TemporaryDirectory(prefix="exhook-soak-") as folder:
        soak = Soak(Path(folder), samples, Pace(call=CALLERS / given.rate), given.seed)
        found = asyncio.run(soak.run(given.minutes))
    print(f"{machine}\n\n{samples.table(f'Soak: {given.minutes} minutes at {given.rate:.0f} calls/s').markdown()}")
    print("\n".join(f"- {one}" for one in found) or "All is well.")
    samples.note({"verdict": found})
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
