"""Random `acl.conf` files: what was imported never allows more than EMQX did, and no less than what is told."""

import tempfile
from itertools import product
from pathlib import Path

from emqx_reference import Asker, Rule, Topic, allows
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from imports_under_test import PUB, SUB, Asked, Installed, Loaded, emqx, losses, written

from store.sync.importing.imported import Imported

USERS = ("u", "v")
CLIENTS = ("c", "a", "a/b", "#", "+", "$S")
ASKERS = [Asker(user, client) for user, client in product(USERS, CLIENTS)]
SAFE = [Asker(user, client) for user, client in product(USERS, ("c", "a"))]

USUAL = (
    "#", "#", "a/#", "+/#", "+", "a", "a/b", "+/b", "a/+", "$S/#", "$S/a", "${clientid}", "a/${clientid}",
    "${clientid}/#", "${username}/a", "a/${clientid}/b",
)  # fmt: skip
LEVELS = st.sampled_from(["a", "a", "b", "+", "${clientid}", "${username}", "", "$S"])


@st.composite
def topics(draw: st.DrawFn) -> Topic:
    text = draw(st.sampled_from(USUAL))
    if draw(st.integers(0, 3)) == 0:
        text = "/".join(draw(st.lists(LEVELS, min_size=1, max_size=2))) or "a"
    return Topic(text, eq="${" not in text and draw(st.integers(0, 3)) == 0)


RULES = st.builds(
    Rule,
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["all", "all", "all", "all", "user u", "user v", "client c", "both u c", "either v a", "re ^u"]),
    st.sampled_from(["publish", "subscribe", "all"]),
    st.lists(topics(), min_size=1, max_size=2).map(tuple),
)
LAST = st.sampled_from([Rule("allow", "all", "all", (Topic(topic),)) for topic in ("#", "#", "a/#", "$S/#", "+/#")])


@st.composite
def files(draw: st.DrawFn) -> list[Rule]:
    rules = draw(st.lists(RULES, min_size=1, max_size=4))
    return [*rules, draw(LAST)] if draw(st.booleans()) else rules


TOPICS = ["/".join(levels) for size in (1, 2) for levels in product(["a", "b", "", "$S", "c", "u"], repeat=size)]
TOPICS = [*filter(None, TOPICS), "a/b/a", "a//b", "c/u/a", "u/a/b", "a/a/b", "$S/a/b", "b/c/u", "a/b/$S", "b/a/b/u"]
FILTERS = [
    "#",
    "+",
    "+/+",
    "+/#",
    "a/#",
    "a/+",
    "a/+/#",
    "+/b",
    "/#",
    "$S/#",
    "$S/+",
    "c/#",
    "u/+",
    "a/b/#",
    "+/c",
    "a/+/b",
]


@given(files())
@settings(max_examples=60, deadline=None)
def test_nobody_may_do_more_than_before(rules: list[Rule]) -> None:
    made = emqx("\n".join(map(str, rules)))
    event("something is left out" if losses(made) else "all is carried over")
    with tempfile.TemporaryDirectory() as folder:
        check(rules, made, Loaded(Path(folder), written(made), USERS))


@given(files())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_may_do_more_than_before_in_a_real_store(rules: list[Rule]) -> None:
    made = emqx("\n".join(map(str, rules)))
    with tempfile.TemporaryDirectory() as folder, Installed(Path(folder), written(made), users=USERS) as store:
        check(rules, made, store)


def check(rules: list[Rule], made: Imported, store: Asked) -> None:
    for asker in ASKERS:
        for topic in TOPICS:
            if store.may(asker.username, asker.client_id, PUB, topic):
                assert allows(rules, asker, "publish", topic), (asker, topic, written(made))
        for filter_ in (*TOPICS, *FILTERS):
            if store.may(asker.username, asker.client_id, SUB, filter_):
                assert allows(rules, asker, "subscribe", filter_), (asker, filter_, written(made))
    if losses(made):
        return
    for asker, topic in product(SAFE, TOPICS):
        if topic.startswith("$"):
            continue  # a leading wildcard reaches these in EMQX, and is told to
        for action, word in ((PUB, "publish"), (SUB, "subscribe")):
            now = store.may(asker.username, asker.client_id, action, topic)
            assert now == allows(rules, asker, word, topic), (asker, word, topic, written(made))
