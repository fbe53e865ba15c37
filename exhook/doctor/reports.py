"""What a cluster says of itself through its API, as far as the doctor asks; and EMQX's ways to write a duration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exhook.brokers.emqx import EmqxApi

OURS: Final = ("client.authenticate", "client.authorize")
"""The hooks that decide; `client.check_acl` is an older name of the second."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

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
    return Report(
        nodes=nodes,
        servers=await api.get("/exhooks"),
        authenticators=authenticators,
        users=users,
        sources=[one for one in sources.get("sources", []) if one.get("enable", True)],
        settings=await api.get("/authorization/settings"),
        listeners=await api.get("/listeners"),
        offset_ms=api.offset_ms,
    )


def seconds(duration: object) -> float | None:
    """A duration of EMQX's (``5s``, ``1m30s``, milliseconds as a number) in seconds; None for none, or `false`."""
    if isinstance(duration, bool) or duration is None:
        return None
    if isinstance(duration, int | float):
        return duration / 1000
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(duration))
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
