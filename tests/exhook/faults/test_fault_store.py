"""The store cannot be written while a server runs: its disk is full, or another program holds it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from server_under_test import becomes
from worker_under_test import Serve, Served, Store

from exhook import metrics
from exhook import policy as policy_module
from exhook.policy import PolicyFiles
from exhook.settings import Settings
from store.connection import connect
from store.database import Database
from store.records import Record
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.tables import PERMISSIONS

NOT_APPLIED = "policy not applied; the last good state stays in force"
POLICY = """
format: exhook/v1
defaults: {{instance: mqtt-test}}
identities: [{{username: alice, sign_mode: origin, secret: {{env: EXHOOK_SECRET_ALICE}}}}]
permissions:
  - {{username: alice, publish: [{topic}]}}
blacklist:
{barred}
"""


def policy(topic: str, barred: int = 1) -> str:
    return POLICY.format(topic=topic, barred="".join(f"  - {{client_id: thief-{n:040}}}\n" for n in range(barred)))


class Running:
    """A worker, and a policy that is watched beside it."""

    def __init__(self, file: Path, served: Served, lines: list[Any]) -> None:
        self.file = file
        self.served = served
        self.lines = lines

    async def publishes(self, topic: str) -> bool:
        return await self.served.authorize("c", "alice", "PUBLISH", topic)

    async def connects(self, client_id: str, password: bytes = b"right") -> bool:
        return await self.served.authenticate(client_id, "alice", password)

    async def stands_by(self, topic: str, not_by: str) -> None:
        """Everything is decided by the last good state, and what was written since is not in force at all."""
        assert await self.connects("c")
        assert not await self.connects("c", b"wrong")
        assert not await self.connects(f"thief-{0:040}")
        assert await self.publishes(topic)
        assert not await self.publishes(not_by)

    async def says(self, words: str) -> None:
        await becomes(lambda: any(words in line.get("why", "") for line in self.lines if line["event"] == NOT_APPLIED))
        assert metrics.POLICY_BROKEN._value.get() == 1


@asynccontextmanager
async def running(folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(policy_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(policy_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(policy_module, "apply_policy", partial(apply_policy, busy_ms=50))
    monkeypatch.setenv("EXHOOK_SECRET_ALICE", "right")
    file = folder / "policy.yaml"
    file.write_text(policy("old"))
    files = PolicyFiles(Settings(db=folder / "exhook.db", policy=file), SealKeys())
    with structlog.testing.capture_logs() as lines:
        await files.apply_first()
        watching = asyncio.create_task(files.watch())
        try:
            async with serve(decisions="none") as served:
                made = Running(file, served, lines)
                await becomes(lambda: made.publishes("old"))
                yield made
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


def _granted(db: Path) -> set[str]:
    with Database.open(db, SealKeys(), create=False) as database:
        assert database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        topics: Callable[[Record], str] = lambda record: str(getattr(record, "topic", ""))  # noqa: E731 - of a permission
        return {topics(record) for record in database.records(PERMISSIONS)}


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A small disk of its own, which stands at a folder."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if sys.platform != "linux":
        pytest.skip("only a Linux mounts a disk of memory")
    with disk(tmp_path, "2m"):
        yield tmp_path


async def test_the_disk_is_full(small_disk: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(small_disk, serve, monkeypatch) as made:
        rest = small_disk / "rest"
        made.file.write_text(policy("new", barred=1_500))
        with rest.open("wb", buffering=0) as filling, suppress(OSError):
            while True:
                filling.write(bytes(4096))
        await made.says("cannot grow: the disk is full; nothing was written")
        for _ in range(20):  # each of these is a denial that cannot be kept either
            await made.stands_by("old", not_by="new")
        rest.unlink()
        await becomes(lambda: made.publishes("new"))
        assert not await made.publishes("old") or "old" in _granted(small_disk / "exhook.db")
        await becomes(lambda: metrics.POLICY_BROKEN._value.get() == 0)
        assert not await made.connects(f"thief-{1_499:040}")
    assert "new" in _granted(small_disk / "exhook.db")


async def test_another_program_holds_the_store(
    store: Store, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, serve, monkeypatch) as made:
        with closing(connect(store.path, create=False, busy_ms=0)) as other:
            other.execute("BEGIN EXCLUSIVE")
            made.file.write_text(policy("new"))
            await made.says("is locked by another writer")
            await made.stands_by("old", not_by="new")
            other.execute("ROLLBACK")
        await becomes(lambda: made.publishes("new"))
        await becomes(lambda: metrics.POLICY_BROKEN._value.get() == 0)
    assert made.lines[-1]["event"] != NOT_APPLIED
