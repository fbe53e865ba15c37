"""The command `test`: what the files must grant and refuse, asked of the decision core."""

from pathlib import Path
from typing import Annotated

import typer

from store.clock import now_ms
from store.sync import options as opt
from store.sync.console import complain, show
from store.sync.exit_codes import ExitCode, Usage
from store.sync.policy_tests import Status, run_tests
from store.sync.policy_tests_report import as_json, junit, text
from store.sync.replacing import replace_file

JUnit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write the results there, as JUnit XML.")]


def run(paths: opt.Paths, junit_file: JUnit = None, as_data: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Run the tests in policy files, without a store and without secrets; exit 6 if one fails."""
    policy = opt.policy(paths, quiet)
    outcomes = run_tests(policy, now_ms())
    if junit_file is not None:
        _write(junit_file, junit(outcomes))
    if as_data:
        typer.echo(as_json(outcomes))
    else:
        show(text(outcomes, quiet=quiet))
    if not outcomes:
        files = ", ".join(map(str, paths))
        complain([f"{files}: there are no tests here; write `tests:`, or name the files that hold them, too"])
    if any(outcome.status is not Status.PASSED for outcome in outcomes):
        raise typer.Exit(ExitCode.TEST_FAILED)


def _write(file: Path, data: bytes) -> None:
    try:
        replace_file(file, data)
    except OSError as error:
        raise Usage(f"{file}: cannot be written ({error.strerror}); name a file in a folder that exists") from None
