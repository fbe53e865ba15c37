"""`exhook tail`: decisions as they fall, over sockets that workers send to while somebody listens, and only then.

Whoever listens puts a datagram socket into a folder beside the store, and what is wanted into a file beside the
socket. Workers look for such sockets ten times a second; where there is none, a decision costs one look at an empty
tuple. A listener that is too slow misses decisions and is told how many: no answer ever waits for it.
"""

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

LOOK_SECONDS: Final = 0.1
_SOCKET: Final = ".sock"
_WANTED: Final = ".json"
_LARGEST: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions a listener wants; what is empty says nothing."""

    client_id: str = ""
    username: str = ""
    reason: str = ""
    hook: str = ""
    denials: bool = False
    """No allows."""

    def admits(self, fields: Mapping[str, Any]) -> bool:
        return (
            self.client_id in {"", fields.get("client_id")}
            and self.username in {"", fields.get("username")}
            and self.reason in {"", fields["reason"]}
            and self.hook in {"", fields["hook"]}
            and not (self.denials and fields["result"] == "allow")
        )


class Tails:
    """A worker's side: who listens."""

    def __init__(self, store: Path, on_dropped: Callable[[], None] = lambda: None) -> None:
        self.listening: tuple[_Listener, ...] = ()
        self._folder = folder_beside(store)
        self._on_dropped = on_dropped
        self._names: frozenset[str] = frozenset()

    def look(self) -> None:
        """See who came and who went."""
        try:
            names = frozenset(name for name in os.listdir(self._folder) if name.endswith(_SOCKET))  # noqa: PTH208 - the folder is seldom there, and this is asked often
        except OSError:
            names = frozenset()
        if names == self._names:
            return
        self._names = names
        kept = [one for one in self.listening if one.name in names]
        for one in self.listening:
            if one not in kept:
                one.close()
        known = {one.name for one in kept}
        new = [_Listener.at(self._folder, name) for name in sorted(names - known)]
        self.listening = (*kept, *(one for one in new if one))

    def tell(self, fields: Mapping[str, Any]) -> None:
        """Send a decision to all who want it; whoever cannot take it at once misses it."""
        for one in self.listening:
            if one.wanted.admits(fields) and not one.send(fields):
                self._on_dropped()
                if one.gone:
                    # Killed, and its socket left behind.
                    _remove(self._folder, one.name)
                    self._names -= {one.name}
                    self.listening = tuple(other for other in self.listening if other is not one)
                    one.close()

    def close(self) -> None:
        for one in self.listening:
            one.close()
        self.listening = ()


class _Listener:
    """One who listens."""

    def __init__(self, name: str, wanted: Wanted, connected: socket.socket) -> None:
        self.name = name
        self.wanted = wanted
        self.gone = False
        self._socket = connected
        self._dropped = 0

    @classmethod
    def at(cls, folder: Path, name: str) -> Self | None:
        """The listener whose socket has this name, if it is there and is one."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connected.setblocking(False)
        try:
            wanted = Wanted(**json.loads((folder / name).with_suffix(_WANTED).read_text(encoding="utf-8")))
            with _short(folder / name) as path:
                connected.connect(path)
        except ConnectionRefusedError:
            _remove(folder, name)
        except (OSError, ValueError, TypeError):
            pass
        else:
            return cls(name, wanted, connected)
        connected.close()
        return None

    def send(self, fields: Mapping[str, Any]) -> bool:
        message = json.dumps({**fields, "pid": os.getpid(), "dropped": self._dropped}, ensure_ascii=False)
        try:
            self._socket.send(message.encode(errors="replace"))
        except OSError as error:
            self.gone = isinstance(error, ConnectionRefusedError | ConnectionResetError)
            self._dropped += 1
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(store: Path, wanted: Wanted) -> Iterator[socket.socket]:
    """A socket that decisions come to, for as long as the context lasts.

    Raises:
        OSError: there cannot be one beside this store.
    """
    folder = folder_beside(store)
    folder.mkdir(mode=0o700, exist_ok=True)
    name = f"{os.getpid()}-{secrets.token_hex(4)}{_SOCKET}"
    receiving = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    try:
        (folder / name).with_suffix(_WANTED).write_text(json.dumps(asdict(wanted)), encoding="utf-8")
        with _short(folder / name) as path:
            receiving.bind(path)
        yield receiving
    finally:
        receiving.close()
        _remove(folder, name)
        with contextlib.suppress(OSError):
            folder.rmdir()


def received(receiving: socket.socket) -> dict[str, Any]:
    """The next decision.

    Raises:
        TimeoutError: none came in the socket's time.
    """
    said: dict[str, Any] = json.loads(receiving.recv(_LARGEST))
    return said


def folder_beside(store: Path) -> Path:
    """Where listeners' sockets stand: ``exhook.db`` has the folder ``exhook.tail``."""
    return store.with_name(f"{store.stem}.tail")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a socket that fits where its path does not: the kernel takes 108 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove(folder: Path, name: str) -> None:
    for path in (folder / name, (folder / name).with_suffix(_WANTED)):
        with contextlib.suppress(OSError):
            path.unlink()
