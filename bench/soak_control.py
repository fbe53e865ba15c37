"""A process that only echoes, asked beside the server: what slows the whole machine slows it, too."""

import asyncio
import sys
from time import monotonic
from typing import Final

_ECHO: Final = """\
import socket
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
caller, _ = listening.accept()
while data := caller.recv(4096):
    caller.sendall(data)
"""
_MESSAGE: Final = b"x" * 160


class Control:
    """Its answers' times."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def taken(self) -> list[float]:
        """Seconds of each answer since the last time."""
        seconds, self._seconds = self._seconds, []
        return seconds

    async def ask(self, pause: float) -> None:
        """Ask for ever, every `pause` seconds."""
        echo = await asyncio.create_subprocess_exec(sys.executable, "-c", _ECHO, stdout=asyncio.subprocess.PIPE)
        assert echo.stdout is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", int(await echo.stdout.readline()))
        try:
            while True:
                began = monotonic()
                writer.write(_MESSAGE)
                await reader.readexactly(len(_MESSAGE))
                self._seconds.append(monotonic() - began)
                await asyncio.sleep(pause)
        finally:
            writer.close()  # which ends it
            await echo.wait()
