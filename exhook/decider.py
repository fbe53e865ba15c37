"""Decides requests: finds the view, asks the decision core, has passwords verified."""

from collections.abc import Awaitable
from typing import Final

from exhook.hashing import HashingPool, Overloaded
from exhook.listeners import Listeners, Origin
from store.clock import Clock
from store.credentials import is_slow, verify
from store.decision import Challenge, Decision, Reason, authorize, conclude, instance_of, refused, select
from store.reader import Reader
from store.records import Action
from store.view import Client, Listener, View

MAX_ROUNDS: Final = 3
"""How often a verification is begun anew because the identity changed under it."""


class Decider:
    """Answers for one process. All methods are called from one event loop."""

    def __init__(
        self, reader: Reader, hashing: HashingPool, listeners: Listeners, *, instance: str, clock: Clock
    ) -> None:
        self.reader = reader
        self.listeners = listeners
        self.instance = instance
        self._hashing = hashing
        self._clock = clock

    def listener(self, origin: Origin) -> Listener:
        """The listener that a request's client came in by."""
        return self.listeners.find(origin, self.instance or self.reader.only_instance())

    def authenticate(self, client: Client, password: bytes, deadline: float | None) -> Decision | Awaitable[Decision]:
        """Whether a client may connect; awaitable only where its password takes time to verify.

        `deadline` is in seconds of `time.monotonic`.
        """
        found = select(self._view(client), client, password, self._clock())
        if isinstance(found, Decision):
            return found
        if not is_slow(found.mode, found.secrets):
            return conclude(found, verify(found.mode, found.secrets, found.client_id, password))
        proven = self._hashing.remembered(found, password)
        if proven is not None:
            return conclude(found, proven)
        return self._verify_slowly(found, client, password, deadline)

    def authorize(self, client: Client, action: Action, topic: str) -> Decision:
        """Whether a client may publish to a topic or subscribe to a filter."""
        return authorize(self._view(client), client, action, topic, self._clock())

    async def _verify_slowly(
        self, challenge: Challenge, client: Client, password: bytes, deadline: float | None
    ) -> Decision:
        for _ in range(MAX_ROUNDS):
            try:
                proven = await self._hashing.verify(challenge, password, deadline)
            except Overloaded:
                return refused(Reason.OVERLOADED, challenge.revision)
            # The store may have moved on meanwhile: what is answered is what holds now.
            found = select(self._view(client), client, password, self._clock())
            if isinstance(found, Decision):
                return found
            if found.same_proof(challenge):
                return conclude(found, proven)
            challenge = found
        return refused(Reason.OVERLOADED, challenge.revision)

    def _view(self, client: Client) -> View:
        return self.reader.view(instance_of(client), client)
