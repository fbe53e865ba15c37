"""The commands of `exhook-sync`, with an example for each."""

from typing import Annotated, ClassVar

import typer

from store.sync.console import examples
from store.sync.exit_codes import Usage
from store.sync.late import Commands, Late


class _Commands(Commands):
    late: ClassVar = {
        "init": Late(
            "store.sync.commands_files",
            "init",
            examples(
                "exhook-sync init",
                "exhook-sync init access/policy.yaml",
            ),
        ),
        "validate": Late(
            "store.sync.commands_files",
            "validate",
            examples(
                "exhook-sync validate policy.yaml",
                "exhook-sync validate policies/",
            ),
        ),
        "test": Late(
            "store.sync.commands_test",
            "run",
            examples(
                "exhook-sync test policy.yaml",
                "exhook-sync test policies/ tests/access.yaml --junit report.xml",
            ),
        ),
        "hash": Late(
            "store.sync.commands_files",
            "hash_",
            examples(
                "exhook-sync hash",
                'printf %s "$PASSWORD" | exhook-sync hash',
            ),
        ),
        "plan": Late(
            "store.sync.commands_store",
            "plan",
            examples(
                "exhook-sync plan policy.yaml",
                "exhook-sync plan policies/ --prune --output text --output json=plan.json",
                "exhook-sync plan policy.yaml --against production.snapshot --output markdown=plan.md",
                "sops decrypt policy.yaml | exhook-sync plan -",
            ),
        ),
        "apply": Late(
            "store.sync.commands_store",
            "apply",
            examples(
                "exhook-sync apply policy.yaml",
                "exhook-sync apply policies/ --checksum SUM --yes",
                "exhook-sync apply policy.yaml --prune --max-removals 40",
            ),
        ),
        "drift": Late(
            "store.sync.commands_store",
            "drift",
            examples(
                "exhook-sync drift policy.yaml",
                "exhook-sync drift policies/ --json",
            ),
        ),
        "export": Late(
            "store.sync.commands_store",
            "export",
            examples(
                "exhook-sync export -o policy.yaml",
                "exhook-sync export --source plant",
            ),
        ),
        "diff": Late(
            "store.sync.commands_compare",
            "diff",
            examples(
                "exhook-sync diff main",
                "exhook-sync diff origin/main HEAD policies/ --output markdown",
                "exhook-sync diff v1.2 --exit-zero",
            ),
        ),
        "snapshot": Late(
            "store.sync.commands_compare",
            "snapshot",
            examples(
                "exhook-sync snapshot -o production.snapshot",
                "exhook-sync snapshot --db prod.db",
            ),
        ),
        "history": Late(
            "store.sync.commands_history",
            "history",
            examples(
                "exhook-sync history",
                "exhook-sync history --limit 100 --json",
            ),
        ),
        "show": Late(
            "store.sync.commands_history",
            "show_",
            examples(
                "exhook-sync show 12",
                "exhook-sync show 12 --json",
            ),
        ),
        "rollback": Late(
            "store.sync.commands_history",
            "rollback",
            examples(
                "exhook-sync rollback 11 --dry-run",
                'exhook-sync rollback 11 --reason "line 3 could not publish"',
                "exhook-sync rollback 11 --source plant --allow-regrant --yes",
            ),
        ),
        "release": Late(
            "store.sync.commands_history",
            "release",
            examples(
                "exhook-sync release",
                "exhook-sync release --source plant",
            ),
        ),
        "lint": Late(
            "store.sync.commands_lint",
            "lint",
            examples(
                "exhook-sync lint policies/",
                "exhook-sync lint policies/ --output sarif > lint.sarif",
            ),
        ),
        "watch": Late(
            "store.sync.commands_watch",
            "watch",
            examples(
                "exhook-sync watch policies/",
                "exhook-sync watch /git/current/policies --db /var/lib/exhook/exhook.db --metrics-file exhook.prom",
            ),
        ),
        "import": Late(
            "store.sync.commands_import",
            "import_",
            examples(
                "exhook-sync import mosquitto-passwords passwd -o policy/users.yaml",
                "exhook-sync import mosquitto-acl acl -o policy/acl.yaml --report acl.txt",
                "exhook-sync import dynamic-security dynamic-security.json --instance mqtt-prod",
                "exhook-sync import emqx-acl acl.conf -o policy.yaml",
                "exhook-sync import emqx-builtin users.csv --salt-position suffix -o users.yaml",
            ),
        ),
        "fmt": Late(
            "store.sync.commands_documents",
            "fmt",
            examples(
                "exhook-sync fmt policy.yaml",
                "exhook-sync fmt --check policies/",
                "exhook-sync fmt -",
            ),
        ),
        "schema": Late(
            "store.sync.commands_documents",
            "schema",
            examples(
                "exhook-sync schema",
                "exhook-sync schema -o policy.schema.json",
            ),
        ),
        "user": Late("store.sync.commands_documents", "users"),
    }


app = typer.Typer(
    cls=_Commands,
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
        from importlib.metadata import version  # noqa: PLC0415 - for this alone

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
