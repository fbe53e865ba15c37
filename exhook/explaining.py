"""Why a request is decided as it is: the same core, asked by a person."""

import json
from dataclasses import dataclass, field
from typing import Any

from exhook.listeners import Listeners
from store.credentials import verify
from store.decision import Challenge, Decision, Nearest, Reason, authorize, conclude, instance_of, refused, select
from store.reader import Reader
from store.records import Action, Identity, Permission, Record
from store.tables import content
from store.topics import parse_publication, parse_subscription
from store.view import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client would ask."""

    client_id: str
    username: str
    action: Action | None
    """PUB or SUB; None asks for the CONNECT."""
    topic: str = ""
    password: bytes | None = field(default=None, repr=False)
    address: str = ""
    cn: str = ""
    listener: str
    instance: str = ""
    at_ms: int
    emqx: bool = True
    """Whether the listener's broker reads ``$queue/F`` and ``$delayed/N/T`` as EMQX does."""


class CannotSay(Exception):
    """The answer hangs on something that was not given; the message says on what."""


def answer(reader: Reader, listeners: Listeners, question: Question) -> Decision:
    """The decision that a server on this store would make.

    Raises:
        CannotSay: the password decides and was not given, or there is no such listener.
    """
    listener = listeners.named(question.listener, question.instance or reader.only_instance())
    if listener is None:
        raise CannotSay(f"no listener is named {question.listener!r}; the settings file names them in [[listeners]]")
    client = Client.from_wire(
        question.username.encode(errors="surrogateescape"),
        question.client_id.encode(errors="surrogateescape"),
        listener,
        cn=question.cn.encode(errors="surrogateescape"),
        address=question.address,
    )
    if client is None:
        return refused(Reason.INVALID_INPUT, reader.revision)
    view = reader.view(instance_of(client), client)
    if question.action is not None:
        return authorize(view, client, question.action, question.topic, question.at_ms)
    found = select(view, client, question.password, question.at_ms)
    if isinstance(found, Decision):
        return found
    if question.password is None:
        return _without_password(found)
    return conclude(found, verify(found.mode, found.secrets, found.client_id, question.password))


def _without_password(challenge: Challenge) -> Decision:
    if challenge.verdict is not Reason.ALLOWED:
        return conclude(challenge, None)
    raise CannotSay(
        f"the password decides: {_named(challenge.identity)} is asked for it ({challenge.mode}); "
        "give it with --password-stdin"
    )


def as_json(decision: Decision, question: Question) -> str:
    """The decision for scripts."""
    return json.dumps(
        {
            "allow": decision.allow,
            "reason": decision.reason.value,
            "rule": _rule(decision.rule),
            "nearest": _nearest(decision.nearest, question),
            "revision": decision.revision,
            "passed_on": decision.passed_on,
            "secret_id": decision.secret_id or None,
        },
        ensure_ascii=False,
    )


def as_text(decision: Decision, question: Question) -> str:
    """The decision for people."""
    result = "allow" if decision.allow else "passed on to the broker's own chain" if decision.passed_on else "deny"
    lines = [f"{result}: {decision.reason.value} (revision {decision.revision})"]
    if decision.rule:
        lines.append(f"  rule:    {_named(decision.rule)}")
    if decision.secret_id:
        lines.append(f"  secret:  {decision.secret_id}")
    if decision.nearest:
        lines.append(f"  nearest: {_named(decision.nearest.record)}")
        lines.append(f"           {_shortfall(decision.nearest, question)}")
    return "\n".join(lines)


def _named(record: Record | None) -> str:
    if record is None:
        return "nobody"
    match record:
        case Permission():
            to = f"{record.identity_type} {record.identity}".rstrip()
            said = f"{record.effect} {record.action} {record.topic!r} for {to}"
        case Identity():
            said = f"{record.identity_type} {record.username}" + (f" as {record.client_id}" if record.client_id else "")
        case _:
            said = " ".join(part for part in record.key if part)
    place = f", {record.origin}" if record.origin else ""
    return f"{record.kind} {record.id + ': ' if record.id else ''}{said} [{record.source}{place}]"


def _shortfall(nearest: Nearest, question: Question) -> str:
    if nearest.why == "action":
        return "covers it, but grants the other action alone"
    if nearest.why == "expired":
        return "covers it, but has expired"
    if nearest.why == "client_ids":
        return f"its client_ids do not admit {question.client_id!r}"
    parse = parse_subscription if question.action is Action.SUB else parse_publication
    # What stands behind `$share/GROUP/` and the like: levels are counted there.
    levels = parse(question.topic, emqx=question.emqx)
    level = nearest.level or 0
    if level >= len(levels):
        return f"stops covering behind the last level of {question.topic!r}: it asks for more levels"
    return f"stops covering at level {level + 1} of {question.topic!r}: {levels[level]!r}"


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


def _nearest(nearest: Nearest | None, question: Question) -> dict[str, Any] | None:
    if nearest is None:
        return None
    return {
        "rule": _rule(nearest.record),
        "why": nearest.why,
        "level": nearest.level,
        "explanation": _shortfall(nearest, question),
    }
