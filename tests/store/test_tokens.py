"""Tokens: issued for no more than their access key may do, told apart when forged, expired or revoked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_under_test import INSTANCE, NOW, PUB, SUB, access_key, allow, deny, instance, written

from store.account_records import TokenActions
from store.database import Database
from store.names import InvalidRecord
from store.records import Grantee, Permission
from store.seal import SealKeys, new_key
from store.tables import ACCESS_KEYS, PERMISSIONS, TOKEN_KEYS, TOKENS
from store.token_text import MAX_CHARS, TokenKeys, named_key
from store.tokens import (
    LEAST_MS,
    MOST_MS,
    EndsTooSoon,
    Issued,
    KeyMayNot,
    NotCovered,
    Standing,
    issue,
    judge,
    retire_token_key,
    revoke,
    rotate_token_key,
    token_keys,
)

HOUR = 3_600_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", SealKeys.from_text(new_key(), "test")) as opened:
        written(opened, instance(), access_key(all_topics=True))
        yield opened


def issued(database: Database, *resources: str, **fields: Any) -> Issued:
    asked: dict[str, Any] = {
        "instance": INSTANCE,
        "actions": TokenActions.RW,
        "resources": resources or ("a/#",),
        "expires_at": NOW + HOUR,
        "now_ms": NOW,
        "actor": "tester",
    }
    return issue(database, fields.pop("access_key_id", "YYYYY"), **(asked | fields))


def granted(*permissions: tuple[str, Any]) -> list[Permission]:
    return [allow(topic, action, to=(Grantee.ACCESS_KEY, "narrow")) for topic, action in permissions]


class TestIssue:
    def test_the_string_is_good_and_needs_no_quoting(self, database: Database) -> None:
        made = issued(database)
        assert judge(database, made.text, NOW).standing is Standing.GOOD
        assert made.text.replace(".", "").replace("-", "").replace("_", "").isalnum()
        assert len(made.text) <= MAX_CHARS
        (stored,) = database.records(TOKENS)
        assert (stored.token_id, stored.source) == (made.token.token_id, "api")

    def test_the_string_is_kept_nowhere(self, database: Database) -> None:
        made = issued(database)
        signature = made.text.rpartition(".")[2]
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert signature.encode() not in database.path.read_bytes()
        assert signature not in repr(made)

    def test_one_that_ends_too_soon(self, database: Database) -> None:
        with pytest.raises(EndsTooSoon):
            issued(database, expires_at=NOW + LEAST_MS - 1)
        assert issued(database, expires_at=NOW + LEAST_MS).token.expires_at == NOW + LEAST_MS

    def test_one_that_ends_too_late_ends_in_thirty_days(self, database: Database) -> None:
        assert issued(database, expires_at=NOW + MOST_MS + 1).token.expires_at == NOW + MOST_MS

    @pytest.mark.parametrize("resources", [(), tuple(map(str, range(101))), ("a/#/b",), ("$share/g/a",)], ids=len)
    def test_resources_that_cannot_be(self, database: Database, resources: tuple[str, ...]) -> None:
        with pytest.raises(InvalidRecord):
            issue(
                database,
                "YYYYY",
                instance=INSTANCE,
                actions=TokenActions.R,
                resources=resources,
                expires_at=NOW + HOUR,
                now_ms=NOW,
                actor="t",
            )
        assert not list(database.records(TOKENS))

    @pytest.mark.parametrize(
        ("key", "fields"),
        [
            ({"active": False}, {}),
            ({"expires_at": NOW}, {}),
            ({"instances": ("mqtt-other",)}, {}),
            ({}, {"access_key_id": "nobody"}),
            ({"instances": (INSTANCE, "mqtt-gone")}, {"instance": "mqtt-gone"}),
        ],
        ids=["inactive", "expired", "elsewhere", "unknown", "no-instance"],
    )
    def test_a_key_that_may_not(self, database: Database, key: dict[str, Any], fields: dict[str, Any]) -> None:
        written(database, access_key(all_topics=True, **key))
        with pytest.raises(KeyMayNot):
            issued(database, **fields)
        assert not list(database.records(TOKENS))

    def test_it_is_no_wider_than_its_key(self, database: Database) -> None:
        written(
            database, access_key("narrow"), *granted(("a/+", PUB), ("b/#", SUB), ("c", PUB), ("d/${clientid}", SUB))
        )
        issued(database, "a/+", "a/x", "c", access_key_id="narrow", actions=TokenActions.W)
        issued(database, "b/#", "b/x/+", access_key_id="narrow", actions=TokenActions.R)
        for resource, actions in [
            ("a/#", TokenActions.W),
            ("a/x", TokenActions.RW),
            ("a/x", TokenActions.R),
            ("#", TokenActions.R),
            ("d/c1", TokenActions.R),
        ]:
            with pytest.raises(NotCovered, match="covers"):
                issued(database, resource, access_key_id="narrow", actions=actions)

    def test_a_user_name_s_permission_is_none_of_the_key(self, database: Database) -> None:
        written(database, access_key("narrow"), allow("a", to=(Grantee.USER, "narrow")), allow("b"))
        for resource in ("a", "b"):
            with pytest.raises(NotCovered):
                issued(database, resource, access_key_id="narrow")

    def test_a_denial_is_judged_when_the_token_is_used(self, database: Database) -> None:
        written(database, access_key("narrow"), *granted(("a", PUB)), deny("a", to=(Grantee.ACCESS_KEY, "narrow")))
        issued(database, "a", access_key_id="narrow", actions=TokenActions.W)
        assert len(list(database.records(PERMISSIONS))) == 2


class TestJudge:
    def test_to_the_millisecond(self, database: Database) -> None:
        text = issued(database).text
        assert judge(database, text, NOW + HOUR - 1).standing is Standing.GOOD
        assert judge(database, text, NOW + HOUR).standing is Standing.EXPIRED

    def test_revoked_at_once_and_for_good(self, database: Database) -> None:
        made = issued(database)
        assert revoke(database, made.token.token_id, now_ms=NOW, actor="t")
        assert not revoke(database, made.token.token_id, now_ms=NOW, actor="t")
        assert judge(database, made.text, NOW).standing is Standing.REVOKED
        assert judge(database, made.text, NOW + 2 * HOUR).standing is Standing.REVOKED

    def test_one_that_is_not_there_cannot_be_revoked(self, database: Database) -> None:
        assert not revoke(database, "t", now_ms=NOW, actor="t")

    def test_without_its_record_it_is_worth_nothing(self, database: Database) -> None:
        made = issued(database)
        with database.writing(actor="t", source="api", now_ms=NOW) as write:
            write.remove(made.token)
        assert judge(database, made.text, NOW).standing is Standing.REVOKED
        assert judge(database, made.text, NOW + HOUR).standing is Standing.EXPIRED

    @given(data=st.data())
    def test_any_other_character_makes_it_forged(self, data: st.DataObject) -> None:
        keys = TokenKeys({"k1": b"key"})
        text = keys.sign("token", NOW)
        at = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.characters().filter(lambda drawn: drawn != text[at]))
        found = keys.verified(text[:at] + other + text[at + 1 :])
        # The last of 43 characters holds two bits that say nothing; no other reading of them is taken.
        assert found is None

    @pytest.mark.parametrize("text", ["", "|", "R", "T1", "T1....", "\0", "T1.k1.t.1.", "T1.k1.t.1." + "A" * 43])
    def test_forged(self, database: Database, text: str) -> None:
        issued(database)
        assert judge(database, text, NOW).standing is Standing.FORGED

    def test_another_store_s_token(self, database: Database, tmp_path: Path) -> None:
        with Database.open(tmp_path / "other.db", SealKeys()) as other:
            written(other, instance(), access_key(all_topics=True))
            text = issued(other).text
        issued(database)
        assert judge(database, text, NOW).standing is Standing.FORGED


class TestTokenKeys:
    def test_the_new_one_signs_and_the_old_one_verifies_until_it_is_retired(self, database: Database) -> None:
        old = issued(database).text
        (first,) = token_keys(database).keys
        second = rotate_token_key(database, now_ms=NOW + 1, actor="t")
        new = issued(database, now_ms=NOW + 1).text
        assert (named_key(old), named_key(new)) == (first, second)
        assert judge(database, old, NOW).standing is judge(database, new, NOW).standing is Standing.GOOD
        assert retire_token_key(database, first, now_ms=NOW + 2, actor="t")
        assert not retire_token_key(database, first, now_ms=NOW + 2, actor="t")
        assert judge(database, old, NOW).standing is Standing.FORGED
        assert judge(database, new, NOW).standing is Standing.GOOD

    def test_they_are_sealed(self, database: Database) -> None:
        issued(database)
        (key,) = database.records(TOKEN_KEYS)
        (sealed,) = database.connection.execute("SELECT sealed FROM token_key_secrets").fetchone()
        assert key.secrets[0].value not in sealed

    def test_a_store_without_tokens_has_none(self, database: Database) -> None:
        assert not token_keys(database)
        assert judge(database, "T1.k.t.1." + "A" * 43, NOW).standing is Standing.FORGED
        assert database.get(ACCESS_KEYS, ("YYYYY",))
