"""Accepts for all workers in one place, and hands each connection to the worker that has the fewest.

A broker makes few connections and keeps them for weeks, so how they were spread when they came is how work is
spread. The kernel's way (SO_REUSEPORT) leaves one of two workers idle for weeks as often as not.
"""

import asyncio
import errno
import resource
import select
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from exhook.transport.h2.listening import Listener

HANDED: Final = b"+"
"""Goes with each socket that is handed over."""
CLOSED: Final = b"-"
"""Comes back for each that is closed."""
_AT_ONCE: Final = 64
_FIRST_SECONDS: Final = 10.0
"""How long those who come before all workers are there wait, so that not all go to the first."""
_REPLACEMENT_SECONDS: Final = 3.0
"""How long the connections of a worker that died wait, at most, for the one that takes its place."""
_HELD_SECONDS: Final = 10.0
"""How long a connection waits at most, where no worker comes at all: whoever made it may as well come again."""
_MOST_HELD: Final = 1024
_HELD_SHARE: Final = 4
"""No more than one of so many of this process's descriptors, which needs some to start workers."""
_BROKEN: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EBADF})
"""What says that nobody is at the other end of a channel."""
_GONE: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last on Linux alone


@dataclass
class _Seat:
    """The place of one worker, whoever sits there."""

    name: str
    channel: socket.socket | None = None
    left: Callable[[], None] = lambda: None
    """Whom to tell when the channel breaks."""
    connections: int = 0
    turn: int = 0
    """When it was last given one: of two that have equally many, the other is next."""
    expected_until: float = 0.0
    """Until when somebody who is not there may still come, in seconds of `time.monotonic`."""
    held: list[socket.socket] = field(default_factory=list)
    """Connections that wait for whoever comes."""
    again: asyncio.TimerHandle | None = None
    """When they are looked at again."""

    @property
    def load(self) -> int:
        return self.connections + len(self.held)


