"""The calls of one connection: opened by headers, asked of the service, answered in any order, given up in time."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from time import monotonic

from exhook.transport.call import Call, Refusal, Status
from exhook.transport.h2.answers import Answers, refusal, then_reset
from exhook.transport.h2.asked import Asked
from exhook.transport.h2.frames import (
    FRAME_BYTES,
    LARGEST_WINDOW,
    Code,
    ConnectionFault,
    StreamFault,
    reset,
    window_update,
)
from exhook.transport.h2.outflow import Outflow
from exhook.transport.h2.streams import MessageTooLong, Stream
from exhook.transport.limits import Breach, Limits, Notices

_LATE = Refusal(Status.DEADLINE_EXCEEDED, "the call's time is over")
_NO_MESSAGE = Refusal(Status.DEADLINE_EXCEEDED, "the call's message did not come")
_NO_ROOM = Refusal(Status.RESOURCE_EXHAUSTED, "more messages at once than are held until they are whole")
_FAILED = Refusal(Status.INTERNAL, "the service failed")
_PREFIX = 5


class Calls:
    """Streams that have no answer yet, and the way of an answer to the wire."""

    def __init__(self, limits: Limits, notices: Notices, answers: Answers, *, flush: Callable[[], None]) -> None:
        self.peer = ""
        self.streams: dict[int, Stream] = {}
        self.outflow = Outflow(max(limits.held_bytes, 2 * limits.message_bytes))
        self.out: list[bytes] = []
        """What shall be written; `flush` writes it."""
        self.owed = 0
        """Bytes of the connection's window that are no longer held, and not given back to the peer yet."""
        self.answered = 0
        """Answers since the last time that this was set to 0."""
        self.next_until = inf
        """When the first call must be given up, at the earliest."""
        self._limits = limits
        self._notices = notices
        self._answers = answers
        self._known = answers.known
        self._flush = flush
        self.stream_window = max(65_535, limits.message_bytes + _PREFIX + FRAME_BYTES)

    @property
    def idle(self) -> bool:
        return not self.streams and not self.outflow.waiting

    @property
    def full(self) -> bool:
        return len(self.streams) + len(self.outflow.waiting) >= self._limits.streams

    def open(self, number: int, asked: Asked, now: float) -> None:
        """A call whose message is to come."""
        longest = self._limits.half_open_seconds
        deadline = None if asked.timeout is None else now + asked.timeout
        until = now + (longest if asked.timeout is None else min(longest, asked.timeout))
        self.streams[number] = Stream(number, asked, until, deadline, self.stream_window)
        self.next_until = min(self.next_until, until)

    def refuse_headers(self, number: int, parts: tuple[bytes, ...]) -> None:
        """A call that its headers alone decide.

        It is not reset: the message is most often on its way already, and curl takes a reset for no answer at all.
        """
        self.out.append(number.to_bytes(4).join(parts))
        self.answered += 1

    def data(self, number: int, payload: bytes, flow: int, now: float, *, ended: bool) -> None:
        """More of a call's message; `flow` counts its padding, too.

        Raises:
            StreamFault: more came than may.
        """
        opened = self.streams.get(number)
        if opened is None:
            self.owed += flow  # sent before the peer saw that the stream is over
            return
        opened.credit -= flow
        if opened.answering is not None or opened.credit < 0:
            self.owed += flow
            code = Code.STREAM_CLOSED if opened.answering is not None else Code.FLOW_CONTROL_ERROR
            raise StreamFault(number, code)
        self.owed += flow - len(payload)
        try:
            opened.add(payload, self._limits.message_bytes)
            if ended:
                body = opened.whole()
                self._drop(opened)
                self.call(number, opened.asked, body, opened.deadline, now, granted=opened.granted)
            elif opened.credit < self.stream_window // 2:
                self.out.append(window_update(number, self.stream_window - opened.credit))
                opened.credit = self.stream_window
        except Refusal as refused:
            if not opened.held:
                self._notices.ended("no_message")
            self._drop(opened)
            self._refuse(number, refused, ended=ended)

    def call(
        self, number: int, asked: Asked, body: bytes, deadline: float | None, now: float, *, granted: int = 0
    ) -> None:
        """A whole call: have it answered, now or later."""
        try:
            answer = asked.answer(Call(asked.path, body, deadline, self.peer))
        except Refusal as refused:
            self._notices.ended("refused")
            self._refuse(number, refused, ended=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the peer is answered
            self._notices.failed(error)
            self._refuse(number, _FAILED, ended=True)
        else:
            if isinstance(answer, bytes):
                self._send(number, answer, now, granted)
            else:
                self._answer_later(number, asked, answer, deadline, granted)

    def widen(self, number: int, more: int, now: float) -> None:
        """The peer takes so much more of an answer.

        Raises:
            StreamFault, ConnectionFault: a window beyond 2^31 - 1.
        """
        if number == 0 or number in self.outflow.waiting:
            self.out += self.outflow.widen(number, more, now)
        elif opened := self.streams.get(number):
            opened.granted += more
            if self.outflow.initial + opened.granted > LARGEST_WINDOW:
                raise StreamFault(number, Code.FLOW_CONTROL_ERROR)

    def set_initial(self, initial: int, now: float) -> None:
        """The peer changes the window of all answers.

        Raises:
            ConnectionFault: it makes one larger than 2^31 - 1.
        """
        self.out += self.outflow.set_initial(initial, now)
        if any(initial + opened.granted > LARGEST_WINDOW for opened in self.streams.values()):
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")

    def reset(self, number: int) -> bool:
        """The peer, or its mistake, ends a stream; whether it was one without an answer."""
        self.outflow.forget(number)
        opened = self.streams.get(number)
        if opened is not None:
            self._drop(opened)
        return opened is not None

    def give_up(self, now: float) -> None:
        """End the calls whose time is over."""
        late = [opened for opened in self.streams.values() if opened.until <= now]
        for opened in late:
            ended = opened.answering is not None
            self._drop(opened)
            if not ended:
                self._notices.half_open()
            self._refuse(opened.id, _LATE if ended else _NO_MESSAGE, ended=ended)
        self.next_until = min((opened.until for opened in self.streams.values()), default=inf)

    def shed(self, wanted: int) -> None:
        """End the calls that came last, of those whose message is not whole, until so many bytes are owed."""
        for opened in reversed(list(self.streams.values())):
            if self.owed >= wanted:
                return
            if opened.held:
                self._drop(opened)
                self._notices.breach(Breach.HELD)
                self._refuse(opened.id, _NO_ROOM, ended=False)

    def drop_stalled(self, since: float) -> int:
        """End the answers of which the peer has taken nothing since then; how many."""
        stalled = self.outflow.stalled(since)
        for number in stalled:
            self.outflow.forget(number)
            self.out.append(reset(number, Code.CANCEL))
        return len(stalled)

    def close(self) -> None:
        """The connection is gone: nobody waits for an answer."""
        for opened in list(self.streams.values()):
            self._drop(opened)
        self.outflow.waiting.clear()
        self.out.clear()

    def _send(self, number: int, message: bytes, now: float, granted: int) -> None:
        self.answered += 1
        outflow = self.outflow
        if len(message) <= FRAME_BYTES - _PREFIX:
            answer = self._known.get(message) or self._answers.of(message)
            if answer.cost <= outflow.window and answer.cost <= outflow.initial + granted:
                outflow.window -= answer.cost
                self.out.append(number.to_bytes(4).join(answer.parts))
                return
        self.out += outflow.send(number, granted, message, now)

    def _refuse(self, number: int, refused: Refusal, *, ended: bool) -> None:
        if isinstance(refused, MessageTooLong):
            self._notices.breach(Breach.MESSAGE)
        parts = refusal(refused.status, str(refused))
        self.refuse_headers(number, parts if ended else then_reset(parts))

    def _answer_later(
        self, number: int, asked: Asked, answer: Awaitable[bytes], deadline: float | None, granted: int
    ) -> None:
        opened = Stream(number, asked, inf if deadline is None else deadline, deadline, 0)
        opened.granted = granted
        opened.answering = asyncio.ensure_future(answer)
        self.streams[number] = opened
        self.next_until = min(self.next_until, opened.until)
        opened.answering.add_done_callback(partial(self._answered, opened))

    def _answered(self, opened: Stream, answering: "asyncio.Future[bytes]") -> None:
        error = None if answering.cancelled() else answering.exception()
        if self.streams.get(opened.id) is not opened:
            return  # given up, or reset, meanwhile
        self._drop(opened)
        if isinstance(error, Refusal):
            self._notices.ended("refused")
            self._refuse(opened.id, error, ended=True)
        elif error is not None or answering.cancelled():
            self._notices.failed(error or asyncio.CancelledError())
            self._refuse(opened.id, _FAILED, ended=True)
        else:
            self._send(opened.id, answering.result(), monotonic(), opened.granted)
        self._flush()

    def _drop(self, opened: Stream) -> None:
        del self.streams[opened.id]
        self.owed += opened.held
        if opened.answering is not None:
            opened.answering.cancel()
