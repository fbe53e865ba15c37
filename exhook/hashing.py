"""Slow password verification: a bounded pool, a bounded queue, and a short memory of what was verified.

Hashing is what a reconnecting fleet can be stopped with: what cannot be answered before the caller's deadline
is shed at once, and a password verified a moment ago is not hashed again (pitfall 9).
"""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from store.credentials import verify
from store.decision import Challenge

MAX_REMEMBERED: Final = 100_000
_FIRST_GUESS_SECONDS: Final = 0.06
_MARGIN: Final = 1.5
"""A verification is begun only if 1.5 times its expected time is left."""
_WAY_BACK: Final = 0.25
"""Share of the time left that is kept for the answer's way to the caller."""


class Overloaded(Exception):
    """The queue is full, or the deadline too near: deny now rather than too late."""


class HashingPool:
    """Verifies challenges in threads. All methods are called from one event loop."""

    def __init__(
        self,
        *,
        threads: int,
        queue: int,
        remember_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads
        self.queue = queue
        self.waiting = 0
        """Verifications under way or in the queue."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hashing")
        self._remember_seconds = remember_seconds
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._expected = _FIRST_GUESS_SECONDS

    def remembered(self, challenge: Challenge, password: bytes) -> str | None:
        """The id of the secret that this very password proved a moment ago. Looking does not prolong it."""
        found = self._remembered.get(self._memory_key(challenge, password))
        if found is None or found[1] <= self._monotonic():
            return None
        return found[0]

    async def verify(self, challenge: Challenge, password: bytes, deadline: float | None) -> str | None:
        """The id of the secret that the password proves, or None.

        Raises:
            Overloaded: not to be done before `deadline` (seconds of the monotonic clock), or the queue is full.
        """
        rounds = 1 + self.waiting // self.threads
        left = None if deadline is None else (deadline - self._monotonic()) * (1 - _WAY_BACK)
        late = left is not None and self._expected * (rounds + _MARGIN - 1) > left
        # Where nothing is under way it is tried all the same: else one slow verification would be the last.
        if self.waiting >= self.threads + self.queue or (late and self.waiting) or (left is not None and left <= 0):
            raise Overloaded
        key = self._memory_key(challenge, password)
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._timed, challenge, password, deadline)
        # A caller that hangs up does not free the thread: what was begun counts until it ends, and what it found
        # is remembered for the next try.
        self.waiting += 1
        work.add_done_callback(lambda done: self._done(key, done))
        try:
            async with asyncio.timeout(left):
                return (await asyncio.shield(work))[0]
        except TimeoutError:
            raise Overloaded from None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, key: bytes, work: asyncio.Future[tuple[str | None, float]]) -> None:
        self.waiting -= 1
        if work.cancelled() or work.exception() is not None:
            return
        proven, took = work.result()
        self._expected += 0.2 * (took - self._expected)
        if proven is not None:
            self._remember(key, proven)

    def _timed(self, challenge: Challenge, password: bytes, deadline: float | None) -> tuple[str | None, float]:
        if deadline is not None and self._monotonic() > deadline:
            # Nobody waits for it any more, and others do.
            raise Overloaded
        began = time.monotonic()
        proven = verify(challenge.mode, challenge.secrets, challenge.client_id, password)
        return proven, time.monotonic() - began

    def _memory_key(self, challenge: Challenge, password: bytes) -> bytes:
        """A keyed digest of password, client and the secrets themselves: a changed identity has another key."""
        parts = [challenge.mode.encode(), challenge.client_id.encode(), password]
        for secret in challenge.secrets:
            parts += [secret.id.encode(), secret.value]
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(4))
            digest.update(part)
        return digest.digest()

    def _remember(self, key: bytes, secret_id: str) -> None:
        self._remembered[key] = (secret_id, self._monotonic() + self._remember_seconds)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
