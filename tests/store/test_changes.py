"""The change log: what each revision did and to whom, never a secret; and whose views it touched."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records_under_test import (
    INSTANCE,
    NOW,
    allow,
    blocked,
    client,
    group,
    instance,
    secret,
    stored,
    user,
    written,
)

from store.changes import Change, Operation, changes_of, revisions, subjects_since
from store.credentials import hash_password
from store.database import Database
from store.records import Grantee, Record, SignMode
from store.seal import SealKeys
from store.tables import Subject, content

CANARY = "canary-77c2"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", SealKeys()) as opened:
        written(opened, instance())
        yield opened


def changes(database: Database) -> list[Change]:
    """Those of the last revision."""
    return list(changes_of(database.connection, database.revision))


KINDS: list[tuple[Record, str, str, tuple[str, ...]]] = [
    (instance(name="mqtt-b"), "INSTANCE", "", ("mqtt-b",)),
    (group("GID_Press"), "GROUP", "GID_Press", (INSTANCE, "GID_Press")),
    (user("u"), "USER", "u", (INSTANCE, "USER", "u", "")),
    (client("u", "c1"), "CLIENT", "c1", (INSTANCE, "CLIENT", "u", "c1")),
    (blocked("c1"), "CLIENT", "c1", (INSTANCE, "c1", "", "api")),
    (blocked(username="u"), "USER", "u", (INSTANCE, "", "u", "api")),
    *(
        (allow("a", to=(grantee, name)), grantee.value, name, (INSTANCE, grantee.value, name, "a", "ALLOW", "api"))
        for grantee, name in (
            (Grantee.USER, "u"),
            (Grantee.CLIENT, "c1"),
            (Grantee.GROUP, "GID_Press"),
            (Grantee.ACCESS_KEY, "u"),
            (Grantee.ALL, ""),
        )
    ),
]


@pytest.mark.parametrize(("record", "subject_type", "subject", "key"), KINDS)
def test_a_change_names_record_and_subject(
    database: Database, record: Record, subject_type: str, subject: str, key: tuple[str, ...]
) -> None:
    written(database, record)
    (change,) = changes(database)
    assert change.revision == 2
    assert change.operation is Operation.ADD
    assert change.kind == record.kind
    assert change.key == key
    instance_id = "mqtt-b" if record.kind == "instance" else INSTANCE
    assert change.subject == Subject(instance_id, subject_type, subject)
    assert change.before is None
    assert change.after == content(stored(database, record))


def test_before_and_after_of_each_operation(database: Database) -> None:
    first, second = allow("a", id="one", origin="p.yaml:1"), allow("a", id="one", note="new", origin="p.yaml:9")
    written(database, first)
    written(database, second)
    (change,) = changes(database)
    assert (change.operation, change.before, change.after) == (Operation.CHANGE, content(first), content(second))
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        write.expire(second)
    (change,) = changes(database)
    assert (change.operation, change.before, change.after) == (Operation.EXPIRE, content(second), content(second))
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        write.remove(second)
    (change,) = changes(database)
    assert (change.operation, change.before, change.after) == (Operation.REMOVE, content(second), None)


def test_content_holds_what_was_said_and_nothing_clerical(database: Database) -> None:
    written(database, allow("a", id="one", note="n", source="plant", protect=True, expires_at=9, origin="p.yaml:1"))
    (change,) = changes(database)
    assert change.after == {
        "instance": INSTANCE,
        "identity_type": "ALL",
        "identity": "",
        "topic": "a",
        "action": "PUB_SUB",
        "effect": "ALLOW",
        "id": "one",
        "note": "n",
        "source": "plant",
        "protect": 1,
        "expires_at": 9,
    }


def test_changes_stand_in_the_order_in_which_they_were_made(database: Database) -> None:
    written(database, *(allow(topic) for topic in "cab"), user("u"))
    assert [change.key[3] for change in changes(database)] == ["c", "a", "b", ""]


def test_secrets_are_fingerprints_by_id(database: Database) -> None:
    made = user("u", secret(CANARY, id="2026-08", expires_at=NOW), secret(CANARY + "2", id="2026-02"))
    written(database, made)
    (change,) = changes(database)
    assert change.after is not None
    known = {kept.id: kept.fingerprint for kept in stored(database, made).secrets}
    assert change.after["secrets"] == [
        {"id": "2026-02", "fingerprint": known["2026-02"]},
        {"id": "2026-08", "fingerprint": known["2026-08"], "expires_at": NOW},
    ]


def test_no_column_of_the_log_ever_holds_a_secret(database: Database) -> None:
    hashed = hash_password(CANARY.encode())
    for records in (
        [user("u", CANARY), client("c", "c1", CANARY, sign_mode=SignMode.SIGNED)],
        [user("h", hashed, sign_mode=SignMode.HASHED)],
        [user("u", CANARY + "2")],
    ):
        written(database, *records)
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        for name in ("u", "h"):
            write.remove(user(name))
    log = [tuple(row) for row in database.connection.execute("SELECT * FROM changes")]
    text = json.dumps(log)
    assert len(log) == 7
    assert CANARY not in text
    assert "argon2" not in text
    assert "fingerprint" in text


def test_names_are_kept_exactly(database: Database) -> None:
    name = 'caf\u00e9 "quoted" \\ \U0001f512\n'
    written(database, user(name))
    (change,) = changes(database)
    assert (change.subject.name, change.key[2]) == (name, name)


class TestSubjectsSince:
    def test_each_subject_once_and_only_of_later_revisions(self, database: Database) -> None:
        written(database, allow("a"))
        written(database, user("u"), allow("b", to=(Grantee.USER, "u")))
        written(database, client("u", "c1"))
        since = subjects_since(database.connection, 2, 99)
        assert since == {Subject(INSTANCE, "USER", "u"), Subject(INSTANCE, "CLIENT", "c1")}
        assert subjects_since(database.connection, 4, 99) == set()
        assert subjects_since(database.connection, 9, 99) == set()

    def test_more_changes_than_the_limit_are_not_told_apart(self, database: Database) -> None:
        written(database, *(allow(f"{number}") for number in range(5)))
        assert subjects_since(database.connection, 1, 5) == {Subject(INSTANCE, "ALL", "")}
        assert subjects_since(database.connection, 1, 4) is None

    @pytest.mark.parametrize("gone", [2, 3])
    def test_a_gap_is_not_passed_over(self, database: Database, gone: int) -> None:
        for topic in "abc":
            written(database, allow(topic))
        database.connection.execute("DELETE FROM changes WHERE revision = ?", (gone,))
        database.connection.execute("DELETE FROM revisions WHERE revision = ?", (gone,))
        assert subjects_since(database.connection, 1, 99) is None
        assert subjects_since(database.connection, gone, 99) is not None


def test_revisions_come_newest_first_and_as_many_as_asked_for(database: Database) -> None:
    for topic in "abc":
        written(database, allow(topic))
    assert [made.revision for made in revisions(database.connection, 2)] == [4, 3]
    assert len(revisions(database.connection)) == 4


def test_an_unknown_revision_has_no_changes(database: Database) -> None:
    found: list[Any] = list(changes_of(database.connection, 99))
    assert found == []
