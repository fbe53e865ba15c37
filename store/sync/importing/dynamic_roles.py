"""Roles of Mosquitto's dynamic security plugin as rules in the order in which it asks them (``acl.c``).

A client's own roles come first, by priority; then those of its groups, groups by priority, roles by priority. In a
role, literals of subscriptions come first, then the rest by priority. The first that matches decides; where none
does, the default.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from store.records import Action, Effect, Grantee
from store.sync.importing.leftovers import Leftovers
from store.sync.importing.located_json import Json
from store.sync.importing.original import Spot
from store.sync.importing.rules import Rule, pattern_of
from store.topics import SHARE, InvalidTopic

SEND: Final = "publishClientSend"
RECEIVE: Final = "publishClientReceive"
LITERAL: Final = "subscribeLiteral"
PATTERN: Final = "subscribePattern"
UNSUBSCRIBE: Final = ("unsubscribeLiteral", "unsubscribePattern")
_TYPES: Final = {name.lower(): name for name in (SEND, RECEIVE, LITERAL, PATTERN, *UNSUBSCRIBE)}
_PLACEHOLDER: Final = re.compile(r"%[cu]")
_SHARED: Final = re.compile(r"\$share/[^/]*/?")


@dataclass(frozen=True, slots=True)
class Acl:
    """One entry of a role."""

    kind: str
    topic: str
    allow: bool
    at: Spot

    @property
    def said(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.kind} {self.topic}"


@dataclass(frozen=True, slots=True)
class Role:
    """One role, its entries in the order in which they are asked."""

    name: str
    at: Spot
    acls: tuple[Acl, ...]
    wildcards: bool
    """Whether its holders may subscribe to filters with wildcards."""

    def of(self, kind: str) -> Iterator[Acl]:
        return (acl for acl in self.acls if acl.kind == kind)


@dataclass(slots=True)
class Held:
    """The roles of one client, in the order in which they are asked."""

    username: str
    roles: list[Role] = field(default_factory=list)

    @property
    def wildcards(self) -> bool:
        return all(role.wildcards for role in self.roles)


def read_roles(roles: Json, leftovers: Leftovers) -> dict[str, Role]:
    """The roles of a file, by name."""
    found: dict[str, Role] = {}
    for role in roles.objects():
        name = role.find("rolename").text()
        if not name:
            leftovers.note(role.spot, "a role without a name", "Mosquitto passes over it, too")
            continue
        entries = sorted(role.find("acls").objects(), key=lambda entry: -entry.find("priority").number(0))
        acls = tuple(acl for entry in entries if (acl := _acl(entry, leftovers)))
        wildcards = role.find("allowwildcardsubs").value is not False
        found[name] = Role(name, role.spot, acls, wildcards)
    return found


def _acl(entry: Json, leftovers: Leftovers) -> Acl | None:
    kind, topic = entry.find("acltype").text(), entry.find("topic").text()
    acl = Acl(_TYPES.get(kind.lower(), kind), topic, entry.find("allow").true(), entry.spot)
    if kind.lower() not in _TYPES:
        leftovers.left_out(entry.spot, acl.said, "an acltype that is not known here")
    elif not topic:
        leftovers.note(entry.spot, acl.said, "without a topic it never matches")
    elif acl.kind not in UNSUBSCRIBE:
        return acl
    elif not acl.allow:
        leftovers.note(entry.spot, acl.said, "nobody is refused an UNSUBSCRIBE here")
    return None


def send_rules(held: Held, leftovers: Leftovers) -> Iterator[Rule]:
    """What a client may publish."""
    for role in held.roles:
        yield from _rules(role.of(SEND), Action.PUB, held, leftovers)


def receive_rules(held: Held, leftovers: Leftovers) -> Iterator[Rule]:
    """What may be delivered to a client; what may not, it may not subscribe to here."""
    for role in held.roles:
        yield from _rules(role.of(RECEIVE), Action.SUB, held, leftovers)


def subscribe_rules(held: Held, leftovers: Leftovers) -> Iterator[Rule]:
    """What a client may subscribe to."""
    for role in held.roles:
        # Literals are looked up by the filter: of two alike, the stricter one counts here.
        literals = sorted(role.of(LITERAL), key=lambda acl: acl.allow)
        for rule in _rules(literals, Action.SUB, held, leftovers, exactly=True):
            if not rule.allows or not _has_wildcard(rule.topic):
                yield rule
                continue
            why = f"a grant of {rule.topic} lets through every narrower filter, too"
            leftovers.left_out(rule.at, rule.said, why, f'if that may be, subscribe: ["{rule.topic}"]', held.username)
        for rule in _rules(role.of(PATTERN), Action.SUB, held, leftovers):
            if rule.allows and _has_wildcard(rule.topic) and not held.wildcards:
                why = "a role with allowwildcardsubs false lets nobody subscribe with wildcards, a grant here would"
                leftovers.left_out(rule.at, rule.said, why, "grant the topics one by one", held.username)
            else:
                yield rule


def _rules(
    acls: Iterable[Acl], action: Action, held: Held, leftovers: Leftovers, *, exactly: bool = False
) -> Iterator[Rule]:
    for acl in acls:
        said = _said(acl.topic, subscribes=acl.kind in (LITERAL, PATTERN))
        if said.why and acl.allow:
            leftovers.left_out(acl.at, acl.said, said.why, said.instead)
        elif said.never:
            leftovers.note(acl.at, acl.said, f"nobody is granted anything there: {said.why}")
        else:
            yield Rule(
                effect=Effect.ALLOW if acl.allow else Effect.DENY,
                grantee=Grantee.USER,
                name=held.username,
                action=action,
                topic=said.topic,
                at=acl.at,
                said=acl.said,
                exactly=exactly and not said.why,
                # `#` is held against a subscription's text there, `$` or not.
                beyond=not acl.allow and acl.kind == PATTERN and said.topic.startswith(("+", "#")),
                widened=f"denied as {said.topic}, for {said.why}" if said.why else "",
            )


@dataclass(frozen=True, slots=True)
class _Said:
    """A topic as a permission writes it; where it cannot be said, all that it could reach, and why."""

    topic: str
    why: str = ""
    instead: str = ""
    never: bool = False


def _said(topic: str, *, subscribes: bool) -> _Said:
    if subscribes and topic.partition("/")[0] == SHARE:
        inner = _SHARED.sub("", topic, count=1)
        why = "a shared subscription is decided here by the filter behind $share/GROUP/"
        return _Said(_valid(inner), why, f"grant {inner}, which lets it be subscribed to without $share, too")
    if found := _PLACEHOLDER.search(topic):
        head, parted, _ = topic[: found.start()].rpartition("/")
        why = f"{found[0]} is a placeholder to some versions of Mosquitto and a text to others"
        placeholder = "${clientid}" if found[0] == "%c" else "${username}"
        return _Said(_valid(f"{head}/#" if parted else "#"), why, f"if it is one, grant it with {placeholder}")
    text = topic.replace("${", "$${")
    try:
        pattern_of(text)
    except InvalidTopic as wrong:
        return _Said(text, str(wrong), "grant the topics by other filters", never=True)
    return _Said(text)


def _valid(topic: str) -> str:
    """A filter that permissions may hold, or all topics where it is none."""
    text = topic.replace("${", "$${")
    try:
        pattern_of(text)
    except InvalidTopic:
        return "#"
    return text


def _has_wildcard(topic: str) -> bool:
    return any(level in {"+", "#"} for level in topic.split("/"))


def by_priority(entries: Sequence[Json]) -> list[Json]:
    """Highest first; alike ones stay in the order of the file."""
    return sorted(entries, key=lambda entry: -entry.find("priority").number(-1))
