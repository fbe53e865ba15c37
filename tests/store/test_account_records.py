"""Access keys, tokens, device credentials: what they may say, and how they stand in a store."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records_under_test import (
    INSTANCE,
    NOW,
    access_key,
    credential,
    instance,
    secret,
    stored,
    token,
    token_key,
    user,
    written,
)

from store.account_records import AccessKey, DeviceCredential, Token, TokenActions, TokenKey
from store.api_calls import CALLS
from store.changes import changes_of
from store.database import Database
from store.names import InvalidRecord
from store.records import Action, Record, SecretForm
from store.seal import SealError, SealKeys, new_key
from store.sweeper import next_expiry, sweep
from store.tables import ACCESS_KEYS, BY_KIND, DEVICE_CREDENTIALS, TOKENS, Subject, content, subject_of


@pytest.fixture
def keys() -> SealKeys:
    return SealKeys.from_text(new_key(), "test")


@pytest.fixture
def database(tmp_path: Path, keys: SealKeys) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", keys) as opened:
        yield opened


FULL = access_key(
    "LTAI.key_1-x",
    secret("one", id="1"),
    secret("two", id="2", expires_at=NOW + 5),
    instances=(INSTANCE, "mqtt-b"),
    active=False,
    connect=True,
    calls=CALLS[:3],
    all_topics=True,
    reveal_secrets=True,
    note="n",
    protect=True,
    expires_at=NOW + 9,
)
RECORDS: tuple[Record, ...] = (
    FULL,
    access_key(),
    credential(),
    token("a", "b/+/#", actions=TokenActions.W, revoked=True),
    token_key(),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda made: f"{made.kind}-{made.key[0]}")
class TestStanding:
    def test_what_is_written_is_read(self, database: Database, record: Record) -> None:
        written(database, instance())
        (found,) = written(database, record)
        assert content(found) == content(stored(database, record))
        if isinstance(record, AccessKey | DeviceCredential | TokenKey):
            assert isinstance(found, type(record))
            assert [made.value for made in found.secrets] == [made.value for made in record.secrets]

    def test_the_same_again_is_no_change(self, database: Database, record: Record) -> None:
        written(database, instance())
        assert written(database, record) == written(database, record, now_ms=NOW + 1)
        assert database.revision == 2

    def test_it_goes(self, database: Database, record: Record) -> None:
        written(database, instance(), record)
        with database.writing(actor="tester", source="api", now_ms=NOW) as write:
            assert write.remove(record)
        assert database.get(BY_KIND[record.kind], record.key) is None
        table = BY_KIND[record.kind]
        if table.has_secrets:
            assert not database.connection.execute(f"SELECT * FROM {table.secrets}").fetchall()  # noqa: S608


class TestSecrets:
    def test_none_stands_in_the_clear_or_in_the_change_log(self, database: Database) -> None:
        written(database, instance(), access_key("k", "canary"), credential(secret="canary"), token_key(value="canary"))
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert b"canary" not in database.path.read_bytes()
        assert "canary" not in repr([access_key("k", "canary"), credential(secret="canary")])

    def test_a_sealed_one_opens_nowhere_else(self, database: Database) -> None:
        """An access key and a device credential may have the same words in their keys."""
        written(database, instance(), access_key("c1", "one"), token_key("c1", "two"))
        (sealed,) = database.connection.execute("SELECT sealed FROM token_key_secrets").fetchone()
        database.connection.execute("UPDATE access_key_secrets SET sealed = ?", (sealed,))
        with pytest.raises(SealError):
            database.get(ACCESS_KEYS, ("c1",))

    def test_all_are_sealed_anew(self, tmp_path: Path) -> None:
        old, new = new_key(), new_key()
        path = tmp_path / "exhook.db"
        with Database.open(path, SealKeys.from_text(old, "test")) as database:
            written(database, instance(), user("u"), access_key(), credential(), token_key())
        with Database.open(path, SealKeys.from_text(f"{new}\n{old}", "test")) as database:
            assert database.reseal() == 4
        with Database.open(path, SealKeys.from_text(new, "test")) as database:
            assert database.get(DEVICE_CREDENTIALS, (INSTANCE, "c1"))
            assert database.get(ACCESS_KEYS, ("YYYYY",))

    def test_an_equal_secret_has_an_equal_fingerprint(self, database: Database) -> None:
        written(database, instance(), access_key("a", "same"), access_key("b", "same"), access_key("c", "other"))
        printed = [found.secrets[0].fingerprint for found in database.records(ACCESS_KEYS)]
        assert printed[0] == printed[1] != printed[2]


class TestSubjects:
    @pytest.mark.parametrize(
        ("record", "subject"),
        [
            (access_key("k"), Subject("", "ACCESS_KEY", "k")),
            (credential("c"), Subject(INSTANCE, "CLIENT", "c")),
            (token(token_id="t"), Subject(INSTANCE, "TOKEN", "t")),
            (token_key("k"), Subject("", "TOKEN_KEY", "k")),
        ],
        ids=lambda given: given.kind if isinstance(given, Record) else "",
    )
    def test_whose_view_they_are_part_of(self, record: Record, subject: Subject) -> None:
        assert subject_of(record) == subject

    def test_the_change_log_names_them(self, database: Database) -> None:
        written(database, instance(), access_key())
        (_, change) = changes_of(database.connection, 1)
        assert (change.kind, change.key, change.subject) == (
            "access_key",
            ("YYYYY",),
            Subject("", "ACCESS_KEY", "YYYYY"),
        )
        assert change.after is not None
        assert change.after["instances"] == [INSTANCE]


class TestExpiry:
    def test_what_runs_out_is_told(self, database: Database) -> None:
        written(
            database,
            instance(),
            access_key("a", expires_at=NOW + 1),
            access_key("b", secret("x", expires_at=NOW + 2, form=SecretForm.KEY)),
            credential(expires_at=NOW + 3),
            token(expires_at=NOW + 4),
        )
        for step in range(1, 5):
            assert next_expiry(database) == NOW + step
            assert sweep(database, NOW + step) == 1
        assert next_expiry(database) is None


class TestUniqueness:
    def test_a_device_key_names_one_device(self, database: Database) -> None:
        written(database, instance(), credential("c1", "DC.1"))
        with pytest.raises(Exception, match="UNIQUE"):
            written(database, credential("c2", "DC.1"))

    def test_a_quota_does_not_count_them(self, database: Database) -> None:
        written(database, instance(record_quota=0), access_key(), credential(), token(), token_key())
        assert len(list(database.records(TOKENS))) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"access_key_id": "a|b"}, "access_key_id"),
        ({"access_key_id": ""}, "access_key_id"),
        ({"access_key_id": "a b"}, "access_key_id"),
        ({"access_key_id": "é"}, "access_key_id"),
        ({"access_key_id": "a" * 129}, "access_key_id"),
        ({"access_key_id": "a\n"}, "access_key_id"),
        ({"instances": ()}, "instances"),
        ({"instances": ("a b",)}, "instance"),
        ({"instances": ("a", "a")}, "instances"),
        ({"calls": ("Nothing",)}, "calls"),
        ({"calls": ("*",)}, "calls"),
        ({"calls": (CALLS[0], CALLS[0])}, "calls"),
        ({"secrets": ()}, "secrets"),
        ({"secrets": (secret("a", id="1"), secret("b", id="1"))}, "secrets"),
        ({"secrets": tuple(secret(name, id=name) for name in "abc")}, "secrets"),
        ({"secrets": (secret("$argon2id$x"),)}, "secrets"),
        ({"secrets": (replace(secret(), value=b""),)}, "secrets"),
    ],
)
def test_an_access_key_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    good: dict[str, Any] = {"access_key_id": "k", "secrets": (secret(),), "instances": (INSTANCE,)}
    with pytest.raises(InvalidRecord) as wrong:
        AccessKey(**(good | fields))
    assert wrong.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expires_at": None}, "expires_at"),
        ({"resources": ()}, "resources"),
        ({"resources": ("a",) * 101}, "resources"),
        ({"resources": ("",)}, "resources"),
        ({"resources": ("a/#/b",)}, "resources"),
        ({"resources": ("$share/g/a",)}, "resources"),
        ({"resources": ("$exhook/x",)}, "resources"),
        ({"instance": ""}, "instance"),
        ({"access_key_id": "|"}, "access_key_id"),
    ],
)
def test_a_token_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    good: dict[str, Any] = {
        "token_id": "t",
        "instance": INSTANCE,
        "access_key_id": "k",
        "actions": TokenActions.R,
        "resources": ("a",),
        "expires_at": NOW,
    }
    with pytest.raises(InvalidRecord) as wrong:
        Token(**(good | fields))
    assert wrong.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a\0"}, "client_id"),
        ({"device_access_key_id": "a|b"}, "device_access_key_id"),
        ({"secrets": (secret("a", id="1"), secret("b", id="2"))}, "secrets"),
        ({"secrets": ()}, "secrets"),
    ],
)
def test_a_device_credential_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    good: dict[str, Any] = {"instance": INSTANCE, "client_id": "c", "device_access_key_id": "d", "secrets": (secret(),)}
    with pytest.raises(InvalidRecord) as wrong:
        DeviceCredential(**(good | fields))
    assert wrong.value.field == field


def test_what_a_token_lets_do() -> None:
    assert [TokenActions.R.includes(action) for action in (Action.PUB, Action.SUB)] == [False, True]
    assert [TokenActions.W.includes(action) for action in (Action.PUB, Action.SUB)] == [True, False]
    assert [TokenActions.RW.includes(action) for action in (Action.PUB, Action.SUB)] == [True, True]
