"""A real store, a real worker on a real socket, a real gRPC client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from mosquitto_under_test import ALL_SANITIZED, built
from worker_under_test import CARRIER, Serve, Served, Store, instance

from exhook.settings import Settings
from exhook.worker import Worker, loop_factory
from store.clock import Clock, now_ms

ON_BOTH_LOOPS = ("test_h2_carrier", "test_h2_clients")


Loops = dict[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """The event loops of a test: asyncio's own, and uvloop as well where the carrier on it is what is tested."""
    loops: Loops = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS and (factory := loop_factory()):
        loops["uvloop"] = factory
    return loops


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "exhook.db")
    made.put(instance())
    return made


@pytest.fixture
def carrier() -> str:
    """What carries the calls. Modules whose subject the carrier is run with both, by a parameter of this name."""
    return CARRIER


@pytest.fixture
def serve(store: Store, carrier: str) -> Serve:
    """Serve the store in this test's own event loop: `async with serve(decisions="all") as served`."""

    @asynccontextmanager
    async def serving(*, clock: Clock = now_ms, name: str = "0", **settings: Any) -> AsyncIterator[Served]:
        defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "drain_seconds": 0.2, "carrier": carrier}
        chosen = Settings(db=store.path, **(defaults | settings))
        worker = Worker(chosen, store.keys, name=name, clock=clock)
        port = await worker.start()
        options = [("grpc.use_local_subchannel_pool", 1)]
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                yield Served(worker, port, channel)
        finally:
            await worker.stop()

    return serving


@pytest.fixture(scope="session")
def mosquitto_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin for Mosquitto; all processes of a test run share it."""
    return built(tmp_path_factory.getbasetemp().parent, sanitized=ALL_SANITIZED)
