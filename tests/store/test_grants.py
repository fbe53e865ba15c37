"""The index of a grantee's permissions against the plain scan that it stands for."""

import itertools
import random
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import grants
from store.grants import FLAT, GrantIndex, Miss
from store.records import Action, Effect, Grantee, Permission
from store.topics import Levels, levels_cover, levels_match, levels_overlap, levels_reach, parse_filter

NOW = 1000
PUB, SUB, PUB_SUB = Action.PUB, Action.SUB, Action.PUB_SUB
ALLOW, DENY = Effect.ALLOW, Effect.DENY


def permission(
    topic: str,
    action: Action = PUB_SUB,
    effect: Effect = ALLOW,
    *,
    expires_at: int | None = None,
    source: str = "api",
) -> Permission:
    return Permission(
        instance="mqtt-prod",
        identity_type=Grantee.USER,
        identity="press7",
        topic=topic,
        action=action,
        effect=effect,
        expires_at=expires_at,
        source=source,
    )


def levels_of(found: Permission) -> Levels:
    return parse_filter(found.topic)


# ---- the plain scan ----


def rank(found: Permission) -> tuple[list[tuple[int, str]], tuple[str, ...]]:
    order = {"+": 1, "#": 2}
    return [(order.get(level, 0), level) for level in levels_of(found)], found.key


def scan(permissions: list[Permission], effect: Effect, action: Action, fits: Callable[[Levels], bool]) -> object:
    fitting = [
        found
        for found in permissions
        if found.effect is effect
        and found.action in (action, PUB_SUB)
        and (found.expires_at is None or found.expires_at > NOW)
        and fits(levels_of(found))
    ]
    return min(fitting, key=rank, default=None)


def scan_allowing(permissions: list[Permission], asked: Levels, action: Action) -> object:
    return scan(permissions, ALLOW, action, lambda levels: levels_cover(levels, asked))


def scan_denying(permissions: list[Permission], asked: Levels, action: Action) -> object:
    compare = levels_overlap if action is SUB else levels_match
    return scan(permissions, DENY, action, lambda levels: compare(levels, asked))


def scan_nearest(permissions: list[Permission], asked: Levels, action: Action) -> Miss | None:
    allowed = sorted((found for found in permissions if found.effect is ALLOW), key=rank)
    for found in allowed:
        fit, live = found.action in (action, PUB_SUB), found.in_force(NOW)
        if fit is not live and levels_cover(levels_of(found), asked):
            return Miss(found, None, "expired" if fit else "action")
    deepest: Miss | None = None
    for found in allowed:
        if found.action in (action, PUB_SUB) and found.in_force(NOW) and not levels_cover(levels_of(found), asked):
            level = levels_reach(levels_of(found), asked)
            if deepest is None or deepest.level is None or level > deepest.level:
                deepest = Miss(found, level, "level")
    return deepest


# ---- the index against the scan ----


def short_filters() -> list[str]:
    heads = [head for n in range(4) for head in itertools.product(("a", "b", "", "$s", "+"), repeat=n)]
    texts = ["/".join(head) for head in heads] + ["/".join((*head, "#")) for head in heads if len(head) < 3]
    return [text for text in texts if text]


FILTERS = short_filters()
POOL = [
    permission(topic, action, effect, expires_at=expires_at, source=source)
    for topic, action, effect, expires_at, source in itertools.product(
        FILTERS, (PUB, SUB, PUB_SUB), (ALLOW, DENY), (None, NOW, NOW + 1), ("api", "shop")
    )
]

few = st.lists(st.sampled_from(POOL), max_size=FLAT)
many = st.lists(st.sampled_from(POOL), min_size=2 * FLAT + 2, max_size=60)
in_force = st.lists(st.sampled_from([p for p in POOL if p.expires_at is None and p.action is PUB_SUB]), max_size=40)
lists = few | many | in_force
topics = st.lists(st.sampled_from(("a", "b", "", "$s", "z")), min_size=1, max_size=5).map(tuple)
asked_filters = st.sampled_from([parse_filter(text) for text in FILTERS]) | topics | topics.map(lambda t: (*t, "#"))
questions = st.tuples(st.just(PUB), topics) | st.tuples(st.just(SUB), asked_filters)
# Trees that split down to the last level, down to single filters, and as they are made.
flats = st.sampled_from([0, 1, FLAT])


def index_of(permissions: list[Permission], flat: int) -> GrantIndex:
    with mock.patch.object(grants, "FLAT", flat):
        return GrantIndex(permissions)


