"""Decides requests: finds the view, asks the decision core, has passwords verified."""

from collections.abc import Awaitable
from typing import Final

from exhook.hashing import HashingPool, Overloaded
from exhook.listeners import Listeners, Origin
from store.account_names import AccountName, Mode, account_of
from store.bindings import Bindings
from store.clock import Clock
from store.credentials import is_slow, verify
from store.decision import Challenge, Decision, Reason, authorize, conclude, instance_of, refused, select
from store.reader import Reader
from store.records import Action
from store.token_mode import Binding, bound, read_offer
from store.view import Client, Listener, View

MAX_ROUNDS: Final = 3
"""How often a verification is begun anew because the identity changed under it."""


class Decider:
    """Answers for one process. All methods are called from one event loop."""

    def __init__(
        self,
        reader: Reader,
        hashing: HashingPool,
        listeners: Listeners,
        bindings: Bindings,
        *,
        instance: str,
        clock: Clock,
    ) -> None:
        self.reader = reader
        self.bindings = bindings
        self.listeners = listeners
        self.instance = instance
        self._hashing = hashing
        self._clock = clock

    def listener(self, origin: Origin) -> Listener:
        """The listener that a request's client came in by."""
        return self.listeners.find(origin, self.instance or self.reader.only_instance())

    def listener_named(self, name: str) -> Listener | None:
        """The listener of a name, as the settings are now."""
        return self.listeners.named(name, self.instance or self.reader.only_instance())

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock()

    def authenticate(self, client: Client, password: bytes, deadline: float | None) -> Decision | Awaitable[Decision]:
        """Whether a client may connect; awaitable only where its password takes time to verify.

        `deadline` is in seconds of `time.monotonic`.
        """
        if "|" in client.username and (account := account_of(client.username)) and account.mode is Mode.TOKEN:
            return self._admit(client, account, password)
        found = select(self.view(client), client, password, self._clock())
        if isinstance(found, Decision):
            return found
        if not is_slow(found.mode, found.secrets):
            return self._concluded(client, found, verify(found.mode, found.secrets, found.client_id, password))
        proven = self._hashing.remembered(found, password)
        if proven is not None:
            return self._concluded(client, found, proven)
        return self._verify_slowly(found, client, password, deadline)

    def authorize(self, client: Client, action: Action, topic: str) -> Decision:
        """Whether a client may publish to a topic or subscribe to a filter."""
        return authorize(self.view(client), client, action, topic, self._clock())

    def view(self, client: Client) -> View:
        """The records that concern a client, and what is bound to it."""
        binding = None
        if "|" in client.username and (account := account_of(client.username)) and account.mode is Mode.TOKEN:
            binding = self.bindings.find(client.listener.name, client.client_id)
        return self.reader.view(instance_of(client), client, binding=binding)

    def _admit(self, client: Client, account: AccountName, password: bytes) -> Decision:
        """Token mode: what is good is bound before the client is let in."""
        offer = read_offer(password) or {}
        tokens = bound(offer, self.reader.token_keys(offer.values()))
        view = self.reader.view(instance_of(client), client, [token.token_id for token in tokens])
        now_ms = self._clock()
        found = select(view, client, password, now_ms)
        if isinstance(found, Challenge):  # not so: a password is at hand, and tokens leave nothing to prove
            return conclude(found, None)
        if found.allow:
            binding = Binding(account.instance, account.key_id, tokens, client.address, client.port)
            self.bindings.bind(client.listener.name, client.client_id, binding, now_ms)
        return found

    def _concluded(self, client: Client, challenge: Challenge, proven: str | None) -> Decision:
        decision = conclude(challenge, proven)
        # Nothing is bound to anybody where no token was ever issued: then this costs nothing.
        if decision.allow and self.reader.has_tokens:
            self.bindings.unbind(client.listener.name, client.client_id)
        return decision

    async def _verify_slowly(
        self, challenge: Challenge, client: Client, password: bytes, deadline: float | None
    ) -> Decision:
        for _ in range(MAX_ROUNDS):
            try:
                proven = await self._hashing.verify(challenge, password, deadline)
            except Overloaded:
                return refused(Reason.OVERLOADED, challenge.revision)
            # The store may have moved on meanwhile: what is answered is what holds now.
            found = select(self.view(client), client, password, self._clock())
            if isinstance(found, Decision):
                return found
            if found.same_proof(challenge):
                return self._concluded(client, found, proven)
            challenge = found
        return refused(Reason.OVERLOADED, challenge.revision)
