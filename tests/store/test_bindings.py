"""Bindings in the runtime file: seen by every connection to it, replaced whole, renewed only where they stand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from store.bindings import KEPT_MS, Bindings
from store.runtime import Runtime, path_beside
from store.token_mode import Binding, BoundToken
from store.unavailable import StoreUnavailable

NOW = 1_800_000_000_000
R = BoundToken("R", "r1", "k1", NOW + 10)
W = BoundToken("W", "w1", "k1", NOW + 20)
BINDING = Binding("mqtt-test", "YYYYY", (R, W), "10.0.0.1", 40_000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def runtime(store: Path) -> Iterator[Runtime]:
    with Runtime.open(store) as opened:
        yield opened


@pytest.fixture
def bindings(runtime: Runtime) -> Bindings:
    return Bindings(runtime)


def test_another_process_s_connection_sees_it(bindings: Bindings, store: Path) -> None:
    with Runtime.open(store) as other:
        assert Bindings(other).find("tcp", "c") is None
        bindings.bind("tcp", "c", BINDING, NOW)
        assert Bindings(other).find("tcp", "c") == BINDING
        Bindings(other).unbind("tcp", "c")
    assert bindings.find("tcp", "c") is None


def test_each_listener_and_client_has_its_own(bindings: Bindings) -> None:
    other = replace(BINDING, access_key_id="ZZZZZ")
    bindings.bind("tcp", "c", BINDING, NOW)
    bindings.bind("tls", "c", other, NOW)
    bindings.bind("tcp", "d", other, NOW)
    assert bindings.find("tcp", "c") == BINDING
    bindings.bind("tcp", "c", other, NOW)
    assert bindings.find("tcp", "c") == other
    bindings.unbind("tcp", "c")
    assert bindings.find("tls", "c") == bindings.find("tcp", "d") == other


def test_nothing_is_written_where_nothing_was_bound(bindings: Bindings, runtime: Runtime) -> None:
    before = runtime.connection.total_changes
    bindings.unbind("tcp", "c")
    assert runtime.connection.total_changes == before


def test_the_newest_of_a_cluster_s_listeners(bindings: Bindings) -> None:
    assert bindings.newest("c", ["tcp", "tls"]) is None
    bindings.bind("tcp", "c", BINDING, NOW)
    bindings.bind("tls", "c", replace(BINDING, port=2), NOW + 1)
    bindings.bind("elsewhere", "c", replace(BINDING, port=3), NOW + 2)
    assert bindings.newest("c", ["tcp", "tls"]) == ("tls", replace(BINDING, port=2))
    assert bindings.newest("c", ["tcp"]) == ("tcp", BINDING)


class TestRenew:
    FRESH = BoundToken("R", "r2", "k2", NOW + 99)

    def test_a_token_takes_the_place_of_its_type(self, bindings: Bindings) -> None:
        bindings.bind("tcp", "c", BINDING, NOW)
        assert bindings.renew("tcp", "c", BINDING, self.FRESH, NOW)
        found = bindings.find("tcp", "c")
        assert found is not None
        assert set(found.tokens) == {self.FRESH, W}
        assert (found.address, found.port) == (BINDING.address, BINDING.port)

    def test_not_where_a_new_connection_took_over(self, bindings: Bindings) -> None:
        assert not bindings.renew("tcp", "c", BINDING, self.FRESH, NOW)
        taken_over = replace(BINDING, port=40_001)
        bindings.bind("tcp", "c", taken_over, NOW)
        assert not bindings.renew("tcp", "c", BINDING, self.FRESH, NOW)
        assert bindings.find("tcp", "c") == taken_over


def test_what_ended_long_ago_is_forgotten(bindings: Bindings) -> None:
    bindings.bind("tcp", "c", BINDING, NOW)
    assert bindings.forget_ended(NOW + 20 + KEPT_MS - 1) == 0
    assert bindings.forget_ended(NOW + 20 + KEPT_MS) == 1
    assert bindings.find("tcp", "c") is None


def test_no_token_string_is_kept(bindings: Bindings, store: Path, runtime: Runtime) -> None:
    """Ids and ends alone: nothing that could be shown to a broker."""
    bindings.bind("tcp", "c", BINDING, NOW)
    runtime.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"T1." not in path_beside(store).read_bytes()


def test_a_file_that_cannot_be_written_is_told(bindings: Bindings, runtime: Runtime) -> None:
    runtime.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable):
        bindings.bind("tcp", "c", BINDING, NOW)
