"""Ids and secrets that this system makes up itself: for access keys, device credentials and tokens.

Of letters and digits alone: on a command line nothing that begins with a dash would be taken for a value.
"""

import secrets
import string
from typing import Final

from store.database import Database
from store.records import Secret, SecretForm

ACCESS_KEY_PREFIX: Final = "AK"
DEVICE_KEY_PREFIX: Final = "DC."
"""Tells a DeviceAccessKeyId from an access key, for people who look at one."""

_ALPHABET: Final = string.ascii_letters + string.digits
_ID_CHARS: Final = 22
_PASSWORD_CHARS: Final = 16
"""Some 95 bits."""
_SECRET_CHARS: Final = 43
"""More than 256 bits."""


def new_access_key_id() -> str:
    return ACCESS_KEY_PREFIX + _random(_ID_CHARS)


def new_device_access_key_id() -> str:
    return DEVICE_KEY_PREFIX + _random(_ID_CHARS)


def new_token_id() -> str:
    return _random(_ID_CHARS)


def new_password() -> str:
    """For a person to type."""
    return _random(_PASSWORD_CHARS)


def new_secret(database: Database, name: str = "1") -> Secret:
    """A secret of letters and digits that signs, under the fingerprint that it has in this store."""
    return secret_of(database, _random(_SECRET_CHARS).encode(), name)


def secret_of(database: Database, value: bytes, name: str = "1") -> Secret:
    """A secret that signs, of a value that is given."""
    return Secret(id=name, value=value, fingerprint=database.fingerprint(SecretForm.KEY, value))


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))
