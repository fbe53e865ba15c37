"""The way of a call: whose it is, whether it is new, allowed and not one too many; then the store; then in force."""

import time
import uuid
from collections.abc import Callable
from typing import Final

from exhook import metrics
from exhook.api.access_keys import AccessKeys
from exhook.api.answer import Answer, failure, refusal_of, success
from exhook.api.batches import Batches
from exhook.api.caller import Caller, not_permitted
from exhook.api.calls import Call, find
from exhook.api.claim import Claim
from exhook.api.in_force import PATIENCE, InForce
from exhook.api.nonces import Nonces
from exhook.api.parameters import Parameters
from exhook.api.rate import Rate
from exhook.api.request import Request
from exhook.api.signatures import verify
from exhook.api.writer import Body, Job, Writer, Written
from exhook.logs import logger
from exhook.settings import Settings
from store.clock import Clock, now_ms
from store.database import Database
from store.seal import SealKeys
from store.standing import StandingStore
from store.tables import INSTANCES
from store.writing import Writing

OTHER: Final = "other"
"""Stands for whatever action a caller makes up, in metrics and logs."""

Read = Callable[[Database], Body]


class _Trace:
    """What is known of a call so far, for its line in the log."""

    def __init__(self, address: str) -> None:
        self.request_id = str(uuid.uuid4()).upper()
        self.address = address
        self.began = time.perf_counter()
        self.action = OTHER
        self.access_key = ""
        self.instance = ""
        self.revision = 0

    def end(self, answer: Answer) -> None:
        """Count and log. The fields are an allow-list: nothing that a call carries is among them but these."""
        metrics.API_CALLS.labels(self.action, answer.code.partition(".")[0] or "success").inc()
        fields = {
            "request_id": self.request_id,
            "action": self.action,
            "access_key": self.access_key,
            "instance": self.instance,
            "address": self.address,
            "status": answer.status,
            "code": answer.code,
            "revision": self.revision,
            "took_ms": round((time.perf_counter() - self.began) * 1000, 3),
        }
        logger.info("api call", **{name: value for name, value in fields.items() if value not in ("", 0)})


class Api:
    """Answers signed requests. Belongs to one event loop; the store is read and written in threads of its own."""

    def __init__(
        self, settings: Settings, keys: SealKeys, *, clock: Clock = now_ms, patience: float = PATIENCE
    ) -> None:
        """Raises StoreUnavailable: the runtime file cannot be opened."""
        self._clock = clock
        self._in_force = InForce(settings.db, clock, patience)
        self._access_keys = AccessKeys(settings.db, keys, clock)
        self._rate = Rate(settings.api_rate, time.monotonic)
        nonces, readable, writable = Nonces(settings.db, clock), *(StandingStore(settings.db, keys) for _ in range(2))
        self._nonces = Batches[Claim, bool]("api-nonces", nonces.spend, at_end=nonces.close)
        self._reads = Batches[Read, Body](
            "api-reads", lambda reads: [_read(readable, read) for read in reads], at_end=readable.close, at_once=1
        )
        writer = Writer(writable, clock)
        self._writes = Batches[Job, Written]("api-writes", writer.write, at_end=writable.close)

    def close(self) -> None:
        """Take nothing more; what waits is still written."""
        for batches in (self._nonces, self._reads, self._writes):
            batches.close()
        self._in_force.close()
        self._access_keys.close()

    def reload(self, settings: Settings) -> None:
        """Take on the settings that need no restart."""
        self._rate.per_second = settings.api_rate

    async def ready(self) -> bool:
        """Whether the store can be read."""
        try:
            await self._reads.submit(lambda database: {"revision": database.revision})
        except Exception:  # noqa: BLE001 - whatever it is, it is not ready
            return False
        return True

    async def answer(self, request: Request, address: str) -> Answer:
        """Answer one request; raises nothing."""
        trace = _Trace(address)
        try:
            answer = success(trace.request_id, await self._carry_out(request, trace))
        except Exception as error:  # noqa: BLE001 - every failure is answered in the vendor's shape
            host = request.header(b"host").decode("latin-1")
            answer = failure(trace.request_id, host, refusal_of(error, trace.request_id))
        trace.end(answer)
        return answer

    def refuse(self, request: Request, address: str, error: Exception) -> Answer:
        """Answer a request that cannot be one of ours."""
        trace = _Trace(address)
        host = request.header(b"host").decode("latin-1")
        answer = failure(trace.request_id, host, refusal_of(error, trace.request_id))
        trace.end(answer)
        return answer

    async def _carry_out(self, request: Request, trace: _Trace) -> Body:
        asked = Parameters(request.query_pairs, request.form_pairs)
        claim = verify(request, asked, self._access_keys.signing, self._clock())
        trace.access_key = claim.access_key_id
        self._rate.check(claim.access_key_id)
        await self._nonces.submit(claim)
        # Counted only now: whoever sends a call of another's again and again must not use up what its key may make.
        self._rate.take(claim.access_key_id)
        call = find(claim.action, claim.version, request.method)
        trace.action = call.name
        instance = asked.text("InstanceId")
        caller = self._caller(claim)
        caller.check_right(call.name, instance)
        trace.instance = instance
        return await self._at_store(call, asked, caller, trace)

    def _caller(self, claim: Claim) -> Caller:
        key = self._access_keys.get(claim.access_key_id)
        if key is None:  # taken away since the signature was checked
            raise not_permitted()
        return Caller(key, self._clock())

    async def _at_store(self, call: Call, asked: Parameters, caller: Caller, trace: _Trace) -> Body:
        work, instance = call.prepare(asked, caller, trace.instance), trace.instance
        if not call.writes:
            return await self._reads.submit(lambda database: work(_with_instance(database, instance)))
        written = await self._writes.submit(Job(caller.actor, lambda writing: work(_in_instance(writing, instance))))
        trace.revision = written.revision
        await self._in_force.wait(written.revision)
        return written.body


def _in_instance(writing: Writing, instance: str) -> Writing:
    _with_instance(writing.database, instance)
    return writing


def _with_instance(database: Database, instance: str) -> Database:
    """Raises Refusal: there is no such instance; in the words for one that is another's."""
    if database.get(INSTANCES, (instance,)) is None:
        raise not_permitted()
    return database


def _read(store: StandingStore, read: Read) -> Body | Exception:
    try:
        return read(store.database)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
        return error
