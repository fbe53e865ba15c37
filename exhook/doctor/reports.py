"""What a cluster says of itself through its API, as far as the doctor asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exhook.brokers.emqx import EmqxApi
from exhook.doctor.configured import Configured, configured

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One cluster's answers."""

    nodes: list[Entry]
    servers: list[Entry]
    """ExHook servers, in their order."""
    authenticators: list[Entry]
    users: Mapping[str, bool]
    """Whether an authenticator with a database of its own knows anybody, by its id."""
    sources: list[Entry]
    settings: Entry
    listeners: list[Entry]
    offset_ms: int | None
    configured: list[Configured]
    """What each node that runs is configured with, as far as it tells."""
    untold: list[str]
    """Nodes that do not tell."""


async def report_of(api: EmqxApi) -> Report:
    """Ask a cluster for all of it.

    Raises:
        EmqxFault: the API does not answer.
    """
    nodes = await api.get("/nodes")
    authenticators = [one for one in await api.get("/authentication") if one.get("enable", True)]
    users = {}
    for one in authenticators:
        if one.get("backend") == "built_in_database":
            name = str(one.get("id"))
            found = await api.find(f"/authentication/{name}/users?limit=1")
            users[name] = bool(found and found.get("data"))
    sources = await api.get("/authorization/sources")
    running = [str(one.get("node")) for one in nodes if one.get("node_status") == "running"]
    told = {node: await configured(api, node) for node in running}
    return Report(
        nodes=nodes,
        servers=await api.get("/exhooks"),
        authenticators=authenticators,
        users=users,
        sources=[one for one in sources.get("sources", []) if one.get("enable", True)],
        settings=await api.get("/authorization/settings"),
        listeners=await api.get("/listeners"),
        offset_ms=api.offset_ms,
        configured=[one for one in told.values() if one is not None],
        untold=[node for node, one in told.items() if one is None],
    )
