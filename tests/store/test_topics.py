"""The topic algebra by example: the standard's own, the table of ``docs/semantics.md``, and the borders."""

import contextlib

import pytest

from store.topics import (
    MAX_BYTES,
    InvalidTopic,
    Levels,
    covers,
    levels_cover,
    levels_overlap,
    levels_reach,
    matches,
    overlaps,
    parse_filter,
    parse_publication,
    parse_subscription,
    parse_topic,
)

# MQTT 5.0, 4.7.1 to 4.7.3: the examples of the standard.
STANDARD = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "sport/tennis", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player2", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/tennis/#", "sport/tennis/player1", True),
    ("sport/+/player1", "sport/tennis/player1", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("#", "$SYS/uptime", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor/Clients", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("ACCOUNTS", "Accounts", False),
    ("Accounts payable", "Accounts payable", True),
    ("/finance", "finance", False),
    ("finance/", "finance", False),
]

MATCHES = [
    ("a", "a", True),
    ("a", "b", False),
    ("a", "a/b", False),
    ("a/b", "a", False),
    ("#", "/", True),
    ("#", "a", True),
    ("+", "a", True),
    ("+", "$a", False),
    ("+/#", "a", True),
    ("+/#", "/", True),
    ("+/#", "$SYS/a", False),
    ("$SYS/#", "$SYS", True),
    ("$SYS", "$SYS", True),
    ("a/+", "a/$SYS", True),
    ("a/#", "a/$SYS/b", True),
    ("/#", "/", True),
    ("/#", "a/", False),
    ("/+", "/", True),
    ("+/+", "/", True),
    ("+/+/+", "//", True),
    ("+/+", "//", False),
    ("a/+/b", "a//b", True),
    ("a//b", "a/b", False),
    ("a/+/#", "a", False),
    ("a/+/#", "a/", True),
    # Exact characters: neither Unicode forms, nor trailing blanks, nor case are folded.
    ("caf\u00e9", "cafe\u0301", False),
    ("a", "a ", False),
    ("\ufeffa", "a", False),
]

# The table of docs/semantics.md, and what its text says beside it.
COVERS = [
    ("a/+", "a/#", False),
    ("+", "#", False),
    ("+/+", "+/#", False),
    ("a/+/+", "a/b/#", False),
    ("a/+/#", "a/#", False),
    ("+/#", "#", False),
    ("/+/#", "/#", False),
    ("a/#", "a/+/b", True),
    ("a/#", "a", True),
    ("a/#", "a/#", True),
    ("#", "$SYS/#", False),
    ("+/#", "$CONTROL/#", False),
    ("#", "$share/g/secret", True),
    ("+/+/x", "$share/g/x", False),
    ("a", "$share/g/a", True),
    ("a/#", "$share/g/a/+", True),
    ("#", "$share/g/$SYS/#", False),
    ("$SYS/#", "$share/g/$SYS/a", True),
    ("$share/g/a", "a", True),
    ("#", "#", True),
    ("#", "+", True),
    ("#", "+/#", True),
    ("#", "/", True),
    ("+", "+", True),
    ("+", "a", True),
    ("+", "+/+", False),
    ("+/#", "+", True),
    ("+/#", "+/+", True),
    ("+/#", "a/#", True),
    ("a", "+", False),
    ("a/b", "a/+", False),
    ("a/b", "a/#", False),
    ("a/b/#", "a/#", False),
    ("a/b/#", "a/b/+", True),
    ("a/+/c", "a/b/c", True),
    ("a/+/c", "a/+/c", True),
    ("a/+/c", "a/b/+", False),
    ("a/+/c", "a/+", False),
    ("a/+", "a", False),
    ("a", "a/+", False),
    ("+", "$SYS", False),
    ("$SYS/#", "$SYS/#", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS", "$SYS/#", False),
    ("a/#", "a/$SYS/#", True),
    ("a/+", "a/$x", True),
    ("$SYS/+", "$SYS/+", True),
    # $queue and $delayed are ordinary levels where no broker gives them a meaning.
    ("#", "$queue/a", False),
    ("$queue/#", "$queue/a", True),
]

OVERLAPS = [
    ("a/secret", "a/#", True),
    ("a/secret", "a/+", True),
    ("a/secret", "+/secret", True),
    ("a/secret", "#", True),
    ("a/secret", "a/b", False),
    ("a/secret", "a", False),
    ("a/secret/#", "a/+", True),
    ("a/secret/#", "a", False),
    ("a/+", "+/b", True),
    ("a/+", "b/+", False),
    ("a/+/c", "a/b", False),
    ("a/#", "a", True),
    ("a/#", "a/b/c", True),
    ("a/#", "+/b/#", True),
    ("a/#", "+", True),
    ("a/b/#", "+", False),
    ("a/b/#", "+/+", True),
    ("#", "#", True),
    ("+", "+/#", True),
    ("+", "+/+", False),
    ("/#", "+", True),
    ("/#", "#", True),
    ("/+", "+", False),
    ("$SYS/a", "#", False),
    ("$SYS/a", "+/a", False),
    ("$SYS/a", "+/#", False),
    ("$SYS/a", "$SYS/#", True),
    ("$SYS/a", "$SYS/+", True),
    ("$SYS", "$SYS/#", True),
    ("a/$SYS", "a/+", True),
    ("secret", "$share/g/secret", True),
    ("secret", "$share/g/#", True),
    ("secret", "$share/secret/other", False),
]

REACHES = [
    ("a/b", "a/b", 2),
    ("a/b", "a/c", 1),
    ("b", "a", 0),
    ("a", "a/b", 1),
    ("a/b/c", "a/b", 2),
    ("a/+", "a/#", 1),
    ("+", "#", 0),
    ("+/#", "#", 0),
    ("a/#", "a/b/c/#", 4),
    ("a/#", "a", 1),
    ("a/+/#", "a/#", 1),
    ("a/+/c", "a/b/+", 2),
    ("#", "$SYS/x", 0),
    ("+/x", "$SYS/x", 0),
    ("$SYS/+", "$SYS/x/y", 2),
]

LEGAL_FILTERS = ["#", "+", "/", "//", "a", "/a", "a/", "+/tennis/#", "sport/+/player1", "a//+//#", "a b", "$", "$SYS/#"]

MISPLACED_WILDCARDS = [
    "sport/tennis#",
    "sport/tennis/#/ranking",
    "#/",
    "#/a",
    "##",
    "#+",
    "+#",
    "a/#b",
    "sport+",
    "+sport",
    "a/b+/c",
    "++",
    "a/+#",
]

# What every entrance refuses, and the words that say why.
NO_TEXT = [
    ("", "empty"),
    ("\0", "NUL"),
    ("a/\0/b", "NUL"),
    ("a/\ud800", "not UTF-8"),
    ("\udfff", "not UTF-8"),
    ("a" * (MAX_BYTES + 1), "65536 bytes"),
    # Bytes count, not characters.
    ("\u00e9" * 32_768, "65536 bytes"),
    ("\U0001f512" * 16_384, "65536 bytes"),
]

MALFORMED_SHARES = [
    "$share",
    "$share/",
    "$share/g",
    "$share/g/",
    "$share//x",
    "$share//",
    "$share/+/x",
    "$share/#",
    "$share/#/x",
    "$share/g+/x",
    "$share/g#/x",
    "$share/g/$share/h/x",
    "$share/g/$share",
    "$share/g/$queue/x",
    "$share/g/a#",
    "$share/g/#/a",
    "$share/g/a+",
]


@pytest.mark.parametrize(("filter_", "topic", "expected"), STANDARD + MATCHES)
def test_matches(filter_: str, topic: str, expected: bool) -> None:
    assert matches(filter_, topic) is expected


@pytest.mark.parametrize(("filter_", "topic", "expected"), STANDARD + MATCHES)
def test_a_topic_is_covered_by_what_matches_it_and_overlaps_it(filter_: str, topic: str, expected: bool) -> None:
    assert covers(filter_, topic) is expected
    assert overlaps(filter_, topic) is expected


@pytest.mark.parametrize(("grant", "filter_", "expected"), COVERS)
def test_covers(grant: str, filter_: str, expected: bool) -> None:
    assert covers(grant, filter_) is expected


@pytest.mark.parametrize(("a", "b", "expected"), OVERLAPS)
def test_overlaps_both_ways(a: str, b: str, expected: bool) -> None:
    assert overlaps(a, b) is expected
    assert overlaps(b, a) is expected


@pytest.mark.parametrize(("grant", "asked", "level"), REACHES)
def test_reach_is_the_level_where_a_grant_stops(grant: str, asked: str, level: int) -> None:
    assert levels_reach(parse_filter(grant), parse_filter(asked)) == level


@pytest.mark.parametrize("text", LEGAL_FILTERS)
def test_a_legal_filter_is_its_levels(text: str) -> None:
    assert parse_filter(text) == tuple(text.split("/"))


@pytest.mark.parametrize("text", MISPLACED_WILDCARDS)
def test_a_misplaced_wildcard_is_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidTopic, match=r"has '[+#]'") as refusal:
        parse_filter(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["+", "#", "a/+", "a/#", "a+", "a/#/b", "#a"])
def test_a_topic_takes_no_wildcard(text: str) -> None:
    with pytest.raises(InvalidTopic, match="takes none"):
        parse_topic(text)


@pytest.mark.parametrize("text", ["/", "a", "a/", "/a", "//", "$SYS/uploadToken", "$SYS", "$", "$sharex/a", "a/$share"])
def test_a_topic_is_its_levels(text: str) -> None:
    assert parse_topic(text) == tuple(text.split("/"))


@pytest.mark.parametrize("text", ["$share", "$share/", "$share/g/a"])
def test_nobody_publishes_to_a_shared_subscription(text: str) -> None:
    with pytest.raises(InvalidTopic, match="publish to the topic behind it"):
        parse_topic(text)


@pytest.mark.parametrize(("text", "why"), NO_TEXT)
def test_what_mqtt_cannot_carry_is_refused_everywhere(text: str, why: str) -> None:
    with pytest.raises(InvalidTopic, match=why):
        parse_topic(text)
    with pytest.raises(InvalidTopic, match=why):
        parse_filter(text)
    with pytest.raises(InvalidTopic, match=why):
        parse_publication(text, emqx=True)
    with pytest.raises(InvalidTopic, match=why):
        parse_subscription(text, emqx=True)


@pytest.mark.parametrize("text", ["a" * MAX_BYTES, "\u00e9" * 32_767 + "a", "/" * MAX_BYTES])
def test_the_longest_topic_is_legal(text: str) -> None:
    assert "/".join(parse_topic(text)) == text
    assert "/".join(parse_filter(text)) == text


def test_a_refusal_of_length_does_not_repeat_the_topic() -> None:
    with pytest.raises(InvalidTopic) as refusal:
        parse_filter("a" * (MAX_BYTES + 1))
    assert len(str(refusal.value)) < 100


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        ("$share/g/x", "x"),
        ("$share/g/a/+/#", "a/+/#"),
        ("$share/g//x", "/x"),
        ("$share/g//", "/"),
        ("$share/g/#", "#"),
        ("$share/$g/x", "x"),
        ("$share/g h/x", "x"),
        ("$share/g/$SYS/#", "$SYS/#"),
        ("$share/g/$shared/x", "$shared/x"),
        ("$share/g/a/$share/x", "a/$share/x"),
        ("$Share/g/x", "$Share/g/x"),
        ("a/$share/g/x", "a/$share/g/x"),
    ],
)
def test_a_shared_subscription_is_read_as_the_filter_behind_it(text: str, behind: str) -> None:
    assert parse_filter(text) == tuple(behind.split("/"))
    assert parse_subscription(text, emqx=True) == tuple(behind.split("/"))
    assert parse_subscription(text, emqx=False) == tuple(behind.split("/"))


