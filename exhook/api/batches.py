"""A thread that takes whatever waits, all at once: so many small writes cost one commit."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from exhook.api.refusal import Refusal

T = TypeVar("T")
R = TypeVar("R")

MOST_WAITING: Final = 10_000
"""More that wait would only be answered too late."""

MOST_AT_ONCE: Final = 256
"""Items of one batch; a longer transaction would keep other writers of the store waiting."""


class Batches(Generic[T, R]):
    """Hands items to `work` in a thread of its own; `work` gives a result or an exception for each, in their order."""

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        at_end: Callable[[], None],
        at_once: int = MOST_AT_ONCE,
    ) -> None:
        """`work` runs in a thread of this name with up to `at_once` items; `at_end` when that thread ends."""
        self._work = work
        self._at_once = at_once
        self._at_end = at_end
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._something = threading.Condition()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: T) -> "asyncio.Future[R]":
        """Have an item worked on.

        Raises:
            Refusal: too many wait already, or the server ends.
        """
        future: asyncio.Future[R] = self._loop.create_future()
        with self._something:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise Refusal.unavailable("too many calls are waiting; ask again later")
            self._waiting.append((item, future))
            self._something.notify()
        return future

    def close(self) -> None:
        """Take nothing more; what waits is still done. Does not wait for it: a locked store would hold up the end."""
        with self._something:
            self._closed = True
            self._something.notify()

    def _run(self) -> None:
        while batch := self._next():
            items = [item for item, _ in batch]
            try:
                results: Sequence[R | Exception] = self._work(items)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
                results = [error] * len(items)
            futures = [future for _, future in batch]
            try:
                self._loop.call_soon_threadsafe(_settle, futures, results)
            except RuntimeError:
                break  # the loop has ended, and with it whoever waited
        self._at_end()

    def _next(self) -> list[tuple[T, "asyncio.Future[R]"]]:
        """What waits, at least one; nothing once closed and done."""
        with self._something:
            while not self._waiting and not self._closed:
                self._something.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_once))]


def _settle(futures: "Sequence[asyncio.Future[R]]", results: Sequence[R | Exception]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # whoever waited went away
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
