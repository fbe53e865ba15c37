"""An enforcer in a test's own event loop, and how far it has come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from emqx_api_under_test import EmqxApiUnderTest
from server_under_test import PATIENCE, becomes
from worker_under_test import Store

from exhook.brokers.pace import BackOff
from exhook.enforcer import enforcer as enforcer_module
from exhook.enforcer import lane
from exhook.enforcer.enforcer import Enforcer
from exhook.settings import Settings
from store.clock import now_ms
from store.database import Database
from store.revocations import Revocation, Revocations, State
from store.runtime import Runtime


def make_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as short as can be: what is tested is what happens, not when."""
    monkeypatch.setattr(enforcer_module, "BackOff", partial(BackOff, first=0.01, longest=0.02))
    monkeypatch.setattr(enforcer_module, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(lane, "AGAIN_MS", 30)
    monkeypatch.setattr(lane, "_LOOK_AGAIN_SECONDS", (0.01, 0.01))
    monkeypatch.setattr("store.revocations.RETRY_MS", 1)


@asynccontextmanager
async def enforcing(store: Store, broker: EmqxApiUnderTest, **more: Any) -> AsyncIterator[Enforcer]:
    """An enforcer at work."""
    cluster, clock = more.pop("cluster", {}), more.pop("clock", now_ms)
    settings = Settings(db=store.path, emqx=(broker.cluster(**cluster),), poll_ms=2, **more)
    made = Enforcer(settings, store.keys, broker.environ, clock)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def rows(store: Store) -> list[Revocation]:
    with Runtime.open(store.path) as runtime:
        return Revocations(runtime).last(100_000)


def settled(store: Store) -> bool:
    """Whether the log was read to its end, and nothing waits."""
    with Runtime.open(store.path) as runtime, Database.open(store.path, store.keys) as database:
        revocations = Revocations(runtime)
        place = revocations.place("under-test")
        counts = revocations.counts().get("under-test", {})
        return place == (database.store_id, database.revision) and not counts[State.WAITING] + counts[State.AGAIN]


async def eventually_settled(store: Store) -> None:
    """The same as `becomes(settled)`, looked at seldom: looking takes time from what is looked at."""
    async with asyncio.timeout(2 * PATIENCE):
        while not settled(store):  # noqa: ASYNC110 - another thread's files, which tell nobody
            await asyncio.sleep(0.2)


async def after(store: Store, broker: EmqxApiUnderTest, change: Callable[[], object], **more: Any) -> None:
    """Let an enforcer know the store, forget its calls, change something, and wait until it has dealt with it."""
    async with enforcing(store, broker, **more):
        await becomes(lambda: settled(store))
        broker.calls.clear()
        broker.cleared.clear()
        assert not broker.disconnected
        change()
        await becomes(lambda: settled(store))