@pytest.mark.parametrize("text", MALFORMED_SHARES)
@pytest.mark.parametrize("emqx", [True, False])
def test_a_malformed_shared_subscription_is_refused(text: str, emqx: bool) -> None:
    with pytest.raises(InvalidTopic) as refusal:
        parse_subscription(text, emqx=emqx)
    assert repr(text) in str(refusal.value)
    with pytest.raises(InvalidTopic):
        covers("#", text)
    with pytest.raises(InvalidTopic):
        overlaps(text, "#")


@pytest.mark.parametrize(
    ("text", "behind"), [("$queue/a", "a"), ("$queue/#", "#"), ("$queue//", "/"), ("$queue/$SYS/a", "$SYS/a")]
)
def test_a_queue_is_read_as_the_filter_behind_it_on_emqx_alone(text: str, behind: str) -> None:
    assert parse_subscription(text, emqx=True) == tuple(behind.split("/"))
    assert parse_subscription(text, emqx=False) == tuple(text.split("/"))


@pytest.mark.parametrize(
    "text", ["$queue", "$queue/", "$queue/$queue/a", "$queue/$share/g/a", "$queue/a#", "$queue/$share"]
)
def test_a_malformed_queue_is_refused_on_emqx(text: str) -> None:
    with pytest.raises(InvalidTopic):
        parse_subscription(text, emqx=True)


