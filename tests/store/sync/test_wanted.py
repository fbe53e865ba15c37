"""The secrets of wanted identities, told apart from the stored ones without hashing or unsealing."""

from pathlib import Path

import pytest
from stores_under_test import HASH, Store, described

from store.seal import SealKeys, new_key
from store.sync.wanted import UnresolvedSecrets

IDENTITIES = "identities:\n  - {username: sensors, sign_mode: origin, secret: {literal: one}}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_password_that_is_hashed_in_the_store_shows_no_change(store: Store) -> None:
    store.environ["EXHOOK_SECRET_A"] = "pass word"
    text = "identities: [{username: a, sign_mode: hashed, secret: {env: EXHOOK_SECRET_A}}]\n"
    store.apply(text)
    first = store.secrets("a")
    assert first[0].value.startswith(b"$argon2id$")
    assert store.plan(text).changes == ()
    store.environ["EXHOOK_SECRET_A"] = "another"
    assert described(store.plan(text)) == ["change identity mqtt-default USER a"]


def test_a_second_secret_leaves_the_first_as_it_is(store: Store) -> None:
    one = "identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}]}]\n"
    two = "identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}, {id: y, literal: b}]}]\n"
    store.apply(one)
    before = store.secrets("a")
    store.apply(two)
    assert store.secrets("a")[0].value == before[0].value
    assert store.plan(two).changes == ()


def test_the_same_password_under_another_name_is_hashed_anew(store: Store) -> None:
    store.apply("identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}]}]\n")
    before = store.secrets("a")
    store.apply("identities: [{username: a, sign_mode: hashed, secrets: [{id: y, literal: one}]}]\n")
    (after,) = store.secrets("a")
    assert after.fingerprint == before[0].fingerprint
    assert after.value != before[0].value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sign_mode: origin, secret: {literal: one}", "sign_mode: signed, secret: {literal: one}"),
        ("sign_mode: origin, secret: {literal: one}", "sign_mode: hashed, secret: {literal: one}"),
        (f"secret: {{hash: '{HASH}'}}", "sign_mode: hashed, secret: {literal: one}"),
    ],
)
def test_another_sign_mode_is_a_change(store: Store, before: str, after: str) -> None:
    store.apply(f"identities: [{{username: a, {before}}}]\n")
    text = f"identities: [{{username: a, {after}}}]\n"
    assert described(store.plan(text)) == ["change identity mqtt-default USER a"]
    store.apply(text)
    assert store.plan(text).changes == ()


def test_an_expiry_alone_is_a_change_and_keeps_the_value(store: Store) -> None:
    store.apply("identities: [{username: a, sign_mode: hashed, secret: {literal: one}}]\n")
    before = store.secrets("a")
    store.apply("identities: [{username: a, sign_mode: hashed, secret: {literal: one, expires: 2030-01-01}}]\n")
    (after,) = store.secrets("a")
    assert (after.value, after.expires_at) == (before[0].value, 1_893_456_000_000)


def test_a_stored_secret_stays_as_it_is(store: Store) -> None:
    store.apply(IDENTITIES)
    stored = IDENTITIES.replace("literal: one", "stored: true")
    assert store.plan(stored).changes == ()
    store.apply(stored.replace("sensors,", "sensors, note: x,"))
    assert [secret.value for secret in store.secrets("sensors")] == [b"one"]


def test_a_stored_secret_that_the_store_does_not_have_is_told(store: Store) -> None:
    with pytest.raises(UnresolvedSecrets, match=r"policy\.yaml:3:52: the store has no secret 'default' of user sen"):
        store.plan(IDENTITIES.replace("literal: one", "stored: true"))


def test_a_stored_key_is_no_hash(store: Store) -> None:
    store.apply(IDENTITIES)
    with pytest.raises(UnresolvedSecrets, match="is a key, which does not go with sign_mode hashed"):
        store.plan(IDENTITIES.replace("literal: one", "stored: true").replace("origin", "hashed"))


def test_a_stored_hash_is_no_key(store: Store) -> None:
    store.apply(f"identities: [{{username: sensors, secret: {{hash: '{HASH}'}}}}]\n")
    with pytest.raises(UnresolvedSecrets, match="is a hash, which does not go with sign_mode origin"):
        store.plan(IDENTITIES.replace("literal: one", "stored: true"))


def test_all_that_cannot_be_had_is_told_at_once(store: Store) -> None:
    with pytest.raises(UnresolvedSecrets) as caught:
        store.plan(
            "identities:\n"
            "  - {username: a, sign_mode: origin, secret: {env: EXHOOK_SECRET_A}}\n"
            "  - {username: b, sign_mode: origin, secret: {file: nowhere}}\n"
        )
    first, second = caught.value.errors
    assert first.startswith(f"{store.folder}/policy.yaml:3:46: the variable EXHOOK_SECRET_A is not set")
    assert second.startswith(f"{store.folder}/policy.yaml:4:46: there is no file 'nowhere'")


def test_a_plan_unseals_nothing(tmp_path: Path) -> None:
    """A value that was altered, so that it cannot be unsealed, is no matter to a plan."""
    store = Store(tmp_path, SealKeys.from_text(new_key(), "test"))
    store.apply(IDENTITIES)
    with store.open() as database:
        database.connection.execute("UPDATE identity_secrets SET sealed = X'00'")
    assert store.plan(IDENTITIES, prune=True).changes == ()
