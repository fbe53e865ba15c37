"""A decision in words: what was decided, by which record, and what came nearest."""

from dataclasses import dataclass
from typing import Any

from store.account_records import Token
from store.decision import Decision, Nearest
from store.records import Action, Identity, Permission, Record
from store.tables import content
from store.topics import parse_publication, parse_subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked, as far as words about its decision need it."""

    client_id: str
    action: Action | None
    """PUB or SUB; None for the CONNECT."""
    topic: str = ""
    emqx: bool = True
    """Whether the listener's broker reads ``$queue/F`` and ``$delayed/N/T`` as EMQX does."""


def result(decision: Decision) -> str:
    return "allow" if decision.allow else "passed on to the broker's own chain" if decision.passed_on else "deny"


def grounds(decision: Decision, request: Request) -> list[str]:
    """The lines for people: rule, secret, what came nearest."""
    lines = []
    if decision.rule:
        lines.append(f"rule:    {named(decision.rule)}")
    if decision.secret_id:
        lines.append(f"secret:  {decision.secret_id}")
    if decision.nearest:
        lines.append(f"nearest: {named(decision.nearest.record)}")
        lines.append(f"         {shortfall(decision.nearest, request)}")
    return lines


def as_data(decision: Decision, request: Request) -> dict[str, Any]:
    """The decision for scripts."""
    return {
        "allow": decision.allow,
        "reason": decision.reason.value,
        "rule": _rule(decision.rule),
        "nearest": _nearest(decision.nearest, request),
        "revision": decision.revision,
        "passed_on": decision.passed_on,
        "secret_id": decision.secret_id or None,
    }


def named(record: Record | None) -> str:
    """The record: its kind, id, what it says, and where it stands."""
    if record is None:
        return "nobody"
    match record:
        case Permission():
            to = f"{record.identity_type} {record.identity}".rstrip()
            said = f"{record.effect} {record.action} {record.topic!r} for {to}"
        case Identity():
            said = f"{record.identity_type} {record.username}" + (f" as {record.client_id}" if record.client_id else "")
        case Token():
            said = f"{record.token_id}: {record.actions} of {', '.join(record.resources)} by {record.access_key_id}"
        case _:
            said = " ".join(part for part in record.key if part)
    place = f", {record.origin}" if record.origin else ""
    return f"{record.kind} {record.id + ': ' if record.id else ''}{said} [{record.source}{place}]"


def shortfall(nearest: Nearest, request: Request) -> str:
    """What the record lacked that came nearest to allowing."""
    if nearest.why == "action":
        return "covers it, but grants the other action alone"
    if nearest.why == "expired":
        return "covers it, but has expired"
    if nearest.why == "client_ids":
        return f"its client_ids do not admit {request.client_id!r}"
    parse = parse_subscription if request.action is Action.SUB else parse_publication
    # What stands behind `$share/GROUP/` and the like: levels are counted there.
    levels = parse(request.topic, emqx=request.emqx)
    level = nearest.level or 0
    if level >= len(levels):
        return f"stops covering behind the last level of {request.topic!r}: it asks for more levels"
    return f"stops covering at level {level + 1} of {request.topic!r}: {levels[level]!r}"


def _rule(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    said = content(record)
    said.pop("secrets", None)
    return {
        "kind": record.kind,
        "id": record.id or None,
        "source": record.source,
        "origin": record.origin or None,
    } | said


def _nearest(nearest: Nearest | None, request: Request) -> dict[str, Any] | None:
    if nearest is None:
        return None
    return {
        "rule": _rule(nearest.record),
        "why": nearest.why,
        "level": nearest.level,
        "explanation": shortfall(nearest, request),
    }