def test_a_level_that_only_begins_like_a_queue_is_an_ordinary_one() -> None:
    assert parse_subscription("$queued/a", emqx=True) == ("$queued", "a")


@pytest.mark.parametrize(
    ("text", "behind"),
    [("$delayed/5/a/b", "a/b"), ("$delayed/0/a", "a"), ("$delayed/5//", "/"), ("$delayed/05/$SYS/x", "$SYS/x")],
)
def test_a_delayed_topic_is_read_as_the_topic_behind_it_on_emqx_alone(text: str, behind: str) -> None:
    assert parse_publication(text, emqx=True) == tuple(behind.split("/"))
    assert parse_publication(text, emqx=False) == tuple(text.split("/"))


@pytest.mark.parametrize(
    "text",
    [
        "$delayed",
        "$delayed/",
        "$delayed/5",
        "$delayed/5/",
        "$delayed//a",
        "$delayed/x/a",
        "$delayed/-5/a",
        "$delayed/5s/a",
        "$delayed/\u0665/a",
        "$delayed/\u00b2/a",
        "$delayed/5/$share/g/a",
        "$delayed/5/$delayed",
    ],
)
def test_a_malformed_delayed_topic_is_refused_on_emqx(text: str) -> None:
    with pytest.raises(InvalidTopic):
        parse_publication(text, emqx=True)


