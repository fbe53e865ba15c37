"""Parts of the management API: parameters, the rate, the calls and their names."""

from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exhook.api.calls import CALLS, NOT_OURS
from exhook.api.parameters import Parameters
from exhook.api.rate import Rate
from exhook.api.refusal import Refusal
from exhook.settings import InvalidSettings, load_settings
from store.api_calls import CALLS as NAMES


class Word(StrEnum):
    A = "A"
    B = "B"


def test_there_is_a_call_for_each_name_that_a_key_may_be_given() -> None:
    assert tuple(CALLS) == NAMES
    assert not NOT_OURS & CALLS.keys()


@pytest.mark.parametrize("value", ["", "-1", "1.0", "1e2", " 1", "٣", "9" * 30, "101", "0"])
def test_numbers_are_whole_and_in_their_bounds(value: str) -> None:
    with pytest.raises(Refusal) as refused:
        Parameters((("Size", value),)).number("Size", 1, 100)
    assert refused.value.code == "InvalidParameter.Size"
    assert Parameters((("Size", "07"),)).number("Size", 1, 100) == 7
    assert Parameters(()).number("Size", 1, 100, default=5) == 5


def test_choices_are_words_as_they_are_written() -> None:
    words = tuple(Word)
    assert Parameters((("W", "B"),)).choice("W", words) is Word.B
    assert Parameters((("W", ""),)).optional_choice("W", words) is None
    for value in ("a", "C", ""):
        with pytest.raises(Refusal, match="A, B"):
            Parameters((("W", value),)).choice("W", words)


def test_a_name_from_outside_stands_in_no_code_if_it_could_not_be_ours() -> None:
    for name in ("x\r\ny", "é", "a" * 100, ""):
        with pytest.raises(Refusal) as refused:
            Parameters(((name, "1"), (name, "2")))
        assert refused.value.code == "InvalidParameter.Name"


@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 50.0]),
    steps=st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=60),
)
def test_never_more_than_the_rate_and_whoever_waits_as_told_is_let_in(rate: float, steps: list[float]) -> None:
    now = [0.0]
    bucket, taken = Rate(rate, lambda: now[0]), []
    for step in steps:
        now[0] += step
        try:
            bucket.take("k")
        except Refusal as refused:
            now[0] += (refused.retry_after_ms or 0) / 1000 + 1e-6
            bucket.take("k")
        taken.append(now[0])
        bucket.take(f"other {len(taken)}")
    burst = max(rate, 1.0)
    for start in range(len(taken)):
        for end in range(start, len(taken)):
            assert end - start + 1 <= burst + rate * (taken[end] - taken[start]) + 1e-3
    assert all(one <= other for one, other in pairwise(taken))


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    now = [100.0]
    bucket = Rate(1.0, lambda: now[0])
    bucket.take("k")
    now[0] = 0.0
    with pytest.raises(Refusal):
        bucket.take("k")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"api": "0.0.0.0:80"}, "is reached from other machines, unencrypted"),
        ({"api": "[::]:80"}, "is reached from other machines, unencrypted"),
        ({"api": "127.0.0.1"}, "is no ADDRESS:PORT"),
        ({"api": "127.0.0.1:80", "api_tls_key": Path("k")}, "cannot have api_tls_key without api_tls_cert"),
        ({"api": "127.0.0.1:80", "api_tls_client_ca": Path("a")}, "cannot have api_tls_client_ca without api_tls_cert"),
        ({"api_rate": "-1"}, "greater than or equal to 0"),
    ],
)
def test_settings_that_are_refused(flags: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        load_settings(flags, {})


@pytest.mark.parametrize(
    "flags",
    [
        {"api": "0.0.0.0:80", "insecure": True},
        {"api": "0.0.0.0:80", "api_tls_cert": Path("c"), "api_tls_key": Path("k")},
        {"api": "localhost:80"},
        {"api": "[::1]:80"},
    ],
)
def test_settings_that_are_taken(flags: dict[str, object]) -> None:
    assert load_settings(flags, {}).api == flags["api"]
