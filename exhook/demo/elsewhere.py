"""A broker that is there already, for the demo: a cluster, a container. What its server logs is out of reach."""

import time
from contextlib import suppress
from typing import Final, Self

import typer

from exhook.demo.clients import MqttClient, NoAnswer
from exhook.demo.script import WITNESS
from exhook.faults import CannotStart

PATIENCE_SECONDS: Final = 120.0
"""A cluster that was just told to start takes so long at most until it asks the server."""
_PAUSE_SECONDS: Final = 1.0


class Elsewhere:
    """The broker at `host` and `broker_port`, which must decide by the policy of the demo."""

    tells = False
    """Reasons and rules stand in the log of its server, not here."""
    broker_name = "a broker that was there"
    decider = "its own server"
    lines = 0

    def __init__(self, host: str, port: int, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.host = host
        self.broker_port = port
        self._patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        """Wait until the first client of the script is let in: until then, nothing that is refused tells anything.

        Raises:
            CannotStart: it was not, in time.
        """
        deadline = time.monotonic() + self._patience_seconds
        told = ""
        while True:
            why = "no MQTT broker answers there; is the address right, and has it started?"
            with suppress(OSError, NoAnswer), MqttClient(WITNESS, self.broker_port, host=self.host) as client:
                if client.connect():
                    return self
                why = (
                    f"the broker refuses {WITNESS.username!r} of the demo's policy; is its server attached, and is "
                    "that policy in force?"
                )
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.host}:{self.broker_port}: {why}")
            if why != told:
                told = why
                typer.echo(f"{self.host}:{self.broker_port}: {why} Waiting {self._patience_seconds:.0f} s", err=True)
            time.sleep(_PAUSE_SECONDS)

    def __exit__(self, *_: object) -> None:
        """It goes on."""

    def decision(self, **_: object) -> None:
        """Nothing: the log is not here."""
        return