def test_a_delayed_topic_within_a_delayed_topic_hides_nothing() -> None:
    """EMQX strips `$delayed/N/` in its access control as often as it stands there; else a DENY could be passed by."""
    read: Levels | None = None
    with contextlib.suppress(InvalidTopic):
        read = parse_publication("$delayed/1/$delayed/1/secret", emqx=True)
    assert read in (None, ("secret",))


@pytest.mark.parametrize("text", ["", "a/#/b", "\0", "$share/g"])
def test_every_comparison_refuses_an_illegal_side(text: str) -> None:
    with pytest.raises(InvalidTopic):
        matches(text, "a")
    with pytest.raises(InvalidTopic):
        matches("#", text)
    with pytest.raises(InvalidTopic):
        covers(text, "a")
    with pytest.raises(InvalidTopic):
        covers("a", text)
    with pytest.raises(InvalidTopic):
        overlaps(text, "a")
    with pytest.raises(InvalidTopic):
        overlaps("a", text)


def test_thirty_thousand_levels_need_no_stack() -> None:
    deep = "a/" * 30_000
    assert matches(deep + "#", deep + "end")
    assert not matches(deep + "end", deep + "other")
    assert covers("+/" * 30_000 + "#", deep + "+")
    assert not covers(deep + "+", deep + "#")
    assert overlaps(deep + "+", "+/" * 30_000 + "end")
    assert not overlaps(deep + "x", deep + "y")
    assert levels_reach(parse_filter(deep + "x"), parse_filter(deep + "y")) == 30_000


def test_invalid_topics_are_value_errors() -> None:
    assert issubclass(InvalidTopic, ValueError)


def test_levels_and_texts_answer_alike() -> None:
    for grant, asked, expected in COVERS:
        assert levels_cover(parse_filter(grant), parse_filter(asked)) is expected
    for one, other, expected in OVERLAPS:
        assert levels_overlap(parse_filter(one), parse_filter(other)) is expected
