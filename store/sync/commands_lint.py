"""The command `lint`: what a policy says that is seldom meant."""

from typing import Annotated

import typer

from store.clock import now_ms
from store.sync import options as opt
from store.sync.document import load_policy
from store.sync.exit_codes import ExitCode, Usage
from store.sync.lint import lint as find
from store.sync.lint_report import FORMS

Form = Annotated[str, typer.Option("--output", metavar="|".join(FORMS), help="Where it will be read.")]


def lint(paths: opt.Paths, output: Form = "text", quiet: opt.Quiet = False) -> None:
    """Report what is allowed in policy files, and seldom meant; exit 10 if there is something."""
    if output not in FORMS:
        raise Usage(f"--output {output}: no such output; write {', '.join(FORMS)}")
    findings = find(load_policy(paths), now_ms())
    if not (quiet and output == "text"):
        typer.echo(FORMS[output](findings), nl=False)
    raise typer.Exit(ExitCode.LINT if findings else ExitCode.DONE)
