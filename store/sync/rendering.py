"""A plan as text for people, and as JSON for scripts. No secret is in either, fingerprints on a terminal alone.

Text from files and from the store is printed as it is, never as markup, and cannot steer a terminal.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from store.changes import Operation
from store.records import Record
from store.sync.affected import Losing, Readmitted
from store.sync.change import Change
from store.sync.differences import differences, secret_changes
from store.sync.phrases import counted, moment, some
from store.sync.plan import Foreign, Plan
from store.sync.printable import printable
from store.sync.recorded import without_fingerprints
from store.sync.stand_ins import Compared
from store.sync.thresholds import Refusal
from store.sync.wording import describe, describe_subject
from store.tables import TABLES, WITH_SECRETS

DEFAULT_SECRET: Final = "default"  # noqa: S105 - the name of a secret that was given none
SHOWN: Final = 50
"""Changes of a kind that are shown, unless all are asked for."""

_MARKS: Final = {Operation.ADD: ("+", "green"), Operation.CHANGE: ("~", "yellow"), Operation.REMOVE: ("-", "red")}
_TITLES: Final = {
    "instance": "instances",
    "group": "groups",
    "identity": "identities",
    "access_key": "access keys",
    "device_credential": "device credentials",
    "permission": "permissions",
    "blacklist": "blacklist",
}
_NAMED: Final = 20
_CONNECTED: Final = "  (felt at the next publish or subscribe; a subscription that stands ends with the connection)"


def text(
    plan: Plan, refused: Sequence[Refusal] = (), *, everything: bool = False, fingerprints: bool = False
) -> Iterator[Text]:
    """The lines of a plan. `everything` lifts the limit of `SHOWN` changes a kind; fingerprints are for a terminal."""
    yield from changes_text(plan.changes, everything=everything, fingerprints=fingerprints)
    foreign = (f"{describe(one.wanted)}: {one.owner}" for one in plan.foreign)
    yield from titled("another source owns", foreign, len(plan.foreign))
    yield from losing_text(plan)
    yield from titled("is let back in", map(_returns, plan.readmitted), len(plan.readmitted))
    for refusal in refused:
        yield line(f"apply would refuse: {refusal}", "bold red")
    yield line(summary(plan), "bold")
    if plan.compared is Compared.VALUE:
        yield line(f"checksum {plan.checksum}", "dim")
    else:
        yield line(plan.compared.remark, "yellow")
    if plan.kept:
        names = some([describe(record) for record in plan.kept], _NAMED)
        yield line(
            f"{counted(len(plan.kept), 'record')} left the policy and {'stays' if len(plan.kept) == 1 else 'stay'} "
            f"in force, since nothing is pruned (--prune removes): {names}",
            "yellow",
        )


def changes_text(changes: Sequence[Change], *, everything: bool = False, fingerprints: bool = False) -> Iterator[Text]:
    """The lines of changes, grouped by kind."""
    for title, group in grouped(changes):
        yield Text(title, style="bold")
        shown = group if everything else group[:SHOWN]
        for change in shown:
            yield from _change_lines(change, fingerprints)
        if len(shown) < len(group):
            yield line(f"  … and {len(group) - len(shown):,} more; --all shows them", "dim")


def grouped(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    """The changes of each kind that has some, under its title."""
    for table in TABLES:
        group = [change for change in changes if change.kind == table.kind]
        if group:
            yield _TITLES[table.kind], group


def summary(plan: Plan) -> str:
    """The plan in one line."""
    losing = plan.clients_losing
    lost = f"; {counted(losing, 'client')} {'loses' if losing == 1 else 'lose'} something" if losing else ""
    add, change, remove = (plan.count(one) for one in (Operation.ADD, Operation.CHANGE, Operation.REMOVE))
    return f"{add:,} to add, {change:,} to change, {remove:,} to remove{lost}"


def as_json(plan: Plan, refused: Sequence[Refusal] = (), **more: Any) -> str:
    """The plan as one JSON object, in ASCII; `more` is put beside its own members."""
    said: dict[str, Any] = {
        "format": "exhook-plan/v1",
        "source": plan.source,
        "prune": plan.prune,
        "checksum": plan.checksum if plan.compared is Compared.VALUE else None,
        "secrets_compared": plan.compared.value,
        "summary": {operation.value: plan.count(operation) for operation in _MARKS}
        | {"clients_losing": plan.clients_losing, "kept": len(plan.kept)},
        "changes": [_change_json(change) for change in plan.changes],
        "kept": [record_json(record) for record in plan.kept],
        "foreign": [_foreign_json(one) for one in plan.foreign],
        "losing": [_losing_json(one) for one in plan.losing],
        "readmitted": [_readmitted_json(one) for one in plan.readmitted],
        "refusals": [{"rule": refusal.rule, "message": refusal.sentence} for refusal in refused],
    }
    return json.dumps(said | more, indent=2)


def _change_lines(change: Change, fingerprints: bool) -> Iterator[Text]:
    mark, colour = _MARKS[change.operation]
    first = line(f"  {mark} {describe(change.record)}", colour)
    named = f"  [{change.record.id}]" if change.record.id else ""
    place = f"  {change.origin}" if change.origin else ""
    first.append(printable(named + place), style="dim")
    yield first
    for more in _details(change, fingerprints):
        yield line(f"      {more}", "")


def _details(change: Change, fingerprints: bool) -> Iterator[str]:
    """What a change changes; of an identity that is added, its secrets."""
    if change.operation is Operation.CHANGE:
        yield from differences(change, fingerprints=fingerprints)
    elif isinstance(change.new, WITH_SECRETS):
        secrets = secret_changes({}, change.after or {}, fingerprints=fingerprints)
        if fingerprints or set(secrets) != {DEFAULT_SECRET}:
            yield from (f"secret {name}: {what}" for name, what in secrets.items())


def losing_text(plan: Plan) -> Iterator[Text]:
    """Who loses something, and when it is felt."""
    losing = (f"{describe_subject(one.subject)}: {losing_words(one, plan)}" for one in plan.losing)
    yield from titled("loses something", losing, len(plan.losing))
    if plan.losing:
        enforced = f"  (→ live sessions, too, as soon as this is applied: on {', '.join(plan.enforced)})"
        yield line(enforced if plan.enforced else _CONNECTED, "dim")


def losing_words(one: Losing, plan: Plan) -> str:
    """Why somebody loses something; and what befalls them at once, where a server sees to that."""
    return ", ".join(one.why) + (f" → {one.felt}" if plan.enforced and one.felt else "")


def titled(title: str, lines: Iterable[str], count: int) -> Iterator[Text]:
    """A list under a title, cut where it is long; nothing where it is empty."""
    if count:
        yield Text(title, style="bold")
    for one, _ in zip(lines, range(_NAMED), strict=False):
        yield line(f"  {one}", "")
    if count > _NAMED:
        yield line(f"  … and {count - _NAMED:,} more; JSON names them", "dim")


def _returns(one: Readmitted) -> str:
    when = "by this change" if one.at is None else f"at {moment(one.at)}"
    return f"{describe_subject(one.subject)} {when}"


def line(said: str, style: str) -> Text:
    """A line that a stranger's text in it cannot bring out of line."""
    return Text(printable(said), style=style)


def _change_json(change: Change) -> dict[str, Any]:
    said: dict[str, Any] = {"operation": change.operation.value, **record_json(change.record)}
    before, after = change.before, change.after
    said["before"], said["after"] = without_fingerprints(before), without_fingerprints(after)
    if isinstance(change.record, WITH_SECRETS):
        said["secrets_changed"] = secret_changes(before or {}, after or {})
    return said


def record_json(record: Record) -> dict[str, Any]:
    """Which record it is, and where it was written down."""
    return {
        "kind": record.kind,
        "key": list(map(str, record.key)),
        "id": record.id,
        "source": record.source,
        "origin": record.origin,
    }


def _foreign_json(one: Foreign) -> dict[str, Any]:
    return {"record": describe(one.wanted), "id": one.handle, "owner": one.owner, "origin": one.wanted.origin}


def _losing_json(one: Losing) -> dict[str, Any]:
    return {**one.subject._asdict(), "clients": one.clients, "why": list(one.why)}


def _readmitted_json(one: Readmitted) -> dict[str, Any]:
    return {
        **one.subject._asdict(),
        "at": None if one.at is None else moment(one.at),
        "record": record_json(one.record),
    }
