"""The sweeper: what ran out is told once, under revisions of bounded size, and nothing else is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import (
    INSTANCE,
    NOW,
    PUB,
    allow,
    asking,
    blocked,
    client,
    deny,
    group,
    instance,
    secret,
    token,
    user,
    written,
)

from store.changes import Change, Operation, changes_of, revisions
from store.database import Database
from store.decision import authorize
from store.reader import Reader
from store.records import Identity, Record
from store.seal import SealKeys, new_key
from store.sweeper import TOKENS_KEPT_MS, forget_tokens, next_expiry, sweep
from store.tables import IDENTITIES, PERMISSIONS, TOKENS, content
from store.unavailable import StoreUnavailable

EARLY = NOW - 1_000
"""When records are written here, unless a test says otherwise."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", SealKeys()) as opened:
        written(opened, instance(), now_ms=EARLY)
        yield opened


def told(database: Database) -> list[Change]:
    """Every EXPIRE change of the store, oldest first."""
    return [
        change
        for revision in range(1, database.revision + 1)
        for change in changes_of(database.connection, revision)
        if change.operation is Operation.EXPIRE
    ]


EXPIRING: list[Record] = [
    group("GID_Press", expires_at=NOW),
    user("u", expires_at=NOW),
    client("u", "c1", expires_at=NOW),
    user("u", secret(expires_at=NOW)),
    user("u", secret(expires_at=NOW), secret("second", id="2")),
    allow("a", expires_at=NOW),
    deny("a", expires_at=NOW),
    blocked("x", expires_at=NOW),
    blocked(username="x", expires_at=NOW),
]


@pytest.mark.parametrize("record", EXPIRING)
def test_every_kind_is_told_at_its_millisecond_and_once(database: Database, record: Record) -> None:
    (kept,) = written(database, record, now_ms=EARLY)
    assert next_expiry(database) == NOW
    assert sweep(database, NOW - 1) == 0
    assert database.revision == 2
    assert sweep(database, NOW) == 1
    (change,) = told(database)
    assert (change.kind, change.key) == (record.kind, record.key)
    assert change.before == change.after == content(kept)
    assert next_expiry(database) is None
    for later in (NOW, NOW + 1, NOW + 10**9):
        assert sweep(database, later) == 0
    assert database.revision == 3


def test_the_revision_says_who_and_how_many(database: Database) -> None:
    written(database, allow("a", expires_at=NOW), user("u", expires_at=NOW - 5), allow("b"), now_ms=EARLY)
    assert sweep(database, NOW + 7) == 2
    (last,) = revisions(database.connection, 1)
    assert (last.actor, last.source, last.at) == ("sweeper", "sweeper", NOW + 7)
    assert (last.added, last.changed, last.removed, last.expired) == (0, 0, 0, 2)


def test_an_instance_is_left_alone(database: Database) -> None:
    written(database, instance(expires_at=NOW), now_ms=EARLY)
    assert (sweep(database, NOW), next_expiry(database)) == (0, None)


def test_nothing_expired_is_no_revision_and_no_write(database: Database) -> None:
    written(database, allow("a"), allow("b", expires_at=NOW + 1), now_ms=EARLY)
    before = database.connection.total_changes
    assert sweep(database, NOW) == 0
    assert database.connection.total_changes == before
    assert database.revision == 2


def test_an_identity_is_told_once_though_it_and_both_secrets_ran_out(database: Database) -> None:
    rotten = user("u", secret("a", id="1", expires_at=NOW - 1), secret("b", id="2", expires_at=NOW), expires_at=NOW)
    written(database, rotten, now_ms=EARLY)
    assert sweep(database, NOW) == 1


def test_secrets_that_run_out_at_different_times_are_told_each_in_its_own(database: Database) -> None:
    written(database, user("u", secret("a", id="1", expires_at=NOW), secret("b", id="2", expires_at=NOW + 5)), now_ms=1)
    assert [sweep(database, now_ms) for now_ms in (NOW - 1, NOW, NOW + 4, NOW + 5)] == [0, 1, 0, 1]


