"""Listening sockets, TCP and Unix, and who is given what they accept."""

import asyncio
import errno
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

UNIX: Final = "unix:"
"""Begins an address that is the path of a socket in the file system."""
_BACKLOG: Final = 1024
_AT_ONCE: Final = 64
_BREATH_SECONDS: Final = 0.5
"""How long nothing is accepted after the process ran out of descriptors."""
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """One listening socket, in the running event loop."""

    def __init__(self, address: str, take: Callable[[socket.socket], None]) -> None:
        """Listen; `take` is given each connection.

        Raises:
            OSError: the address cannot be bound.
        """
        self._path = Path(address.removeprefix(UNIX)) if address.startswith(UNIX) else None
        self._socket = _listen_on_path(self._path) if self._path else _listen_on_port(address)
        self._socket.setblocking(False)
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._accept)

    @property
    def port(self) -> int:
        """The TCP port; 0 for a path."""
        return 0 if self._path else int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Accept no more."""
        if self._again:
            self._again.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._path:
            with suppress(OSError):
                self._path.unlink()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connected, _address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT_OF:
                    raise
                # It would be ready again at once, for ever.
                self._loop.remove_reader(self._socket)
                self._again = self._loop.call_later(_BREATH_SECONDS, self._resume)
                return
            connected.setblocking(False)
            self._take(connected)

    def _resume(self) -> None:
        self._loop.add_reader(self._socket, self._accept)


def _listen_on_port(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # As grpcio does: all addresses of IPv6 are all addresses.
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG, dualstack_ipv6=both)


def _listen_on_path(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _take_away_stale(path)
        listening.bind(str(path))
        # Before anyone can connect: whoever reaches it can try passwords.
        path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, str(path)) from None
    return listening


def _take_away_stale(path: Path) -> None:
    """Remove a socket that nobody listens at: what a killed server leaves behind.

    Raises:
        OSError: somebody listens there, or it is something else.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "Address already in use")
