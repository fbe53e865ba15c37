"""MQTT topic algebra: parse, match, covers, overlaps. Pure.

A *topic* names one stream (``plant/line1/up``); a *filter* names a set of them (``plant/+/up``). The
rules are those of MQTT 5.0, section 4.7 (and 4.8.2 for ``$share``), and of ``docs/semantics.md``:

* ``matches``  one topic is in the set: decides PUBLISH.
* ``covers``   the whole set is within another: an ALLOW decides SUBSCRIBE so.
* ``overlaps`` the two sets share a topic: a DENY decides SUBSCRIBE so.

``+`` and ``#`` in the first level never reach a first level that begins with ``$``.
"""

from typing import Final

Levels = tuple[str, ...]

MAX_BYTES: Final = 65_535
"""Length limit of a topic in bytes: an MQTT string has a 16-bit length (MQTT 5.0, 1.5.4)."""

SHARE: Final = "$share"
QUEUE: Final = "$queue"
DELAYED: Final = "$delayed"
PRIVATE: Final = "$exhook"
"""First level of the topics this system keeps for itself: nobody publishes or subscribes there."""

_WILDCARDS: Final = ("+", "#")


class InvalidTopic(ValueError):
    """A string is not a legal topic, filter or shared subscription; the message says why."""


def matches(filter: str, topic: str) -> bool:  # noqa: A002 - the field's own word
    """Whether `topic` is one of the topics that `filter` names.

    Raises:
        InvalidTopic: `filter` is no legal filter, or `topic` no legal topic (it has a wildcard, say).
    """
    return levels_match(parse_filter(filter), parse_topic(topic))


def covers(grant: str, filter: str) -> bool:  # noqa: A002 - the field's own word
    """Whether every topic that `filter` names is named by `grant`, too.

    A shared subscription (``$share/group/F``) is read as ``F``.

    Raises:
        InvalidTopic: one of the two is no legal filter.
    """
    return levels_cover(parse_filter(grant), parse_filter(filter))


def overlaps(a: str, b: str) -> bool:
    """Whether some topic is named by both filters. Symmetric.

    A shared subscription (``$share/group/F``) is read as ``F``. The empty topic counts, though no one can
    publish to it (``/#`` and ``+`` overlap): the answer guards denials, so it errs towards yes.

    Raises:
        InvalidTopic: one of the two is no legal filter.
    """
    return levels_overlap(parse_filter(a), parse_filter(b))


def parse_topic(topic: str) -> Levels:
    """The levels of a topic that can be published to.

    Raises:
        InvalidTopic: empty, too long, NUL, not UTF-8, a wildcard, or under ``$share``, which takes no PUBLISH.
    """
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise InvalidTopic(f"{topic!r} has a wildcard; a topic to publish to takes none")
    levels = tuple(topic.split("/"))
    if levels[0] == SHARE:
        raise InvalidTopic(f"{topic!r} is a shared subscription; publish to the topic behind it")
    return levels


def parse_filter(text: str) -> Levels:
    """The levels of a filter; a shared subscription is read as the filter behind it.

    Raises:
        InvalidTopic: empty, too long, NUL, not UTF-8, a misplaced wildcard, or a malformed ``$share``.
    """
    _check_text(text, "filter")
    levels = tuple(text.split("/"))
    if levels[0] == SHARE:
        return _behind_share(text, levels)
    _check_wildcards(text, levels)
    return levels


def parse_subscription(text: str, *, emqx: bool) -> Levels:
    """The filter that a SUBSCRIBE asks for; on EMQX ``$queue/F`` is read as ``F``, too.

    Raises:
        InvalidTopic: as `parse_filter`.
    """
    if emqx and (text == QUEUE or text.startswith(QUEUE + "/")):
        return _inner_filter(text, text[len(QUEUE) + 1 :])
    return parse_filter(text)


