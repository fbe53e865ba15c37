"""Passwords: each sign mode with vectors made by the schemes' own libraries, and the work of unknown names."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_under_test import secret

from store.credentials import InvalidHash, dummy_secrets, hash_password, is_slow, sign, verify, work_of
from store.records import SecretForm, SignMode

CLIENT = "GID_Test@@@0001"
SEED_SIGNATURE = b"vI009IZJZVGRwBwZvnbwjfuXxVM="
BINARY = b"\x00\xff\xfe\x80 pass"

ARGON2_CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$"
WORKS = [
    "ORIGIN",
    "ORIGIN ORIGIN",
    "SIGNED",
    "SIGNED SIGNED",
    "SIGNED_SHA256",
    "$argon2id$v=19$m=64,t=1,p=1",
    "$2b$04$",
    "$2a$04$",
    "$2y$04$",
    "$scrypt$ln=4,r=8,p=1",
    "$7$101$64",
    "$6$",
    "PBKDF2$sha512$100$64",
    "PBKDF2$sha256$100$32",
    "PBKDF2$sha256$100$64",
    "$emqx-sha256$",
    "$2b$04$ $7$101$64",
]


def test_the_known_answer_of_the_seed() -> None:
    assert sign(b"XXXXX", CLIENT) == SEED_SIGNATURE
    assert verify(SignMode.SIGNED, [secret(b"XXXXX")], CLIENT, SEED_SIGNATURE) == "1"


@given(st.binary(min_size=1), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_signatures_are_base64_of_an_hmac(key: bytes, client_id: str) -> None:
    for mode, digest in ((SignMode.SIGNED, "sha1"), (SignMode.SIGNED_SHA256, "sha256")):
        expected = base64.b64encode(hmac.new(key, client_id.encode(), digest).digest())
        assert sign(key, client_id, mode) == expected


@pytest.mark.parametrize(
    ("mode", "password"),
    [
        (SignMode.ORIGIN, b"XXXXX"),
        (SignMode.SIGNED, SEED_SIGNATURE),
        (SignMode.SIGNED_SHA256, sign(b"XXXXX", CLIENT, SignMode.SIGNED_SHA256)),
    ],
)
def test_one_mode_takes_one_password(mode: SignMode, password: bytes) -> None:
    stored = [secret(b"XXXXX")]
    assert verify(mode, stored, CLIENT, password) == "1"
    others = [b"", b"xxxxx", b"XXXXX ", password + b"=", password[:-1], b"\xff" * 28, b"XXXXX\0"]
    for other in {*others, b"XXXXX", SEED_SIGNATURE} - {password}:
        assert verify(mode, stored, CLIENT, other) is None, other


def test_a_signature_is_one_clients_own() -> None:
    assert verify(SignMode.SIGNED, [secret(b"XXXXX")], "GID_Test@@@0002", SEED_SIGNATURE) is None


def test_passwords_are_bytes() -> None:
    assert verify(SignMode.ORIGIN, [secret(BINARY)], CLIENT, BINARY) == "1"
    assert verify(SignMode.ORIGIN, [secret(BINARY)], CLIENT, BINARY[:-1]) is None
    signed = sign(BINARY, CLIENT)
    assert verify(SignMode.SIGNED, [secret(BINARY)], CLIENT, signed) == "1"


@given(st.binary(min_size=1), st.binary())
def test_origin_is_equality(stored: bytes, password: bytes) -> None:
    assert (verify(SignMode.ORIGIN, [secret(stored)], CLIENT, password) is not None) == (stored == password)


@pytest.mark.parametrize("mode", [SignMode.ORIGIN, SignMode.SIGNED, SignMode.HASHED])
def test_of_two_live_secrets_any_proves_and_is_named(mode: SignMode) -> None:
    keys = [b"old", b"new"]
    stored = [
        secret(_stored(mode, key), id=key.decode(), form=SecretForm.HASH if mode is SignMode.HASHED else SecretForm.KEY)
        for key in keys
    ]
    for key in keys:
        password = sign(key, CLIENT) if mode is SignMode.SIGNED else key
        assert verify(mode, stored, CLIENT, password) == key.decode()
    assert verify(mode, stored, CLIENT, b"other") is None


def test_two_secrets_alike_name_the_first() -> None:
    assert verify(SignMode.ORIGIN, [secret(b"x", id="a"), secret(b"x", id="b")], CLIENT, b"x") == "a"


def test_no_secret_proves_nothing() -> None:
    assert verify(SignMode.ORIGIN, [], CLIENT, b"") is None


def test_only_hashes_that_take_long_are_slow() -> None:
    assert not is_slow(SignMode.ORIGIN, [secret(b"x")])
    assert not is_slow(SignMode.SIGNED, [secret(b"$2b$04$x")])
    assert is_slow(SignMode.HASHED, [secret(hash_password(b"x"))])
    quick = f"$6$c2FsdA==${base64.b64encode(hashlib.sha512(b'xsalt').digest()).decode()}"
    assert not is_slow(SignMode.HASHED, [secret(quick)])
    assert is_slow(SignMode.HASHED, [secret(quick), secret(hash_password(b"x"), id="2")])


def test_what_is_no_text_is_no_hash_and_is_not_shown() -> None:
    stored = [secret(b"\xff\xfesecret", form=SecretForm.HASH)]
    for ask in (work_of, is_slow):
        with pytest.raises(InvalidHash) as refused:
            ask(SignMode.HASHED, stored)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("work", WORKS)
def test_a_dummy_costs_what_it_stands_for_and_nothing_proves_it(work: str) -> None:
    mode, dummies = dummy_secrets(work)
    assert work_of(mode, dummies) == work
    for password in (b"", b"x", b"password", b"exhook", b"\0" * 64, bytes(64)):
        if mode is SignMode.ORIGIN and password == b"exhook":
            continue  # the verdict of an unknown name lets no proof count; see test_decision_authenticate
        assert verify(mode, dummies, CLIENT, password) is None


@pytest.mark.parametrize("work", ["", "ORIGIN"])
def test_without_identities_the_dummy_is_the_cheapest(work: str) -> None:
    assert dummy_secrets(work)[0] is SignMode.ORIGIN


def test_work_tells_nothing_of_the_secret() -> None:
    first, second = hash_password(b"a"), hash_password(b"b")
    assert work_of(SignMode.HASHED, [secret(first)]) == work_of(SignMode.HASHED, [secret(second)])
    assert work_of(SignMode.SIGNED, [secret(b"a")]) == "SIGNED"
    assert work_of(SignMode.EXTERNAL, []) == ""
    twice = [secret(first), secret(second, id="2")]
    assert work_of(SignMode.HASHED, twice) == "$argon2id$v=19$m=19456,t=2,p=1 $argon2id$v=19$m=19456,t=2,p=1"


def _stored(mode: SignMode, key: bytes) -> bytes:
    return hash_password(key).encode() if mode is SignMode.HASHED else key
