"""What policy files look like, so that a change of them is seen; and a loop that acts on it.

The files are looked at, five times a second: no notice of the system would come of a folder or a link that is
put in another's place, as git-sync and Kubernetes do it, nor of what another machine writes.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset({".yaml", ".yml", ".jsonl", ".csv"})
"""What a policy consists of."""

LOOK_SECONDS: Final = 0.2
"""How often the files are looked at; they are acted on once two looks see the same."""

FilesState = tuple[tuple[object, ...], ...]
"""What tells files from what they were: name, inode, times and size of each."""


def files_state(paths: Sequence[Path]) -> FilesState:
    """What the files of a policy look like; other than before, they are worth reading. Raises nothing."""
    return tuple(state for path in paths for state in _path_state(path))


def watch(paths: Sequence[Path], act: Callable[[], bool], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Act now, and whenever the files are others than those acted on last. For ever.

    `act` returns false where it is to be tried again though the files stay the same (the store was locked, say).
    """
    acted: FilesState | None = None
    seen = files_state(paths)
    while True:
        if seen != acted:
            acted = seen if act() else None
        last = seen
        while True:
            sleep(LOOK_SECONDS)
            last, seen = seen, files_state(paths)
            if seen == last and seen != acted:
                break


def _path_state(path: Path) -> list[tuple[object, ...]]:
    try:
        if not path.is_dir():
            return [_file_state(path)]
        files = sorted(_below(path))
    except OSError:
        return [(str(path),)]
    return [_file_state(file) for file in files]


def _below(folder: Path) -> Iterator[Path]:
    """The files of a folder, and what lies below it, where the files that they include are; nothing hidden."""
    for inner, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner) / name for name in files if Path(name).suffix in SUFFIXES)


def _file_state(file: Path) -> tuple[object, ...]:
    try:
        found = file.stat()
    except OSError:
        return (str(file),)
    # The time of change, too: an editor or a copy may set the other back to what it was.
    return (str(file), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
