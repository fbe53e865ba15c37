"""The reader: views at one revision, and a cache that never outlives a commit."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import (
    INSTANCE,
    NOW,
    PUB,
    SUB,
    allow,
    answer_to,
    asking,
    blocked,
    client,
    deny,
    group,
    instance,
    stored,
    user,
    view_of,
    written,
)
from small_stores import cases, stores, topics

from store.database import Database
from store.decision import authorize
from store.part_cache import LONG_NAME
from store.reader import MAX_CHANGES, Reader
from store.records import BlacklistEntry, Grantee, Identity, Record
from store.seal import SealError, SealKeys, new_key
from store.tables import TABLES, Subject
from store.view import Client, View

KEYS = SealKeys()
PRESS = "GID_Press@@@0001"
U = asking("u")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database.open(path, KEYS) as opened:
        written(opened, instance())
        yield opened


@pytest.fixture
def reader(database: Database, path: Path) -> Iterator[Reader]:
    """A reader of a store with a few records."""
    written(database, user("u"), user("v"), allow("u/#", to=(Grantee.USER, "u")), allow("v/#", to=(Grantee.USER, "v")))
    opened = Reader(path, KEYS)
    yield opened
    opened.close()


def view(reader: Reader, asker: Client = U) -> View:
    return reader.view(INSTANCE, asker)


def may(reader: Reader, topic: str, asker: Client = U) -> bool:
    return authorize(view(reader, asker), asker, PUB, topic, NOW).allow


def cached(reader: Reader) -> set[tuple[str, str]]:
    return {(type_, name) for _, type_, name in reader._parts}


class TestViews:
    def test_a_view_holds_what_concerns_the_client_and_nothing_else(self, database: Database, path: Path) -> None:
        concerning: list[Record] = [
            group("GID_Press"),
            user("u"),
            client("u", PRESS),
            client("w", PRESS),
            blocked(PRESS),
            blocked(username="u"),
            blocked(PRESS, source="plant"),
        ]
        grants = [
            allow("user", to=(Grantee.USER, "u")),
            allow("client", to=(Grantee.CLIENT, PRESS)),
            allow("group", to=(Grantee.GROUP, "GID_Press")),
            allow("all"),
        ]
        others = [
            group("GID_Other"),
            user("v"),
            client("u", "c2"),
            blocked("c2"),
            blocked(username="v"),
            allow("other", to=(Grantee.USER, "v")),
            allow("other", to=(Grantee.USER, PRESS)),
            allow("other", to=(Grantee.CLIENT, "u")),
            allow("other", to=(Grantee.ACCESS_KEY, "u")),
            allow("other", to=(Grantee.GROUP, "GID_Other")),
            instance(name="mqtt-b"),
            user("u", "other", instance="mqtt-b"),
            allow("other", instance="mqtt-b"),
        ]
        written(database, *concerning, *grants, *others)
        reader = Reader(path, KEYS)
        asker = asking("u", PRESS)
        found = view(reader, asker)
        assert found.revision == 2
        assert found.instance is not None
        assert (found.instance.name, found.group and found.group.name) == (INSTANCE, "GID_Press")
        assert {(owner.username, owner.client_id) for owner in found.owners} == {("u", PRESS), ("w", PRESS)}
        assert found.user == stored_as(database, user("u"))
        assert {(entry.client_id, entry.username, entry.source) for entry in found.blacklist} == {
            (PRESS, "", "api"),
            (PRESS, "", "plant"),
            ("", "u", "api"),
        }
        indexes = (found.user_grants, found.client_grants, found.group_grants, found.all_grants)
        for index, topic in zip(indexes, ("user", "client", "group", "all"), strict=True):
            assert len(index) == 1
            assert index.allowing((topic,), PUB, NOW) is not None
        assert dict(found.works.counts) == {"ORIGIN": 5}
        reader.close()

    @pytest.mark.parametrize("asker", [asking(""), asking("", PRESS), asking("nobody", "nothing"), asking("u", "@@@x")])
    def test_a_stranger_has_an_empty_view(self, reader: Reader, asker: Client) -> None:
        found = view(reader, asker)
        assert found.instance is not None
        assert (found.owners, found.blacklist, found.group, len(found.client_grants)) == ((), (), None, 0)

    def test_an_unknown_instance_is_none(self, reader: Reader) -> None:
        assert reader.view("mqtt-nowhere", U).instance is None

    def test_secrets_are_unsealed(self, tmp_path: Path) -> None:
        keys = SealKeys.from_text(new_key(), "keys")
        with Database.open(tmp_path / "sealed.db", keys) as database:
            written(database, instance(), user("u"))
        reader = Reader(tmp_path / "sealed.db", keys)
        assert answer_to(view(reader), U, b"password").allow
        reader.close()

    def test_a_secret_that_does_not_open_spoils_one_view_alone(self, reader: Reader, database: Database) -> None:
        with Database.open(database.path, SealKeys.from_text(new_key(), "keys")) as sealing:
            written(sealing, user("w"))
        with pytest.raises(SealError):
            view(reader, asking("w"))
        assert may(reader, "u/x")

    def test_it_never_writes(self, reader: Reader) -> None:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._database.connection.execute("DELETE FROM permissions")


class TestCache:
    def test_a_part_is_read_once(self, reader: Reader) -> None:
        view(reader)
        assert (reader.hits, reader.misses) == (0, 5)
        view(reader)
        assert (reader.hits, reader.misses) == (5, 5)
        view(reader, asking("v"))
        assert (reader.hits, reader.misses) == (9, 6)

    def test_a_hit_asks_sqlite_nothing(self, reader: Reader) -> None:
        view(reader)
        with statements(reader) as said:
            view(reader)
        assert said == []

    def test_that_there_is_nothing_is_remembered_too(self, reader: Reader) -> None:
        view(reader, asking("nobody", PRESS))
        misses = reader.misses
        view(reader, asking("nobody", PRESS))
        assert reader.misses == misses

    @pytest.mark.parametrize(
        ("record", "evicted"),
        [
            (user("u", "other"), {("USER", "u")}),
            (client("u", PRESS), {("CLIENT", PRESS)}),
            (allow("x", to=(Grantee.USER, "u")), {("USER", "u")}),
            (allow("x", to=(Grantee.CLIENT, PRESS)), {("CLIENT", PRESS)}),
            (deny("x", to=(Grantee.GROUP, "GID_Press")), {("GROUP", "GID_Press")}),
            (allow("x"), {("ALL", "")}),
            (group("GID_Press"), {("GROUP", "GID_Press")}),
            (blocked(PRESS), {("CLIENT", PRESS)}),
            (blocked(username="u"), {("USER", "u")}),
            (instance(record_quota=99), set()),
            (allow("x", to=(Grantee.ACCESS_KEY, "u")), set()),
            (user("elsewhere"), set()),
        ],
    )
    def test_a_commit_evicts_what_it_touched_alone(
        self, reader: Reader, database: Database, record: Record, evicted: set[tuple[str, str]]
    ) -> None:
        for asker in (asking("u", PRESS), asking("v", PRESS), asking("v", "c2")):
            view(reader, asker)
        before = cached(reader)
        written(database, record)
        assert reader.poll()
        # What verifying costs in an instance may change with any identity, so its part goes each time.
        assert before - cached(reader) == evicted | {("INSTANCE", "")}

    def test_another_instance_keeps_its_parts(self, reader: Reader, database: Database) -> None:
        written(database, instance(name="mqtt-b"))
        reader.view("mqtt-b", U)
        view(reader)
        written(database, allow("x"), user("u", "other"))
        reader.poll()
        kept = {part for part in reader._parts if part[0] == "mqtt-b"}
        assert kept == {
            Subject("mqtt-b", type_, name)
            for type_, name in (("INSTANCE", ""), ("USER", "u"), ("CLIENT", "c1"), ("GROUP", ""), ("ALL", ""))
        }

    def test_a_removal_and_an_expiry_evict_too(self, reader: Reader, database: Database) -> None:
        assert may(reader, "u/x")
        with database.writing(actor="a", source="s", now_ms=NOW) as write:
            write.remove(allow("u/#", to=(Grantee.USER, "u")))
        reader.poll()
        assert not may(reader, "u/x")
        with database.writing(actor="a", source="s", now_ms=NOW) as write:
            write.expire(user("u"))
        reader.poll()
        assert ("USER", "u") not in cached(reader)

    def test_a_miss_takes_the_whole_view_to_the_new_revision(self, reader: Reader, database: Database) -> None:
        """Pitfall 10: no view mixes parts of two revisions, even before the commit is polled."""
        assert view(reader).revision == 2
        written(database, deny("#", to=(Grantee.USER, "u")), allow("x", to=(Grantee.CLIENT, "c2")))
        asker = asking("u", "c2")
        found = view(reader, asker)
        assert found.revision == 3
        assert len(found.user_grants) == 2
        assert not may(reader, "x", asker)
        assert reader.poll()
        assert view(reader).revision == 3

    def test_it_stays_within_its_bound_and_drops_what_was_used_least(self, database: Database, path: Path) -> None:
        written(database, user("u"))
        reader = Reader(path, KEYS, max_subjects=14)
        view(reader)
        for number in range(50):
            view(reader, asking(f"nobody-{number}", f"c-{number}"))
            assert len(reader) <= 14
            misses = reader.misses
            view(reader, asking("u", f"c-{number}"))
            assert reader.misses == misses
        assert ("USER", "nobody-0") not in cached(reader)
        assert may(reader, "u/x") is False
        reader.close()

    @pytest.mark.usefixtures("database")
    def test_long_names_count_for_more(self, path: Path) -> None:
        """Whoever connects chooses its names, and is refused only once they were looked for."""
        reader = Reader(path, KEYS, max_subjects=4_000)
        for number in range(200):
            reader.view(INSTANCE, asking(f"{number}" + "u" * 60_000, f"{number}" + "c" * 60_000))
            held = sum(len(subject.name) for subject in reader._parts)
            assert held <= 4_000 * LONG_NAME + 2 * 60_000
        assert 4 < len(reader) < 15
        assert len(reader) == sum(1 for _ in reader._parts)

    def test_nothing_is_kept_of_instances_that_there_never_were(self, reader: Reader, database: Database) -> None:
        reader.view(INSTANCE, U)
        before = len(reader)
        for number in range(20):
            assert reader.view(f"mqtt-{number}", U).instance is None
        assert len(reader) == before
        written(database, instance(name="mqtt-7"))
        assert reader.poll()
        assert reader.view("mqtt-7", U).instance is not None

    def test_a_bound_below_one_view_still_answers(self, database: Database, path: Path) -> None:
        written(database, user("u"), allow("u/#", to=(Grantee.USER, "u")))
        reader = Reader(path, KEYS, max_subjects=1)
        assert may(reader, "u/x")
        assert len(reader) == 1
        reader.close()


class TestPoll:
    def test_without_a_commit_it_costs_one_pragma(self, reader: Reader) -> None:
        assert not reader.poll()
        with statements(reader) as said:
            assert not reader.poll()
        assert said == ["PRAGMA data_version"]

    def test_two_readers_see_a_commit(self, reader: Reader, database: Database, path: Path) -> None:
        other = Reader(path, KEYS)
        for each in (reader, other):
            assert not may(each, "new/x")
        written(database, allow("new/#"))
        for each in (reader, other):
            assert each.poll()
            assert may(each, "new/x")
            assert each.revision == 3
            assert not each.poll()
        other.close()

    def test_a_commit_that_changed_nothing_evicts_nothing(self, reader: Reader, database: Database) -> None:
        view(reader)
        before = cached(reader)
        database.label("prod")
        assert reader.poll()
        assert cached(reader) == before

    @pytest.mark.parametrize(("changes", "kept"), [(3, True), (4, False)])
    def test_more_changes_than_it_pays_to_tell_apart_drop_all(
        self, reader: Reader, database: Database, monkeypatch: pytest.MonkeyPatch, changes: int, kept: bool
    ) -> None:
        assert MAX_CHANGES == 10_000
        monkeypatch.setattr("store.reader.MAX_CHANGES", 3)
        view(reader)
        written(database, *(allow(f"{number}", to=(Grantee.USER, "x")) for number in range(changes)))
        assert reader.poll()
        assert (("USER", "u") in cached(reader)) is kept

    @pytest.mark.parametrize(("changes", "kept"), [(MAX_CHANGES, True), (MAX_CHANGES + 1, False)])
    def test_ten_thousand_changes_and_one(self, reader: Reader, database: Database, changes: int, kept: bool) -> None:
        view(reader)
        with database.transaction():
            database.connection.execute("INSERT INTO revisions VALUES (3, 1, 'a', 's', '', '', 0, 0, 0, 0)")
            database.connection.executemany(
                "INSERT INTO changes VALUES (NULL, 3, 'add', 'permission', ?, 'USER', ?, '[]', NULL, NULL)",
                ((INSTANCE, f"{number}") for number in range(changes)),
            )
        reader.poll()
        assert (("USER", "u") in cached(reader)) is kept

    @pytest.mark.parametrize("further", [0, 1], ids=["to the same revision", "to a later one"])
    def test_a_copy_restored_in_place_and_written_to_drops_all(
        self, path: Path, reader: Reader, database: Database, further: int
    ) -> None:
        copy = sqlite3.connect(path.with_name("copy.db"))
        database.connection.backup(copy)
        written(database, allow("secret/#", to=(Grantee.USER, "u")))
        reader.poll()
        assert authorize(reader.view(INSTANCE, U), U, PUB, "secret/x", NOW).allow
        copy.backup(database.connection)
        copy.close()
        for number in range(1 + further):
            written(database, user(f"another-{number}"), now_ms=NOW + 1)
        reader.poll()
        assert not authorize(reader.view(INSTANCE, U), U, PUB, "secret/x", NOW).allow

    def test_a_gap_in_the_log_drops_all(self, reader: Reader, database: Database) -> None:
        view(reader)
        written(database, allow("a", to=(Grantee.USER, "x")))
        written(database, allow("b", to=(Grantee.USER, "x")))
        with database.transaction():
            database.connection.execute("DELETE FROM changes WHERE revision = 3")
            database.connection.execute("DELETE FROM revisions WHERE revision = 3")
        assert reader.poll()
        assert len(reader) == 0
        assert reader.revision == 4

    def test_only_instance(self, path: Path) -> None:
        with Database.open(path, KEYS) as database:
            reader = Reader(path, KEYS)
            assert reader.only_instance() == ""
            written(database, instance())
            assert reader.poll()
            assert reader.only_instance() == INSTANCE
            with statements(reader) as said:
                assert reader.only_instance() == INSTANCE
            assert said == []
            written(database, instance(name="mqtt-b"))
            assert reader.poll()
            assert reader.only_instance() == ""
            reader.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(stores(), min_size=2, max_size=4),
    st.lists(cases(), min_size=1, max_size=3),
    st.lists(topics(), max_size=3),
)
def test_whatever_is_written_a_reader_that_polls_sees_it(
    tmp_path_factory: pytest.TempPathFactory,
    states: list[list[Record]],
    asking_them: list[tuple[list[Record], Client]],
    asked: list[str],
) -> None:
    """The cache against no cache: each state is put over the one before, what is missing in it is removed."""
    path = tmp_path_factory.mktemp("reader") / "exhook.db"
    with Database.open(path, KEYS) as database:
        database.connection.execute("PRAGMA synchronous = OFF")
        reader = Reader(path, KEYS)
        for records in states:
            replaced_by(database, records)
            reader.poll()
            for _, asker in asking_them:
                agree(view(reader, asker), view_of(all_of(database), asker), asker, asked)
        reader.close()


def replaced_by(database: Database, records: list[Record]) -> None:
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        wanted = {(record.kind, record.key) for record in records}
        for record in all_of(database):
            if (record.kind, record.key) not in wanted:
                write.remove(record)
        for record in records:
            write.put(stored(database, record))


def all_of(database: Database) -> list[Record]:
    return [record for table in TABLES for record in database.records(table)]


def agree(one: View, other: View, asker: Client, asked: list[str]) -> None:
    assert (one.instance, one.group, one.user) == (other.instance, other.group, other.user)
    assert by_key(one.owners) == by_key(other.owners)
    assert by_key(one.blacklist) == by_key(other.blacklist)
    assert dict(one.works.counts) == dict(other.works.counts)
    for action in (PUB, SUB):
        for topic in asked:
            answers = [authorize(each, asker, action, topic, NOW) for each in (one, other)]
            assert answers[0].reason is answers[1].reason
            assert {answer.rule.key for answer in answers if answer.rule} == {
                answer.rule.key for answer in answers[:1] if answer.rule
            }


def by_key(records: tuple[Identity, ...] | tuple[BlacklistEntry, ...]) -> dict[tuple[str, ...], Record]:
    return {record.key: record for record in records}


def stored_as(database: Database, record: Record) -> Record | None:
    return next((found for found in all_of(database) if found.key == record.key), None)


class statements:  # noqa: N801 - reads like a word
    """What a reader asks SQLite meanwhile."""

    def __init__(self, reader: Reader) -> None:
        self._connection = reader._database.connection
        self._said: list[str] = []

    def __enter__(self) -> list[str]:
        self._connection.set_trace_callback(self._said.append)
        return self._said

    def __exit__(self, *_: object) -> None:
        self._connection.set_trace_callback(None)
