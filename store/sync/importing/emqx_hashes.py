"""Password hashes of EMQX's built-in database as hashes that describe themselves (``emqx_passwd``)."""

import base64
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from store.hashes import InvalidHash

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_SHA512: Final = re.compile(r"[0-9a-fA-F]{128}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BCRYPT: Final = ("$2a$", "$2b$", "$2y$")
_DIGESTS: Final = ("sha256", "sha512")


class Algorithm(StrEnum):
    """``password_hash_algorithm.name`` of EMQX."""

    SHA256 = "sha256"
    SHA512 = "sha512"
    PBKDF2 = "pbkdf2"
    BCRYPT = "bcrypt"
    PLAIN = "plain"
    MD5 = "md5"
    SHA = "sha"


class SaltPosition(StrEnum):
    """``password_hash_algorithm.salt_position`` of EMQX."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    DISABLE = "disable"


@dataclass(frozen=True, slots=True)
class Hashing:
    """How the database was set to hash; what its export does not say."""

    algorithm: Algorithm = Algorithm.SHA256
    salt_position: SaltPosition | None = None
    mac_fun: str = ""
    iterations: int = 0

    def lacks(self, stored: str) -> str:
        """The option without which a stored hash cannot be read; nothing where none is needed."""
        if stored.startswith(_BCRYPT):
            return ""
        if self.algorithm in (Algorithm.SHA256, Algorithm.SHA512) and self.salt_position is None:
            return "--salt-position"
        if self.algorithm is Algorithm.PBKDF2 and not self.mac_fun:
            return "--mac-fun"
        return "--iterations" if self.algorithm is Algorithm.PBKDF2 and not self.iterations else ""


def self_describing(stored: str, salt: str, hashing: Hashing) -> str:
    """The hash with its scheme, cost and salt. EMQX salts with the text of the salt, not with what it encodes.

    Raises:
        InvalidHash: not of that algorithm, or of one that is not verified here. The message holds no hash.
    """
    if stored.startswith(_BCRYPT):
        return stored
    match hashing.algorithm:
        case Algorithm.SHA256:
            _check(_SHA256, stored, hashing)
            # Without a salt there is no difference between before and behind.
            disabled = hashing.salt_position is SaltPosition.DISABLE
            position = SaltPosition.PREFIX if disabled else hashing.salt_position
            return f"$emqx-sha256${position}${'' if disabled else _base64(salt.encode())}${stored.lower()}"
        case Algorithm.SHA512 if hashing.salt_position is SaltPosition.SUFFIX and salt:
            _check(_SHA512, stored, hashing)
            return f"$6${_base64(salt.encode())}${_base64(bytes.fromhex(stored))}"
        case Algorithm.PBKDF2 if hashing.mac_fun in _DIGESTS:
            _check(_HEX, stored, hashing)
            digest = _base64(bytes.fromhex(stored))
            return f"PBKDF2${hashing.mac_fun}${hashing.iterations}${_base64(salt.encode())}${digest}"
        case _:
            raise InvalidHash(f"a hash by {_described(hashing)}, which cannot be verified here")


def _check(shape: re.Pattern[str], stored: str, hashing: Hashing) -> None:
    if not shape.fullmatch(stored):
        raise InvalidHash(f"the stored hash is none by {_described(hashing)}")


def _described(hashing: Hashing) -> str:
    if hashing.algorithm is Algorithm.PBKDF2:
        return f"pbkdf2 with {hashing.mac_fun}"
    salted = hashing.algorithm not in (Algorithm.BCRYPT, Algorithm.PLAIN) and hashing.salt_position
    return f"{hashing.algorithm} with the salt as {hashing.salt_position}" if salted else str(hashing.algorithm)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
