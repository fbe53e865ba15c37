"""A file put in the place of another one, whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside the old one and put it in its place; mode and, where allowed, owner stay.

    A symbolic link stays, and what it leads to is replaced.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    real = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{real.name}.", suffix=".new", dir=real.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            _take_after(real, stream.fileno())
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(real)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _take_after(real: Path, handle: int) -> None:
    """Mode and owner of the old file; for a new one, the mode that any new file has."""
    try:
        old = real.stat()
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(handle, 0o666 & ~mask)
        return
    with suppress(PermissionError):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, old.st_mode & 0o7777)
