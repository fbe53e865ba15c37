"""A client that is let in, and whose right to it is taken away while it is connected: the demo's last part.

Its client id is put on the blacklist in the server's store, by a source of the demo's own, and taken off again.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from exhook.demo.clients import MqttClient, NoAnswer
from exhook.demo.cluster import ClusterApi
from exhook.demo.outcome import Outcome
from exhook.demo.script import sensor
from store.clock import now_ms
from store.database import Database
from store.records import BlacklistEntry

CLIENT: Final = sensor("0002")
INSTANCE: Final = "mqtt-demo"
SOURCE: Final = "exhook-demo"
CUT_SECONDS: Final = 15.0
"""What was committed reaches live sessions within a second or two; a busy machine takes its time."""
_PAUSE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Revoked:
    """The client's way: one broker, and its cluster's API and the server's store, where they are at hand."""

    host: str
    port: int
    cluster: ClusterApi | None = None
    store: Database | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """What it tries, and what comes of it.

        Raises:
            StoreUnavailable: the store cannot be written to.
        """
        with MqttClient(CLIENT, self.port, host=self.host) as client:
            yield self._said("a sensor, by signature", "connect", *_connected(client, wanted=True))
            if self.cluster:
                knows = self.cluster.knows(CLIENT.client_id, wanted=True, within_seconds=CUT_SECONDS)
                yield self._said("… is known to the cluster", "GET /clients", _word(knows, "there", "not there"), knows)
            if self.store is None:
                yield from self._kicked(client)
                return
            with _blacklisted(self.store):
                yield from self._cut(client)
                yield self._said("… comes back", "connect", *self._connects(wanted=False))
        yield self._said("… taken off the blacklist", "connect", *self._connects(wanted=True))

    def _cut(self, client: MqttClient) -> Iterator[Outcome]:
        gone = client.is_gone(CUT_SECONDS)
        word = _word(gone, "disconnected", "still connected")
        yield self._said("… blacklisted while connected", "stay", word, gone)
        if self.cluster:
            knows = self.cluster.knows(CLIENT.client_id, wanted=False, within_seconds=CUT_SECONDS)
            word = _word(knows, "still there", "no session left")
            yield self._said("… and the cluster forgot it", "GET /clients", word, not knows)

    def _kicked(self, client: MqttClient) -> Iterator[Outcome]:
        """Without the store nothing can be taken away; but the API can end the session, as a revocation does."""
        if self.cluster is None:
            return
        fault = self.cluster.disconnect(CLIENT.client_id)
        gone = client.is_gone(CUT_SECONDS if not fault else 0.0)
        word = fault or _word(gone, "disconnected", "still connected")
        yield self._said("… its session is ended by the API", "stay", word, gone)

    def _connects(self, *, wanted: bool) -> tuple[str, bool]:
        """Whether a client is let in; a decision that is a moment old may still count."""
        deadline = time.monotonic() + CUT_SECONDS
        while True:
            with MqttClient(CLIENT, self.port, host=self.host) as client:
                word, right = _connected(client, wanted=wanted)
            if right or time.monotonic() > deadline:
                return word, right
            time.sleep(_PAUSE_SECONDS)

    def _said(self, title: str, tried: str, happened: str, right: bool) -> Outcome:
        tried = f"connect as {CLIENT.username}" if tried == "connect" else tried
        return Outcome(title, CLIENT.client_id, tried, happened, "", "", right, f"{self.host}:{self.port}")


def _connected(client: MqttClient, *, wanted: bool) -> tuple[str, bool]:
    with suppress(OSError, NoAnswer):
        went = client.connect()
        return _word(went, "let in", "refused"), went is wanted
    return "no answer", False


def _word(holds: bool, yes: str, no: str) -> str:
    return yes if holds else no


@contextmanager
def _blacklisted(store: Database) -> Iterator[None]:
    entry = BlacklistEntry(
        instance=INSTANCE, client_id=CLIENT.client_id, reason="the demo's, for a moment", source=SOURCE
    )
    with store.writing(actor="exhook demo", source=SOURCE, now_ms=now_ms()) as write:
        write.put(entry)
    try:
        yield
    finally:
        with store.writing(actor="exhook demo", source=SOURCE, now_ms=now_ms()) as write:
            write.remove(entry)
