"""A plan as text for people, and as JSON for scripts. No secret and no fingerprint is in either.

Text from files and from the store is printed as it is, never as markup, and cannot steer a terminal.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from store.changes import Operation
from store.records import Identity, Record
from store.sync.affected import Losing, Readmitted
from store.sync.change import Change
from store.sync.plan import Foreign, Plan
from store.sync.thresholds import Refusal
from store.sync.wording import counted, describe, describe_subject, moment, printable, some
from store.tables import TABLES

SHOWN: Final = 50
"""Changes of a kind that are shown, unless all are asked for."""

_MARKS: Final = {Operation.ADD: ("+", "green"), Operation.CHANGE: ("~", "yellow"), Operation.REMOVE: ("-", "red")}
_TITLES: Final = {
    "instance": "instances",
    "group": "groups",
    "identity": "identities",
    "permission": "permissions",
    "blacklist": "blacklist",
}
_NAMED: Final = 20
_CONNECTED: Final = "  (felt at the next publish or subscribe; a subscription that stands ends with the connection)"


def text(plan: Plan, refused: Sequence[Refusal] = (), *, everything: bool = False) -> Iterator[Text]:
    """The lines of a plan. `everything` lifts the limit of `SHOWN` changes a kind."""
    for table in TABLES:
        changes = [change for change in plan.changes if change.kind == table.kind]
        if changes:
            yield Text(_TITLES[table.kind], style="bold")
            shown = changes if everything else changes[:SHOWN]
            for change in shown:
                yield from _change_lines(change)
            if len(shown) < len(changes):
                yield _line(f"  … and {len(changes) - len(shown):,} more; --all shows them", "dim")
    foreign = (f"  {describe(one.wanted)}: {one.owner}" for one in plan.foreign)
    yield from _some("another source owns", foreign, len(plan.foreign))
    yield from _affected_lines(plan)
    for refusal in refused:
        yield _line(f"apply would refuse: {refusal}", "bold red")
    yield _line(summary(plan), "bold")
    yield _line(f"checksum {plan.checksum}", "dim")
    if plan.kept:
        names = some([describe(record) for record in plan.kept], _NAMED)
        yield _line(
            f"{counted(len(plan.kept), 'record')} left the policy and {'stays' if len(plan.kept) == 1 else 'stay'} "
            f"in force, since nothing is pruned (--prune removes): {names}",
            "yellow",
        )


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
        "checksum": plan.checksum,
        "summary": {operation.value: plan.count(operation) for operation in _MARKS}
        | {"clients_losing": plan.clients_losing, "kept": len(plan.kept)},
        "changes": [_change_json(change) for change in plan.changes],
        "kept": [_record_json(record) for record in plan.kept],
        "foreign": [_foreign_json(one) for one in plan.foreign],
        "losing": [_losing_json(one) for one in plan.losing],
        "readmitted": [_readmitted_json(one) for one in plan.readmitted],
        "refusals": [{"rule": refusal.rule, "message": refusal.sentence} for refusal in refused],
    }
    return json.dumps(said | more, indent=2)


def _change_lines(change: Change) -> Iterator[Text]:
    mark, colour = _MARKS[change.operation]
    line = _line(f"  {mark} {describe(change.record)}", colour)
    named = f"  [{change.record.id}]" if change.record.id else ""
    place = f"  {change.origin}" if change.origin else ""
    line.append(printable(named + place), style="dim")
    yield line
    if change.operation is Operation.CHANGE:
        for difference in _differences(change):
            yield _line(f"      {difference}", "")


def _differences(change: Change) -> Iterator[str]:
    """What a change changes, field by field."""
    before, after = change.before or {}, change.after or {}
    for field in sorted((before.keys() | after.keys()) - {"secrets"}):
        if before.get(field) != after.get(field):
            was, will = (_value(field, getattr(record, field)) for record in (change.old, change.new))
            yield f"{'owner' if field == 'source' else field}: {was} → {will}"
    if before.get("secrets") != after.get("secrets"):
        for name, what in _secret_changes(before, after).items():
            yield f"secret {name}: {what}"


def _secret_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """What becomes of each secret that does not stay as it is, by its id."""
    old = {secret["id"]: secret for secret in before.get("secrets", ())}
    new = {secret["id"]: secret for secret in after.get("secrets", ())}
    found = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found[name] = "added"
        elif name not in new:
            found[name] = "removed"
        elif old[name]["fingerprint"] != new[name]["fingerprint"]:
            found[name] = "another value"
        elif old[name] != new[name]:
            was, will = (_value("expires_at", one[name].get("expires_at")) for one in (old, new))
            found[name] = f"expires {was} → {will}"
    return found


def _value(field: str, value: Any) -> str:
    if field == "expires_at":
        return "never" if value is None else moment(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None or value == "" else str(value)


def _affected_lines(plan: Plan) -> Iterator[Text]:
    losing = (f"  {describe_subject(one.subject)}: {', '.join(one.why)}" for one in plan.losing)
    yield from _some("loses something", losing, len(plan.losing))
    if plan.losing:
        yield _line(_CONNECTED, "dim")
    back = (f"  {_returns(one)}" for one in plan.readmitted)
    yield from _some("is let back in", back, len(plan.readmitted))


def _some(title: str, lines: Iterable[str], count: int) -> Iterator[Text]:
    if count:
        yield Text(title, style="bold")
    for line, _ in zip(lines, range(_NAMED), strict=False):
        yield _line(line, "")
    if count > _NAMED:
        yield _line(f"  … and {count - _NAMED:,} more; --output json names them", "dim")


def _returns(one: Readmitted) -> str:
    when = "by this change" if one.at is None else f"at {moment(one.at)}"
    return f"{describe_subject(one.subject)} {when}"


def _line(said: str, style: str) -> Text:
    return Text(printable(said), style=style)


def _change_json(change: Change) -> dict[str, Any]:
    said: dict[str, Any] = {"operation": change.operation.value, **_record_json(change.record)}
    before, after = change.before, change.after
    said["before"], said["after"] = _content_json(before), _content_json(after)
    if isinstance(change.record, Identity):
        said["secrets_changed"] = _secret_changes(before or {}, after or {})
    return said


def _record_json(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "key": list(map(str, record.key)),
        "id": record.id,
        "source": record.source,
        "origin": record.origin,
    }


def _content_json(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a record says, without the fingerprints of its secrets."""
    if content is None or "secrets" not in content:
        return content
    secrets = [
        {name: value for name, value in secret.items() if name != "fingerprint"} for secret in content["secrets"]
    ]
    return content | {"secrets": secrets}


def _foreign_json(one: Foreign) -> dict[str, Any]:
    return {"record": describe(one.wanted), "id": one.handle, "owner": one.owner, "origin": one.wanted.origin}


def _losing_json(one: Losing) -> dict[str, Any]:
    return {**one.subject._asdict(), "clients": one.clients, "why": list(one.why)}


def _readmitted_json(one: Readmitted) -> dict[str, Any]:
    return {
        **one.subject._asdict(),
        "at": None if one.at is None else moment(one.at),
        "record": _record_json(one.record),
    }
