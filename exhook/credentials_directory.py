"""Files that systemd hands to a service by ``LoadCredential=``, as the settings name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "CREDENTIALS_DIRECTORY"
BEGIN: Final = f"${VARIABLE}/"
"""Begins the path of such a file: where it is differs from service to service, and from start to start."""


class NoCredentials(ValueError):
    """There is no such folder here; the message names the path, and the mend."""


def in_credentials_directory(value: Any, environ: Mapping[str, str]) -> Any:
    """A setting's value with the folder in place of its name, in tables and lists, too.

    Raises:
        NoCredentials: there is no such folder.
    """
    if isinstance(value, dict):
        return {name: in_credentials_directory(one, environ) for name, one in value.items()}
    if isinstance(value, list):
        return [in_credentials_directory(one, environ) for one in value]
    if not isinstance(value, str | Path) or not str(value).startswith(BEGIN):
        return value
    if not (folder := environ.get(VARIABLE)):
        raise NoCredentials(
            f"{value}: there is no ${VARIABLE} here; systemd sets it for a unit with LoadCredential=, elsewhere name "
            "the file itself"
        )
    return str(Path(folder) / str(value).removeprefix(BEGIN))