@given(permissions=lists, question=questions, flat=flats)
@settings(max_examples=200, deadline=None)
def test_allowing_is_the_scan(permissions: list[Permission], question: tuple[Action, Levels], flat: int) -> None:
    action, asked = question
    assert index_of(permissions, flat).allowing(asked, action, NOW) == scan_allowing(permissions, asked, action)


@given(permissions=lists, question=questions, flat=flats)
@settings(max_examples=200, deadline=None)
def test_denying_is_the_scan(permissions: list[Permission], question: tuple[Action, Levels], flat: int) -> None:
    action, asked = question
    assert index_of(permissions, flat).denying(asked, action, NOW) == scan_denying(permissions, asked, action)


@given(permissions=lists, question=questions, flat=flats)
@settings(max_examples=200, deadline=None)
def test_nearest_is_the_scan(permissions: list[Permission], question: tuple[Action, Levels], flat: int) -> None:
    action, asked = question
    assert index_of(permissions, flat).nearest(asked, action, NOW) == scan_nearest(permissions, asked, action)


@given(permissions=lists, question=questions, data=st.data())
@settings(max_examples=200, deadline=None)
def test_the_order_of_the_permissions_does_not_matter(
    permissions: list[Permission], question: tuple[Action, Levels], data: st.DataObject
) -> None:
    action, asked = question
    # Two records of one key cannot both be in the store.
    permissions = list({found.key: found for found in permissions}.values())
    one, other = GrantIndex(permissions), GrantIndex(data.draw(st.permutations(permissions)))
    assert one.allowing(asked, action, NOW) is other.allowing(asked, action, NOW)
    assert one.denying(asked, action, NOW) is other.denying(asked, action, NOW)
    assert one.nearest(asked, action, NOW) == other.nearest(asked, action, NOW)


def test_every_short_filter_at_once() -> None:
    """One index of all 185 filters, asked for each of them and for topics none of them holds as a literal."""
    permissions = [permission(text, effect=effect) for text in FILTERS for effect in (ALLOW, DENY)]
    index = GrantIndex(permissions)
    for asked in [parse_filter(text) for text in FILTERS] + [("z",), ("a", "z"), ("z", "z", "z"), ("$z",), ("a",) * 5]:
        assert index.allowing(asked, SUB, NOW) == scan_allowing(permissions, asked, SUB)
        assert index.denying(asked, SUB, NOW) == scan_denying(permissions, asked, SUB)


@pytest.mark.parametrize("flat", [0, FLAT])
def test_every_short_filter_alone_against_every_other(flat: int) -> None:
    asked = [parse_filter(text) for text in FILTERS]
    wrong = []
    for text in FILTERS:
        granted, denied = permission(text), permission(text, effect=DENY)
        index, levels = index_of([granted, denied], flat), parse_filter(text)
        wrong += [
            (levels, other)
            for other in asked
            if (index.allowing(other, SUB, NOW) is granted) is not levels_cover(levels, other)
            or (index.denying(other, SUB, NOW) is denied) is not levels_overlap(levels, other)
        ]
    assert wrong == []


# ---- examples ----


def padded(*permissions: Permission) -> list[GrantIndex]:
    """The permissions alone, and among so many others that a tree is made."""
    others = [permission(f"other/{n}/{n % 7}/#", effect=effect) for n in range(50) for effect in (ALLOW, DENY)]
    return [GrantIndex(permissions), GrantIndex([*others, *permissions])]


def test_an_empty_index_answers_nothing() -> None:
    index = GrantIndex([])
    assert len(index) == 0
    assert index.templates == ()
    for action, asked in ((PUB, ("a",)), (SUB, ("#",))):
        assert index.allowing(asked, action, NOW) is None
        assert index.denying(asked, action, NOW) is None
        assert index.nearest(asked, action, NOW) is None


def test_allow_covers_where_deny_overlaps() -> None:
    """Pitfalls 1 and 2: a grant is not widened, a denial is not stepped over."""
    grant, deny = permission("a/+"), permission("a/secret", effect=DENY)
    for index in padded(grant, deny):
        assert index.allowing(("a", "#"), SUB, NOW) is None
        assert index.allowing(("a", "+"), SUB, NOW) == grant
        assert index.allowing(("a", "secret"), PUB, NOW) == grant
        assert index.denying(("a", "#"), SUB, NOW) == deny
        assert index.denying(("+", "secret"), SUB, NOW) == deny
        assert index.denying(("a", "secret"), PUB, NOW) == deny
        assert index.denying(("a", "open"), PUB, NOW) is None
        assert index.denying(("a", "open"), SUB, NOW) is None


