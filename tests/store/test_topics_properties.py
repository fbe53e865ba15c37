"""The topic algebra against brute force: a filter is the set of level sequences it names.

``z`` stands in topics alone, so that `+` names something no literal does. Sequences are two levels deeper than
the deepest filter, so that `#` names something no chain of `+` does. Two that nobody can publish to belong to
the universe, since ``docs/semantics.md`` counts them: no level at all, which `#` alone names, and one empty
level, the empty topic.
"""

import functools
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.topics import (
    InvalidTopic,
    Levels,
    levels_cover,
    levels_match,
    levels_overlap,
    levels_reach,
    parse_filter,
    parse_subscription,
    parse_topic,
)

LITERALS = ("a", "b", "", "$s")
NAMES = (*LITERALS, "z")
DEPTH = 4
UNIVERSE_DEPTH = DEPTH + 2


@functools.cache
def sequences(length: int) -> tuple[Levels, ...]:
    return tuple(itertools.product(NAMES, repeat=length))


@functools.cache
def named_by(filter_: Levels, deepest: int = UNIVERSE_DEPTH) -> frozenset[Levels]:
    """Every sequence that a filter names: literals name themselves, `+` any level, `#` any rest and none."""
    *heads, last = filter_
    ends: list[Levels] = [(last,)] if last not in ("+", "#") else list(sequences(1))
    if last == "#":
        ends = [end for length in range(deepest - len(heads) + 1) for end in sequences(length)]
    choices = [NAMES if level == "+" else (level,) for level in heads]
    named = {(*head, *end) for head in itertools.product(*choices) for end in ends}
    if filter_[0] in ("+", "#"):
        named = {sequence for sequence in named if not sequence[:1] or not sequence[0].startswith("$")}
    return frozenset(named)


def all_filters(depth: int) -> list[Levels]:
    heads = [head for length in range(depth + 1) for head in itertools.product((*LITERALS, "+"), repeat=length)]
    return [head for head in heads if head] + [(*head, "#") for head in heads if len(head) < depth]


levels = st.sampled_from(LITERALS)
topics = st.lists(st.sampled_from(NAMES), min_size=1, max_size=UNIVERSE_DEPTH).map(tuple)


@st.composite
def filters(draw: st.DrawFn) -> Levels:
    hash_ends = draw(st.booleans())
    most = DEPTH - 1 if hash_ends else DEPTH
    head = draw(st.lists(levels | st.just("+"), min_size=0 if hash_ends else 1, max_size=most))
    return (*head, "#") if hash_ends else tuple(head)


@st.composite
def wider(draw: st.DrawFn, filter_: Levels) -> Levels:
    """A filter made from another by `+` for a level or `#` for the rest: likely to cover it, so laws have cases."""
    made = [draw(st.sampled_from((level, level, "+"))) if level != "#" else "#" for level in filter_]
    cut = draw(st.integers(0, len(made) * 2))
    return (*made[:cut], "#") if cut < len(made) else tuple(made)


pairs = filters().flatmap(lambda narrow: st.tuples(wider(narrow) | filters(), st.just(narrow)))


def test_the_universe_tells_the_disputed_pairs_apart() -> None:
    """The oracle itself: the two pairs that differ in a topic nobody can publish to."""
    assert named_by(("#",)) - named_by(("+", "#")) == {()} | {
        sequence for sequence in named_by(("#",)) if sequence[:1] and sequence[0].startswith("$")
    }
    assert named_by(("", "#")) - named_by(("", "+", "#")) == {("",)}
    assert ("a",) in named_by(("a", "#"))
    assert ("$s",) not in named_by(("+",))


def test_every_pair_of_shallow_filters() -> None:
    """All 186 filters of up to three levels, each with each: inclusion and intersection of their sets."""
    depth = 3
    index = {sequence: at for at, sequence in enumerate(s for n in range(depth + 3) for s in sequences(n))}
    sets = {f: sum(1 << index[sequence] for sequence in named_by(f, depth + 2)) for f in all_filters(depth)}
    assert len(sets) == 186
    wrong = [
        (a, b)
        for (a, in_a), (b, in_b) in itertools.product(sets.items(), repeat=2)
        if levels_cover(a, b) is not (in_b & ~in_a == 0) or levels_overlap(a, b) is not (in_a & in_b != 0)
    ]
    assert wrong == []


def test_every_shallow_filter_against_every_topic() -> None:
    topics_up_to_four = [sequence for length in range(1, 5) for sequence in sequences(length)]
    wrong = [
        (filter_, topic)
        for filter_ in all_filters(2)
        for topic in topics_up_to_four
        if levels_match(filter_, topic) is not (topic in named_by(filter_))
    ]
    assert wrong == []


