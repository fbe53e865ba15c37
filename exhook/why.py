"""What a client was denied lately, and why: what `exhook why` prints."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from store.database import Database
from store.runtime import Denial, Runtime, path_beside
from store.sync.phrases import moment
from store.sync.printable import printable
from store.unavailable import told_clearly


@dataclass(frozen=True, slots=True)
class Applied:
    """Who wrote a rule."""

    revision: int
    actor: str
    commit: str
    at: int

    @property
    def sentence(self) -> str:
        commit = f", commit {printable(self.commit)}" if self.commit else ""
        return f"revision {self.revision}, by {printable(self.actor)} at {moment(self.at // 1000 * 1000)}{commit}"


@dataclass(frozen=True, slots=True)
class Explained:
    """A denial, and who wrote its rule where one decided."""

    denial: Denial
    applied: Applied | None

    def as_json(self) -> dict[str, Any]:
        said = asdict(self.denial) | {"at": moment(self.denial.at)}
        said |= {name: said[name] or None for name in ("topic", "rule", "nearest", "node", "rule_revision")}
        return said | {"applied": asdict(self.applied) | {"at": moment(self.applied.at)} if self.applied else None}

    def as_text(self) -> Iterator[str]:
        denial = self.denial
        topic = f" {printable(denial.topic)}" if denial.topic else ""
        yield f"{moment(denial.at)}  {denial.hook}{topic}: {denial.reason} (revision {denial.revision})"
        yield f"  user:     {printable(denial.username) or '(none)'}"
        if denial.rule:
            yield f"  rule:     {printable(denial.rule)}"
        if self.applied:
            yield f"  applied:  {self.applied.sentence}"
        if denial.nearest:
            yield f"  nearest:  {printable(denial.nearest)}"
        node = f" at node {printable(denial.node)}" if denial.node else ""
        yield f"  decision: {denial.decision_id}{node}"


def last_denials(database: Database, client_id: str, limit: int) -> list[Explained]:
    """The last denials of a client, newest first; none where no server ever ran on this store.

    Raises:
        StoreUnavailable: store or runtime file cannot be read.
    """
    if not path_beside(database.path).exists():
        return []
    with Runtime.open(database.path) as runtime:
        denials = runtime.denials_of(client_id, limit)
    wrote = {denial.rule_revision for denial in denials if denial.rule_revision}
    applied = {revision: found for revision in wrote if (found := _applied(database, revision))}
    return [Explained(denial, applied.get(denial.rule_revision)) for denial in denials]


def as_text(found: Sequence[Explained]) -> str:
    return "\n".join(line for one in found for line in one.as_text())


def _applied(database: Database, revision: int) -> Applied | None:
    with told_clearly(database.path):
        row = database.connection.execute(
            "SELECT revision, actor, commit_id, at FROM revisions WHERE revision = ?", (revision,)
        ).fetchone()
    return Applied(*row) if row else None
