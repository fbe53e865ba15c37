"""Passwords: how they are signed and verified. Pure; a password is bytes.

ORIGIN compares with the secret as it is; SIGNED with ``base64(HMAC-SHA1(secret, client id))`` (seed); HASHED
verifies against a hash that describes itself. All comparisons take constant time.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from store.hashes import InvalidHash, PasswordHash, check_hash, dummy_hash, hash_password, parse_hash
from store.records import Secret, SecretForm, SignMode

__all__ = [
    "InvalidHash",
    "check_hash",
    "dummy_secrets",
    "hash_password",
    "is_slow",
    "sign",
    "verify",
    "work_of",
]

_DIGESTS: Final = {SignMode.SIGNED: "sha1", SignMode.SIGNED_SHA256: "sha256"}
_WORK_SEPARATOR: Final = " "
_DUMMY_KEY: Final = b"exhook"


def sign(secret: bytes, client_id: str, mode: SignMode = SignMode.SIGNED) -> bytes:
    """The password that a client signs with its secret: standard base64 with padding (seed).

    >>> sign(b"XXXXX", "GID_Test@@@0001")
    b'vI009IZJZVGRwBwZvnbwjfuXxVM='
    """
    return base64.b64encode(hmac.digest(secret, client_id.encode(), _DIGESTS[mode]))


def verify(mode: SignMode, secrets: Sequence[Secret], client_id: str, password: bytes) -> str | None:
    """The id of the secret that the password proves, or None. Every secret is tried, so that time tells nothing."""
    proven = None
    for secret in secrets:
        if _proves(mode, secret, client_id, password) and proven is None:
            proven = secret.id
    return proven


def is_slow(mode: SignMode, secrets: Sequence[Secret]) -> bool:
    """Whether `verify` takes milliseconds and belongs into a thread pool."""
    return mode is SignMode.HASHED and any(_parsed(secret.value).slow for secret in secrets)


def work_of(mode: SignMode, secrets: Sequence[Secret]) -> str:
    """What a verification costs: sign mode, scheme and parameters, nothing that identifies a secret."""
    if mode is not SignMode.HASHED:
        return _WORK_SEPARATOR.join([mode.value] * len(secrets))
    return _WORK_SEPARATOR.join(sorted(_parsed(secret.value).work for secret in secrets))


def dummy_secrets(work: str) -> tuple[SignMode, tuple[Secret, ...]]:
    """Sign mode and secrets that cost what `work` names, and that nothing proves."""
    parts = work.split(_WORK_SEPARATOR) if work else [SignMode.ORIGIN.value]
    mode = SignMode(parts[0]) if parts[0] in SignMode.__members__ else SignMode.HASHED
    hashed = mode is SignMode.HASHED
    return mode, tuple(
        Secret(
            id="",
            value=dummy_hash(part).encode() if hashed else _DUMMY_KEY,
            form=SecretForm.HASH if hashed else SecretForm.KEY,
            fingerprint="",
        )
        for part in parts
    )


def _proves(mode: SignMode, secret: Secret, client_id: str, password: bytes) -> bool:
    if mode is SignMode.ORIGIN:
        # Digests, since a comparison of the secrets themselves would tell their length.
        return hmac.compare_digest(hashlib.sha256(secret.value).digest(), hashlib.sha256(password).digest())
    if mode is SignMode.HASHED:
        return _parsed(secret.value).verify(password)
    return hmac.compare_digest(sign(secret.value, client_id, mode), password)


@lru_cache(maxsize=4096)
def _parsed(value: bytes) -> PasswordHash:
    # What is no text is of no known scheme; an error that quotes it would show the hash.
    return parse_hash(value.decode(errors="replace"))
