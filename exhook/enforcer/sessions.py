"""Finds the live sessions that revocations mean, on one cluster."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

from exhook.brokers import emqx
from exhook.brokers.emqx import CallRefused, EmqxApi, LiveClient
from exhook.enforcer.verdicts import is_broad
from exhook.listeners import ListenerRule, Listeners, Origin
from store.records import Grantee
from store.revocations import Revocation
from store.tables import Subject
from store.view import Listener

ONE_BY_ONE: Final = 50
"""More subjects than this at once, and listing everybody costs fewer calls."""

MOST_LISTINGS: Final = 3

KNOWN_SECONDS: Final = 60.0
"""How long what the cluster says of its listeners is believed."""


class Sessions:
    """The sessions of one cluster."""

    def __init__(self, api: EmqxApi) -> None:
        self._api = api
        self._ports: dict[str, int] = {}
        self._cluster = ""
        self._learned_at: float | None = None

    async def meant_by(self, batch: Sequence[Revocation]) -> list[LiveClient]:
        """Sessions among which are all that a batch means; each once.

        Raises:
            EmqxFault: the API does not tell.
        """
        subjects = {one.subject for one in batch}
        if any(map(is_broad, subjects)) or len(subjects) > ONE_BY_ONE:
            return await self._listed()
        found = await asyncio.gather(*map(self._of, subjects), return_exceptions=True)
        clients: dict[str, LiveClient] = {}
        for some in found:
            if isinstance(some, CallRefused):
                # A name that this API cannot be asked for; it must not keep the others waiting.
                return await self._listed()
            if isinstance(some, BaseException):
                raise some
            clients |= {one.client_id: one for one in some}
        return list(clients.values())

    async def _listed(self, **query: str) -> list[LiveClient]:
        """Every session that a query finds.

        What is listed page by page shifts when clients come and go: asked until nobody is new.
        """
        known: dict[str, LiveClient] = {}
        for _ in range(MOST_LISTINGS):
            listed = {one.client_id: one async for one in self._api.clients(**query)}
            new = listed.keys() - known.keys()
            known |= listed
            if not new or len(listed) < emqx.PAGE:
                break
        return list(known.values())

    async def listeners_of(
        self, clients: Iterable[LiveClient], rules: tuple[ListenerRule, ...], default_instance: str
    ) -> dict[str, tuple[Listener, ...]]:
        """For each client id the listeners by which its session may have come in; several where EMQX does not tell.

        Raises:
            EmqxFault: the API does not tell of its listeners.
        """
        await self._learn(rules)
        listeners = Listeners(rules)
        known: dict[tuple[str, str], tuple[Listener, ...]] = {}
        found = {}
        for client in clients:
            key = (client.listener, client.mountpoint)
            if key not in known:
                port = self._ports.get(client.listener)
                ports = [port] if port is not None else [*_ports(rules), 0]
                origins = [Origin(one, client.mountpoint, self._cluster, "EMQX") for one in ports]
                known[key] = tuple(dict.fromkeys(listeners.find(origin, default_instance) for origin in origins))
            found[client.client_id] = known[key]
        return found

    async def _of(self, subject: Subject) -> list[LiveClient]:
        match subject.type:
            case Grantee.CLIENT.value:
                one = await self._api.client(subject.name)
                return [one] if one else []
            case Grantee.GROUP.value:
                return await self._listed(like_clientid=f"{subject.name}@@@")
            case Grantee.ACCESS_KEY.value:
                return await self._listed(like_username=f"|{subject.name}|")
            case _:
                return await self._listed(username=subject.name)

    async def _learn(self, rules: tuple[ListenerRule, ...]) -> None:
        """What of the cluster the rules ask for."""
        now = time.monotonic()
        if self._learned_at is not None and now - self._learned_at < KNOWN_SECONDS:
            return
        if any(rule.port is not None for rule in rules):
            self._ports = await self._api.listener_ports()
        if any(rule.cluster is not None for rule in rules):
            self._cluster = await self._api.cluster_name()
        self._learned_at = now


def _ports(rules: tuple[ListenerRule, ...]) -> list[int]:
    return [rule.port for rule in rules if rule.port is not None]
