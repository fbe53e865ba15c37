"""The command `exhook`: each command parses, and calls one function."""

import os
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Final

import typer

from exhook import serving
from exhook.faults import Fault
from exhook.options import Api, ApiTlsCert, ApiTlsKey, Config, Db, SealKeyFile
from exhook.settings import load_settings
from exhook.standard_streams import open_closed
from store.sync.exit_codes import ExitCode
from store.sync.late import FilledCommand, Late, LateCommands


class _Commands(LateCommands):
    late: ClassVar = {
        "demo": Late("exhook.commands_demo", "demo", "Example: exhook demo; echo $?"),
        "why": Late("exhook.commands_operate", "why", "Example: exhook why meter-0001"),
        "status": Late("exhook.commands_operate", "status", "Example: exhook status --json"),
        "doctor": Late("exhook.commands_doctor", "doctor", "Example: exhook doctor --config exhook.toml"),
        "revocations": Late("exhook.commands_operate", "revocations", "Example: exhook revocations --json"),
        "tail": Late("exhook.commands_operate", "tail", "Example: exhook tail --denials --username meters"),
        "explain": Late("exhook.commands_explain", "explain_app"),
        "access-key": Late("exhook.commands_access_key", "access_key_app"),
        "token": Late("exhook.commands_token", "token_app"),
        "token-key": Late("exhook.commands_token", "token_key_app"),
        "mosquitto": Late("exhook.commands_mosquitto", "mosquitto_app"),
        "seal-key": Late("exhook.commands_seal_key", "seal_key_app"),
    }


app: Final = typer.Typer(
    cls=_Commands,
    name="exhook",
    help="Who may connect to an MQTT broker, and what it may publish and subscribe.",
    epilog="Example: exhook demo; exhook serve --policy policy.yaml",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

MQTT_PORT: Final = 1883
"""Where MQTT brokers listen by custom."""


def main() -> None:
    """Run a command and end with its exit code."""
    open_closed()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; its exit code. Mistakes become one sentence on standard error, never a traceback."""
    try:
        code = app(_with_default_port(arguments), standalone_mode=False, prog_name="exhook")
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure gets a sentence and a code
        fault = Fault.of(error)
        typer.echo(fault.sentence, err=True)
        return fault.code
    return int(code or ExitCode.DONE)


def _with_default_port(arguments: list[str]) -> list[str]:
    """`--with-broker` may stand without its port, which the library of options does not know."""
    filled = []
    for argument, following in zip(arguments, [*arguments, "-"][1:], strict=True):
        filled.append(argument)
        if argument == "--with-broker" and following.startswith("-"):
            filled.append(str(MQTT_PORT))
    return filled


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Say the version and end.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed_version  # noqa: PLC0415 - for this alone

        typer.echo(f"exhook {installed_version('exhook')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.command(cls=FilledCommand, epilog="Example: exhook serve --policy policy.yaml --with-broker")
def serve(
    config: Config = None,
    db: Db = None,
    listen: Annotated[str | None, typer.Option(help="Where brokers call, ADDRESS:PORT.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file or folder, applied now and on each change.")] = None,
    workers: Annotated[int | None, typer.Option(help="Deciding processes.")] = None,
    carrier: Annotated[str | None, typer.Option(help="What carries the calls: h2 or grpc.")] = None,
    unix_socket: Annotated[Path | None, typer.Option(help="A Unix-domain socket to listen at as well.")] = None,
    with_broker: Annotated[
        int | None, typer.Option(metavar="[PORT]", help=f"Start the embedded MQTT broker; on {MQTT_PORT} without PORT.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Serve Prometheus metrics at ADDRESS:PORT.")] = None,
    api: Api = None,
    api_tls_cert: ApiTlsCert = None,
    api_tls_key: ApiTlsKey = None,
    instance: Annotated[str | None, typer.Option(help="The instance that decides by default.")] = None,
    seal_key_file: SealKeyFile = None,
    secrets_dir: Annotated[Path | None, typer.Option(help="Folder of the secrets that {file: …} names.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console.")] = None,
    decisions: Annotated[str | None, typer.Option(help="Which decisions are logged: all, deny or none.")] = None,
    decisions_sample: Annotated[
        float | None, typer.Option(help="Share of the allows that --decisions all logs, 0 to 1.")
    ] = None,
    *,
    allow_env: Annotated[bool | None, typer.Option("--allow-env", help="{env: …} may name any variable.")] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="Let other machines reach the port.")] = None,
) -> None:
    """Serve brokers until SIGTERM; SIGHUP reads settings and policy anew."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    serving.serve(lambda: load_settings(flags, os.environ, config))


@app.command("api", cls=FilledCommand, epilog="Example: exhook api --api 127.0.0.1:8080 --db exhook.db")
def serve_api(
    config: Config = None,
    db: Db = None,
    api: Api = None,
    api_tls_cert: ApiTlsCert = None,
    api_tls_key: ApiTlsKey = None,
    seal_key_file: SealKeyFile = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console.")] = None,
    *,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Let other machines reach it without TLS.")
    ] = None,
) -> None:
    """Serve the management API by itself until SIGTERM, beside servers that decide from the same store."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    serving.serve_api(lambda: load_settings(flags, os.environ, config))


@app.command(epilog="Example: exhook sign --username sensors --client-id meter-0001")
def sign(
    username: Annotated[str, typer.Option(help="User name of a SIGNED identity, or Signature|KEY|INSTANCE.")],
    client_id: Annotated[str, typer.Option(help="The device's client id.")],
    instance: Annotated[str | None, typer.Option(help="Its instance; the only one if left out.")] = None,
    secret_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Sign by the secret of this id; by what lasts longest if left out.")
    ] = None,
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
) -> None:
    """Print the password of a SIGNED identity, an access key or a device credential for one device."""
    from exhook import signing  # noqa: PLC0415 - for this command alone

    settings = load_settings({"db": db, "instance": instance, "seal_key_file": seal_key_file}, os.environ, config)
    typer.echo(signing.password_for(settings, username, client_id, secret_id))


@app.command("settings", epilog="Example: exhook settings --config exhook.toml")
def show_settings(
    config: Config = None,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="The reference, for the docs.")] = False,
) -> None:
    """Show the settings that are in force, or what each of them means."""
    if markdown:
        from exhook.settings_reference import markdown as reference  # noqa: PLC0415 - for the docs alone

        typer.echo(reference(), nl=False)
    else:
        typer.echo(load_settings({}, os.environ, config).model_dump_json(indent=2))