class TestPast:
    def test_what_is_written_with_an_expiry_in_the_past_is_no_news(self, database: Database) -> None:
        past = [replace(record, expires_at=NOW - 1) for record in EXPIRING if record.expires_at]
        written(database, *past, user("v", secret(expires_at=NOW - 1)), allow("edge", expires_at=NOW), now_ms=NOW)
        assert next_expiry(database) is None
        assert sweep(database, NOW + 5) == 0
        assert database.revision == 2
        # They lie behind from now on, and are not looked at again.
        assert database.swept_until == NOW + 5

    def test_while_no_server_ran(self, database: Database) -> None:
        """A first sweep catches up with all that ran out since the store was made."""
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        written(database, allow("b", expires_at=NOW + 10**9), now_ms=EARLY)
        assert next_expiry(database) == NOW
        assert sweep(database, NOW + 10**10) == 2

    def test_a_record_whose_time_was_moved_is_told_at_its_new_time(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        written(database, allow("a", expires_at=NOW + 50), now_ms=EARLY)
        assert [sweep(database, now_ms) for now_ms in (NOW, NOW + 49, NOW + 50)] == [0, 0, 1]
        written(database, allow("a", expires_at=NOW + 90), now_ms=NOW + 60)
        assert [sweep(database, now_ms) for now_ms in (NOW + 89, NOW + 90)] == [0, 1]

    def test_a_record_removed_in_time_is_told_of_no_more(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        with database.writing(actor="a", source="s", now_ms=EARLY) as write:
            write.remove(allow("a"))
        assert sweep(database, NOW) == 0


class TestBeforeTheSweep:
    """Who changes or removes what ran out tells of it, since no sweep can any more."""

    @pytest.mark.parametrize("record", EXPIRING)
    def test_what_ran_out_is_told_by_who_removes_it(self, database: Database, record: Record) -> None:
        (kept,) = written(database, record, now_ms=EARLY)
        with database.writing(actor="a", source="s", now_ms=NOW) as write:
            write.remove(record)
        assert [change.operation for change in changes_of(database.connection, 3)] == ["expire", "remove"]
        (change,) = told(database)
        assert change.before == change.after == content(kept)
        (last,) = revisions(database.connection, 1)
        assert (last.removed, last.expired) == (1, 1)
        assert sweep(database, NOW) == 0

    @pytest.mark.parametrize("record", EXPIRING)
    def test_and_by_who_changes_it(self, database: Database, record: Record) -> None:
        written(database, record, now_ms=EARLY)
        written(database, replace(record, note="seen"), now_ms=NOW)
        assert [change.operation for change in changes_of(database.connection, 3)] == ["expire", "change"]
        written(database, replace(record, note="seen again"), now_ms=NOW)
        assert (len(told(database)), sweep(database, NOW)) == (1, 0)

    def test_but_not_once_more(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), allow("b", expires_at=NOW + 9), now_ms=EARLY)
        sweep(database, NOW)
        with database.writing(actor="a", source="s", now_ms=NOW + 5) as write:
            write.remove(allow("a"))
            write.remove(allow("b"))
        assert [(change.revision, change.key[3]) for change in told(database)] == [(3, "a")]

    def test_nor_where_it_says_the_same_which_the_sweep_finds(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        written(database, allow("a", expires_at=NOW), now_ms=NOW)
        assert (database.revision, sweep(database, NOW)) == (2, 1)


class TestClock:
    """Pitfall 19: a clock that jumps."""

    def test_set_back_it_forgets_nothing_that_comes(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        assert sweep(database, NOW + 10**8) == 1
        written(database, allow("b", expires_at=NOW + 50), now_ms=NOW)
        # The first may have come into force again when the clock was set back, and have run out since.
        assert sweep(database, NOW + 10) == 1
        assert next_expiry(database) == NOW + 50
        assert sweep(database, NOW + 50) == 1
        assert [change.after and change.after["topic"] for change in told(database)] == ["a", "a", "b"]

    def test_what_was_written_while_it_was_ahead_is_told_when_it_runs_out(self, database: Database) -> None:
        sweep(database, EARLY)
        written(database, allow("a", expires_at=NOW), user("u", secret(expires_at=NOW)), now_ms=NOW + 10**8)
        assert [sweep(database, now_ms) for now_ms in (NOW - 1, NOW, NOW + 1)] == [0, 2, 0]

    def test_what_ran_out_and_was_removed_after_it_was_set_back_is_told(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        assert sweep(database, NOW + 10**8) == 1
        with database.writing(actor="a", source="s", now_ms=NOW + 10) as write:
            write.remove(allow("a"))
        assert [change.revision for change in told(database)] == [3, 4]

    def test_set_back_it_does_not_write_each_time(self, database: Database) -> None:
        written(database, allow("a", expires_at=NOW), now_ms=EARLY)
        sweep(database, NOW + 10**8)
        sweep(database, NOW + 10)
        before = database.connection.total_changes
        assert sweep(database, NOW + 10) == 0
        assert database.connection.total_changes == before


class TestBatches:
    def test_many_at_once_are_several_revisions(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.sweeper.MAX_PER_REVISION", 7)
        topics = [f"{number}" for number in range(20)]
        written(database, *(allow(topic, expires_at=NOW) for topic in topics), now_ms=EARLY)
        assert sweep(database, NOW) == 20
        assert [made.expired for made in reversed(revisions(database.connection, 3))] == [7, 7, 6]
        assert sorted(change.key[3] for change in told(database)) == sorted(topics)
        assert (sweep(database, NOW), sweep(database, NOW + 1)) == (0, 0)

    def test_half_way_the_rest_is_not_forgotten(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.sweeper.MAX_PER_REVISION", 7)
        written(database, *(allow(f"{number}", expires_at=NOW) for number in range(20)), now_ms=EARLY)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "writing", _once(Database.writing))
            with pytest.raises(StoreUnavailable, match="the second time"):
                sweep(database, NOW)
        assert len(told(database)) == 7
        assert next_expiry(database) == NOW
        sweep(database, NOW)
        assert {change.key[3] for change in told(database)} == {f"{number}" for number in range(20)}

    def test_what_was_written_anew_in_between_is_left_out(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(database, allow("a", expires_at=NOW), allow("b", expires_at=NOW), now_ms=EARLY)
        find = Database.find

        def find_late(self: Database, *arguments: Any, **named: Any) -> Iterator[Record]:
            for record in find(self, *arguments, **named):
                yield replace(record, expires_at=NOW + 9) if record.key[3] == "b" else record

        monkeypatch.setattr(Database, "find", find_late)
        assert sweep(database, NOW) == 1
        assert [change.key[3] for change in told(database)] == ["a"]


def _once(writing: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def limited(self: Database, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise StoreUnavailable("the second time")
        return writing(self, **named)

    return limited


def test_a_secret_beyond_unsealing_holds_nothing_up(tmp_path: Path) -> None:
    with Database.open(tmp_path / "sealed.db", SealKeys.from_text(new_key(), "keys")) as database:
        written(database, instance(), user("u", expires_at=NOW), allow("a", expires_at=NOW), now_ms=EARLY)
        database.connection.execute("UPDATE identity_secrets SET sealed = x'01'")
        assert sweep(database, NOW) == 2


def test_a_locked_store_puts_it_off(database: Database, tmp_path: Path) -> None:
    written(database, allow("a", expires_at=NOW), now_ms=EARLY)
    with Database.open(tmp_path / "exhook.db", SealKeys(), busy_ms=50) as other:
        with database.transaction(), pytest.raises(StoreUnavailable, match="is locked by another writer"):
            sweep(other, NOW)
        assert sweep(other, NOW) == 1


def test_readers_evict_what_ran_out(database: Database, tmp_path: Path) -> None:
    written(database, user("u"), allow("a", expires_at=NOW), now_ms=EARLY)
    reader = Reader(tmp_path / "exhook.db", SealKeys())
    asker = asking("u")
    assert authorize(reader.view(INSTANCE, asker), asker, PUB, "a", NOW - 1).allow
    assert not authorize(reader.view(INSTANCE, asker), asker, PUB, "a", NOW).allow
    sweep(database, NOW)
    assert reader.poll()
    assert reader.view(INSTANCE, asker).revision == 3
    reader.close()


def test_ten_thousand_at_one_moment(database: Database) -> None:
    """A bare date in a policy file: all of them run out at midnight."""
    database.connection.execute("PRAGMA synchronous = OFF")
    written(database, *(allow(f"t/{number}", expires_at=NOW) for number in range(10_001)), now_ms=EARLY)
    assert sweep(database, NOW) == 10_001
    assert [made.expired for made in revisions(database.connection, 3)] == [1, 5_000, 5_000]


_moments = st.integers(1, 12)
_writes = st.lists(st.tuples(st.sampled_from("abc"), st.none() | _moments, st.none() | _moments), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), _writes), max_size=6))
def test_every_expiry_that_came_while_it_stood_is_told_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, list[tuple[str, int | None, int | None]]]]
) -> None:
    """Against a model: what runs out between two sweeps is told by the later one."""
    path = tmp_path_factory.mktemp("sweeper") / "exhook.db"
    with Database.open(path, SealKeys()) as database:
        database.connection.execute("PRAGMA synchronous = OFF")
        written(database, instance(), now_ms=0)
        clock = 0
        for pause, writes in steps:
            before, clock = clock, clock + pause
            standing = _standing(database)
            due = {key for key, expiries in standing.items() if any(before < expiry <= clock for expiry in expiries)}
            assert next_expiry(database) == _next(standing, before)
            seen = len(told(database))
            assert sweep(database, clock) == len(due)
            assert {change.key for change in told(database)[seen:]} == due
            for name, expiry, secret_expiry in writes:
                permission = allow(name, expires_at=expiry)
                identity = user(name, secret(expires_at=secret_expiry), expires_at=expiry)
                written(database, permission, identity, now_ms=clock)


def _standing(database: Database) -> dict[tuple[str, ...], list[int]]:
    """The expiries of each record that lay ahead when it was written."""
    found: dict[tuple[str, ...], list[int]] = {}
    for record in (*database.records(PERMISSIONS), *database.records(IDENTITIES)):
        expiries = [record.expires_at]
        if isinstance(record, Identity):
            expiries += [kept.expires_at for kept in record.secrets]
        found[record.key] = [expiry for expiry in expiries if expiry is not None and expiry > record.updated_at]
    return found


def _next(standing: dict[tuple[str, ...], list[int]], after: int) -> int | None:
    return min((expiry for expiries in standing.values() for expiry in expiries if expiry > after), default=None)


def test_tokens_go_a_day_after_their_end_and_many_at_once(database: Database) -> None:
    hour = 3_600_000
    written(database, *(token(token_id=str(one), expires_at=NOW + one * hour) for one in range(4)), now_ms=EARLY)
    revision = database.revision
    assert forget_tokens(database, NOW + TOKENS_KEPT_MS + hour - 1) == 0
    assert database.revision == revision
    assert forget_tokens(database, NOW + TOKENS_KEPT_MS + hour) == 2
    assert sorted(found.token_id for found in database.records(TOKENS)) == ["2", "3"]
    assert database.revision == revision + 1
