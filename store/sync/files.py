"""The files of a policy: which ones there are, and their bytes."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from store.sync.findings import Findings
from store.sync.source import WHOLE
from store.sync.syntax import MAX_BYTES

STDIN: Final = Path("-")
STDIN_NAME: Final = "<stdin>"
MAX_ROWS_BYTES: Final = 1024 * 1024 * 1024
"""A larger file of rows is refused unread."""

_PIECE: Final = 1024 * 1024
_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_WILDCARDS: Final = frozenset("*?[")


class File(NamedTuple):
    """One policy file."""

    name: str
    """As it was given, for messages and origins."""
    path: Path
    data: bytes

    @property
    def folder(self) -> Path:
        """What the paths within it are relative to; for standard input, the current folder."""
        return Path() if self.path == STDIN else self.path.parent


def read_files(paths: Sequence[Path], findings: Findings, instead: Mapping[Path, bytes]) -> Iterator[File]:
    """The files in the order given; `instead` holds what is to be taken for the contents of some.

    What cannot be read, or is named twice, is reported and left out.
    """
    if not paths:
        findings.error(".", WHOLE, "no policy file; name files or folders")
    seen: set[Path] = set()
    for path in paths:
        for file in _expand(path, findings):
            name = STDIN_NAME if file == STDIN else str(file)
            findings.begin(name)
            try:
                place = file.resolve()
                if place in seen:
                    findings.error(name, WHOLE, "the file is named twice; name it once")
                    continue
                seen.add(place)
                data = instead[file] if file in instead else _read(file)
            except (OSError, RuntimeError) as wrong:
                _unreadable(name, wrong, findings)
            else:
                yield File(name, file, data)


def expand(path: Path) -> list[Path]:
    """The policy files of a folder, by name; a file as it is.

    Raises:
        OSError: the folder cannot be listed, or something in it is only named like a file: a pipe may never end.
    """
    if path == STDIN or not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and not one.name.startswith("."))
    for one in found:
        if one.exists() and not (one.is_file() or one.is_dir()):
            raise OSError(errno.EINVAL, f"{one.name} in it is no regular file")
    return found


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder that a pattern names, by name; hidden ones only where it names them in full.

    Raises:
        ValueError: no file, a file outside of the folder, or no pattern; the message is a sentence.
        OSError: a folder cannot be listed.
    """
    found = [folder / pattern] if _WILDCARDS.isdisjoint(pattern) else _globbed(folder, pattern)
    base = folder.resolve()
    for one in found:
        if not one.resolve().is_relative_to(base):
            raise ValueError(f"{str(one)!r} leads out of the folder of this file; put the file itself there")
    if not found or not found[0].exists():
        raise ValueError(
            f"no file below the folder of this one is named {pattern!r}; correct the name, or leave the entry out"
        )
    return found


def _globbed(folder: Path, pattern: str) -> list[Path]:
    parts = pattern.split("/")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("`**` beside other characters; it stands alone between slashes, for any folders")
    return sorted(one for one in folder.glob(pattern) if not _hidden(one.relative_to(folder)) and not one.is_dir())


def read_rows(path: Path) -> bytes:
    """The bytes of a file of rows.

    Raises:
        ValueError: no regular file, or too large; the message is a sentence.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError("no file of rows; name a file")
    with path.open("rb") as stream:
        # To read up to a limit would first take that much memory.
        if os.fstat(stream.fileno()).st_size > MAX_ROWS_BYTES:
            raise ValueError(f"a file of more than {MAX_ROWS_BYTES // 2**20} MiB; split it")
        return stream.read()


def why_unreadable(wrong: OSError | RuntimeError) -> str:
    """A loop of symbolic links is a RuntimeError to pathlib, which has no text of the system."""
    return getattr(wrong, "strerror", None) or "a loop of links"


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _expand(path: Path, findings: Findings) -> list[Path]:
    try:
        files = expand(path)
    except OSError as wrong:
        findings.begin(str(path))
        _unreadable(str(path), wrong, findings)
        return []
    if not files:
        findings.begin(str(path))
        findings.error(str(path), WHOLE, "a folder without policy files; name one that holds *.yaml")
    return files


def _unreadable(name: str, wrong: OSError | RuntimeError, findings: Findings) -> None:
    message = f"cannot be read ({why_unreadable(wrong)}); name a policy file or a folder of them"
    findings.error(name, WHOLE, message)


def _read(path: Path) -> bytes:
    if path == STDIN:
        return _bounded(sys.stdin.buffer)
    with path.open("rb") as stream:
        return _bounded(stream)


def _bounded(stream: BinaryIO) -> bytes:
    """Little more than is accepted, at most; piece by piece, since a limit would take its memory at once."""
    pieces = []
    room = MAX_BYTES + 1
    while room > 0 and (piece := stream.read(_PIECE)):
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)
