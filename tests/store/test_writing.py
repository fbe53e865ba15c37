"""Writes: dense revisions, nothing for nothing, quota by the final state, counts that SQLite keeps."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import (
    INSTANCE,
    NOW,
    allow,
    blocked,
    client,
    deny,
    group,
    instance,
    secret,
    stored,
    user,
    written,
)

from store.changes import Operation, changes_of, revisions
from store.credentials import hash_password, work_of
from store.database import Database
from store.hashes import InvalidHash
from store.records import Identity, Record, SecretForm, SignMode
from store.seal import SealKeys, new_key
from store.tables import BY_KIND, IDENTITIES, PERMISSIONS, TABLES
from store.writing import COUNTED, OverQuota

HASHED = hash_password(b"password")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", SealKeys()) as opened:
        yield opened


def removed(database: Database, *records: Record) -> list[Operation | None]:
    with database.writing(actor="tester", source="api", now_ms=NOW) as write:
        return [write.remove(record) for record in records]


def put(database: Database, record: Record, now_ms: int = NOW) -> Operation | None:
    with database.writing(actor="tester", source="api", now_ms=now_ms) as write:
        return write.put(stored(database, record))


class TestRevisions:
    def test_they_are_dense_and_say_who_when_and_what(self, database: Database) -> None:
        with database.writing(actor="alice", source="plant", now_ms=5, commit="c0ffee", checksum="sum") as write:
            write.put(instance())
            write.put(allow("a"))
        written(database, allow("a", note="x"), allow("b"), now_ms=6)
        removed(database, allow("a"))
        written(database, allow("c"), now_ms=8)
        newest = revisions(database.connection)
        assert [revision.revision for revision in newest] == [4, 3, 2, 1]
        assert [(made.added, made.changed, made.removed, made.expired) for made in newest] == [
            (1, 0, 0, 0),
            (0, 0, 1, 0),
            (1, 1, 0, 0),
            (2, 0, 0, 0),
        ]
        first = newest[-1]
        assert (first.actor, first.source, first.at, first.commit, first.checksum) == (
            "alice",
            "plant",
            5,
            "c0ffee",
            "sum",
        )

    def test_a_write_of_nothing_is_no_revision(self, database: Database) -> None:
        written(database)
        assert database.revision == 0
        written(database, instance())
        with database.writing(actor="a", source="s", now_ms=NOW):
            pass
        assert database.revision == 1
        assert len(revisions(database.connection)) == 1

    def test_an_exception_undoes_everything(self, database: Database) -> None:
        written(database, instance(), allow("a"))
        before = list(database.records(PERMISSIONS))
        with pytest.raises(KeyboardInterrupt):
            self.interrupted(database)
        assert list(database.records(PERMISSIONS)) == before
        assert database.revision == 1
        written(database, allow("b"))
        assert database.revision == 2

    @staticmethod
    def interrupted(database: Database) -> None:
        with database.writing(actor="a", source="s", now_ms=NOW) as write:
            write.put(allow("b"))
            write.remove(allow("a"))
            raise KeyboardInterrupt

    def test_two_writers_follow_one_another(self, database: Database) -> None:
        written(database, instance())
        with Database.open(database.path, SealKeys()) as other:
            written(other, allow("a"))
            written(database, allow("b"))
            written(other, allow("c"))
            assert database.revision == other.revision == 4


class TestPut:
    def test_the_same_again_is_no_change(self, database: Database) -> None:
        records = [instance(), group("GID_Press"), user("u"), client("c", "c1"), allow("a"), blocked("x", reason="r")]
        first = written(database, *records)
        assert written(database, *records, now_ms=NOW + 1) == first
        assert database.revision == 1

    def test_it_says_what_it_did_and_stamps_times_and_revision(self, database: Database) -> None:
        put(database, instance())
        assert put(database, allow("a"), NOW + 1) is Operation.ADD
        assert put(database, allow("a"), NOW + 2) is None
        assert put(database, allow("a", note="x"), NOW + 3) is Operation.CHANGE
        (found,) = database.records(PERMISSIONS)
        assert (found.created_at, found.updated_at, found.revision) == (NOW + 1, NOW + 3, 3)

    def test_what_a_writer_claims_of_times_and_revision_counts_for_nothing(self, database: Database) -> None:
        put(database, instance())
        put(database, allow("a", created_at=1, updated_at=2, revision=99))
        (found,) = database.records(PERMISSIONS)
        assert (found.created_at, found.updated_at, found.revision) == (NOW, NOW, 2)
        assert put(database, allow("a", created_at=3)) is None

    @pytest.mark.parametrize(
        "changed",
        [
            user("u", "other"),
            user("u", secret("password", id="2")),
            user("u", secret("password", expires_at=NOW + 9)),
            user("u", secret(), secret("second", id="2")),
            user("u", sign_mode=SignMode.SIGNED),
            user("u", client_ids_prefix="m-"),
            user("u", expires_at=NOW + 9),
            user("u", source="plant"),
            user("u", id="users"),
            user("u", protect=True),
        ],
    )
    def test_every_word_of_a_record_counts(self, database: Database, changed: Identity) -> None:
        written(database, instance(), user("u"))
        assert put(database, changed) is Operation.CHANGE
        found = database.get(IDENTITIES, changed.key)
        assert found is not None
        expected = replace(stored(database, changed), created_at=NOW, updated_at=NOW, revision=2)
        assert found == expected
        assert put(database, changed) is None

    def test_the_order_of_secrets_is_no_change(self, database: Database) -> None:
        one, two = secret("a", id="1"), secret("b", id="2")
        written(database, instance(), user("u", one, two))
        assert put(database, user("u", two, one)) is None

    def test_a_secret_with_the_known_fingerprint_keeps_its_stored_value(self, database: Database) -> None:
        """Pitfall 17: a password that a plan hashed anew is no other password."""
        first, second = (secret(hash_password(b"x")) for _ in range(2))
        written(database, instance())
        printed = database.fingerprint(SecretForm.PLAIN, b"x")
        for made, expires_at in ((first, None), (second, NOW + 9)):
            with database.writing(actor="a", source="s", now_ms=NOW) as write:
                kept = replace(made, fingerprint=printed, expires_at=expires_at)
                write.put(user("u", kept, sign_mode=SignMode.HASHED))
        (found,) = database.records(IDENTITIES)
        assert found.secrets[0].value == first.value
        assert found.secrets[0].expires_at == NOW + 9

    def test_a_secret_that_left_is_gone(self, database: Database) -> None:
        written(database, instance(), user("u", secret("a", id="1"), secret("b", id="2")))
        written(database, user("u", secret("b", id="2")))
        assert database.connection.execute("SELECT count(*) FROM identity_secrets").fetchone()[0] == 1

    def test_permissions_of_several_sources_stand_side_by_side(self, database: Database) -> None:
        written(database, instance(), allow("a", source="x"), allow("a", source="y"), deny("a", source="x"))
        assert len(list(database.records(PERMISSIONS))) == 3

    def test_a_hash_beyond_the_bounds_is_never_stored(self, database: Database) -> None:
        written(database, instance())
        costly = HASHED.replace("m=19456", "m=8388608")
        with pytest.raises(InvalidHash, match="argon2 memory"):
            written(database, user("u", costly, sign_mode=SignMode.HASHED))
        assert list(database.records(IDENTITIES)) == []

    def test_a_password_that_is_not_hashed_yet_is_never_stored(self, database: Database) -> None:
        written(database, instance())
        with pytest.raises(AssertionError, match="hashed before it is stored"):
            written(database, user("u", secret("x", form=SecretForm.PLAIN)))
        assert database.revision == 1


class TestOrigin:
    """Where a record stands in a file is clerical."""

    def origin(self, database: Database) -> tuple[str, int, int]:
        (found,) = database.records(PERMISSIONS)
        return found.origin, found.revision, found.updated_at

    def test_another_line_is_no_change_and_still_noted(self, database: Database) -> None:
        written(database, instance(), allow("a", origin="p.yaml:3"))
        written(database, allow("a", origin="p.yaml:9"), now_ms=NOW + 1)
        assert self.origin(database) == ("p.yaml:9", 1, NOW)
        assert database.revision == 1

    def test_a_place_with_a_commit_stays_right(self, database: Database) -> None:
        written(database, instance(), allow("a", origin="p.yaml:3@c0ffee"))
        written(database, allow("a", origin="p.yaml:9@badcafe"))
        assert self.origin(database)[0] == "p.yaml:3@c0ffee"
        written(database, allow("a", origin="p.yaml:9@badcafe", note="x"))
        assert self.origin(database)[0] == "p.yaml:9@badcafe"

    def test_it_moves_in_the_table_of_every_kind(self, database: Database) -> None:
        records = [instance(), group("GID_Press"), user("u"), allow("a"), blocked("x")]
        written(database, *records)
        for record in written(database, *(replace(record, origin="p.yaml:1") for record in records)):
            assert (record.origin, record.revision) == ("p.yaml:1", 1), record.kind


class TestRemove:
    @pytest.mark.parametrize("record", [group("GID_Press"), user("u"), client("c", "c1"), allow("a"), blocked("x")])
    def test_it_removes_what_has_the_key(self, database: Database, record: Record) -> None:
        written(database, instance(), record)
        assert removed(database, replace(record, note="whatever", id="another")) == [Operation.REMOVE]
        assert list(database.records(BY_KIND[record.kind])) == []
        assert database.connection.execute("SELECT count(*) FROM identity_secrets").fetchone()[0] == 0

    def test_the_log_keeps_what_really_stood_there(self, database: Database) -> None:
        written(database, instance(), allow("a", note="as it was"))
        removed(database, allow("a", note="as somebody thinks"))
        (change,) = changes_of(database.connection, 2)
        assert change.before is not None
        assert (change.before["note"], change.after) == ("as it was", None)

    def test_what_is_not_there_leaves_no_trace(self, database: Database) -> None:
        written(database, instance(), allow("a"))
        assert removed(database, allow("b"), user("u"), allow("a", source="other")) == [None, None, None]
        assert database.revision == 1

    def test_an_identity_that_nobody_can_unseal_can_still_be_removed(self, tmp_path: Path) -> None:
        with Database.open(tmp_path / "sealed.db", SealKeys.from_text(new_key(), "keys")) as database:
            written(database, instance(), user("u"))
            database.connection.execute("UPDATE identity_secrets SET sealed = x'01'")
            assert removed(database, user("u")) == [Operation.REMOVE]


class TestQuota:
    @pytest.fixture
    def full(self, database: Database) -> Database:
        written(database, instance(record_quota=3), user("u"), allow("a"), blocked("x"))
        return database

    def test_over_and_higher_is_refused_in_one_sentence(self, full: Database) -> None:
        with pytest.raises(OverQuota) as refused:
            written(full, allow("b"))
        assert str(refused.value) == (
            f"instance {INSTANCE} would hold 4 identities, permissions and blacklist entries; "
            "its record_quota is 3; remove some, or raise the quota"
        )
        assert full.revision == 1
        assert len(list(full.records(PERMISSIONS))) == 1

    @pytest.mark.parametrize("one", [user("v"), client("u", "c1"), deny("a"), blocked(username="x")])
    def test_each_of_the_three_kinds_counts(self, full: Database, one: Record) -> None:
        with pytest.raises(OverQuota):
            written(full, one)

    def test_groups_and_overwrites_do_not(self, full: Database) -> None:
        written(full, group("GID_Press"), group("GID_Other"), allow("a", note="again"), user("u", "another"))
        assert full.revision == 2

    def test_the_final_state_is_judged_not_the_way_to_it(self, full: Database) -> None:
        with full.writing(actor="a", source="s", now_ms=NOW) as write:
            for topic in "bcd":
                write.put(allow(topic))
            for topic in "abc":
                write.remove(allow(topic))
        assert [found.topic for found in full.records(PERMISSIONS)] == ["d"]

    def test_over_but_not_higher_is_accepted(self, full: Database) -> None:
        written(full, instance(record_quota=1))
        with full.writing(actor="a", source="s", now_ms=NOW) as write:
            write.put(allow("b"))
            write.remove(allow("a"))
        removed(full, allow("b"))
        with pytest.raises(OverQuota, match=r"would hold 3 .* record_quota is 1"):
            written(full, allow("c"))

    def test_the_quota_that_the_same_write_sets_counts(self, full: Database) -> None:
        written(full, instance(record_quota=4), allow("b"))
        with pytest.raises(OverQuota, match="record_quota is 2"):
            written(full, instance(record_quota=2), allow("c"))

    def test_expired_records_count_until_they_are_deleted(self, full: Database) -> None:
        written(full, allow("a", expires_at=1))
        with pytest.raises(OverQuota):
            written(full, allow("b"))

    def test_none_and_other_instances_bound_nothing(self, full: Database) -> None:
        written(full, instance(name="mqtt-b"), *(allow(topic, instance="mqtt-b") for topic in "abcde"))
        written(full, instance(record_quota=None), *(allow(topic) for topic in "bcde"))
        written(full, instance(record_quota=0))
        with pytest.raises(OverQuota, match="record_quota is 0"):
            written(full, allow("f"))


_POOL: list[Record] = [
    *(user(f"u{number}") for number in range(2)),
    user("u0", sign_mode=SignMode.SIGNED),
    user("u1", HASHED, sign_mode=SignMode.HASHED),
    user("u1", secret(HASHED, id="1"), secret(HASHED, id="2"), sign_mode=SignMode.HASHED),
    user("u2", sign_mode=SignMode.EXTERNAL),
    client("u0", "c1"),
    client("u0", "c1", "k", sign_mode=SignMode.SIGNED),
    user("u0", instance="mqtt-b"),
    allow("a"),
    allow("a", note="x"),
    deny("a"),
    allow("a", instance="mqtt-b"),
    blocked("x"),
    blocked(username="x"),
]
_steps = st.lists(st.tuples(st.booleans(), st.sampled_from(range(len(_POOL)))), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_steps, st.booleans()), max_size=6))
def test_the_tallies_are_right_after_any_writes(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[list[tuple[bool, int]], bool]]
) -> None:
    path = tmp_path_factory.mktemp("tallies") / "exhook.db"
    with Database.open(path, SealKeys()) as database:
        database.connection.execute("PRAGMA synchronous = OFF")
        written(database, instance(), instance(name="mqtt-b"))
        for steps, fails in writes:
            with suppress(InterruptedError):
                _take(database, steps, fails=fails)
            assert tallied(database) == counted(database)
        assert [made.revision for made in revisions(database.connection, 99)] == list(range(database.revision, 0, -1))


def _take(database: Database, steps: list[tuple[bool, int]], *, fails: bool) -> None:
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        for adds, number in steps:
            if adds:
                write.put(stored(database, _POOL[number]))
            else:
                write.remove(_POOL[number])
        if fails:
            raise InterruptedError


def tallied(database: Database) -> dict[tuple[str, str], int]:
    rows = database.connection.execute("SELECT instance, kind, n FROM tallies WHERE n <> 0")
    return {(instance_id, kind): n for instance_id, kind, n in rows}


def counted(database: Database) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for table in TABLES:
        for record in database.records(table):
            if record.kind in COUNTED:
                counts[record.instance, record.kind] += 1
            if isinstance(record, Identity):
                counts[record.instance, f"work:{work_of(record.sign_mode, record.secrets)}"] += 1
    return dict(counts)
