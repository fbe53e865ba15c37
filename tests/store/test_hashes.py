"""Password hashes: vectors of every scheme made by its own library, and bounds that refuse before any work."""

import base64
import hashlib
import time
from collections.abc import Callable

import argon2
import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.hashes import InvalidHash, check_hash, dummy_hash, hash_password, parse_hash

PASSWORD = b"p\xc3\xa4ss \xff\xfe word"
SALT = b"0123456789abcdef"

ZERO_SALT = "A" * 22
ZERO_DIGEST = "A" * 43


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def unpadded(raw: bytes) -> str:
    return b64(raw).rstrip("=")


def passlib(raw: bytes) -> str:
    return unpadded(raw).replace("+", ".")


def argon2id(password: bytes) -> str:
    return argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=2).hash(password)


def bcrypted(prefix: str, password: bytes) -> str:
    made = bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()
    return prefix + made[4:]


def scrypted(password: bytes, text: Callable[[bytes], str] = unpadded) -> str:
    digest = hashlib.scrypt(password, salt=SALT, n=16, r=8, p=1, dklen=32)
    return f"$scrypt$ln=4,r=8,p=1${text(SALT)}${text(digest)}"


def mosquitto_7(password: bytes) -> str:
    return f"$7$101${b64(SALT)}${b64(hashlib.pbkdf2_hmac('sha512', password, SALT, 101, 64))}"


def mosquitto_6(password: bytes) -> str:
    return f"$6${b64(SALT)}${b64(hashlib.sha512(password + SALT).digest())}"


def go_auth(algorithm: str, size: int, password: bytes) -> str:
    return f"PBKDF2${algorithm}$100${b64(SALT)}${b64(hashlib.pbkdf2_hmac(algorithm, password, SALT, 100, size))}"


def emqx(place: str, password: bytes, salt: bytes = SALT) -> str:
    salted = salt + password if place == "prefix" else password + salt
    return f"$emqx-sha256${place}${b64(salt)}${hashlib.sha256(salted).hexdigest()}"


SCHEMES: dict[str, Callable[[bytes], str]] = {
    "argon2id": argon2id,
    "bcrypt 2a": lambda password: bcrypted("$2a$", password),
    "bcrypt 2b": lambda password: bcrypted("$2b$", password),
    "bcrypt 2y": lambda password: bcrypted("$2y$", password),
    "scrypt": scrypted,
    "scrypt of passlib": lambda password: scrypted(password, passlib),
    "mosquitto 7": mosquitto_7,
    "mosquitto 6": mosquitto_6,
    "pbkdf2 sha512": lambda password: go_auth("sha512", 64, password),
    "pbkdf2 sha256": lambda password: go_auth("sha256", 32, password),
    "pbkdf2 of go-auth's size": lambda password: go_auth("sha512", 32, password),
    "emqx prefix": lambda password: emqx("prefix", password),
    "emqx suffix": lambda password: emqx("suffix", password),
    "emqx without salt": lambda password: emqx("prefix", password, b""),
}

# Published by others: bcrypt's test vectors, argon2's own, RFC 7914 (scrypt), the PBKDF2-HMAC-SHA512 vectors.
PUBLISHED = [
    ("$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", b"abc"),
    ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", b"a"),
    ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", b"password"),
    (
        "$scrypt$ln=10,r=8,p=16$TmFDbA$"
        + unpadded(
            bytes.fromhex(
                "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
            )
        ),
        b"password",
    ),
    (
        "$7$1$c2FsdA==$"
        + b64(
            bytes.fromhex(
                "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
                "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce"
            )
        ),
        b"password",
    ),
]

GOOD = {
    "argon2": f"$argon2id$v=19$m=64,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}",
    "bcrypt": "$2b$04$" + "." * 53,
    "scrypt": f"$scrypt$ln=4,r=8,p=1${ZERO_SALT}${ZERO_DIGEST}",
    "mosquitto 7": f"$7$101$AAAA${b64(bytes(64))}",
    "mosquitto 6": f"$6$AAAA${b64(bytes(64))}",
    "go-auth": f"PBKDF2$sha512$100$AAAA${b64(bytes(64))}",
    "emqx": f"$emqx-sha256$prefix$AAAA${'0' * 64}",
}

