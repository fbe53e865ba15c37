"""Stores of many records, made once and kept in `.bench`: another run begins at once.

A kept store is made anew when the store's tables change, or the way that it is filled.
"""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from filling import fill, make_keys

from store.seal import SealKeys

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ROOT / ".bench" / "stores"

_ROWS_OF: Final = ("identities", "permissions", "tallies")
_BYTES_A_RECORD: Final = 600
"""Of a store in the making, its log included."""
_DIGITS: Final = 12


@dataclass(frozen=True)
class Store:
    """A filled store under a name of its own: what servers write while they run lies beside that name."""

    path: Path
    key_file: Path

    @property
    def keys(self) -> SealKeys:
        return SealKeys.from_text(self.key_file.read_text(), str(self.key_file))


def kept(records: int, folder: Path, name: str = "store") -> Store:
    """A store of so many identities, and as many permissions, under `name` in a folder of the run.

    Raises:
        OSError: it does not fit on the disk.
    """
    home = _kept(records)
    path = folder / f"{name}-{records}.db"
    path.symlink_to(home / "store.db")
    return Store(path, home / "seal.key")


def _kept(records: int) -> Path:
    home = KEPT / f"{records}-{_digest()}"
    if home.exists():
        return home
    for old in KEPT.glob(f"{records}-*"):
        shutil.rmtree(old)
    making = KEPT / f"{records}-being-made"
    making.mkdir(parents=True)
    needed = records * _BYTES_A_RECORD
    if shutil.disk_usage(making).free < needed:
        raise OSError(f"{KEPT}: {records:,} records need {needed / 1e9:.1f} GB, which are not free")
    keys, _ = make_keys(making)
    fill(making / "store.db", keys, records)
    making.rename(home)
    return home


@cache
def _digest() -> str:
    """Of the tables, and of the rows of the smallest store."""
    with TemporaryDirectory(prefix="exhook-bench-") as name:
        path = Path(name) / "store.db"
        keys, _ = make_keys(Path(name))
        fill(path, keys, 1)
        with closing(sqlite3.connect(path)) as connection:
            said = connection.execute("SELECT sql FROM sqlite_master ORDER BY type, name").fetchall()
            for table in _ROWS_OF:
                said += connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
    return sha256(repr(said).encode()).hexdigest()[:_DIGITS]
