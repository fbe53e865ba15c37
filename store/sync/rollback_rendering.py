"""A rollback as text for people, and as JSON for scripts: a plan, what it allows again, what it leaves out."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from store.sync.rendering import as_json, changes_text, line, losing_text, record_json, summary, titled
from store.sync.restoring import Rollback
from store.sync.thresholds import Refusal


def rollback_text(made: Rollback, refused: Sequence[Refusal] = (), *, everything: bool = False) -> Iterator[Text]:
    """The lines of a rollback. `everything` lifts the limit on changes of a kind."""
    yield from changes_text(made.plan.changes, everything=everything)
    yield from losing_text(made.plan)
    yield from titled("is allowed again", map(str, made.regrants), len(made.regrants))
    yield from titled("is not restored", map(str, made.left_out), len(made.left_out))
    for refusal in refused:
        yield line(f"rollback would refuse: {refusal}", "bold red")
    yield line(summary(made.plan), "bold")


def rollback_json(made: Rollback, refused: Sequence[Refusal] = (), **more: Any) -> str:
    """The same as one JSON object; `more` is put beside its own members."""
    return as_json(
        made.plan,
        refused,
        to=made.to,
        regrants=[{"record": record_json(one.record), "why": one.why} for one in made.regrants],
        left_out=[{"record": record_json(one.record), "why": one.why} for one in made.left_out],
        **more,
    )