class Acceptor:
    """Listens at some addresses for the workers of one server."""

    def __init__(self, addresses: tuple[str, ...], names: Iterable[str]) -> None:
        """Addresses are `HOST:PORT` or `unix:PATH`; `names` are those of the workers that shall come."""
        self._addresses = addresses
        self._listeners: list[Listener] = []
        self._seats = {name: _Seat(name, expected_until=monotonic() + _FIRST_SECONDS) for name in names}
        self._turn = 0
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}
        """All that are held, and when each of them is let go."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        unlimited = descriptors == resource.RLIM_INFINITY
        self._most = _MOST_HELD if unlimited else min(_MOST_HELD, descriptors // _HELD_SHARE)

    def start(self) -> int:
        """Take the addresses; who connects waits for the first worker. The port of the first address.

        Raises:
            OSError: one cannot be bound; nothing is taken then.
        """
        try:
            for address in self._addresses:
                self._listeners.append(Listener(address, self._spread))
        except OSError:
            self.close()
            raise
        return self._listeners[0].port

    def seat(self, name: str, channel: socket.socket, left: Callable[[], None] = lambda: None) -> None:
        """A worker is ready; `channel` is our end of the pair of sockets whose other end is its own.

        `left` is called once it takes no connections any more: it drains, is dead, or is lost to us.
        """
        seat = self._seats[name]
        self._leave(seat)
        channel.setblocking(False)
        seat.channel = channel
        seat.left = left
        asyncio.get_running_loop().add_reader(channel, self._hear, seat, channel)
        for other in self._seats.values():
            if other.channel is None and other.expected_until <= monotonic():
                self._spread_held(other)
        self._spread_held(seat)

    def lost(self, name: str, *, back: bool = True) -> None:
        """A worker is gone, and its connections with it; `back` says whether another is about to take its place."""
        seat = self._seats[name]
        if seat.channel is not None:
            self._leave(seat)
            seat.expected_until = monotonic() + _REPLACEMENT_SECONDS
        if not back:
            seat.expected_until = 0.0
            self._late(seat)

    def close(self) -> None:
        """Accept no more, and hand over no more."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for seat in self._seats.values():
            self._leave(seat)
            if seat.again:
                seat.again.cancel()
        for connected in tuple(self._waiting):
            self._let_go(connected)

    def _spread(self, connected: socket.socket) -> None:
        for seat in self._seats.values():
            if seat.channel is not None:
                self._hear(seat, seat.channel)  # who died a moment ago may not have been heard of yet
        now = monotonic()
        there = [seat for seat in self._seats.values() if seat.channel or seat.expected_until > now]
        # Where nobody is, and nobody is expected any more, whoever comes next takes it.
        seat = min(there or self._seats.values(), key=lambda seat: (seat.load, seat.turn))
        self._turn += 1
        seat.turn = self._turn
        if seat.channel is None or not self._hand(seat, seat.channel, connected):
            self._hold(seat, connected)

    def _hold(self, seat: _Seat, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if connected not in self._waiting:
            if len(self._waiting) >= self._most:
                self._let_go_who_is_gone()
            if len(self._waiting) >= self._most:
                connected.close()
                return
            self._waiting[connected] = loop.call_later(_HELD_SECONDS, self._let_go, connected)
        seat.held.append(connected)
        seat.again = seat.again or loop.call_later(_REPLACEMENT_SECONDS, self._late, seat)

    def _let_go(self, connected: socket.socket) -> None:
        self._waiting.pop(connected).cancel()
        for seat in self._seats.values():
            if connected in seat.held:
                seat.held.remove(connected)
        connected.close()

    def _let_go_who_is_gone(self) -> None:
        """A peer that comes and goes again and again must not take all descriptors while nobody serves it."""
        held = {connected.fileno(): connected for connected in self._waiting}
        poll = select.poll()
        for number in held:
            poll.register(number, _GONE)
        for number, events in poll.poll(0):
            if events & _GONE:
                self._let_go(held[number])

    def _late(self, seat: _Seat) -> None:
        if seat.again:
            seat.again.cancel()
            seat.again = None
        if not seat.held:
            return
        if any(other.channel for other in self._seats.values()):
            self._spread_held(seat)
        else:
            seat.again = asyncio.get_running_loop().call_later(_REPLACEMENT_SECONDS, self._late, seat)

    def _spread_held(self, seat: _Seat) -> None:
        held, seat.held = seat.held, []
        for connected in held:
            self._spread(connected)

    def _hand(self, seat: _Seat, channel: socket.socket, connected: socket.socket) -> bool:
        try:
            socket.send_fds(channel, [HANDED], [connected.fileno()])
        except OSError as error:
            # Any other passes: it does not even take sockets, or too many are on their way.
            if error.errno in _BROKEN:
                self._broken(seat)
            return False
        seat.connections += 1
        if waited := self._waiting.pop(connected, None):
            waited.cancel()
        connected.close()
        return True

    def _hear(self, seat: _Seat, channel: socket.socket) -> None:
        try:
            closed = channel.recv(4096)
        except OSError as error:
            if error.errno not in _BROKEN:
                return
            closed = b""
        if seat.channel is not channel:
            return
        if closed:
            seat.connections -= len(closed)
        else:
            self._broken(seat)

    def _broken(self, seat: _Seat) -> None:
        self.lost(seat.name)
        seat.left()

    def _leave(self, seat: _Seat) -> None:
        if seat.channel is not None:
            asyncio.get_running_loop().remove_reader(seat.channel)
            seat.channel.close()
            seat.channel = None
        seat.connections = 0


class Intake:
    """A worker's end: the sockets that it is handed."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.setblocking(False)

    def start(self, take: Callable[[socket.socket], None], missed: Callable[[], None]) -> None:
        """Give each socket to `take`, in the running event loop.

        `missed` is called for each that was handed over, and is closed, since this process had no descriptor left.
        """
        asyncio.get_running_loop().add_reader(self._channel, self._receive, take, missed)

    def closed(self) -> None:
        """One of them is closed."""
        # Where that cannot be said the server is gone, or has not listened for some hundred thousand times.
        with suppress(OSError):
            self._channel.send(CLOSED)

    def close(self) -> None:
        """Take no more; the server finds another place for whom it would have handed over."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()

    def _receive(self, take: Callable[[socket.socket], None], missed: Callable[[], None]) -> None:
        for _ in range(_AT_ONCE):
            try:
                handed, descriptors, _flags, _address = socket.recv_fds(self._channel, 1, 1)
            except OSError as error:
                if error.errno not in _BROKEN:
                    return
                handed, descriptors = b"", []
            if not handed:
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            if not descriptors:
                self.closed()
                missed()
            for descriptor in descriptors:
                connected = socket.socket(fileno=descriptor)
                connected.setblocking(False)
                take(connected)
