"""A server for the demo: the real command, its decisions read from its own log."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from exhook.faults import CannotStart
from exhook.settings import PREFIX
from store.sync.references import ENV_PREFIX

START_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 3.0

POLICY: Final = "policy.yaml"
DB: Final = "exhook.db"

Line = Mapping[str, Any]
"""One line of the server's log."""


class DemoServer:
    """`exhook serve` as a child process, on the policy and the store in a folder."""

    tells = True
    """Its log says why."""
    host = "127.0.0.1"
    """Where its broker is."""

    def __init__(self, folder: Path, *, listen: str, embedded: int | None) -> None:
        """With the embedded broker on port `embedded`; 0 takes any free one, None starts none."""
        self.broker_port = 0
        """Where clients connect; whoever starts another broker sets it."""
        self.broker_name = "the embedded broker"
        self._embedded = embedded
        self.address = ""
        self._lines: list[Line] = []
        self._said: list[str] = []
        self._came = threading.Condition()
        command: Sequence[str] = (
            sys.executable, "-m", "exhook", "serve", "--db", DB, "--policy", POLICY, "--listen", listen,
            "--decisions", "all", "--log-format", "json",
            *([] if embedded is None else ["--with-broker", str(embedded)]),
        )  # fmt: skip
        # In the folder, so that places read `policy.yaml:13`; without the settings of another server.
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=folder, env=_own_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Wait until it serves.

        Raises:
            CannotStart: it did not come up; with its own words.
        """
        self._reader.start()
        try:
            self.address = self._await("serving")["address"]
            if self._embedded is not None:
                broker = self._await("embedded broker, for trying: MQTT 3.1.1 alone")
                self.broker_port = int(broker["address"].rsplit(":", 1)[1])
        except CannotStart:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE_SECONDS)
        if self.process.stderr is not None:
            self.process.stderr.close()

    @property
    def decider(self) -> str:
        """The server, for a sentence."""
        return f"exhook on {self.address}"

    def decision(self, *, hook: str, client_id: str, topic: str | None, since: int) -> Line | None:
        """The last logged decision about a client's request, of the lines from number `since` on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._came:
            while True:
                for line in reversed(self._lines[since:]):
                    asked = (line.get("hook"), line.get("client_id"), line.get("topic"))
                    if line.get("event") == "decision" and asked == (hook, client_id, topic):
                        return line
                if not self._came.wait(deadline - time.monotonic()) or time.monotonic() > deadline:
                    return None

    @property
    def lines(self) -> int:
        """How many lines it has logged so far."""
        return len(self._lines)

    def _await(self, event: str) -> Line:
        deadline = time.monotonic() + START_SECONDS
        with self._came:
            while True:
                for line in self._lines:
                    if line.get("event") == event:
                        return line
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise CannotStart("\n".join(["the server did not start:", *self._said[-10:]]))
                self._came.wait(0.2)

    def _read(self) -> None:
        if self.process.stderr is None:
            raise AssertionError("started without a pipe")
        for raw in self.process.stderr:
            text = raw.decode(errors="replace").rstrip()
            try:
                line = json.loads(text)
            except ValueError:
                line = {}
            with self._came:
                self._said.append(text)
                self._lines.append(line if isinstance(line, dict) else {})
                self._came.notify_all()


def _own_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name.startswith(ENV_PREFIX)
    }
