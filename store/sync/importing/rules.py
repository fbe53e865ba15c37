"""Rules of another system in the words of this one, and what two of them have to do with each other. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from store.placeholders import TopicPattern, parse_pattern
from store.records import Action, Effect, Grantee
from store.sync.importing.original import Spot
from store.topics import DELAYED, PRIVATE, QUEUE, SHARE, Levels, levels_cover, levels_overlap

RESERVED: Final = (SHARE, QUEUE, DELAYED, PRIVATE)
"""First levels that no permission may begin with."""

_WILDCARDS: Final = ("+", "#")

pattern_of = lru_cache(maxsize=65_536)(parse_pattern)
"""The topic of a rule, parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One effect on one action and one topic, for one grantee; a line of a file may make several."""

    effect: Effect
    grantee: Grantee = Grantee.ALL
    name: str = ""
    action: Action
    """PUB or SUB."""
    topic: str
    """A filter as permissions write it, placeholders included."""
    at: Spot
    said: str
    """The line, for people."""
    exactly: bool = False
    """It concerns a SUBSCRIBE of this very filter alone, not of those that it covers."""
    beyond: bool = False
    """Its leading wildcard reaches topics that begin with ``$``, too."""
    widened: str = ""
    """Why it denies more than the line does, where it does."""

    @property
    def pattern(self) -> TopicPattern:
        return pattern_of(self.topic)

    @property
    def allows(self) -> bool:
        return self.effect is Effect.ALLOW

    @property
    def key(self) -> tuple[Grantee, str]:
        return self.grantee, self.name

    @property
    def reach(self) -> Levels:
        """All that it could concern, whatever a client is called.

        An ALLOW gives nothing to a client whose name is unsafe in a topic. Another system's DENY may bite then,
        with the name's own ``/`` and ``#`` as levels: it reaches everything from the placeholder on.
        """
        if self.allows or self.pattern.fixed:
            return self.pattern.widest
        return (*before_placeholder(self.pattern), "#")

    @property
    def reaches_dollar(self) -> bool:
        return self.beyond or (not self.allows and self.reach[0] == "#" and not self.pattern.fixed)


def before_placeholder(pattern: TopicPattern) -> Levels:
    """The levels before the first one that holds a placeholder."""
    fixed: list[str] = []
    for level in pattern.levels:
        if not isinstance(level, str):
            break
        fixed.append(level)
    return tuple(fixed)


def written(levels: Levels) -> str:
    """A filter without placeholders as a permission writes it."""
    return "/".join(levels).replace("${", "$${")


def concern_one(a: Rule, b: Rule) -> bool:
    """Whether some client and action could be concerned by both."""
    if a.action is not b.action:
        return False
    return Grantee.ALL in (a.grantee, b.grantee) or a.grantee is not b.grantee or a.name == b.name


def includes(a: Rule, b: Rule) -> bool:
    """Whether whoever is concerned by `b` is concerned by `a`."""
    return a.grantee is Grantee.ALL or a.key == b.key


def meets(deny: Rule, allow: Rule) -> bool:
    """Whether some topic is named by both, by the rules of the system that they come from."""
    left, right = deny.reach, allow.reach
    if deny.reaches_dollar and right[0].startswith("$"):
        right = ("?", *right[1:])
    if allow.beyond and left[0].startswith("$"):
        left = ("?", *left[1:])
    return levels_overlap(left, right)


def overlaps_here(deny: Rule, allow: Rule) -> bool:
    """Whether some topic is named by both, by our own rules."""
    return levels_overlap(deny.pattern.widest, allow.pattern.widest)


def swallows(deny: Rule, allow: Rule) -> bool:
    """Whether nothing remains of `allow` where `deny` wins."""
    if allow.beyond and not deny.beyond:
        return False
    if deny.topic == allow.topic:
        return True
    return deny.pattern.fixed and levels_cover(deny.pattern.widest, allow.pattern.widest)


def intersection(a: Levels, b: Levels) -> Levels | None:
    """The filter of the topics that both filters name; None where there are none."""
    if (a[0] in _WILDCARDS and b[0].startswith("$")) or (b[0] in _WILDCARDS and a[0].startswith("$")):
        return None
    common: list[str] = []
    for depth in range(max(len(a), len(b)) + 1):
        for one, other in ((a, b), (b, a)):
            if one[depth : depth + 1] == ("#",):
                return (*common, *other[depth:])
        if depth in (len(a), len(b)):
            break
        if a[depth] != b[depth] and "+" not in (a[depth], b[depth]):
            return None
        common.append(b[depth] if a[depth] == "+" else a[depth])
    return tuple(common) if len(a) == len(b) else None
