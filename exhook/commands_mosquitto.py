"""The commands `mosquitto build-plugin` and `mosquitto config`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from exhook.brokers.mosquitto.build import FILE, build
from exhook.brokers.mosquitto.configuration import Auth, PluginOptions, ReadCheck, configuration

mosquitto_app: Final = typer.Typer(
    help="The Mosquitto side: its plugin, and its configuration.",
    epilog="Example: exhook mosquitto build-plugin; exhook mosquitto config --instance mqtt-prod",
    rich_markup_mode=None,
)


@mosquitto_app.command("build-plugin", epilog=f"Example: exhook mosquitto build-plugin -o /usr/local/lib/{FILE}")
def build_plugin(
    into: Annotated[Path, typer.Option("--output", "-o", help="Where the plugin is put, in one move.")] = Path(FILE),
) -> None:
    """Compile the plugin for Mosquitto 2.0 and 2.1. Needs a C compiler (CC names one), nothing else."""
    build(into)
    typer.echo(f"the plugin is {into}; `exhook mosquitto config --plugin {into.resolve()}` says what to paste")


@mosquitto_app.command(epilog="Example: exhook mosquitto config --instance mqtt-prod --listener 1883")
def config(
    plugin: Annotated[Path, typer.Option(help="Where the plugin is.")] = Path("/usr/local/lib") / FILE,
    listener: Annotated[str, typer.Option(help="PORT [ADDRESS] of the listener.")] = "1883 127.0.0.1",
    address: Annotated[str, typer.Option(help="Where the server listens: HOST:PORT or unix:/PATH.")] = "127.0.0.1:9000",
    instance: Annotated[str, typer.Option(help="The instance that decides; the server's default if left out.")] = "",
    node: Annotated[str, typer.Option(help="The broker's name in the server's log.")] = "",
    auth: Annotated[Auth, typer.Option(help="Who proves clients: the server by password, or a certificate.")] = (
        Auth.PASSWORD
    ),
    read_check: Annotated[ReadCheck, typer.Option(help="Which deliveries are asked about.")] = ReadCheck.REVOKED,
    cache_size: Annotated[int, typer.Option(min=0, max=1_000_000, help="Decisions kept; 0 keeps none.")] = 10_000,
    cache_seconds: Annotated[int, typer.Option(min=0, max=3600, help="How long one is kept.")] = 60,
    deadline_ms: Annotated[int, typer.Option(min=10, max=10_000, help="How long the broker waits.")] = 300,
) -> None:
    """Print the lines to paste into Mosquitto's configuration."""
    options = PluginOptions(
        address=address,
        instance=instance,
        node=node,
        auth=auth,
        read_check=read_check,
        cache_size=cache_size,
        cache_seconds=cache_seconds,
        deadline_ms=deadline_ms,
    )
    typer.echo(configuration(plugin, options, listener), nl=False)
