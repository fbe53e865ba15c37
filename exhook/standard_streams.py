"""Standard streams that were closed by whoever started this process: nothing is to come to stand in their place."""

import os
import sys
from contextlib import suppress
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed() -> None:
    """Have `/dev/null` where a standard stream is closed, as `sudo` and systemd do.

    Else the next file that is opened, a pipe or a socket, is the one that everybody reads from and writes to.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
