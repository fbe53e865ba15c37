"""Nonces in the runtime file: each once, for as long as it counts, for every process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import nonces as nonces_module
from store.nonces import PURGE_MS, SpentNonces
from store.runtime import Runtime

NOW = 1_800_000_000_000
SKEW = 15 * 60_000
HELD = 2 * SKEW


class Ages:
    """The nonces of a process, as time goes by."""

    def __init__(self, runtime: Runtime) -> None:
        self.running = 0
        self.now = NOW
        self._runtime = runtime
        self._nonces = SpentNonces(runtime, HELD, running_ms=lambda: self.running)

    def pass_by(self, ms: int) -> None:
        """Let time go by, with calls each minute."""
        for step in [PURGE_MS] * (ms // PURGE_MS) + [ms % PURGE_MS]:
            self.running += step
            self.now += step
            self._nonces.spend([], self.now)

    def spend(self, nonce: bytes, until: int) -> bool:
        return self._nonces.spend([(nonce, until)], self.now) == [True]

    @property
    def kept(self) -> list[bytes]:
        return [row[0] for row in self._runtime.connection.execute("SELECT nonce FROM nonces ORDER BY nonce")]


@pytest.fixture
def ages(tmp_path: Path) -> Iterator[Ages]:
    with Runtime.open(tmp_path / "exhook.db") as runtime:
        yield Ages(runtime)


def test_each_once_also_within_one_batch_and_for_another_process(tmp_path: Path) -> None:
    with Runtime.open(tmp_path / "exhook.db") as one, Runtime.open(tmp_path / "exhook.db") as two:
        taken = SpentNonces(one, HELD).spend([(b"a", NOW + 1), (b"b", NOW + 1), (b"a", NOW + 1)], NOW)
        assert taken == [True, True, False]
        assert SpentNonces(two, HELD).spend([(b"b", NOW + 1), (b"c", NOW + 1)], NOW) == [False, True]
    with Runtime.open(tmp_path / "exhook.db") as later:
        assert SpentNonces(later, HELD).spend([(b"c", NOW + 1)], NOW) == [False]


def test_what_comes_again_takes_no_write(tmp_path: Path) -> None:
    """Else whoever sends a call again and again would keep those waiting who have something to write."""
    with Runtime.open(tmp_path / "exhook.db") as one, Runtime.open(tmp_path / "exhook.db") as other:
        nonces = SpentNonces(one, HELD)
        assert nonces.spend([(b"a", NOW + 1)], NOW) == [True]
        with other.writing():
            assert nonces.spend([(b"a", NOW + 1), (b"a", NOW + 1)], NOW) == [False, False]


def test_what_had_its_time_is_removed_in_the_end(ages: Ages) -> None:
    ages.spend(b"early", NOW + SKEW)
    ages.pass_by(10 * PURGE_MS)
    ages.spend(b"later", ages.now + SKEW)
    ages.pass_by(SKEW + HELD + 2 * PURGE_MS - 10 * PURGE_MS)
    assert ages.kept == [b"later"]
    ages.pass_by(10 * PURGE_MS)
    assert ages.kept == []


def test_one_that_was_looked_at_in_its_last_moment_is_known_in_the_next(ages: Ages) -> None:
    assert ages.spend(b"a", NOW + SKEW)
    ages.pass_by(SKEW + 1)
    assert not ages.spend(b"a", NOW + SKEW)


def test_a_clock_that_was_ahead_for_a_while_forgets_nothing(ages: Ages) -> None:
    assert ages.spend(b"a", NOW + SKEW)
    ages.now += 24 * 3_600_000
    ages.pass_by(10 * PURGE_MS)
    ages.now -= 24 * 3_600_000
    ages.pass_by(PURGE_MS)
    assert not ages.spend(b"a", NOW + SKEW)


@settings(max_examples=30)
@given(jumps=st.lists(st.tuples(st.integers(-90, 90), st.integers(1, 20)), max_size=12))
def test_whatever_the_clock_did_no_call_is_let_in_twice_while_it_is_right(
    jumps: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Signed when the clock was right, by a caller whose own may be 15 minutes off."""
    with Runtime.open(tmp_path_factory.mktemp("clock") / "exhook.db") as runtime:
        ages = Ages(runtime)
        signed = {b"slow": NOW - SKEW, b"right": NOW, b"fast": NOW + SKEW}
        for nonce, at in signed.items():
            assert ages.spend(nonce, at + SKEW)
        for off, minutes in jumps:
            ages.now = NOW + ages.running + off * 60_000
            ages.pass_by(minutes * 60_000)
            ages.now = NOW + ages.running
            for nonce, at in signed.items():
                if abs(ages.now - at) <= SKEW:
                    assert not ages.spend(nonce, at + SKEW)


def test_many_are_removed_some_at_a_time(ages: Ages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces_module, "MOST_REMOVED", 2)
    for number in range(5):
        ages.spend(b"%d" % number, NOW - 1)
    ages.pass_by(HELD - 1)
    for left in (5, 3, 1, 0, 0):
        assert len(ages.kept) == left
        ages.pass_by(1 if left == 5 else 0)
