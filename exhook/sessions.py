"""Requests that a client's session answers: found by their bytes, and allowed without a doubt or not at all.

All that EMQX says of a client is the same in each of its requests, byte by byte, but for action and topic. So its
bytes find what was made of them before. Whatever is not allowed at once is for the long way: protobuf's parser, and
`store.decision.authorize`, which knows why.
"""

from typing import Any, Final, Literal

from exhook.authorize_wire import meta_in, read_authorize
from exhook.decider import Decider
from exhook.listeners import Listeners
from store.account_names import Mode, account_of
from store.decision import instance_of
from store.records import Action
from store.rights import ALWAYS
from store.seal import SealError
from store.session import Session
from store.unavailable import StoreUnavailable
from store.view import Client

MAX_SESSIONS: Final = 200_000
"""How many are remembered; half of them, those that were asked for last, for certain."""
MAX_INFO_BYTES: Final = 1_024
"""Whoever is described by more is not remembered; EMQX takes some 200 bytes, and a client chooses its names itself."""
MAX_NODES: Final = 256
"""How many brokers' ways to speak of themselves are remembered, of each version of the interface."""


class Nodes:
    """What the brokers of one version of the interface say of themselves, behind the topic."""

    __slots__ = ("known", "metas")

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}
        """All that follows a topic, and the one `meta` in it."""
        self.metas: dict[bytes, bytes] = {}

    def note(self, rest: bytes) -> bytes | None:
        """The `meta` in what follows a topic; None where it is laid out otherwise than EMQX does."""
        meta = meta_in(rest)
        if meta is None:
            return None
        if len(self.known) >= MAX_NODES:
            self.known.clear()
            self.metas.clear()
        meta = self.known[rest] = self.metas.setdefault(meta, meta)
        return meta


class Sessions:
    """The sessions of one process."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._reader = decider.reader
        self._listeners: Listeners | None = None
        self._instance = ""
        self._moves = -1
        # Three generations, as in `store.part_cache`.
        self._new: dict[bytes, Session] = {}
        self._old: dict[bytes, Session] = {}
        self._dying: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old) + len(self._dying)

    def allowed(self, nodes: Nodes, body: bytes) -> Action | Literal[False] | None:
        """What a request asks for, if that is allowed for sure; False if it is not, None if there is no session."""
        if (asked := read_authorize(body)) is None:
            return None
        info, action, topic, rest = asked
        reader = self._reader
        if reader.moves != self._moves or self._decider.listeners is not self._listeners:
            self._settle()
        session = self._new.get(info) or self._aged(info)
        if session is None or session.stamp is not nodes.known.get(rest) or not self._holds(session):
            return None
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            return False
        if session.publishes(text) if action is Action.PUB else session.subscribes(text):
            reader.hits += 1
            return action
        return False

    def _holds(self, session: Session) -> bool:
        if session.checked != self._moves and not self._reader.stands(session):
            return False
        window = session.shared.window
        return window is ALWAYS or window.since <= self._decider.now() < window.until

    def remember(self, nodes: Nodes, body: bytes, info: Any, client: Client, moves: int) -> None:
        """Make the session of a client that has just asked.

        `info` is what protobuf reads in its request, and `moves` those of the reader when the client's listener was
        looked up.
        """
        asked = read_authorize(body)
        # A password would stay in memory with the other bytes. EMQX sends it with authenticate alone.
        if asked is None or info.password or len(asked[0]) > MAX_INFO_BYTES:
            return
        if (meta := nodes.note(asked[3])) is None:
            return
        if "|" in client.username and (account := account_of(client.username)) and account.mode is Mode.TOKEN:
            return
        self._settle()
        try:
            session = self._reader.session(instance_of(client), client, self._decider.now())
        except (StoreUnavailable, SealError):
            return  # whoever needs the store for an answer says so
        if self._reader.moves != moves:
            return  # a commit was taken notice of since: by what is there now, it may have come in by another instance
        session.stamp = meta
        self._put(asked[0], session)

    def _settle(self) -> None:
        """Forget all, if it is another listener or instance by now that a client comes in by."""
        decider = self._decider
        instance = decider.instance or self._reader.only_instance()
        if decider.listeners is not self._listeners or instance != self._instance:
            self._new, self._old, self._dying = {}, {}, {}
            self._listeners, self._instance = decider.listeners, instance
        self._moves = self._reader.moves

    def _aged(self, info: bytes) -> Session | None:
        session = self._old.pop(info, None)
        if session is not None:
            self._put(info, session)
        return session

    def _put(self, info: bytes, session: Session) -> None:
        if self._dying:
            self._dying.popitem()
        if len(self._new) >= MAX_SESSIONS // 2:
            self._new, self._old, self._dying = {}, self._new, self._old
        self._new[info] = session
