"""Revisions of a git checkout: found by name, and unpacked into a folder. Nothing of the checkout is changed.

Files are written as they were committed: no filter and no attribute of the checkout is asked, for either may name
programs to run, or leave files out. A symbolic link that leads out of the revision is not made.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

_QUIET: Final = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")
_LINK: Final = "120000"
_FILES: Final = ("100644", "100755", "100664")


class GitFailed(Exception):
    """Git cannot give what was asked for; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The checkout that a folder stands in."""

    folder: Path
    prefix: PurePosixPath
    """Of the folder, within the checkout."""

    @classmethod
    def around(cls, folder: Path) -> "Checkout":
        """The checkout of a folder.

        Raises:
            GitFailed: it is in none, or git is not there.
        """
        done = _run(folder, "rev-parse", "--is-inside-work-tree", "--show-prefix")
        words = done.stdout.decode(errors="surrogateescape").splitlines()
        if done.returncode or words[:1] != ["true"]:
            said = _said(done)
            if said and "not a git repository" not in said:
                raise GitFailed(f"{folder.resolve()}: {said}")
            raise GitFailed(f"{folder.resolve()}: is in no git checkout; call this where the policy files are kept")
        return cls(folder, PurePosixPath(words[1] if len(words) > 1 else ""))

    def commit(self, name: str) -> str:
        """The commit that a branch, tag or commit names; empty where there is none."""
        if not name or name.startswith("-"):
            return ""
        done = _run(self.folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return "" if done.returncode else done.stdout.decode().strip()

    def short(self, commit: str) -> str:
        """The short id of a commit."""
        return _run(self.folder, "rev-parse", "--short", commit).stdout.decode().strip()

    def within(self, path: Path) -> PurePosixPath:
        """A path of the working tree as the checkout has it.

        Raises:
            GitFailed: it leads out of the checkout.
        """
        relative = os.path.relpath(path, self.folder) if path.is_absolute() else str(path)
        found = PurePosixPath(os.path.normpath(self.prefix / relative))
        if found.parts[:1] == ("..",):
            raise GitFailed(f"{path}: is outside of the git checkout; name a file within it")
        return found

    def unpack(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into an empty folder.

        Raises:
            GitFailed: git cannot read it.
        """
        links: list[Path] = []
        with subprocess.Popen(  # noqa: S603 - a fixed command
            [*_QUIET, "cat-file", "--batch"],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as reader:
            if reader.stdin is None or reader.stdout is None:
                raise AssertionError("pipes were asked for")
            for mode, name, path in self._entries(commit):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                reader.stdin.write(name.encode() + b"\n")
                reader.stdin.flush()
                if mode == _LINK:
                    links.append(target)
                with target.open("xb") as stream:
                    _copy_object(reader.stdout, stream, path)
        _make_links(folder, links)

    def _entries(self, commit: str) -> Iterator[tuple[str, str, PurePosixPath]]:
        """Mode, object and path of each file and link of a commit."""
        done = _run(self.folder, "ls-tree", "-r", "-z", "--full-tree", commit)
        if done.returncode:
            raise GitFailed(f"git cannot list the files of {commit}: {_said(done)}")
        for entry in done.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
            described, _, written = entry.partition("\t")
            mode, _, name = described.split(" ")
            path = PurePosixPath(written)
            if path.is_absolute() or ".." in path.parts:
                raise GitFailed(f"{commit} holds the file {written!r}, which is outside of it; mend the revision")
            if mode in (*_FILES, _LINK):
                yield mode, name, path


def _copy_object(source: IO[bytes], target: IO[bytes], path: PurePosixPath) -> None:
    """Copy one answer of ``git cat-file --batch``: a line that ends in the size, the bytes, a newline."""
    words = source.readline().split()
    if len(words) != 3:  # noqa: PLR2004 - object, type, size
        raise GitFailed(f"git cannot read {path}; the checkout may be a shallow or partial one, fetch all of it")
    left = int(words[2])
    while left:
        block = source.read(min(left, shutil.COPY_BUFSIZE))  # type: ignore[attr-defined]
        if not block:
            raise GitFailed(f"git ended while it read {path}; try again")
        target.write(block)
        left -= len(block)
    source.read(1)


def _make_links(folder: Path, links: list[Path]) -> None:
    """Turn files that hold where a link leads into the links, but for those that lead out."""
    root = folder.resolve()
    for link in links:
        leads = os.fsdecode(link.read_bytes())
        link.unlink()
        if "\0" not in leads and leads:
            link.symlink_to(leads)
    for link in links:
        # Only now, for links may lead to links.
        if link.is_symlink() and not Path(os.path.realpath(link)).is_relative_to(root):
            link.unlink()


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 - a fixed command; names are checked before
            [*_QUIET, *arguments], cwd=folder, env=_environment(), capture_output=True, check=False
        )
    except OSError as error:
        raise GitFailed(f"git cannot be called ({error.strerror}); install it") from None


def _environment() -> dict[str, str]:
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """The first line that git complained by."""
    return next(iter(done.stderr.decode(errors="replace").splitlines()), "").removeprefix("fatal: ")