@pytest.mark.parametrize("topic", ["#", "+", "+/#", "+/uptime"])
def test_no_leading_wildcard_reaches_a_dollar_level(topic: str) -> None:
    for index in padded(permission(topic), permission(topic, effect=DENY)):
        for asked in (("$SYS",), ("$SYS", "uptime")):
            assert index.allowing(asked, PUB, NOW) is None
            assert index.denying(asked, PUB, NOW) is None
            assert index.denying((*asked, "#"), SUB, NOW) is None
            miss = index.nearest(asked, PUB, NOW)
            assert miss is not None
            assert (miss.level, miss.why) == (0, "level")


def test_a_wildcard_that_is_asked_for_does_not_reach_a_denied_dollar_level() -> None:
    for index in padded(permission("$SYS/#", effect=DENY)):
        asked = ("+", "uptime", "x", "y", "z")
        assert index.denying(asked, SUB, NOW) is None
        assert index.denying(("$SYS", "+"), SUB, NOW) is not None


def test_the_most_literal_permission_is_named() -> None:
    topics = ["a/b/c", "a/b/+", "a/b/#", "a/+/c", "a/#", "+/b/c", "#"]
    permissions = [permission(topic) for topic in topics]
    for n, expected in enumerate(topics):
        for index in padded(*permissions[n:]):
            found = index.allowing(("a", "b", "c"), PUB, NOW)
            assert found is not None
            assert found.topic == expected


def test_of_one_filter_the_smallest_key_is_named() -> None:
    shop, api = permission("a/b", source="shop"), permission("a/b", source="api")
    for index in padded(shop, api):
        assert index.allowing(("a", "b"), PUB, NOW) == api


def test_what_expired_gives_way_to_what_holds() -> None:
    gone, next_best = permission("a/b", expires_at=NOW), permission("a/+", expires_at=NOW + 1)
    for index in padded(gone, next_best):
        assert index.allowing(("a", "b"), PUB, NOW - 1) == gone
        assert index.allowing(("a", "b"), PUB, NOW) == next_best
        assert index.allowing(("a", "b"), PUB, NOW + 1) is None


def test_a_branch_whose_denials_all_expired_comes_back_with_the_clock() -> None:
    index = GrantIndex([permission(f"a/{n}/x", SUB, DENY, expires_at=n) for n in range(50)])
    assert index.denying(("#",), SUB, 48) is not None
    assert index.denying(("#",), SUB, 49) is None
    assert index.denying(("a", "+", "x"), SUB, 48) is not None
    assert index.denying(("a", "+", "x"), SUB, 49) is None
    assert index.denying(("#",), SUB, 3) is not None


def test_an_escaped_brace_is_a_literal() -> None:
    for index in padded(permission("a/$${clientid}")):
        assert index.templates == ()
        assert index.allowing(("a", "${clientid}"), PUB, NOW) is not None


@pytest.mark.parametrize(
    ("topic", "asked", "level"),
    [
        ("a/b/c", "a/b/d", 2),
        ("a/b", "a/b/c", 2),
        ("a/b/c/d", "a/b", 2),
        ("a/+", "a/#", 1),
        ("a/+/c", "a/b/d", 2),
        ("b/#", "a", 0),
        ("+", "#", 0),
        ("a/+/#", "a/#", 1),
    ],
)
def test_nearest_names_the_level_where_a_grant_stops(topic: str, asked: str, level: int) -> None:
    grant = permission(topic)
    levels = parse_filter(asked)
    assert GrantIndex([grant]).nearest(levels, SUB, NOW) == Miss(grant, level, "level")
    if level:
        assert padded(grant)[1].nearest(levels, SUB, NOW) == Miss(grant, level, "level")


def test_nearest_prefers_what_lacks_but_the_action_or_time() -> None:
    short, other, gone = (
        permission("a/b/c"),
        permission("a/#", SUB),
        permission("a/#", PUB, expires_at=1, source="shop"),
    )
    asked = ("a", "b", "d")
    for index in padded(short, other):
        assert index.nearest(asked, PUB, NOW) == Miss(other, None, "action")
    for index in padded(short, gone):
        assert index.nearest(asked, PUB, NOW) == Miss(gone, None, "expired")
    for index in padded(short, permission("a/#", SUB, expires_at=1)):
        assert index.nearest(asked, PUB, NOW) == Miss(short, 2, "level")


def test_a_denial_is_never_nearest() -> None:
    assert GrantIndex([permission("a/b", effect=DENY)]).nearest(("a",), PUB, NOW) is None


