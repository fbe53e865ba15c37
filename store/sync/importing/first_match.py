"""Rules of which the first that matches decides, as grants among which a DENY wins. Pure.

Exact where it can be shown to be, else stricter, never wider; what becomes stricter is listed. Why it is never
wider: let a grant that is written allow a question, and let an earlier rule of the chain deny it. Then the two
meet, so the denial is *needed* and is written, too (all that it could reach), and a DENY wins here.

* A denial that nothing below it runs into is not needed: what is not granted is denied anyway. It is written
  where it takes nothing from what stands above it, and left out where it would, or where it denies everything.
* A needed denial wins over the grants above it, too: they lose what they share with it.
* A denial of one filter alone (``{eq, "#"}``) is no denial of topics; the grants below it are cut instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from store.records import Action, Grantee
from store.sync.importing.leftovers import Leftovers
from store.sync.importing.rules import (
    Rule,
    concern_one,
    includes,
    meets,
    overlaps_here,
    swallows,
    written,
)
from store.sync.phrases import some
from store.topics import levels_cover

_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Grants:
    """What is to be written, in the order of the rules."""

    allows: tuple[Rule, ...]
    denies: tuple[Rule, ...]


def translate(rules: Sequence[Rule], leftovers: Leftovers, who: str = "") -> Grants:
    """The grants that stand for a chain of rules; where no rule matches, the chain denies.

    `who` names the clients of the chain, for the sentences, where they are not all.
    """
    chain = _Chain(_without_denied_filters(rules, leftovers, who), leftovers, who)
    chain.settle()
    return Grants(tuple(chain.allows.values()), tuple(chain.denials()))


class _Chain:
    """One chain on its way; rules are named by their place in it."""

    def __init__(self, rules: Sequence[Rule], leftovers: Leftovers, who: str) -> None:
        self._leftovers = leftovers
        self._who = who
        self.allows = {at: rule for at, rule in enumerate(rules) if rule.allows}
        self._denies = {at: rule for at, rule in enumerate(rules) if not rule.allows}
        self._places: dict[tuple[Action, Grantee], dict[str, list[int]]] = {}
        for at, rule in self.allows.items():
            self._places.setdefault((rule.action, rule.grantee), {}).setdefault(rule.name, []).append(at)

    def settle(self) -> None:
        """Take out the grants of which nothing remains, until no more go."""
        self._drop_unreachable()
        while any(self._drop_shadowed(at) for at in reversed(self._denies)):
            pass

    def denials(self) -> Iterator[Rule]:
        """The denials that are written, and a word for each one that is not."""
        hit: dict[int, dict[int, Rule]] = {}
        needed = {at for at in self._denies if self._needed(at)}
        unwritten = {deny.at for at, deny in self._denies.items() if at not in needed and self._hinders(deny)}
        for at, deny in self._denies.items():
            if at in needed:
                self._tell_widened(deny)
                for made in self._emitted(at):
                    yield made
                    for other, allow in self._concerned(made):
                        if overlaps_here(made, allow) and (other < at or allow.action is Action.SUB):
                            hit.setdefault(other, {})[at] = deny
            elif deny.at in unwritten:
                why = "not needed, nothing below it is granted; written, it would win over other grants"
                self._leftovers.note(deny.at, deny.said, why, self._who)
            else:
                yield deny
        for other in sorted(hit):
            self._tell_hit(other, hit[other])

    def _hinders(self, deny: Rule) -> bool:
        """Whether a denial that is not needed would take more than its line did, now or from what is granted later."""
        return bool(deny.widened) or deny.topic == "#" or any(meets(deny, allow) for _, allow in self._concerned(deny))

    def _drop_unreachable(self) -> None:
        for at, deny in self._denies.items():
            for other, allow in list(self._concerned(deny)):
                if other > at and includes(deny, allow) and swallows(deny, allow):
                    del self.allows[other]
                    if deny.widened:
                        self._tell_lost(allow, deny)
                    else:
                        why = f"never reached, {_line(deny)} denies all of it first"
                        self._leftovers.note(allow.at, allow.said, why, self._who)

    def _drop_shadowed(self, at: int) -> bool:
        """Take out the grants that a needed denial swallows as it is written; whether there were any."""
        dropped = False
        # Those below it first: without them it may not be needed, and those above it live.
        for below in (True, False):
            if not self._needed(at):
                break
            lost = {
                other: made
                for made in self._emitted(at)
                for other, allow in self._concerned(made)
                if (other > at) is below and includes(made, allow) and swallows(made, allow)
            }
            for other, made in lost.items():
                self._tell_lost(self.allows.pop(other), made)
                dropped = True
        return dropped

    def _needed(self, at: int) -> bool:
        """Whether a grant below the denial runs into it."""
        deny = self._denies[at]
        return any(other > at and meets(deny, allow) for other, allow in self._concerned(deny))

    def _emitted(self, at: int) -> Iterator[Rule]:
        """A needed denial as it is written: all that it could reach."""
        deny = self._denies[at]
        if deny.pattern.fixed:
            yield deny
        else:
            deny = replace(deny, topic=written(deny.reach), beyond=deny.reaches_dollar)
            yield deny
        if not deny.beyond:
            return
        # Its leading wildcard reaches `$...` in the other system, and does not here.
        firsts = {
            allow.reach[0]: None
            for other, allow in self._concerned(deny)
            if other > at and allow.reach[0].startswith("$") and meets(deny, allow)
        }
        for first in firsts:
            tail = deny.reach if deny.reach[0] == "#" else deny.reach[1:]
            yield replace(deny, topic=written((first, *tail)), beyond=False)

    def _concerned(self, deny: Rule) -> Iterator[tuple[int, Rule]]:
        """The grants that are left and that concern some client of the denial."""
        for (action, grantee), by_name in self._places.items():
            if action is not deny.action:
                continue
            alike = grantee is deny.grantee and grantee is not Grantee.ALL
            for places in (by_name.get(deny.name, []),) if alike else by_name.values():
                for at in places:
                    if at in self.allows:
                        yield at, self.allows[at]

    def _tell_lost(self, allow: Rule, deny: Rule) -> None:
        widened = f", which is written wider ({deny.widened})" if deny.widened else ""
        why = f"{_line(deny)} denies all of it{widened}, and a denial wins here whatever the order"
        self._leftovers.left_out(allow.at, allow.said, why, "narrow the denial, then grant it", self._who)

    def _tell_widened(self, deny: Rule) -> None:
        if deny.widened:
            self._leftovers.stricter(deny.at, deny.said, deny.widened, who=self._who)
        elif not deny.pattern.fixed:
            why = f"denied as {written(deny.reach)}, for a name with `/` or `#` in it could step out of it here"
            instead = f"if no name of yours has these, write {deny.topic}"
            self._leftovers.stricter(deny.at, deny.said, why, instead, self._who)

    def _tell_hit(self, other: int, denies: dict[int, Rule]) -> None:
        """What a grant that is written loses to denials."""
        allow = self.allows[other]
        if allow.beyond:
            return  # a default that is not written
        if above := [deny for at, deny in denies.items() if at < other]:
            topics = _topics(above)
            why = f"a subscription that touches {topics} is refused as a whole, to {allow.topic} itself, too"
            instead = f"subscribe to filters that do not overlap {topics}"
            self._leftovers.stricter(allow.at, allow.said, why, instead, self._who)
        if below := [deny for at, deny in denies.items() if at > other]:
            why = f"it does not reach over the denial of {_topics(below)} below it: a denial wins here"
            instead = "narrow the denial to the clients that it is meant for"
            self._leftovers.stricter(allow.at, allow.said, why, instead, self._who)


def _line(rule: Rule) -> str:
    return f"line {rule.at.line}"


def _topics(denies: Iterable[Rule]) -> str:
    return some(list(dict.fromkeys(f"{deny.topic} ({_line(deny)})" for deny in denies)), _LINES)


def _without_denied_filters(rules: Sequence[Rule], leftovers: Leftovers, who: str) -> list[Rule]:
    """The chain without the denials of one filter alone; the grants below them are cut."""
    chain: list[Rule] = []
    denied: list[Rule] = []
    for rule in rules:
        if _is_filter_alone(rule):
            denied.append(rule)
        elif rule.allows:
            chain += _cut(rule, [one for one in denied if concern_one(one, rule)], leftovers, who)
        else:
            chain.append(rule)
    return chain


def _is_filter_alone(rule: Rule) -> bool:
    """Whether it denies a filter with wildcards and not what that covers. Without wildcards it is its own cover."""
    return not rule.allows and rule.exactly and any(level in {"+", "#"} for level in rule.pattern.widest)


def _cut(allow: Rule, denied: Sequence[Rule], leftovers: Leftovers, who: str) -> Iterator[Rule]:
    """The grant without the filters that may not be subscribed to; nothing where that cannot be said.

    ``P/#`` covers nothing but itself, ``P``, and what ``P/+/#`` covers.
    """
    for deny in denied:
        if not levels_cover(allow.reach, deny.reach):
            continue
        if allow.pattern.fixed and allow.reach == deny.reach and deny.reach[-1] == "#":
            if deny.widened or not includes(deny, allow):
                why = f"written without {allow.topic} itself, which {_line(deny)} denies to some"
                leftovers.stricter(allow.at, allow.said, why, who=who)
            head = deny.reach[:-1]
            for levels in (head, (*head, "+", "#")) if head else (("+", "#"),):
                part = replace(allow, topic=written(levels), exactly=False, beyond=False)
                yield from _cut(part, denied, leftovers, who)
        else:
            why = f"{_line(deny)} denies the one filter {deny.topic} out of it, which cannot be said here"
            leftovers.left_out(allow.at, allow.said, why, "grant narrower filters, without it", who)
        return
    yield allow
