"""A Mosquitto as a child process with the plugin on its one listener: for the demo, on this machine alone."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final, Self

from exhook.brokers.mosquitto.build import FILE, build, compiler
from exhook.brokers.mosquitto.configuration import PluginOptions, configuration
from exhook.faults import CannotStart

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 15.0
STOP_SECONDS: Final = 5.0
_SHOWN_LINES: Final = 5
_DEADLINE_MS: Final = 3_000


def installed() -> str | None:
    """The broker's program; Debian keeps it where not every user looks."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def why_not() -> str:
    """What keeps Mosquitto from being run here; nothing where it can be."""
    if installed() is None:
        return "Mosquitto is not installed"
    program = compiler()
    # Debian's gcc may be there without the headers of its library.
    command = [program or "cc", "-fsyntax-only", "-include", "stdlib.h", "-x", "c", os.devnull]
    if program and subprocess.run(command, capture_output=True, check=False).returncode == 0:  # noqa: S603 - the compiler of this machine
        return ""
    return "there is no C compiler (with its library's headers) to build the plugin for Mosquitto"


class Mosquitto:
    """One broker that asks the server at `address`. Its files stand in `folder`."""

    def __init__(self, folder: Path, address: str, port: int) -> None:
        self.port = port if port and _is_free(port) else _free_port()
        """The wanted one, where it is free; any other else."""
        self._log = folder / "mosquitto.log"
        self._file = folder / "mosquitto.conf"
        self._plugin = folder.resolve() / FILE
        # Nobody else waits here, and a laptop that is busy hashes slowly.
        self._options = PluginOptions(address=address, deadline_ms=_DEADLINE_MS)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Build the plugin, start the broker, wait until it accepts connections.

        Raises:
            CannotBuild: there is no plugin.
            CannotStart: it did not come up; with its own words.
        """
        build(self._plugin)
        # As whoever calls: started by root it would else become a user who may not read the folder.
        user = pwd.getpwuid(os.geteuid()).pw_name
        listener = configuration(self._plugin, self._options, f"{self.port} {HOST}")
        self._file.write_text(f"user {user}\n{listener}", encoding="utf-8")
        program = installed()
        if program is None:
            raise CannotStart("Mosquitto is not installed")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the installed broker, on our own file
                [program, "-c", str(self._file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._await(self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0):
                return
            time.sleep(0.02)
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:]
        raise CannotStart("\n".join(["Mosquitto did not start:", *said]))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as one:
        port: int = one.getsockname()[1]
        return port