def test_templates_stand_apart_denials_first() -> None:
    allow = [permission(topic) for topic in ("dev/${clientid}", "${clientid}x/#", "dev/${cn}/+")]
    deny = [permission("x/${username}", effect=DENY), permission("a/${username}", PUB, DENY, expires_at=1)]
    index = GrantIndex([*allow, permission("dev/fixed"), *deny])
    assert [template.permission for template in index.templates] == [deny[1], deny[0], allow[1], allow[0], allow[2]]
    assert len(index) == 6
    assert index.templates[3].pattern.substitute({"clientid": "c"}) == ("dev", "c")
    for action in (PUB, SUB):
        assert index.allowing(("dev", "c"), action, NOW) is None
        assert index.denying(("x", "u"), action, NOW) is None
    assert index.nearest(("dev", "c"), PUB, NOW) == Miss(permission("dev/fixed"), 1, "level")


def test_every_permission_counts_expired_and_alike() -> None:
    assert len(GrantIndex([permission("a"), permission("a", effect=DENY), permission("b", expires_at=0)])) == 3


# ---- size ----


def test_thirty_thousand_levels_need_no_stack() -> None:
    deep = "a/" * 30_000
    topics = [f"{deep}{end}" for end in ("c", "d", "+", "#", "c/y", "c/#", "e", "f", "g", "+/u")]
    permissions = [permission(topic, effect=effect) for topic in topics for effect in (ALLOW, DENY)]
    asked = ("a",) * 30_000
    for index in (GrantIndex(permissions), GrantIndex(permissions[:4])):
        assert index.allowing((*asked, "c"), PUB, NOW) == permissions[0]
        assert index.allowing((*asked, "#"), SUB, NOW) == (permissions[6] if len(index) > 4 else None)
        assert index.denying(("#",), SUB, NOW) == permissions[1]
        assert index.denying(("+",) * 30_001, SUB, NOW) == permissions[1]
        assert index.denying(("+",) * 32_000, SUB, NOW) == (permissions[11] if len(index) > 4 else None)
        miss = index.nearest((*asked[:-1], "b"), PUB, NOW)
        assert miss is not None
        assert (miss.level, miss.why) == (29_999, "level")


@pytest.fixture(scope="module")
def large() -> GrantIndex:
    """10,000 ALLOW and 10,000 DENY; the denials are for PUB alone."""
    shapes = ("plant/line{0}/up", "plant/line{0}/+/cmd", "plant/line{0}/sub/#", "site{0}/+/dev{0}/state")
    topics = [shapes[n % 4].format(n) for n in range(10_000)]
    permissions = [permission(t, action, effect) for t in topics for action, effect in ((PUB_SUB, ALLOW), (PUB, DENY))]
    random.Random(7).shuffle(permissions)  # noqa: S311 - any order will do
    return GrantIndex(permissions)


@pytest.mark.parametrize(
    ("asked", "action", "allowed"),
    [
        ("plant/line4000/up", PUB, True),
        ("plant/line4001/x/cmd", PUB, True),
        ("plant/line4002/sub/a/b/c", PUB, True),
        ("site4003/x/dev4003/state", PUB, True),
        ("plant/line4001/+/cmd", SUB, True),
        ("plant/line4002/sub/+/x", SUB, True),
        ("plant/line4000/down", PUB, False),
        ("plant/+/up", SUB, False),
        ("plant/#", SUB, False),
        ("#", SUB, False),
        ("$SYS/#", SUB, False),
        ("nowhere/at/all", PUB, False),
    ],
)
def test_ten_thousand_permissions_are_not_scanned(large: GrantIndex, asked: str, action: Action, allowed: bool) -> None:
    levels = parse_filter(asked)
    look, looked_at = grants._Question.live, []

    def counting(question: grants._Question, found: Permission) -> bool:
        looked_at.append(found)
        return look(question, found)

    with mock.patch.object(grants._Question, "live", counting):
        assert (large.allowing(levels, action, NOW) is not None) is allowed
        assert (large.denying(levels, action, NOW) is not None) is (allowed and action is PUB)
        large.nearest(levels, action, NOW)
    assert len(looked_at) <= 4 * FLAT


def test_a_filter_that_is_granted_as_it_is_asked_for_is_looked_up(large: GrantIndex) -> None:
    with mock.patch.object(grants, "levels_cover", side_effect=AssertionError("compared")):
        assert large.allowing(("plant", "line4000", "up"), PUB, NOW) is not None
        assert large.allowing(("plant", "line4001", "+", "cmd"), SUB, NOW) is not None
        assert large.denying(("plant", "line4000", "up"), PUB, NOW) is not None
