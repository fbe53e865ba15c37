"""The commands of `exhook-sync` that plan where production is not at hand: snapshot and diff."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from store.clock import now_ms
from store.database import Database
from store.sync import options as opt
from store.sync.console import complain, say
from store.sync.diff import WORKING_TREE, difference
from store.sync.exit_codes import ExitCode, Usage
from store.sync.git import Checkout, GitFailed
from store.sync.outputs import render, written
from store.sync.phrases import counted
from store.sync.snapshot import may_be_replaced, write_snapshot

_USUAL: Final = Path("policy.yaml")


def snapshot(
    db: opt.Db = opt.DEFAULT_DB,
    file: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    seal_key_file: opt.SealKeyFile = None,
    quiet: opt.Quiet = False,
) -> None:
    """Write the records of a store to a file to plan against, without secrets, hashes and fingerprints."""
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database:
        if file is None:
            write_snapshot(database, sys.stdout)
            return
        _check_target(file)
        with written(file) as stream:
            count = write_snapshot(database, stream)
    if not quiet:
        say(f"{file} is written: {counted(count, 'record')}, no secrets")


def _check_target(file: Path) -> None:
    try:
        good = may_be_replaced(file)
    except OSError as error:
        raise Usage(f"{file}: cannot be read ({error.strerror}); name another file") from None
    if not good:
        raise Usage(f"{file}: is there, and no snapshot; name another file, or move it away")


def diff(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="REF [REF] [PATH]...",
            help="One or two git revisions, then policy files or folders; policy.yaml if none is named.",
        ),
    ],
    output: opt.Output = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if the policies differ.")] = False,
    show_all: opt.All = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Show what the policy files change from one git revision to another, or to the files as they are.

    Needs no store and no secret. Exits with 2 if they differ.
    """
    outputs = opt.outputs(output)
    checkout = Checkout.around(Path())
    old, new, paths = _sides(checkout, what)
    found = difference(checkout, old, new, paths, now_ms=now_ms())
    if not quiet:
        opt.warn(found.policy)
    for form, file in outputs:
        render(found.plan, (), form, file, everything=show_all or verbose, quiet=quiet)
    if not quiet:
        complain(found.remarks)
    if found.plan.changes and not exit_zero:
        raise typer.Exit(ExitCode.PENDING)


def _sides(checkout: Checkout, what: list[str]) -> tuple[str, str, list[Path]]:
    """The two revisions and the files that are meant; a second revision may be left out."""
    old, *rest = what
    if not checkout.commit(old):
        raise GitFailed(f"{old}: there is no such revision; name a branch, a tag or a commit, then the files")
    new = WORKING_TREE
    if rest and checkout.commit(rest[0]):
        if Path(rest[0]).exists():
            raise Usage(f"{rest[0]}: is a revision and a file; write ./{rest[0]} for the file")
        new, *rest = rest
    if "-" in rest:
        raise Usage("-: standard input has no revisions; name files that git keeps")
    return old, new, list(map(Path, rest)) or [_USUAL]