# A hash, and a part of the sentence that refuses it.
REFUSED = [
    (f"$argon2id$v=19$m=8388608,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "argon2 memory (KiB) 8388608; accepted are"),
    (f"$argon2id$v=19$m=262145,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "argon2 memory"),
    (f"$argon2id$v=19$m=7,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "argon2 memory"),
    (f"$argon2id$v=19$m=31,t=1,p=4${ZERO_SALT}${ZERO_DIGEST}", "argon2 memory (KiB) 31; accepted are 32 to"),
    (f"$argon2id$v=19$m=64,t=17,p=1${ZERO_SALT}${ZERO_DIGEST}", "argon2 passes 17"),
    (f"$argon2id$v=19$m=64,t=0,p=1${ZERO_SALT}${ZERO_DIGEST}", "argon2 passes 0"),
    (f"$argon2id$v=19$m=4096,t=1,p=17${ZERO_SALT}${ZERO_DIGEST}", "argon2 lanes 17"),
    (f"$argon2id$v=19$m=64,t=1,p=0${ZERO_SALT}${ZERO_DIGEST}", "argon2 lanes 0"),
    (f"$argon2id$v=19$m=99999999999,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "no known scheme"),
    (f"$argon2i$v=19$m=64,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "no known scheme"),
    (f"$argon2id$v=16$m=64,t=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "no known scheme"),
    ("$2b$15$" + "." * 53, "bcrypt cost 15; accepted are 4 to 14"),
    ("$2b$31$" + "." * 53, "bcrypt cost 31"),
    ("$2b$03$" + "." * 53, "bcrypt cost 3"),
    ("$2x$04$" + "." * 53, "no known scheme"),
    ("$2b$04$" + "." * 52, "no known scheme"),
    (f"$scrypt$ln=19,r=8,p=1${ZERO_SALT}${ZERO_DIGEST}", "scrypt memory (KiB) 524288"),
    (f"$scrypt$ln=21,r=8,p=1${ZERO_SALT}${ZERO_DIGEST}", "scrypt ln 21"),
    (f"$scrypt$ln=16,r=1,p=1${ZERO_SALT}${ZERO_DIGEST}", "scrypt ln 16; accepted are 1 to 15"),
    (f"$scrypt$ln=4,r=65,p=1${ZERO_SALT}${ZERO_DIGEST}", "scrypt r 65"),
    (f"$scrypt$ln=4,r=8,p=17${ZERO_SALT}${ZERO_DIGEST}", "scrypt p 17"),
    (f"$scrypt$ln=4,r=8,p=0${ZERO_SALT}${ZERO_DIGEST}", "scrypt p 0"),
    (f"$scrypt$ln=4,r=8,p=1${ZERO_SALT}$AA", "scrypt digest bytes 1"),
    (f"$scrypt$ln=4,r=8,p=1${ZERO_SALT}$A", "no base64"),
    (f"$7$2000001$AAAA${b64(bytes(64))}", "PBKDF2 iterations 2000001"),
    (f"$7$0$AAAA${b64(bytes(64))}", "PBKDF2 iterations 0"),
    (f"$7$101$AAA${b64(bytes(64))}", "no base64"),
    (f"$7$101$AAAA${b64(bytes(65))}", "PBKDF2 digest bytes 65"),
    (f"PBKDF2$sha512$100$AAAA${b64(bytes(15))}", "PBKDF2 digest bytes 15"),
    (f"PBKDF2$sha1$100$AAAA${b64(bytes(20))}", "no known scheme"),
    (f"$6$AAAA${b64(bytes(63))}", "SHA-512 digest bytes 63"),
    (f"$6$AAAA${'A' * 5}", "no base64"),
    (f"$emqx-sha256$prefix$AAA${'0' * 64}", "no base64"),
    (f"$emqx-sha256$middle$AAAA${'0' * 64}", "no known scheme"),
    (f"$emqx-sha256$prefix$AAAA${'0' * 63}", "no known scheme"),
    ("", "no known scheme"),
    ("secret", "no known scheme"),
    ("$5$rounds=5000$salt$" + "x" * 43, "no known scheme"),
    (f" {GOOD['mosquitto 7']}", "no known scheme"),
    (f"{GOOD['mosquitto 7']}\n", "no known scheme"),
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_verifies_its_own_password_alone(scheme: str) -> None:
    parsed = parse_hash(SCHEMES[scheme](PASSWORD))
    assert parsed.verify(PASSWORD)
    for other in (b"", PASSWORD[:-1], PASSWORD + b"x", PASSWORD.upper(), PASSWORD.decode(errors="replace").encode()):
        assert not parsed.verify(other), other


@pytest.mark.parametrize(("text", "password"), PUBLISHED)
def test_published_vectors(text: str, password: bytes) -> None:
    parsed = parse_hash(text)
    assert parsed.verify(password)
    assert not parsed.verify(password.upper())


def test_a_fresh_hash_is_argon2id_and_differs_each_time() -> None:
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    assert first != second
    assert parse_hash(first).work == "$argon2id$v=19$m=19456,t=2,p=1"
    assert parse_hash(first).verify(PASSWORD)
    assert not parse_hash(first).verify(b"other")


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_is_malformed_or_too_costly_is_refused_before_any_work(text: str, sentence: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidHash) as refused:
        check_hash(text)
    assert time.process_time() - started < 0.05
    assert sentence in str(refused.value)
    for part in text.split("$")[-2:]:
        assert len(part) < 3 or part not in str(refused.value), "the message shows a part of the hash"


@pytest.mark.parametrize("scheme", GOOD)
def test_the_bounds_refuse_nothing_ordinary(scheme: str) -> None:
    check_hash(GOOD[scheme])


@pytest.mark.parametrize(
    "text",
    [
        f"$argon2id$v=19$m=262144,t=16,p=16${ZERO_SALT}${ZERO_DIGEST}",
        "$2b$14$" + "." * 53,
        f"$scrypt$ln=18,r=8,p=16${ZERO_SALT}${ZERO_DIGEST}",
        f"$7$2000000$AAAA${b64(bytes(64))}",
    ],
)
def test_a_cost_at_the_bound_is_accepted(text: str) -> None:
    check_hash(text)


def test_a_parsed_hash_shows_nothing_of_salt_or_digest() -> None:
    for scheme, text in GOOD.items():
        shown = repr(parse_hash(text))
        assert text.rsplit("$", 1)[1] not in shown, scheme
        assert "AAAA" not in shown, scheme


@pytest.mark.parametrize("long", [b"x" * 73, b"x" * 500])
def test_bcrypt_refuses_what_it_would_cut(long: bytes) -> None:
    parsed = parse_hash(bcrypted("$2b$", b"x" * 72))
    assert parsed.verify(b"x" * 72)
    assert not parsed.verify(long)


def test_bcrypt_refuses_a_password_with_nul() -> None:
    parsed = parse_hash(bcrypted("$2b$", b"x"))
    assert not parsed.verify(b"x\0")
    assert not parsed.verify(b"\0")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_dummy_parses_costs_the_same_and_proves_nothing(scheme: str) -> None:
    parsed = parse_hash(SCHEMES[scheme](PASSWORD))
    dummy = parse_hash(dummy_hash(parsed.work))
    assert dummy.work == parsed.work
    assert dummy.slow == parsed.slow
    for password in (b"", PASSWORD, b"password", bytes(32), bytes(64)):
        assert not dummy.verify(password)


def test_a_dummy_has_a_digest_as_long_as_the_hash_that_it_stands_for() -> None:
    """SHA-256 makes 32 bytes at a time: a digest of 64 costs twice the iterations."""
    for algorithm, size in (("sha256", 32), ("sha256", 64), ("sha512", 64)):
        real = f"PBKDF2${algorithm}$60000${b64(SALT)}${b64(hashlib.pbkdf2_hmac(algorithm, PASSWORD, SALT, 1, size))}"
        dummy = dummy_hash(parse_hash(real).work)
        assert len(base64.b64decode(dummy.rsplit("$", 1)[1])) == size, (algorithm, size)
        assert dummy.split("$")[:3] == real.split("$")[:3]


@given(st.text() | st.from_regex(r"\$(argon2id|2b|scrypt|7|6|emqx-sha256)\$[a-z0-9=,$]{0,40}", fullmatch=True))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    sentence = _refusal(text)
    assert len(text) < 20 or text not in sentence


def _refusal(text: str) -> str:
    try:
        parse_hash(text)
    except InvalidHash as refused:
        return str(refused)
    return ""
