"""The commands `serve` and `api`: sets up what must be there before the server's modules are loaded, and runs it."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from exhook import zygote
from exhook.offspring import fork_off
from exhook.settings import Settings

if TYPE_CHECKING:
    from exhook.server import Supervisor


def serve(reload: Callable[[], Settings]) -> None:
    """Serve until SIGTERM; `reload` reads the settings, now and at each SIGHUP."""
    settings = reload()
    # Before the metrics are imported: supervisor and workers count together in this folder.
    with tempfile.TemporaryDirectory(prefix="exhook-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        # Here, since nothing is open yet, and there is but one thread.
        offspring = fork_off(zygote.run, zygote.preloaded(settings.carrier))
        try:
            from exhook.logs import configure  # noqa: PLC0415 - after the folder is named
            from exhook.server import Supervisor  # noqa: PLC0415 - after the folder is named

            configure(settings)
            supervisor = Supervisor(settings, reload, offspring)
        except BaseException:
            if offspring:
                offspring.kill()
            raise
        asyncio.run(supervisor.run(ready=say_what_next))


def serve_api(reload: Callable[[], Settings]) -> None:
    """Serve the management API alone until SIGTERM or SIGINT; SIGHUP reads the settings anew.

    Raises:
        CannotStart, StoreUnavailable, SealError: it could not start.
    """
    settings = reload()
    from exhook.api.standalone import run  # noqa: PLC0415 - what a server's supervisor does not need
    from exhook.logs import configure  # noqa: PLC0415 - as above

    configure(settings)
    asyncio.run(run(settings, reload))


def say_what_next(server: "Supervisor") -> None:
    """A few lines for a person who tries it; machines read the log on standard error."""
    if server.broker_port is None:
        return
    settings = server.settings
    typer.echo(f"\nAn MQTT broker listens on 127.0.0.1:{server.broker_port}; exhook decides what it lets through.")
    if settings.policy:
        typer.echo(f"  change the policy:  edit {settings.policy} and save; it is in force at once")
    typer.echo(f"  ask why:            exhook explain --db {settings.db} --username U --client-id C publish TOPIC")
    typer.echo("  watch it decide:    exhook demo")
    typer.echo("  stop:               Ctrl-C\n")
