"""The files where the processes of a server count; of those that are gone, one set alone, however many they were.

Left as they are, the files of every worker that ever died would be added up at each look at the metrics, for ever.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from exhook.logs import logger

# The library's own classes for these files. They are not in its documentation; a test holds them to what they do here.

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_RETIRED: Final = "retired"
"""Stands where the files of a process have its number."""
_lock: Final = Lock()
"""Held while what one counted is moved: who looks meanwhile would count it twice, or not at all."""


class Counted(MultiProcessCollector):
    """What all processes counted, dead or alive."""

    def collect(self) -> Iterator[Any]:
        """The sums; read whole while nothing is moved."""
        with _lock:
            # A process that begins to count makes its file first, and its size after that.
            files = [str(file) for file in Path(self._path).glob("*.db") if file.stat().st_size]
            found = list(self.merge(files))  # type: ignore[no-untyped-call] # untyped in the library
        yield from found


def retire(pid: int, folder: Path | None = None) -> None:
    """Add what a process counted that is gone to what others did before, and take its files away.

    `folder` is that where this process counts, if left out; nothing is done where it counts for itself. What cannot be
    moved, for want of descriptors or room, stays and is counted where it is.
    """
    folder = folder or Path(os.environ.get(FOLDER_VARIABLE) or "/nowhere")
    try:
        with _lock:
            _move(pid, folder)
    except OSError as error:  # who retires a process starts another, which is worth more
        logger.warning("what a process counted stays in files of its own", why=str(error))


def _move(pid: int, folder: Path) -> None:
    for file in sorted(folder.glob(f"*_{pid}.db")):
        kind = file.name.removesuffix(f"_{pid}.db")
        if not kind.startswith("gauge_live"):  # those tell of the living alone
            # Written in part when it died: the rest is lost.
            with suppress(RuntimeError, ValueError, LookupError, struct.error):
                _add(kind, file, folder / f"{kind}_{_RETIRED}.db")
        file.unlink()


def _add(kind: str, file: Path, to: Path) -> None:
    sums: Any = MmapedDict(str(to))  # type: ignore[no-untyped-call] # untyped in the library
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call] # as above
            before, then = sums.read_value(key)
            if kind == "gauge_mostrecent":
                if timestamp > then:
                    sums.write_value(key, value, timestamp)
            elif kind == "gauge_max":  # of what is never below 0
                sums.write_value(key, max(before, value), max(then, timestamp))
            else:
                sums.write_value(key, before + value, max(then, timestamp))
    finally:
        sums.close()
