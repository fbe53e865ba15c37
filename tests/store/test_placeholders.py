"""Placeholders in permission topics: what parses, what is put in, and that no value ever widens a filter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.names import group_of
from store.placeholders import NAMES, client_values, parse_pattern
from store.topics import MAX_BYTES, InvalidTopic, levels_cover, parse_filter

CLIENT = client_values(username="press7", client_id="GID_press@@@0007", cn="press7.example")

# topic, its widest filter, its filter for CLIENT
SUBSTITUTED = [
    ("dev/${clientid}/#", "dev/+/#", "dev/GID_press@@@0007/#"),
    ("dev/${username}", "dev/+", "dev/press7"),
    ("dev/${group}/${device}/up", "dev/+/+/up", "dev/GID_press/0007/up"),
    ("cert/${cn}/+", "cert/+/+", "cert/press7.example/+"),
    ("dev/p-${username}-x/up", "dev/+/up", "dev/p-press7-x/up"),
    ("dev/${group}${device}", "dev/+", "dev/GID_press0007"),
    ("dev/${device}.${device}", "dev/+", "dev/0007.0007"),
    # The first level, whole and in part.
    ("${clientid}/#", "+/#", "GID_press@@@0007/#"),
    ("${username}", "+", "press7"),
    ("${group}-x/up", "+/up", "GID_press-x/up"),
    ("x-${group}/up", "+/up", "x-GID_press/up"),
    # Beside a `$` level that is written out.
    ("$SYS/${clientid}", "$SYS/+", "$SYS/GID_press@@@0007"),
    # An escape in the same level as a placeholder.
    ("dev/$${${username}}", "dev/+", "dev/${press7}"),
    ("dev/${username}$${x}", "dev/+", "dev/press7${x}"),
    # Braces and dollars that open no placeholder.
    ("dev/${username}}", "dev/+", "dev/press7}"),
    ("dev/$${username}/${username}", "dev/${username}/+", "dev/${username}/press7"),
    ("dev/a$b${username}", "dev/+", "dev/a$bpress7"),
]

# Topics without a placeholder, and the filter that they are.
FIXED = [
    ("a/+/#", "a/+/#"),
    ("#", "#"),
    ("/", "/"),
    ("$SYS/#", "$SYS/#"),
    ("a/$${clientid}/b", "a/${clientid}/b"),
    ("$${clientid}", "${clientid}"),
    ("a/$$${clientid}", "a/$${clientid}"),
    ("a/$${", "a/${"),
    ("a/{clientid}", "a/{clientid}"),
    ("a/$clientid", "a/$clientid"),
    ("a/%c", "a/%c"),
    ("a/$", "a/$"),
    ("a/}", "a/}"),
    ("a/$share/b", "a/$share/b"),
    ("$shared/a", "$shared/a"),
]

REFUSED = [
    ("dev/${client_id}/#", "no placeholder"),
    ("dev/${ClientId}", "no placeholder"),
    ("dev/${}", "no placeholder"),
    ("dev/${ clientid}", "no placeholder"),
    ("dev/${clientid", "no placeholder"),
    ("dev/${", "no placeholder"),
    ("dev/${a/b}", "no placeholder"),
    ("dev/${${clientid}}", "no placeholder"),
    ("dev/${clientid}+", "wildcard beside a placeholder"),
    ("dev/+${clientid}", "wildcard beside a placeholder"),
    ("dev/${clientid}#", "wildcard beside a placeholder"),
    ("dev/#${clientid}", "wildcard beside a placeholder"),
    ("dev/#/${clientid}", "'#' elsewhere"),
    ("a+/${clientid}", r"'\+' beside"),
    ("$SYS${clientid}/a", "first level"),
    ("$${${clientid}/a", "first level"),
    ("", "empty"),
    ("a/#/b", "'#' elsewhere"),
    ("a\0b", "NUL"),
    ("a\ud800", "UTF-8"),
    ("a" * (MAX_BYTES + 1), "bytes"),
    # Text beside a placeholder is checked like any other.
    ("dev/\0${clientid}", "NUL"),
    ("dev/${clientid}\ud800", "UTF-8"),
    ("dev/" + "a" * MAX_BYTES + "${clientid}", "bytes"),
    ("$share/g/a", r"begins with \$share"),
    ("$share", r"begins with \$share"),
    ("$queue/a", r"begins with \$queue"),
    ("$delayed/5/a", r"begins with \$delayed"),
    ("$exhook/a", r"begins with \$exhook"),
    ("$share/${group}/a", r"begins with \$share"),
]

UNSAFE_VALUES = ["", "+", "#", "/", "\0", "a+", "#a", "a/b", "../x", "a\0", "+/#", "/#", "a/", "\n/"]

SAFE_VALUES = ["a", "$", "$SYS", "${clientid}", "$${", " ", "%c", "..", "caf\u00e9", "\u202ea", "-", "@@@", "*"]


@pytest.mark.parametrize(("topic", "widest", "filled"), SUBSTITUTED)
def test_a_value_is_put_in(topic: str, widest: str, filled: str) -> None:
    pattern = parse_pattern(topic)
    assert not pattern.fixed
    assert pattern.widest == tuple(widest.split("/"))
    assert pattern.substitute(CLIENT) == tuple(filled.split("/"))


@pytest.mark.parametrize(("topic", "filter_"), FIXED)
def test_a_topic_without_placeholders_is_its_filter(topic: str, filter_: str) -> None:
    pattern = parse_pattern(topic)
    assert pattern.fixed
    assert pattern.widest == pattern.substitute({}) == tuple(filter_.split("/"))


@pytest.mark.parametrize(("topic", "why"), REFUSED)
def test_a_topic_that_no_permission_can_have_is_refused(topic: str, why: str) -> None:
    with pytest.raises(InvalidTopic, match=why):
        parse_pattern(topic)


def test_an_unknown_placeholder_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidTopic) as refusal:
        parse_pattern("dev/${user}")
    sentence = str(refusal.value)
    assert "'${user}'" in sentence
    assert all(f"${{{name}}}" in sentence for name in NAMES)


@pytest.mark.parametrize("value", UNSAFE_VALUES)
@pytest.mark.parametrize("topic", ["dev/${clientid}/#", "dev/x-${clientid}", "dev/${clientid}-x/+", "${clientid}/#"])
def test_an_unsafe_value_makes_no_filter(topic: str, value: str) -> None:
    assert parse_pattern(topic).substitute({"clientid": value}) is None


@pytest.mark.parametrize("value", SAFE_VALUES)
def test_any_other_value_is_taken_as_it_is(value: str) -> None:
    assert parse_pattern("dev/${clientid}/#").substitute({"clientid": value}) == ("dev", value, "#")
    assert parse_pattern("x${clientid}").substitute({"clientid": value}) == ("x" + value,)


@pytest.mark.parametrize("value", ["$SYS", "$", "$share", "$exhook", "${clientid}"])
@pytest.mark.parametrize("topic", ["${clientid}/#", "${clientid}", "${clientid}x/a"])
def test_no_value_puts_a_dollar_first(topic: str, value: str) -> None:
    assert parse_pattern(topic).substitute({"clientid": value}) is None


def test_a_missing_value_is_an_empty_one() -> None:
    assert parse_pattern("dev/${cn}").substitute({}) is None
    assert parse_pattern("dev/${cn}").substitute(client_values(username="u", client_id="c")) is None
    assert parse_pattern("dev/${clientid}/${cn}").substitute({"clientid": "a"}) is None


def test_values_that_a_topic_does_not_hold_do_not_matter() -> None:
    assert parse_pattern("dev/${clientid}").substitute({"clientid": "a", "username": "#"}) == ("dev", "a")


@pytest.mark.parametrize(
    ("client_id", "group", "device"),
    [
        ("GID_a@@@b", "GID_a", "b"),
        ("GID_a@@@b@@@c", "GID_a", "b@@@c"),
        ("a@@@@b", "a", "@b"),
        ("@@@b", "", "b"),
        ("a@@@", "a", ""),
        ("@@@", "", ""),
        ("plain", "", ""),
        ("a@@b", "", ""),
        ("", "", ""),
    ],
)
def test_group_and_device_are_split_at_the_first_separator(client_id: str, group: str, device: str) -> None:
    values = client_values(username="u", client_id=client_id)
    assert (values["group"], values["device"]) == (group, device)
    assert group_of(client_id) == group


def test_every_placeholder_has_a_value() -> None:
    values = client_values(username="u", client_id="g@@@d", cn="n")
    assert values == {"username": "u", "clientid": "g@@@d", "group": "g", "device": "d", "cn": "n"}
    assert set(values) == set(NAMES)


# ---- Injection: whatever a client calls itself, it gets a part of what the topic could name, or nothing. ----

TEMPLATES = [
    "dev/${clientid}/#",
    "dev/${clientid}",
    "${clientid}",
    "${clientid}/#",
    "${username}/${clientid}/+",
    "dev/${group}/${device}/#",
    "+/${device}-${group}/up",
    "dev/x${username}y/#",
    "$SYS/${cn}/#",
    "dev/$${${clientid}}/#",
    "/${clientid}",
]

hostile = (
    st.text(alphabet="+#/$\0{}@ab", max_size=8) | st.sampled_from(UNSAFE_VALUES + SAFE_VALUES) | st.text(max_size=20)
)
client_ids = hostile | st.builds("{}@@@{}".format, hostile, hostile)


@given(topic=st.sampled_from(TEMPLATES), client_id=client_ids, username=hostile, cn=hostile)
@settings(max_examples=200, deadline=None)
def test_no_value_widens_a_filter(topic: str, client_id: str, username: str, cn: str) -> None:
    pattern = parse_pattern(topic)
    filled = pattern.substitute(client_values(username=username, client_id=client_id, cn=cn))
    if filled is None:
        return
    assert len(filled) == len(pattern.levels)
    assert levels_cover(pattern.widest, filled)
    assert parse_filter("/".join(filled)) == filled
    for made, level in zip(filled, pattern.levels, strict=True):
        assert made == level or (isinstance(level, tuple) and made not in ("+", "#"))


@given(value=hostile)
@settings(max_examples=250, deadline=None)
def test_a_value_is_refused_exactly_where_it_is_unsafe(value: str) -> None:
    unsafe = not value or bool(set(value) & {"+", "#", "/", "\0"})
    assert (parse_pattern("dev/${clientid}").substitute({"clientid": value}) is None) is unsafe
    assert (parse_pattern("${clientid}").substitute({"clientid": value}) is None) is (unsafe or value.startswith("$"))


@given(st.text(alphabet="a/+#$", max_size=10))
@settings(max_examples=200, deadline=None)
def test_without_braces_a_pattern_is_a_filter(text: str) -> None:
    if text.split("/", maxsplit=1)[0] in ("$share", "$queue", "$delayed", "$exhook"):
        return
    try:
        expected = parse_filter(text)
    except InvalidTopic:
        with pytest.raises(InvalidTopic):
            parse_pattern(text)
        return
    assert parse_pattern(text).widest == expected
