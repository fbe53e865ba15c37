"""What EMQX's own rules say, wherever they stand: in ``acl.conf``, or in the built-in database."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from store.records import Action, Effect, Grantee
from store.sync.importing.emqx_topics import EmqxTopic
from store.sync.importing.leftovers import Leftovers
from store.sync.importing.original import Spot
from store.sync.importing.rules import Rule

ACTIONS: Final = {
    "publish": (Action.PUB,),
    "subscribe": (Action.SUB,),
    "all": (Action.PUB, Action.SUB),
    "pubsub": (Action.PUB, Action.SUB),
}
EVERYONE: Final = (Grantee.ALL, "")
_DIFFERENCES: Final = (
    (
        "EMQX: the first rule that matches decides. Here a denial wins over every grant, whatever the order; the "
        "policy is written so that nobody may do more than before."
    ),
    (
        "EMQX: where no rule matches, `authorization.no_match` decides, which allows unless it is set. Here what is "
        "not granted is denied."
    ),
    "EMQX lets a/+ allow a subscription to a/#. Here a grant must cover every topic of the filter: a/# needs a/#.",
    (
        "EMQX looks whether a denial matches the text of a filter: where a/secret is denied, a/# can be subscribed to. "
        "Here a denial refuses every subscription that overlaps it."
    ),
    "EMQX: a rule's leading + or # reaches topics that begin with $, too. Here $SYS/… is granted by name alone.",
    (
        "EMQX puts names into topics as they are. Here a name that is empty, or holds + # or /, or puts $ first, gets "
        "nothing by a placeholder."
    ),
    "EMQX applies rules to clients without a user name, too. Here nobody is let in without an identity.",
)

Key = tuple[Grantee, str]


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a rule concerns."""

    exact: tuple[Key, ...] = ()
    loose: tuple[Key, ...] = ()
    """Who could be concerned by the part of the condition that cannot be said here."""
    why: str = ""
    """Why it cannot be said."""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class EmqxRule:
    """One rule as it is written."""

    effect: Effect
    who: Who
    actions: tuple[Action, ...]
    conditional: bool
    """It asks for a QoS or a retain flag, too."""
    topics: tuple[EmqxTopic, ...]
    at: Spot
    said: str


def rules_of(found: Iterable[EmqxRule], leftovers: Leftovers) -> Iterator[Rule]:
    """Rules that can be put in order. An ALLOW that cannot be said is left out, a DENY widened."""
    for one in found:
        if not one.topics or not (one.who.exact or one.who.loose):
            leftovers.note(one.at, one.said, "it names no topic, or nobody: it never matches")
        elif one.effect is Effect.ALLOW:
            yield from _allows(one, leftovers)
        else:
            yield from _denies(one, leftovers)


def tell_differences(leftovers: Leftovers) -> None:
    for sentence in _DIFFERENCES:
        leftovers.differs(sentence)


def _allows(one: EmqxRule, leftovers: Leftovers) -> Iterator[Rule]:
    if one.conditional:
        why = "conditions on QoS and retain are not known here; brokers do not tell them"
        leftovers.left_out(one.at, one.said, why, "grant it without them, if it may be")
        return
    if one.who.why:
        leftovers.left_out(one.at, one.said, one.who.why, one.who.instead)
    for topic, action, (grantee, name) in product(one.topics, one.actions, one.who.exact):
        if topic.why:
            leftovers.left_out(one.at, f"{topic.topic} of {one.said}", topic.why, topic.instead)
        elif not topic.exactly or not _has_wildcard(topic.topic):
            yield Rule(
                effect=Effect.ALLOW,
                grantee=grantee,
                name=name,
                action=action,
                topic=topic.topic,
                at=one.at,
                said=one.said,
            )
        elif action is Action.SUB:
            why = f"a grant of {topic.topic} lets through every narrower filter, too"
            leftovers.left_out(one.at, one.said, why, f'if that may be, subscribe: ["{topic.topic}"]')
        elif len(one.actions) == 1:
            leftovers.note(one.at, one.said, f"nobody can publish to {topic.topic}, which has a wildcard")


def _denies(one: EmqxRule, leftovers: Leftovers) -> Iterator[Rule]:
    condition = "denied whatever the QoS and the retain flag, which are not known here" if one.conditional else ""
    keys = [(key, "") for key in one.who.exact] + [(key, _widened(one.who)) for key in one.who.loose]
    for topic, action, (key, loose) in product(one.topics, one.actions, keys):
        if topic.never:
            leftovers.note(one.at, one.said, f"nobody can ask for {topic.topic}: {topic.why}")
            continue
        if topic.exactly and action is Action.PUB and _has_wildcard(topic.topic):
            if len(one.actions) == 1:
                leftovers.note(one.at, one.said, f"nobody can publish to {topic.topic}, which has a wildcard")
            continue
        reasons = [reason for reason in (condition, loose, _widened_topic(topic)) if reason]
        yield Rule(
            effect=Effect.DENY,
            grantee=key[0],
            name=key[1],
            action=action,
            topic=topic.topic,
            at=one.at,
            said=one.said,
            exactly=topic.exactly,
            beyond=topic.topic.startswith(("+", "#")),
            widened="; ".join(reasons),
        )


def _widened(who: Who) -> str:
    everyone = EVERYONE in who.loose
    whom = "everyone" if everyone else ", ".join(f"{grantee.lower()} {name}" for grantee, name in who.loose)
    return f"denied to {whom}, for {who.why}"


def _widened_topic(topic: EmqxTopic) -> str:
    return f"denied as {topic.topic}, for {topic.why}" if topic.why else ""


def _has_wildcard(topic: str) -> bool:
    return any(level in {"+", "#"} for level in topic.split("/"))
