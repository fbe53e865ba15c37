"""The script of the demo against brokers that are there already: each as the policy says, and all alike."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import typer

from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.demo.cluster import ClusterApi
from exhook.demo.elsewhere import Elsewhere
from exhook.demo.outcome import Outcome
from exhook.demo.revoked import Revoked
from exhook.demo.running import as_json_text, heading, play, verdict
from exhook.demo.table import print_table
from store.database import Database
from store.seal import SealKeys

Part = tuple[str, list[Outcome]]
"""A heading, and what stands below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What is there: brokers; and, where they are given, their cluster's API and the server's store."""

    brokers: Sequence[tuple[str, int]]
    cluster: EmqxCluster | None = None
    db: Path | None = None
    seal_key_file: Path | None = None

    def run(self, *, as_json: bool) -> int:
        """Run it all; 0 only if every line went as the policy of the demo says.

        Raises:
            CannotStart: a broker does not answer, or lets nobody in.
            StoreUnavailable, SealError: the store cannot be opened, or written to.
        """
        told = []
        for title, outcomes in self._parts():
            told += outcomes
            if not as_json:
                print_table(outcomes, title)
        if as_json:
            typer.echo(as_json_text(told))
        return verdict(told)

    def _parts(self) -> Iterator[Part]:
        api = ClusterApi(self.cluster) if self.cluster else None
        if self.cluster and api:
            yield f"EMQX's API at {self.cluster.url}", [api.loaded()]
        answers = []
        for host, port in self.brokers:
            with Elsewhere(host, port) as stage:
                answers.append(play(stage))
                yield heading(stage), answers[-1]
        if len(answers) > 1:
            yield f"{len(answers)} brokers compared", [alike(answers)]
        if api or self.db:
            yield "A right that is taken away", list(self._revoked(api))

    def _revoked(self, api: ClusterApi | None) -> Iterator[Outcome]:
        with ExitStack() as stack:
            store = None
            if self.db:
                keys = SealKeys.from_environment(os.environ, self.seal_key_file)
                store = stack.enter_context(Database.open(self.db, keys, create=False))
            for host, port in self.brokers:
                yield from Revoked(host, port, api, store).outcomes()


def alike(answers: Sequence[Sequence[Outcome]]) -> Outcome:
    """Whether all brokers answered every step alike."""
    first, *others = answers
    apart = [
        f"{one.title}: {one.happened} at {one.broker}, {other.happened} at {other.broker}"
        for answer in others
        for one, other in zip(first, answer, strict=True)
        if one.happened != other.happened
    ]
    brokers = ", ".join(answer[0].broker for answer in answers)
    said = "; ".join(apart) or "the same answers"
    return Outcome("all brokers answer alike", "", f"compare {brokers}", said, "", "", not apart, brokers)
