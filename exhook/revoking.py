"""What was taken from live sessions, what waits, what failed: what `exhook revocations` prints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from store.revocations import EVERYBODY, MOST_ATTEMPTS, SAID, Revocation, Revocations, State
from store.runtime import Runtime, Said
from store.sync.phrases import counted, moment
from store.sync.printable import printable
from store.sync.wording import describe_subject


@dataclass(frozen=True, slots=True)
class Revoking:
    """The revocations of all clusters."""

    counts: Mapping[str, Mapping[State, int]]
    clusters: Mapping[str, Said]
    """What the enforcer said last of each cluster's API."""
    last: tuple[Revocation, ...]

    @classmethod
    def of(cls, runtime: Runtime, limit: int) -> Self:
        """Read it.

        Raises:
            StoreUnavailable: the runtime file cannot be read.
        """
        revocations = Revocations(runtime)
        said = {name.removeprefix(SAID): word for name, word in runtime.said().items() if name.startswith(SAID)}
        return cls(revocations.counts(), said, tuple(revocations.last(limit)))

    def findings(self) -> Iterator[str]:
        """What somebody should look at."""
        for name, counts in self.counts.items():
            if failed := counts[State.FAILED]:
                yield f"{counted(failed, 'revocation')} failed on {name}; see why, and say exhook revocations --retry"
        for said in self.clusters.values():
            if not said.value.get("up"):
                yield f"revocations wait: {printable(str(said.value.get('why')))}"

    def as_json(self) -> dict[str, Any]:
        return {
            "clusters": {
                name: {
                    "waiting": counts[State.WAITING] + counts[State.AGAIN],
                    "done": counts[State.DONE],
                    "failed": counts[State.FAILED],
                    "api": self._api(name),
                }
                for name, counts in self.counts.items()
            },
            "last": [_json(one) for one in self.last],
        }

    def as_text(self) -> Iterator[str]:
        for name, counts in self.counts.items():
            waiting = counts[State.WAITING] + counts[State.AGAIN]
            yield f"{name}: {counts[State.DONE]:,} done, {waiting:,} waiting, {counts[State.FAILED]:,} failed"
            if (api := self._api(name)) and not api["up"]:
                yield f"  all wait: {printable(str(api['why']))}"
            if counts[State.FAILED]:
                yield "  failed ones were given up; mend what stands below them, and say exhook revocations --retry"
        for one in self.last:
            whose = f"{_whose(one)} (revision {one.revision})"
            yield f"{moment(one.at)}  {one.cluster}  {_state(one)}  {whose}: {_did(one)}"
            if one.note:
                yield f"  {printable(one.note)}"

    def _api(self, name: str) -> dict[str, Any] | None:
        said = self.clusters.get(name)
        return None if said is None else said.value | {"at": moment(said.at)}


def _state(one: Revocation) -> str:
    return "waiting" if one.state is State.AGAIN else one.state.value


def _did(one: Revocation) -> str:
    """What was done so far, and what comes next."""
    ended = one.disconnected or one.unsubscribed
    done = f"{counted(one.disconnected, 'session')}, {counted(one.unsubscribed, 'subscription')} ended"
    if one.state is State.DONE:
        return done if ended else "no session or subscription had to end"
    tried = f"tried {counted(one.attempts, 'time')} of {MOST_ATTEMPTS}" if one.attempts else ""
    return ", ".join(part for part in (f"{done} so far" if ended else "nothing ended yet", tried) if part)


def _whose(one: Revocation) -> str:
    return "everybody" if one.subject == EVERYBODY else printable(describe_subject(one.subject))


def _json(one: Revocation) -> dict[str, Any]:
    return {
        "cluster": one.cluster,
        "revision": one.revision,
        "committed_at": moment(one.at),
        "instance": one.subject.instance or None,
        "type": one.subject.type,
        "name": one.subject.name or None,
        "proof": one.proof,
        "state": _state(one),
        "ended_at": moment(one.ended_at) if one.ended_at else None,
        "disconnected": one.disconnected,
        "unsubscribed": one.unsubscribed,
        "attempts": one.attempts,
        "note": one.note or None,
    }
