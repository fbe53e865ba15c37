"""From a revocation to the DELETE call at the broker's API: `python bench/revocation.py [--quick]` prints a table.

A real server with two workers; an API that answers as EMQX's does, in this process. Two beginnings: the COMMIT of a
blacklist entry, and the start of the command `exhook-sync apply`.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from tables import Table, percentile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "exhook"))

from emqx_api_under_test import EmqxApiUnderTest, Session

from exhook.settings import PREFIX
from store.clock import now_ms
from store.database import Database
from store.records import BlacklistEntry
from store.revocations import Revocations
from store.runtime import Runtime, path_beside
from store.seal import SealKeys

INSTANCE: Final = "mqtt-bench"
GIVE_UP_SECONDS: Final = 30.0
_HEAD: Final = "format: exhook/v1\nsource: bench\ndefaults: {instance: mqtt-bench}\nidentities:\n"
_USER: Final = "  - {username: u, sign_mode: origin, secret: {env: EXHOOK_SECRET_U}}\nblacklist:\n"


def run(commits: int, applies: int) -> Table:
    """Revoke one client after the other, and see when its session is ended."""
    table = Table(
        "From a revocation to the API call that ends the session, 2 workers",
        ("from", "p50 ms", "p99 ms", "max ms"),
        f"{commits} commits, {applies} applies; one client each, blacklisted. The API answers in this very process.",
    )
    with TemporaryDirectory(prefix="exhook-bench-") as name, EmqxApiUnderTest() as api:
        folder = Path(name)
        _write_policy(folder, [])
        _apply(folder)
        server = _start(folder, api)
        try:
            _until(lambda: _is_ready(folder))
            table.add("COMMIT of a write", *_spread([_commit(folder, api, number) for number in range(commits)]))
            from_apply = [_apply_one(folder, api, number) for number in range(applies)]
            table.add("end of `exhook-sync apply`", *_spread([after for _, after in from_apply]))
            table.add("start of `exhook-sync apply`", *_spread([whole for whole, _ in from_apply]))
            table.check(
                api.disconnected, [f"commit-{n}" for n in range(commits)] + [f"apply-{n}" for n in range(applies)]
            )
        finally:
            server.terminate()
            server.wait()
    return table


def _commit(folder: Path, api: EmqxApiUnderTest, number: int) -> float:
    client_id = f"commit-{number}"
    api.join(Session(client_id, "u"))
    entry = BlacklistEntry(instance=INSTANCE, client_id=client_id, source="bench-commits")
    with Database.open(folder / "exhook.db", SealKeys()) as database:
        with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
            write.put(entry)
        committed = time.perf_counter()
    _until(lambda: client_id in api.disconnected)
    return time.perf_counter() - committed


def _apply_one(folder: Path, api: EmqxApiUnderTest, number: int) -> tuple[float, float]:
    """Seconds from the start of the command, and from its end; the call may come before the command has ended."""
    client_id = f"apply-{number}"
    api.join(Session(client_id, "u"))
    _write_policy(folder, [f"apply-{n}" for n in range(number + 1)])
    began = time.perf_counter()
    command = _command(folder)
    ended: float | None = None
    while client_id not in api.disconnected:
        if ended is None and command.poll() is not None:
            ended = time.perf_counter()
        if time.perf_counter() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"{client_id} is still connected")
        time.sleep(0.0005)
    called = time.perf_counter()
    assert command.wait() == 0
    return called - began, max(0.0, called - (ended or called))


def _write_policy(folder: Path, barred: list[str]) -> None:
    entries = "".join(f"  - {{client_id: {one}}}\n" for one in ["nobody", *barred])
    (folder / "policy.yaml").write_text(_HEAD + _USER + entries, encoding="utf-8")


def _apply(folder: Path) -> None:
    assert _command(folder).wait() == 0


def _command(folder: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / "exhook-sync"
    return subprocess.Popen(
        [program, "apply", "policy.yaml", "--quiet"], cwd=folder, env=_environment(EXHOOK_SECRET_U="secret")
    )


def _start(folder: Path, api: EmqxApiUnderTest) -> subprocess.Popen[bytes]:
    config = folder / "exhook.toml"
    config.write_text(
        f'workers = 2\nlisten = "127.0.0.1:0"\n[[emqx]]\nname = "bench"\nurl = "{api.url}"\n'
        "calls_per_second = 1000\ndisconnects_per_second = 1000\n",
        encoding="utf-8",
    )
    return subprocess.Popen(
        [sys.executable, "-m", "exhook", "serve", "--config", "exhook.toml", "--log-level", "error"],
        cwd=folder, env=_environment(**api.environ),
    )  # fmt: skip


def _is_ready(folder: Path) -> bool:
    if not path_beside(folder / "exhook.db").exists():
        return False
    with Runtime.open(folder / "exhook.db") as runtime:
        counts = Revocations(runtime).counts()
        return (
            len(runtime.workers()) == 2
            and "bench" in counts
            and not any(number for state, number in counts["bench"].items() if state != "done")
        )


def _environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | more


def _until(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not held():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {GIVE_UP_SECONDS} s")
        time.sleep(0.0005)


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    return median(seconds) * 1e3, percentile(seconds, 0.99) * 1e3, max(seconds) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it works")
    quick = parser.parse_args().quick
    print(run(5, 2).markdown() if quick else run(200, 30).markdown())


if __name__ == "__main__":
    main()
