"""Works at the revocations of one cluster: finds the sessions, ends what is no longer allowed, says so.

What cannot be done now is done later: nothing is dropped because the broker's API is down, slow or overloaded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from exhook import metrics
from exhook.brokers.emqx import UNADDRESSABLE, CallRefused, EmqxApi
from exhook.brokers.pace import Pace
from exhook.enforcer.ledger import Ledger, Session
from exhook.enforcer.sessions import Sessions
from exhook.enforcer.verdicts import Verdict, unmounted
from exhook.logs import logger
from exhook.settings import Settings
from store.clock import Clock
from store.revocations import Revocation, State

T = TypeVar("T")

AGAIN_MS: Final = 1_000
"""A second look follows the first: a CONNECT or SUBSCRIBE allowed a moment before may only then be in the tables."""

TOGETHER: Final = 100
"""Sessions ended in one call, and sessions looked at one by one."""

AT_ONCE: Final = 8
"""Calls under way for sessions that are looked at one by one."""

IN_FORCE_SECONDS: Final = 2.0
_LOOK_AGAIN_SECONDS: Final = (0.05, 0.2)
"""EMQX ends a subscription after it has answered; how long it is given, once and again."""

Found = list[tuple[Session, Sequence[Revocation]]]


@dataclass(slots=True)
class _Done:
    """What came of a batch."""

    unsubscribed: dict[int, int] = field(default_factory=dict)
    """Subscriptions that were ended, by revocation."""
    refused: dict[int, str] = field(default_factory=dict)
    """What the API would not do, by revocation."""


class Lane:
    """One cluster's revocations, worked at in their order."""

    def __init__(
        self, api: EmqxApi, settings: Callable[[], Settings], ledger: Ledger,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]], clock: Clock,
    ) -> None:  # fmt: skip
        self._api = api
        self._settings = settings
        self._ledger = ledger
        self._in_thread = in_thread
        self._clock = clock
        self._sessions = Sessions(api)
        self._disconnects = Pace(api.cluster.disconnects_per_second)

    async def work_at(self, batch: Sequence[Revocation]) -> None:
        """Enforce a batch.

        Raises:
            EmqxFault: the API cannot be used now; the batch waits on.
            StoreUnavailable, SealError: as `Ledger`.
        """
        await self._until_in_force(max(one.revision for one in batch))
        done = _Done({one.id: 0 for one in batch})
        found = await self._found(batch)
        staying = await self._disconnect(found, await self._do(lambda: self._ledger.judge(found)), done)
        if staying:
            await self._narrow(staying, done)
        await self._settle(batch, done)

    async def _until_in_force(self, revision: int) -> None:
        """Wait for the workers: one that is behind would let back in whom we end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + IN_FORCE_SECONDS
        while not await self._do(lambda: self._ledger.in_force(revision)):
            if loop.time() > deadline:
                logger.warning("a worker does not follow; sessions are ended all the same", revision=revision)
                return
            await asyncio.sleep(0.01)

    async def _found(self, batch: Sequence[Revocation]) -> Found:
        clients = await self._sessions.meant_by(batch)
        settings = self._settings()
        default = settings.instance or await self._do(self._ledger.default_instance)
        listeners = await self._sessions.listeners_of(clients, settings.listeners, default)
        sessions = [Session(client, listeners[client.client_id]) for client in clients]
        found: Found = await self._do(lambda: self._ledger.concerned(batch, sessions))
        return found

    async def _disconnect(self, found: Found, verdicts: Sequence[Verdict], done: _Done) -> Found:
        """End the sessions that are to be; those that stay."""
        ending = [one for one, verdict in zip(found, verdicts, strict=True) if verdict.disconnect]
        for some in _chunks(ending):
            await self._disconnects.turn(len(some))
            try:
                await self._api.disconnect([session.client.client_id for session, _ in some])
            except CallRefused as error:
                _note_refused(done, some, error)
                continue
            pairs = [(one.id, session.client.client_id) for session, means in some for one in means]
            await self._do(partial(self._ledger.revocations.note_ended, pairs, self._clock()))
            metrics.ENDED.labels(self._api.cluster.name, "session").inc(len(some))
        return [one for one, verdict in zip(found, verdicts, strict=True) if not verdict.disconnect]

    async def _narrow(self, staying: Found, done: _Done) -> None:
        """Empty the caches of those that stay, and end what they may no longer hold."""
        if len(staying) > TOGETHER:
            await self._api.clear_cache()
            topics = await self._all_topics()
        else:
            topics = dict(await _at_once([self._clear_and_list(session) for session, _ in staying], done, staying))
        holding = [
            (replace(session, topics=tuple(topics[session.client.client_id])), means)
            for session, means in staying
            if topics.get(session.client.client_id)
        ]
        verdicts: list[Verdict] = await self._do(lambda: self._ledger.judge(holding))
        if self._api.cluster.on_narrowed == "disconnect":
            verdicts = [Verdict(disconnect=verdict.disconnect or bool(verdict.unsubscribe)) for verdict in verdicts]
        else:
            verdicts = [
                Verdict(disconnect=True) if verdict.unsubscribe and _unnamable(session) else verdict
                for (session, _), verdict in zip(holding, verdicts, strict=True)
            ]
        losing = [
            (session, means, verdict.unsubscribe)
            for (session, means), verdict in zip(holding, verdicts, strict=True)
            if verdict.unsubscribe
        ]
        await self._disconnect(holding, verdicts, done)
        stubborn = await _at_once(
            [self._unsubscribe(session, lost) for session, _, lost in losing],
            done,
            [(session, means) for session, means, _ in losing],
        )
        for _, means, lost in losing:
            for one in means:
                done.unsubscribed[one.id] += len(lost)
        kept = {client_id for client_id, still in stubborn if still}
        again: Found = [(session, means) for session, means, _ in losing if session.client.client_id in kept]
        await self._disconnect(again, [Verdict(disconnect=True)] * len(again), done)

    async def _clear_and_list(self, session: Session) -> tuple[str, list[str]]:
        client = session.client
        await self._api.clear_cache(client.client_id)
        return client.client_id, await self._api.subscriptions(client.client_id) if client.subscriptions else []

    async def _all_topics(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async for client_id, topic in self._api.all_subscriptions():
            found.setdefault(client_id, []).append(topic)
        return found

    async def _unsubscribe(self, session: Session, lost: Sequence[str]) -> tuple[str, bool]:
        """End subscriptions; whether one of them is still there afterwards."""
        client = session.client
        for topic in lost:
            await self._api.unsubscribe(client.client_id, unmounted(topic, client.mountpoint))
        metrics.ENDED.labels(self._api.cluster.name, "subscription").inc(len(lost))
        still = True
        for seconds in _LOOK_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            still = not set(lost).isdisjoint(await self._api.subscriptions(client.client_id))
            if not still:
                break
        return client.client_id, still

    async def _settle(self, batch: Sequence[Revocation], done: _Done) -> None:
        now, cluster = self._clock(), self._api.cluster.name
        well = [one for one in batch if one.id not in done.refused]
        first = {one.id: done.unsubscribed[one.id] for one in well if one.state is State.WAITING}
        second = {one.id: done.unsubscribed[one.id] for one in well if one.state is State.AGAIN}
        await self._do(lambda: self._ledger.revocations.looked(first, now, AGAIN_MS))
        await self._do(lambda: self._ledger.revocations.finish(cluster, second, now))
        for one in well:
            if one.state is State.WAITING:
                metrics.REVOCATION_SECONDS.labels(cluster).observe(max(0, now - one.at) / 1000)
        metrics.REVOKED.labels(cluster, "done").inc(len(second))
        for number, why in done.refused.items():
            if await self._do(partial(self._ledger.revocations.refused, number, why, now)):
                metrics.REVOKED.labels(cluster, "failed").inc()
                logger.error("a revocation failed; `exhook revocations` shows it", cluster=cluster, why=why)

    async def _do(self, work: Callable[[], T]) -> T:
        found: T = await self._in_thread(work)
        return found


async def _at_once(
    work: Sequence[Awaitable[T]], done: _Done, found: Sequence[tuple[Session, Sequence[Revocation]]]
) -> list[T]:
    """Do things for sessions, a few at once. What the API will not do for one is noted, and the rest goes on."""
    few = asyncio.Semaphore(AT_ONCE)

    async def one_of_few(one: Awaitable[T]) -> T:
        async with few:
            return await one

    came = await asyncio.gather(*map(one_of_few, work), return_exceptions=True)
    good: list[T] = []
    for result, whose in zip(came, found, strict=True):
        if isinstance(result, CallRefused):
            _note_refused(done, [whose], result)
        elif isinstance(result, BaseException):
            raise result
        else:
            good.append(result)
    return good


def _note_refused(done: _Done, some: Found, error: CallRefused) -> None:
    for _, means in some:
        for one in means:
            done.refused[one.id] = str(error)


def _unnamable(session: Session) -> bool:
    return session.client.client_id in UNADDRESSABLE


def _chunks(found: Found) -> Iterator[Found]:
    for begin in range(0, len(found), TOGETHER):
        yield found[begin : begin + TOGETHER]


def counts_of(counts: Mapping[State, int]) -> dict[str, int]:
    return {"waiting": counts[State.WAITING] + counts[State.AGAIN], "failed": counts[State.FAILED]}
