"""Who applies a policy, and the git commit that it is at. Never fails: where nothing is known, nothing is said."""

import getpass
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TIMEOUT_SECONDS: Final = 10
_QUIET: Final = ("-c", "core.fsmonitor=false")
"""A checkout's own settings may name programs to run; asking for its state must not start one."""

_IN_FOLDER: Final = (":(glob)*.yaml", ":(glob)*.yml")
"""The files that a folder stands for."""


def actor() -> str:
    """``USER@HOST exhook-sync``, for the audit row of a revision."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user that no one named
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} exhook-sync"


def commit_of(paths: Sequence[Path]) -> str:
    """The short id of the commit that holds all the files as they are; empty where one is changed or untracked."""
    commits = {_commit(path) for path in paths}
    return commits.pop() if len(commits) == 1 else ""


def _commit(path: Path) -> str:
    if str(path) == "-":
        return ""
    folder, names = (path, _IN_FOLDER) if path.is_dir() else (path.parent, (f":(literal){path.name}",))
    # What git keeps of a link is where it leads, not what it leads to.
    links = [one for one in (path, *path.glob("*.y*ml")) if one.is_symlink()]
    if links or not _git(folder, "ls-files", "--", *names):
        return ""
    changed = _git(folder, "status", "--porcelain", "--ignored", "--", *names)
    if changed is None or changed:
        return ""
    return _git(folder, "rev-parse", "--short", "HEAD") or ""


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; `--` stands before names
            ["git", *_QUIET, *arguments],  # noqa: S607 - git is found as the user's shell finds it
            cwd=folder,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