def test_covering_is_an_order_on_shallow_filters() -> None:
    """Reflexive, transitive, and two filters that cover each other are one."""
    every = all_filters(3)
    covered = {a: {b for b in every if levels_cover(a, b)} for a in every}
    for a in every:
        assert a in covered[a]
        for b in covered[a]:
            assert covered[b] <= covered[a]
            assert a == b or a not in covered[b]


@given(filter_=filters(), topic=topics)
@settings(max_examples=200, deadline=None)
def test_matches_is_membership(filter_: Levels, topic: Levels) -> None:
    assert levels_match(filter_, topic) is (topic in named_by(filter_))


@given(pair=pairs)
@settings(max_examples=200, deadline=None)
def test_covers_is_inclusion(pair: tuple[Levels, Levels]) -> None:
    grant, asked = pair
    assert levels_cover(grant, asked) is (named_by(asked) <= named_by(grant))


@given(pair=pairs)
@settings(max_examples=200, deadline=None)
def test_overlaps_is_intersection(pair: tuple[Levels, Levels]) -> None:
    a, b = pair
    assert levels_overlap(a, b) is bool(named_by(a) & named_by(b))


@given(pair=pairs)
@settings(max_examples=200, deadline=None)
def test_overlap_is_symmetric_and_follows_from_covering(pair: tuple[Levels, Levels]) -> None:
    a, b = pair
    assert levels_overlap(a, b) is levels_overlap(b, a)
    assert levels_overlap(a, a)
    if levels_cover(a, b):
        assert levels_overlap(a, b)


@given(pair=pairs, data=st.data())
@settings(max_examples=200, deadline=None)
def test_covering_is_transitive_and_keeps_overlaps(pair: tuple[Levels, Levels], data: st.DataObject) -> None:
    middle, narrow = pair
    wide = data.draw(wider(middle))
    other = data.draw(filters())
    if levels_cover(wide, middle) and levels_cover(middle, narrow):
        assert levels_cover(wide, narrow)
    if levels_cover(middle, narrow) and levels_overlap(narrow, other):
        assert levels_overlap(middle, other)


@given(filter_=filters(), topic=topics)
@settings(max_examples=200, deadline=None)
def test_for_a_topic_matching_covering_and_overlapping_are_one(filter_: Levels, topic: Levels) -> None:
    assert levels_match(filter_, topic) is levels_cover(filter_, topic) is levels_overlap(filter_, topic)


@given(pair=pairs)
@settings(max_examples=200, deadline=None)
def test_reach_counts_the_levels_that_a_grant_covers(pair: tuple[Levels, Levels]) -> None:
    """The first n levels are covered if the grant, cut there and opened by `#`, covers the filter cut there."""
    grant, asked = pair
    reach = levels_reach(grant, asked)
    for depth in range(1, len(asked) + 1):
        opened = grant[:depth] if "#" in grant[:depth] else (*grant[:depth], "#")
        assert (depth <= reach) is (levels_cover(opened, asked[:depth]) and depth <= _levels_of(grant))
    if levels_cover(grant, asked):
        assert reach == len(asked)


def _levels_of(grant: Levels) -> float:
    return float("inf") if grant[-1] == "#" else len(grant)


LEGAL_FILTER = re.compile(r"#|(\+|[^+#/\0]*)(/(\+|[^+#/\0]*))*(/#)?")


@given(st.text(alphabet="ab+#/$\0", max_size=8) | st.text(max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_filter_parses_into_its_levels_or_is_illegal(text: str) -> None:
    if text and LEGAL_FILTER.fullmatch(text):
        assert parse_filter(text) == tuple(text.split("/"))
    else:
        with pytest.raises(InvalidTopic):
            parse_filter(text)


@given(st.text(alphabet="ab+#/$\0", max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_topic_is_a_filter_without_wildcards(text: str) -> None:
    if text and not set(text) & {"+", "#", "\0"}:
        assert parse_topic(text) == parse_filter(text)
    else:
        with pytest.raises(InvalidTopic):
            parse_topic(text)


@given(group=st.text(alphabet="ab+#/$", max_size=3), inner=st.text(alphabet="ab+#/$", max_size=5), emqx=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_share_is_its_inner_filter_or_illegal(group: str, inner: str, emqx: bool) -> None:
    text = f"$share/{group}/{inner}"
    name, _, behind = text.removeprefix("$share/").partition("/")
    if name and not set(name) & {"+", "#"} and behind and LEGAL_FILTER.fullmatch(behind):
        assert parse_subscription(text, emqx=emqx) == tuple(behind.split("/"))
    else:
        with pytest.raises(InvalidTopic):
            parse_subscription(text, emqx=emqx)
