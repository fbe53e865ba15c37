"""Password hashes that describe themselves: parse, bound, verify, make. Pure.

Cost is read and bounded before anything is hashed: a policy with ``m=8 GiB`` is refused, not run.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import argon2
import bcrypt

MAX_MEMORY_KIB: Final = 256 * 1024
MAX_ARGON2_PASSES: Final = 16
MAX_ARGON2_LANES: Final = 16
MAX_BCRYPT_COST: Final = 14
MAX_PBKDF2_ITERATIONS: Final = 2_000_000
MAX_BCRYPT_PASSWORD_BYTES: Final = 72
"""bcrypt reads no more; a longer password is refused rather than cut."""

_MAKE: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""OWASP's second argon2id setting: 19 MiB, two passes, one lane."""

_ARGON2: Final = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,9})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}"
)
_BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9][0-9])\$[./A-Za-z0-9]{53}")
_SCRYPT: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,4}),p=([0-9]{1,4})\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)"
)
_MOSQUITTO_7: Final = re.compile(r"\$7\$([0-9]{1,9})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_MOSQUITTO_6: Final = re.compile(r"\$6\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_GO_AUTH: Final = re.compile(r"PBKDF2\$(sha256|sha512)\$([0-9]{1,9})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_EMQX: Final = re.compile(r"\$emqx-sha256\$(prefix|suffix)\$([A-Za-z0-9+/=]*)\$([0-9a-f]{64})")


class InvalidHash(ValueError):
    """A hash is of no known scheme, malformed, or over the cost bounds. The message never holds the hash."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A parsed hash: `work` names scheme and cost, without salt or digest."""

    work: str
    slow: bool
    """Whether a verification takes milliseconds, so that it belongs into a thread pool."""
    verify: Callable[[bytes], bool]

    def __repr__(self) -> str:
        return f"PasswordHash({self.work!r})"


def hash_password(password: bytes) -> str:
    """A fresh argon2id hash of a password (62 ms or so; frees the GIL)."""
    return _MAKE.hash(password)


def check_hash(text: str) -> None:
    """Refuse a hash that could not be verified against.

    Raises:
        InvalidHash: unknown scheme, malformed, or a cost over the bounds.
    """
    parse_hash(text)


def parse_hash(text: str) -> PasswordHash:
    """Read scheme, cost, salt and digest.

    Raises:
        InvalidHash: as `check_hash`.
    """
    for pattern, read in _READERS:
        if found := pattern.fullmatch(text):
            try:
                return read(found)
            except binascii.Error:
                raise InvalidHash("a password hash whose salt or digest is no base64") from None
    raise InvalidHash(
        "a password hash of no known scheme; known are $argon2id$, $2a$ $2b$ $2y$, $scrypt$, "
        "Mosquitto's $7$ and $6$, PBKDF2$sha512$, $emqx-sha256$"
    )


def dummy_hash(work: str) -> str:
    """A hash that costs what `work` names and that no password is known for."""
    if work.startswith("$argon2id$"):
        return f"{work}${'A' * 22}${'A' * 43}"
    if work.startswith("$2"):
        return work + "." * 53
    if work.startswith("$scrypt$"):
        return f"{work}${'A' * 22}${'A' * 43}"
    if work.startswith(("$7$", "PBKDF2$")):
        scheme, _, digest_bytes = work.rpartition("$")
        return f"{scheme}$AAAAAAAAAAAAAAAA${base64.b64encode(bytes(int(digest_bytes))).decode()}"
    if work == "$6$":
        return f"$6$AAAAAAAAAAAAAAAA${base64.b64encode(bytes(64)).decode()}"
    return f"$emqx-sha256$prefix$AAAA${'0' * 64}"


def _bound(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidHash(f"a password hash with {name} {value}; accepted are {least} to {most}")
    return value


def _argon2(found: re.Match[str]) -> PasswordHash:
    text = found[0].encode()
    memory, passes, lanes = (int(found[group]) for group in (1, 2, 3))
    _bound("argon2 passes", passes, 1, MAX_ARGON2_PASSES)
    _bound("argon2 lanes", lanes, 1, MAX_ARGON2_LANES)
    _bound("argon2 memory (KiB)", memory, 8 * lanes, MAX_MEMORY_KIB)

    def verify(password: bytes) -> bool:
        try:
            return argon2.low_level.verify_secret(text, password, argon2.low_level.Type.ID)
        except argon2.exceptions.VerificationError:
            return False

    return PasswordHash(f"$argon2id$v=19$m={memory},t={passes},p={lanes}", slow=True, verify=verify)


def _bcrypt(found: re.Match[str]) -> PasswordHash:
    text = found[0].encode()
    _bound("bcrypt cost", int(found[1]), 4, MAX_BCRYPT_COST)

    def verify(password: bytes) -> bool:
        fits = len(password) <= MAX_BCRYPT_PASSWORD_BYTES and b"\0" not in password
        # The same work for a password that bcrypt cannot take.
        return bcrypt.checkpw(password if fits else b"x", text) and fits

    return PasswordHash(found[0][:7], slow=True, verify=verify)


def _scrypt(found: re.Match[str]) -> PasswordHash:
    block, lanes = _bound("scrypt r", int(found[2]), 1, 64), _bound("scrypt p", int(found[3]), 1, 16)
    # N is below 2^(128 * r / 8) (RFC 7914, section 2).
    exponent = _bound("scrypt ln", int(found[1]), 1, min(20, 16 * block - 1))
    memory = 128 * block * (2**exponent)
    _bound("scrypt memory (KiB)", memory // 1024, 0, MAX_MEMORY_KIB)
    salt, digest = _unpadded(found[4]), _unpadded(found[5])
    _bound("scrypt digest bytes", len(digest), 16, 64)

    def verify(password: bytes) -> bool:
        made = hashlib.scrypt(
            password, salt=salt, n=2**exponent, r=block, p=lanes, maxmem=2 * memory + 2**20, dklen=len(digest)
        )
        return hmac.compare_digest(made, digest)

    return PasswordHash(f"$scrypt$ln={exponent},r={block},p={lanes}", slow=True, verify=verify)


def _mosquitto_7(found: re.Match[str]) -> PasswordHash:
    return _pbkdf2("sha512", int(found[1]), found[2], found[3], f"$7${int(found[1])}")


def _go_auth(found: re.Match[str]) -> PasswordHash:
    return _pbkdf2(found[1], int(found[2]), found[3], found[4], f"PBKDF2${found[1]}${int(found[2])}")


def _pbkdf2(algorithm: str, iterations: int, salt_text: str, digest_text: str, work: str) -> PasswordHash:
    _bound("PBKDF2 iterations", iterations, 1, MAX_PBKDF2_ITERATIONS)
    salt, digest = base64.b64decode(salt_text, validate=True), base64.b64decode(digest_text, validate=True)
    _bound("PBKDF2 digest bytes", len(digest), 16, 64)

    def verify(password: bytes) -> bool:
        return hmac.compare_digest(hashlib.pbkdf2_hmac(algorithm, password, salt, iterations, len(digest)), digest)

    # Each digest's worth of output costs the iterations anew.
    return PasswordHash(f"{work}${len(digest)}", slow=True, verify=verify)


def _mosquitto_6(found: re.Match[str]) -> PasswordHash:
    salt, digest = base64.b64decode(found[1], validate=True), base64.b64decode(found[2], validate=True)
    _bound("SHA-512 digest bytes", len(digest), 64, 64)
    return PasswordHash(
        "$6$",
        slow=False,
        verify=lambda password: hmac.compare_digest(hashlib.sha512(password + salt).digest(), digest),
    )


def _emqx(found: re.Match[str]) -> PasswordHash:
    before, salt, digest = (
        found[1] == "prefix",
        base64.b64decode(found[2], validate=True),
        bytes.fromhex(found[3]),
    )

    def verify(password: bytes) -> bool:
        salted = salt + password if before else password + salt
        return hmac.compare_digest(hashlib.sha256(salted).digest(), digest)

    return PasswordHash("$emqx-sha256$", slow=False, verify=verify)


def _unpadded(text: str) -> bytes:
    """Base64 as passlib writes it: ``.`` for ``+``, no padding."""
    text = text.replace(".", "+")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


_READERS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], PasswordHash]], ...]] = (
    (_ARGON2, _argon2),
    (_BCRYPT, _bcrypt),
    (_SCRYPT, _scrypt),
    (_MOSQUITTO_7, _mosquitto_7),
    (_MOSQUITTO_6, _mosquitto_6),
    (_GO_AUTH, _go_auth),
    (_EMQX, _emqx),
)
