"""Denials for `exhook why`: kept in memory while answers are given, written together once a second."""

from collections import Counter
from typing import Final, NamedTuple

from exhook import metrics
from exhook.logs import rule_name
from store.decision import Decision
from store.runtime import Denial, Runtime
from store.view import Client

MOST: Final = 2_000
"""Denials kept between two writes: so many a second and worker; the rest is counted, and is in the log."""

MOST_CHARACTERS: Final = 2_000_000
"""Of their names and topics: a client chooses these itself, of up to 65,535 bytes each."""

MOST_OF_ONE: Final = 20
"""Of one client, so that one that hammers does not crowd out the others."""


class Noted(NamedTuple):
    """A denial as it was when it fell."""

    at: int
    client: Client
    hook: str
    topic: str
    decision: Decision
    decision_id: str
    node: str

    def denial(self) -> Denial:
        rule, nearest = self.decision.rule, self.decision.nearest
        return Denial(
            at=self.at,
            client_id=self.client.client_id,
            username=self.client.username,
            hook=self.hook,
            topic=self.topic,
            reason=self.decision.reason.value,
            rule=rule_name(rule) or "",
            revision=self.decision.revision,
            decision_id=self.decision_id,
            node=self.node,
            rule_revision=rule.revision if rule else 0,
            nearest=rule_name(nearest.record) or "" if nearest else "",
        )


class Denials:
    """The denials of one process that are still to be written. Noted in the event loop, written from a thread."""

    def __init__(self) -> None:
        self._noted: list[Noted] = []
        self._of_one: Counter[str] = Counter()
        self._characters = 0

    def note(self, denial: Noted) -> None:
        """Keep one; no text is made of it here, in the way of an answer."""
        client_id = denial.client.client_id
        characters = self._characters + len(client_id) + len(denial.client.username) + len(denial.topic)
        full = len(self._noted) >= MOST or characters > MOST_CHARACTERS
        if full or self._of_one[client_id] >= MOST_OF_ONE:
            metrics.DENIALS_DROPPED.inc()
            return
        self._of_one[client_id] += 1
        self._characters = characters
        self._noted.append(denial)

    def take(self) -> list[Noted]:
        """What was noted since the last time."""
        noted, self._noted = self._noted, []
        self._of_one.clear()
        self._characters = 0
        return noted


def write(runtime: Runtime, noted: list[Noted]) -> None:
    """Write denials; what cannot be written is counted.

    Raises:
        StoreUnavailable: as `Runtime.open`.
    """
    try:
        runtime.note_denials(one.denial() for one in noted)
    except BaseException:
        metrics.DENIALS_DROPPED.inc(len(noted))
        raise