def parse_publication(text: str, *, emqx: bool) -> Levels:
    """The topic that a PUBLISH asks for; on EMQX ``$delayed/SECONDS/T`` is read as ``T``.

    Raises:
        InvalidTopic: as `parse_topic`; a ``$delayed`` without whole seconds or without a topic.
    """
    levels = parse_topic(text)
    if emqx and levels[0] == DELAYED:
        if len(levels) < 3 or not (levels[1].isascii() and levels[1].isdigit()):  # noqa: PLR2004
            raise InvalidTopic(f"{text!r} is no delayed topic; write $delayed/SECONDS/TOPIC")
        levels = parse_topic("/".join(levels[2:]))
        if levels[0] == DELAYED:
            # EMQX strips them all before it asks; read but once, the second would hide the topic from a DENY.
            raise InvalidTopic(f"{text!r} delays a delayed topic; write $delayed/SECONDS/TOPIC once")
    return levels


def levels_match(filter_: Levels, topic: Levels) -> bool:
    """`matches` on parsed levels: a topic is a filter without wildcards, so covering it is matching it."""
    return levels_cover(filter_, topic)


def levels_cover(grant: Levels, asked: Levels) -> bool:
    """`covers` on parsed levels."""
    if grant[0] in _WILDCARDS and asked[0].startswith("$"):
        return False
    for depth, level in enumerate(grant):
        if level == "#":
            return True
        if depth == len(asked) or asked[depth] == "#":
            return False
        if level not in ("+", asked[depth]):
            return False
    return len(grant) == len(asked)


def levels_reach(grant: Levels, asked: Levels) -> int:
    """How far a grant covers a filter: the 0-based level where it stops, `len(asked)` where it does not.

    A grant that is longer than what was asked stops behind its last level, a shorter one at its own end.
    """
    if grant[0] in _WILDCARDS and asked[0].startswith("$"):
        return 0
    for depth, level in enumerate(asked):
        if depth == len(grant):
            return depth
        if grant[depth] == "#":
            return len(asked)
        if level == "#" or grant[depth] not in ("+", level):
            return depth
    return len(asked)


def levels_overlap(a: Levels, b: Levels) -> bool:
    """`overlaps` on parsed levels."""
    if (a[0] in _WILDCARDS and b[0].startswith("$")) or (b[0] in _WILDCARDS and a[0].startswith("$")):
        return False
    for left, right in zip(a, b, strict=False):
        if left == "#" or right == "#":
            return True
        if left not in (right, "+") and right != "+":
            return False
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    # `a/#` reaches its parent level `a`, too (MQTT 5.0, 4.7.1.2).
    return len(longer) == len(shorter) or longer[len(shorter)] == "#"


def _behind_share(text: str, levels: Levels) -> Levels:
    """``$share/<group>/F`` as ``F`` (MQTT 5.0, 4.8.2)."""
    group = levels[1] if len(levels) > 1 else ""
    if not group or "+" in group or "#" in group:
        raise InvalidTopic(f"{text!r} has no legal group; write $share/GROUP/FILTER, GROUP without + and #")
    return _inner_filter(text, text[len(SHARE) + 1 + len(group) + 1 :])


def _inner_filter(text: str, inner: str) -> Levels:
    levels = tuple(inner.split("/"))
    if not inner or levels[0] in (SHARE, QUEUE):
        raise InvalidTopic(f"{text!r} has no legal filter behind its prefix; it takes an ordinary filter there")
    _check_wildcards(text, levels)
    return levels


def _check_text(text: str, noun: str) -> None:
    if not text:
        raise InvalidTopic(f"an empty {noun}; it needs at least one character")
    if "\0" in text:
        raise InvalidTopic(f"{text!r} has a NUL character, which MQTT forbids in a {noun}")
    if len(text) <= MAX_BYTES and text.isascii():
        return
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidTopic(f"{text!r} is not UTF-8") from None
    if length > MAX_BYTES:
        raise InvalidTopic(f"a {noun} of {length} bytes; MQTT allows {MAX_BYTES}")


def _check_wildcards(text: str, levels: Levels) -> None:
    for depth, level in enumerate(levels):
        if "#" in level and (level != "#" or depth != len(levels) - 1):
            raise InvalidTopic(f"{text!r} has '#' elsewhere than alone in the last level")
        if "+" in level and level != "+":
            raise InvalidTopic(f"{text!r} has '+' beside other characters; it stands alone in its level")
