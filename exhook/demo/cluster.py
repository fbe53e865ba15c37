"""What an EMQX cluster's API tells while the script runs: whether the server is loaded, and who is connected."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

from exhook.brokers.emqx import EmqxApi, EmqxFault
from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.demo.outcome import Outcome
from exhook.doctor.emqx_rules import OURS

PATIENCE_SECONDS: Final = 60.0
"""EMQX looks for a server that was not there every `auto_reconnect`, 60 s if nothing is said."""
_PAUSE_SECONDS: Final = 0.5


class ClusterApi:
    """The API of the cluster that the script's clients go to; each question is a call of its own."""

    def __init__(self, cluster: EmqxCluster, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._cluster = cluster
        self._patience_seconds = patience_seconds

    def loaded(self) -> Outcome:
        """Whether an ExHook server with both hooks is connected on every node; waited for."""
        deadline = time.monotonic() + self._patience_seconds
        while True:
            said, every = self._ask(_loaded, failed=False)
            if every or time.monotonic() > deadline:
                return self.outcome("the server is loaded on every node", "GET /nodes, /exhooks", said, right=every)
            time.sleep(_PAUSE_SECONDS)

    def knows(self, client_id: str, *, wanted: bool, within_seconds: float) -> bool:
        """Whether the cluster has that client's session, or has it no more."""
        deadline = time.monotonic() + within_seconds
        while True:
            found = self._ask(lambda api: _has(api, client_id), failed=not wanted)[1]
            if found is wanted or time.monotonic() > deadline:
                return found
            time.sleep(_PAUSE_SECONDS)

    def disconnect(self, client_id: str) -> str:
        """End a client's session; what kept the API from it, or nothing."""
        return self._ask(lambda api: _disconnect(api, client_id), failed=False)[0]

    def outcome(self, title: str, tried: str, happened: str, *, right: bool) -> Outcome:
        return Outcome(title, self._cluster.name, tried, happened, "", "", right, self._cluster.url)

    def _ask(self, question: Callable[[EmqxApi], Awaitable[tuple[str, bool]]], *, failed: bool) -> tuple[str, bool]:
        """The answer; where there is none, why, and what then counts."""

        async def asked() -> tuple[str, bool]:
            async with EmqxApi(self._cluster, os.environ) as api:
                try:
                    return await question(api)
                except EmqxFault as fault:
                    return str(fault), failed

        return asyncio.run(asked())


async def _loaded(api: EmqxApi) -> tuple[str, bool]:
    nodes = [str(one.get("node")) for one in await api.get("/nodes") if one.get("node_status") == "running"]
    said = "no ExHook server with both hooks"
    for entry in await api.get("/exhooks"):
        if not set(OURS) <= {str(hook.get("name")) for hook in entry.get("hooks", [])}:
            continue
        statuses = {str(one.get("node")): str(one.get("status")) for one in entry.get("node_status", [])}
        found = [(node, statuses.get(node, "not there")) for node in nodes]
        said = ", ".join(f"{node} {status}" for node, status in found)
        if found and all(status == "connected" for _, status in found):
            return said, True
    return said, False


async def _has(api: EmqxApi, client_id: str) -> tuple[str, bool]:
    return "", await api.client(client_id) is not None


async def _disconnect(api: EmqxApi, client_id: str) -> tuple[str, bool]:
    await api.disconnect([client_id])
    return "", True
