"""User names that select an account mode: ``MODE|KEY|INSTANCE`` (seed). Pure."""

from enum import StrEnum
from typing import Final, NamedTuple

_PARTS: Final = 3


class Mode(StrEnum):
    """How a client proves itself; every user name of another form is custom authentication."""

    SIGNATURE = "Signature"
    TOKEN = "Token"  # noqa: S105 - a mode's name, no password
    DEVICE_CREDENTIAL = "DeviceCredential"


class AccountName(NamedTuple):
    """What a user name of an account mode says."""

    mode: Mode
    key_id: str
    instance: str


_MODES: Final = {mode.value: mode for mode in Mode}


def account_of(username: str) -> AccountName | None:
    """What a user name says, if it selects an account mode; None for custom authentication."""
    if "|" not in username:
        return None
    parts = username.split("|")
    mode = _MODES.get(parts[0])
    if mode is None or len(parts) != _PARTS:
        return None
    return AccountName(mode, parts[1], parts[2])
