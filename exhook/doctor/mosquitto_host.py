"""What the machine tells of a Mosquitto: its version, its user, whether the plugin's file and the server are there."""

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exhook.brokers.mosquitto.library import plugin_version
from exhook.brokers.mosquitto.running import installed

_CONNECT_SECONDS: Final = 2.0
_VERSION: Final = re.compile(r"mosquitto version (\d+(?:\.\d+)+)")
_FALLBACK_USER: Final = "nobody"
"""Where the user that the configuration names, or `mosquitto`, is not there."""


class Host:
    """This machine."""

    def version(self) -> str:
        """The version of the installed broker; empty where there is none, or it does not say."""
        program = installed()
        if program is None:
            return ""
        try:
            said = subprocess.run(  # noqa: S603 - the installed broker, asked for its help
                [program, "-h"], capture_output=True, text=True, errors="replace", timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        found = _VERSION.search(said.stdout + said.stderr)
        return found[1] if found else ""

    def plugin_version(self, library: Path) -> str | None:
        """The version of exhook that built a plugin; None for no plugin of ours.

        Raises:
            OSError: it cannot be read.
        """
        return plugin_version(library)

    def unreadable_for(self, user: str, file: Path) -> Path | None:
        """The file, or the folder above it, that keeps a user from reading the file; None where nothing does."""
        uid, groups = _account(user)
        if uid == 0:
            return None
        for folder in reversed(file.absolute().parents):
            if not _may(folder, uid, groups, 0o1):
                return folder
        return None if _may(file, uid, groups, 0o4) else file

    def cannot_reach(self, address: str | tuple[str, int]) -> str:
        """Why nobody can connect to a Unix-domain socket, or a host and port; empty where one can."""
        try:
            if isinstance(address, str):
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(_CONNECT_SECONDS)
                    one.connect(address)
            else:
                socket.create_connection(address, _CONNECT_SECONDS).close()
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""


def _account(user: str) -> tuple[int, Sequence[int]]:
    for name in (user, _FALLBACK_USER):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, os.getgrouplist(name, found.pw_gid)
    return -1, ()


def _may(path: Path, uid: int, groups: Sequence[int], bit: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & bit)
