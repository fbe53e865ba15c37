"""What the Mosquitto plugin asks beside ExHook: what of the policy has changed, and who lost something by it."""

from collections.abc import Callable, Iterable
from typing import Final

from google.protobuf.message import DecodeError

from exhook.decider import Decider
from exhook.listeners import MOSQUITTO, MOSQUITTO_CERTIFICATES, Origin
from exhook.logs import logger
from exhook.transport.call import Call, Refusal, Status
from protos import exhook_bridge_v1_pb2 as wire
from store.clock import Clock
from store.records import Grantee
from store.runtime import Worker
from store.seal import SealError
from store.tables import Subject
from store.unavailable import StoreUnavailable

CHANGES: Final = "/exhook.bridge.v1.Bridge/Changes"

MAX_LOSSES: Final = 4_000
MAX_BYTES: Final = 128 * 1024
"""Of names in one answer; where it would be more, the answer is: everyone."""
SILENT_MS: Final = 3_000
"""A worker that has not said for so long by which revision it decides is not waited for."""

_KINDS: Final = {
    Grantee.USER.value: wire.Loss.USER,
    Grantee.CLIENT.value: wire.Loss.CLIENT,
    Grantee.GROUP.value: wire.Loss.GROUP,
    Grantee.ACCESS_KEY.value: wire.Loss.ACCESS_KEY,
}


class Bridge:
    """Answers `Changes`. Any worker may be asked: each tells of what all of them decide by."""

    def __init__(
        self, decider: Decider, workers: Callable[[], Iterable[Worker]], clock: Clock, *, look: Callable[[], object]
    ) -> None:
        """`look` takes notice of commits, as far as there are any; it raises nothing."""
        self._decider = decider
        self._workers = workers
        self._clock = clock
        self._look = look

    @property
    def paths(self) -> frozenset[str]:
        return frozenset({CHANGES})

    def answer(self, call: Call) -> bytes:
        """Revision and losses.

        Raises:
            Refusal: the message is no ChangesRequest (INVALID_ARGUMENT), or the store cannot be read (UNAVAILABLE).
        """
        try:
            request = wire.ChangesRequest.FromString(call.body)
        except DecodeError:
            raise Refusal(Status.INVALID_ARGUMENT, "the message is no ChangesRequest") from None
        try:
            return self._changes(request).SerializeToString()
        except (StoreUnavailable, SealError) as error:
            logger.error("store unavailable", hook="changes", why=str(error))
            raise Refusal(Status.UNAVAILABLE, "the store cannot be read") from None

    def _changes(self, request: wire.ChangesRequest) -> wire.ChangesResponse:
        reader = self._decider.reader
        if request.since > reader.revision:
            # Another worker told of it while this one was held up. Without a look, it would be as if the store were
            # an older one, and everyone would be ended.
            self._look()
        sysdescr = MOSQUITTO_CERTIFICATES if request.certificate else MOSQUITTO
        instance = self._decider.listener(Origin(0, "", request.instance, sysdescr)).instance
        # With the instance: a listener that comes to stand for another is like another store.
        store = f"{reader.store_id}/{instance}"
        if request.store == store and request.since == reader.revision:
            return wire.ChangesResponse(store=store, revision=reader.revision)
        until = self._in_force(reader.revision)
        if not request.store:
            return wire.ChangesResponse(store=store, revision=until)
        if request.store != store or request.since > reader.revision:
            return wire.ChangesResponse(store=store, revision=until, everyone=True)
        if until <= request.since:
            return wire.ChangesResponse(store=store, revision=request.since)
        return _told(store, until, reader.losses(request.since, until, self._clock()), instance)

    def _in_force(self, revision: int) -> int:
        """The revision by which every worker decides, this one by `revision`.

        Whoever is ended comes back at once, maybe to another one.
        """
        try:
            since = self._clock() - SILENT_MS
            return min([revision, *(worker.revision for worker in self._workers() if worker.at >= since)])
        except StoreUnavailable as error:
            logger.warning("runtime file unavailable", why=str(error))
            return revision


def _told(store: str, revision: int, lost: frozenset[Subject] | None, instance: str) -> wire.ChangesResponse:
    answer = wire.ChangesResponse(store=store, revision=revision)
    here = [subject for subject in lost or () if subject.instance in ("", instance)]
    size = sum(len(subject.name.encode()) for subject in here)
    told = [subject for subject in here if subject.type in _KINDS]
    if lost is None or len(told) < len(here) or len(here) > MAX_LOSSES or size > MAX_BYTES:
        answer.everyone = True
    else:
        for subject in sorted(told):
            answer.losses.add(kind=_KINDS[subject.type], name=subject.name)
    return answer
