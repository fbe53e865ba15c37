"""What was written to a store, revision by revision, as text and as JSON. No secret and no fingerprint is in it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import indent
from typing import Any, Final

from rich.text import Text

from store.changes import Change as Logged
from store.changes import Operation, Revision, changes_of
from store.database import Database
from store.sync.change import Change
from store.sync.hold import Hold
from store.sync.past import UnknownRevision
from store.sync.phrases import counted, moment
from store.sync.printable import printable
from store.sync.recorded import UnreadableRecord, record_of, without_fingerprints
from store.sync.rendering import changes_text
from store.sync.wording import describe
from store.unavailable import told_clearly

_CHECKSUM_CHARS: Final = 12
"""What tells revisions apart on a screen; `show` and JSON give all of it."""
_HEADINGS: Final = ("revision", "time", "source", "commit", "+", "~", "-", "expired", "checksum", "actor")
_NUMBERS: Final = frozenset({"revision", "+", "~", "-", "expired"})
_ONE: Final = (
    "SELECT revision, at, actor, source, commit_id, checksum, added, changed, removed, expired"
    " FROM revisions WHERE revision = ?"
)


def revision_of(database: Database, number: int) -> Revision:
    """One revision.

    Raises:
        UnknownRevision: the store never had it, or no longer knows it.
        StoreUnavailable: it cannot be read.
    """
    with told_clearly(database.path):
        last = database.revision
        row = database.connection.execute(_ONE, (number,)).fetchone() if 0 < number <= last else None
    if row is None:
        held = f"its revisions go from 1 to {last}" if last else "it has none yet"
        raise UnknownRevision(f"{database.path}: there is no revision {number}; {held}")
    return Revision(*row)


def history_text(revisions: Sequence[Revision], holds: Sequence[Hold]) -> Iterator[Text]:
    """A line for each revision, and one for each hold."""
    rows = [_HEADINGS, *(_cells(one) for one in revisions)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEADINGS))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
            for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
        ]
        yield Text("  ".join(cells).rstrip(), style="bold" if number == 0 else "")
    for hold in holds:
        yield Text(printable(f"{hold.sentence}; {hold.mend}"), style="yellow")


def history_json(revisions: Sequence[Revision], holds: Sequence[Hold]) -> str:
    """The same as one JSON object, in ASCII."""
    return json.dumps(
        {"revisions": list(map(_revision_json, revisions)), "holds": [hold.as_json() for hold in holds]}, indent=2
    )


def revision_text(database: Database, revision: Revision, *, everything: bool) -> Iterator[Text]:
    """One revision with its changes."""
    yield Text(printable(f"revision {revision.revision}  {moment(revision.at)}  {revision.actor}"), style="bold")
    more = [f"source {revision.source}"]
    more += [f"commit {revision.commit}"] if revision.commit else []
    more += [f"checksum {revision.checksum}"] if revision.checksum else []
    yield Text(printable("  ".join(more)), style="dim")
    changes: list[Change] = []
    expired: list[str] = []
    unreadable: list[str] = []
    for logged in changes_of(database.connection, revision.revision):
        try:
            change = _change(logged)
        except UnreadableRecord:
            unreadable.append(f"{logged.operation} {logged.kind} {' '.join(filter(None, logged.key))}")
            continue
        if logged.operation is Operation.EXPIRE:
            expired.append(describe(change.record))
        else:
            changes.append(change)
    yield from changes_text(changes, everything=everything)
    yield from _names("expired", expired)
    yield from _names("written by another version", unreadable)
    yield Text(
        f"{counted(revision.added, 'record')} added, {revision.changed:,} changed, {revision.removed:,} removed, "
        f"{revision.expired:,} expired",
        style="bold",
    )


def revision_json(database: Database, revision: Revision) -> Iterator[str]:
    """One revision with what each record said before and after, as one JSON object in ASCII, piece by piece."""
    yield json.dumps(_revision_json(revision), indent=2).removesuffix("\n}") + ',\n  "changes": ['
    for number, logged in enumerate(changes_of(database.connection, revision.revision)):
        yield (",\n" if number else "\n") + indent(json.dumps(_logged_json(logged), indent=2), " " * 4)
    yield "\n  ]\n}\n"


def _cells(one: Revision) -> tuple[str, ...]:
    return (
        str(one.revision),
        moment(one.at // 1000 * 1000),
        printable(one.source),
        printable(one.commit),
        *(f"{count:,}" for count in (one.added, one.changed, one.removed, one.expired)),
        one.checksum[:_CHECKSUM_CHARS],
        printable(one.actor),
    )


def _names(title: str, names: Sequence[str]) -> Iterator[Text]:
    if names:
        yield Text(title, style="bold")
    yield from (Text(printable(f"  {name}")) for name in names)


def _change(logged: Logged) -> Change:
    """The change as a plan has it; places are not in the log."""
    before, after = (None if said is None else record_of(logged.kind, said) for said in (logged.before, logged.after))
    return Change(before, after)


def _revision_json(one: Revision) -> dict[str, Any]:
    return asdict(one) | {"at": moment(one.at)}


def _logged_json(logged: Logged) -> dict[str, Any]:
    return {
        "operation": logged.operation.value,
        "kind": logged.kind,
        "key": list(logged.key),
        "before": without_fingerprints(logged.before),
        "after": without_fingerprints(logged.after),
    }
