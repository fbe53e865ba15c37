"""Sealing of secrets at rest (AES-GCM), and keyed fingerprints.

The key comes from outside the database: a file or the environment. Without one, secrets stand in the clear in
a file that only its owner can read, and whoever opened the store is told so.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
PLAIN: Final = "plain"
"""Stands for a key id where nothing is sealed."""

_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 4
_LEAST_SEALED_BYTES: Final = 1 + _ID_BYTES + _NONCE_BYTES + 16
_FINGERPRINT_CHARS: Final = 16
_ALTERED: Final = "a sealed secret was altered, or moved from another record; restore the store"


class SealError(Exception):
    """Secrets cannot be read with the keys at hand; the message says which key is missing, or what is malformed."""


class AlteredSecret(SealError):
    """One sealed value was altered or moved; the others may well be whole."""


@dataclass(frozen=True, slots=True)
class SealKeys:
    """The keys at hand: the first seals, every one unseals (so that they rotate without an outage)."""

    _keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    _ciphers: dict[str, AESGCM] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Made once, since making one takes longer than sealing with it."""

    @classmethod
    def from_text(cls, text: str, place: str) -> Self:
        """Keys as written: base64 of 32 bytes each, one a line; blank lines and ``#`` comments are passed over.

        Raises:
            SealError: a line is no key; the message names `place` and the line, never the line's text.
        """
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            try:
                key = base64.b64decode(stripped, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != KEY_BYTES:
                raise SealError(
                    f"{place}:{number}: no seal key; a key is base64 of 32 bytes (`exhook seal-key new` makes one)"
                )
            keys[key_id(key)] = key
        if not keys:
            raise SealError(f"{place}: holds no seal key; `exhook seal-key new` makes one")
        return cls(keys)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], file: Path | None = None) -> Self:
        """Keys of `file`, else of ``EXHOOK_SEAL_KEY_FILE``, else of ``EXHOOK_SEAL_KEY``; none where none is named.

        Raises:
            SealError: the file cannot be read, or holds no key.
        """
        path = file or (Path(environ["EXHOOK_SEAL_KEY_FILE"]) if environ.get("EXHOOK_SEAL_KEY_FILE") else None)
        if path is not None:
            try:
                return cls.from_text(path.read_text(encoding="ascii"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                if _is_key(str(path)):
                    raise SealError(
                        "the name of the seal key file is a key itself; put it into a file, or into EXHOOK_SEAL_KEY"
                    ) from None
                why = error.strerror if isinstance(error, OSError) else "not ASCII"
                raise SealError(f"{path}: cannot be read as a seal key file ({why})") from None
        if environ.get("EXHOOK_SEAL_KEY"):
            return cls.from_text(environ["EXHOOK_SEAL_KEY"], "EXHOOK_SEAL_KEY")
        return cls()

    @property
    def ids(self) -> Sequence[str]:
        return tuple(self._keys)

    @property
    def primary(self) -> str:
        """Id of the key that seals; `PLAIN` where there is none."""
        return next(iter(self._keys), PLAIN)

    def seal(self, value: bytes, bound_to: str) -> bytes:
        """Seal a secret; `bound_to` names the record, so that a sealed value moved to another does not open."""
        if not self._keys:
            return b"\0" + value
        nonce = os.urandom(_NONCE_BYTES)
        named = self.primary
        sealed = self._cipher(named).encrypt(nonce, value, bound_to.encode())
        return b"\1" + bytes.fromhex(named) + nonce + sealed

    def unseal(self, sealed: bytes, bound_to: str) -> bytes:
        """Raises SealError: the key is missing, or the value was altered or moved."""
        if sealed[:1] == b"\0":
            return sealed[1:]
        if sealed[:1] != b"\1" or len(sealed) < _LEAST_SEALED_BYTES:
            raise AlteredSecret(_ALTERED)
        named = sealed[1 : 1 + _ID_BYTES].hex()
        if named not in self._keys:
            raise SealError(missing_key(named))
        nonce, body = sealed[1 + _ID_BYTES :][:_NONCE_BYTES], sealed[1 + _ID_BYTES + _NONCE_BYTES :]
        try:
            return self._cipher(named).decrypt(nonce, body, bound_to.encode())
        except InvalidTag:
            raise AlteredSecret(_ALTERED) from None

    def _cipher(self, named: str) -> AESGCM:
        cipher = self._ciphers.get(named)
        if cipher is None:
            cipher = self._ciphers[named] = AESGCM(self._keys[named])
        return cipher


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def missing_key(named: str) -> str:
    return (
        f"secrets are sealed under key {named}, which is not at hand; "
        "give the file that holds it by --seal-key-file or EXHOOK_SEAL_KEY_FILE"
    )


def new_key() -> str:
    """A fresh key, as `SealKeys.from_text` reads it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_id(key: bytes) -> str:
    """A name for a key that tells nothing of it."""
    return hashlib.sha256(b"exhook seal key id\0" + key).digest()[:_ID_BYTES].hex()


def fingerprint(key: bytes, form: str, value: bytes) -> str:
    """Truncated HMAC of a secret: equal secrets show as equal, and without the key nothing can be tried against it."""
    return hmac.digest(key, form.encode() + b"\0" + value, hashlib.sha256).hex()[:_FINGERPRINT_CHARS]
