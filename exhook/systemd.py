"""Tells systemd how the server is, by the datagrams of sd_notify(3); says nothing where nobody asked."""

import asyncio
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")


VARIABLES: Final = (_SOCKET, *_WATCHDOG)


class Systemd:
    """The service manager that started this process, if one did."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Take what it said out of the environment: children shall not speak for the service."""
        address = environ.pop(_SOCKET, "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        every, pid = (environ.pop(name, "") for name in _WATCHDOG)
        ours = every.isdecimal() and pid in {"", str(os.getpid())}
        self.watchdog_seconds = int(every) / 1_000_000 if ours else None
        """Within how many seconds it wants a sign of life; None for no such wish."""

    def say(self, *assignments: str) -> None:
        """Send what the manual page calls assignments: ``READY=1``, ``STOPPING=1``, ``STATUS=…``."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking:
                speaking.setblocking(False)
                speaking.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            pass  # a manager that is gone, or does not listen: none of it concerns a decision

    async def stay_alive(self) -> None:
        """A sign of life, twice as often as it is wanted, for as long as the event loop turns."""
        while self._address and self.watchdog_seconds:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)
