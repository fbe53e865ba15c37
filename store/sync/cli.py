"""The commands of `exhook-sync`, with an example for each."""

from importlib.metadata import version
from typing import Annotated

import typer

from store.sync import (
    commands_compare,
    commands_documents,
    commands_files,
    commands_history,
    commands_import,
    commands_lint,
    commands_store,
    commands_test,
    commands_watch,
)
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
app.command(
    "test",
    epilog=examples("exhook-sync test policy.yaml", "exhook-sync test policies/ tests/access.yaml --junit report.xml"),
)(commands_test.run)
app.command("hash", epilog=examples("exhook-sync hash", 'printf %s "$PASSWORD" | exhook-sync hash'))(
    commands_files.hash_
)
app.command(
    epilog=examples(
        "exhook-sync plan policy.yaml",
        "exhook-sync plan policies/ --prune --output text --output json=plan.json",
        "exhook-sync plan policy.yaml --against production.snapshot --output markdown=plan.md",
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
app.command(
    epilog=examples(
        "exhook-sync diff main",
        "exhook-sync diff origin/main HEAD policies/ --output markdown",
        "exhook-sync diff v1.2 --exit-zero",
    )
)(commands_compare.diff)
app.command(epilog=examples("exhook-sync snapshot -o production.snapshot", "exhook-sync snapshot --db prod.db"))(
    commands_compare.snapshot
)
app.command(epilog=examples("exhook-sync history", "exhook-sync history --limit 100 --json"))(commands_history.history)
app.command("show", epilog=examples("exhook-sync show 12", "exhook-sync show 12 --json"))(commands_history.show_)
app.command(
    epilog=examples(
        "exhook-sync rollback 11 --dry-run",
        'exhook-sync rollback 11 --reason "line 3 could not publish"',
        "exhook-sync rollback 11 --source plant --allow-regrant --yes",
    )
)(commands_history.rollback)
app.command(epilog=examples("exhook-sync release", "exhook-sync release --source plant"))(commands_history.release)
app.command(epilog=examples("exhook-sync lint policies/", "exhook-sync lint policies/ --output sarif > lint.sarif"))(
    commands_lint.lint
)
app.command(
    epilog=examples(
        "exhook-sync watch policies/",
        "exhook-sync watch /git/current/policies --db /var/lib/exhook/exhook.db --metrics-file exhook.prom",
    )
)(commands_watch.watch)
app.command(
    "import",
    epilog=examples(
        "exhook-sync import mosquitto-passwords passwd -o policy/users.yaml",
        "exhook-sync import mosquitto-acl acl -o policy/acl.yaml --report acl.txt",
        "exhook-sync import dynamic-security dynamic-security.json --instance mqtt-prod",
        "exhook-sync import emqx-acl acl.conf -o policy.yaml",
        "exhook-sync import emqx-builtin users.csv --salt-position suffix -o users.yaml",
    ),
)(commands_import.import_)
commands_documents.register(app)
