"""The commands of `exhook-sync`, with an example for each."""

from importlib.metadata import version
from typing import Annotated

import typer

from store.sync import commands_files, commands_store
from store.sync.console import Commands, examples
from store.sync.exit_codes import Usage

app = typer.Typer(
    cls=Commands,
    name="exhook-sync",
    help="MQTT access policies from YAML files into the store that exhook decides by.",
    epilog=examples("exhook-sync init", "exhook-sync plan policy.yaml", "exhook-sync apply policy.yaml"),
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console script."""
    app()


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"exhook-sync {version('exhook')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def no_command(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        raise Usage(f"{context.get_help()}\n\nname a command")


app.command(epilog=examples("exhook-sync init", "exhook-sync init access/policy.yaml"))(commands_files.init)
app.command(epilog=examples("exhook-sync validate policy.yaml", "exhook-sync validate policies/"))(
    commands_files.validate
)
app.command("hash", epilog=examples("exhook-sync hash", 'printf %s "$PASSWORD" | exhook-sync hash'))(
    commands_files.hash_
)
app.command(
    epilog=examples(
        "exhook-sync plan policy.yaml",
        "exhook-sync plan policies/ --prune --output text --output json=plan.json",
        "sops decrypt policy.yaml | exhook-sync plan -",
    )
)(commands_store.plan)
app.command(
    epilog=examples(
        "exhook-sync apply policy.yaml",
        "exhook-sync apply policies/ --checksum SUM --yes",
        "exhook-sync apply policy.yaml --prune --max-removals 40",
    )
)(commands_store.apply)
app.command(epilog=examples("exhook-sync drift policy.yaml", "exhook-sync drift policies/ --json"))(
    commands_store.drift
)
app.command(epilog=examples("exhook-sync export -o policy.yaml", "exhook-sync export --source plant"))(
    commands_store.export
)
