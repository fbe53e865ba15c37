"""The commands of `exhook-sync` that look back, go back, and let go on: history, show, rollback, release."""

from typing import Annotated, Final

import typer

from store.changes import revisions
from store.clock import now_ms
from store.database import Database
from store.sync import options as opt
from store.sync.console import on_terminal, say, show
from store.sync.exit_codes import ExitCode, Usage
from store.sync.export import sources_of
from store.sync.history import history_json, history_text, revision_json, revision_of, revision_text
from store.sync.hold import holds_of
from store.sync.hold import release as end_hold
from store.sync.restoring import Rollback, plan_rollback
from store.sync.rollback import RolledBack, refusals, roll_back
from store.sync.rollback_rendering import rollback_json, rollback_text
from store.sync.thresholds import Consent
from store.unavailable import told_clearly

_MOST_SHOWN: Final = 2**62
"""Revisions; SQLite counts no further."""

Number = Annotated[
    int,
    typer.Argument(
        metavar="REV", parser=opt.whole_number("REV", 0), help="The number of a revision, as `history` shows it."
    ),
]
Source = Annotated[
    str, typer.Option("--source", metavar="NAME", help="Owner of the records; needed where there are several.")
]


def history(
    db: opt.Db = opt.DEFAULT_DB,
    limit: Annotated[
        int,
        typer.Option("--limit", parser=opt.whole_number("--limit", 1), metavar="N", help="Show the last N revisions."),
    ] = 20,
    seal_key_file: opt.SealKeyFile = None,
    as_json: opt.Json = False,
) -> None:
    """Show who wrote what to the store: the last revisions, newest first, and the holds that stand."""
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database, told_clearly(db):
        found = revisions(database.connection, min(limit, _MOST_SHOWN))
        holds = list(holds_of(database).values())
    if as_json:
        typer.echo(history_json(found, holds))
    elif found:
        show(history_text(found, holds))
    else:
        say("nothing has been written to this store yet")


def show_(
    number: Number,
    db: opt.Db = opt.DEFAULT_DB,
    seal_key_file: opt.SealKeyFile = None,
    show_all: opt.All = False,
    as_json: opt.Json = False,
) -> None:
    """Show what one revision changed; secrets by their ids alone."""
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database, told_clearly(db):
        found = revision_of(database, number)
        if as_json:
            for piece in revision_json(database, found):
                typer.echo(piece, nl=False)
        else:
            show(revision_text(database, found, everything=show_all))


def rollback(
    number: Annotated[
        int,
        typer.Argument(
            metavar="REV",
            parser=opt.whole_number("REV", 0),
            help="The revision to go back to; 0 is the empty store.",
        ),
    ],
    db: opt.Db = opt.DEFAULT_DB,
    source: Source = "",
    allow_regrant: Annotated[
        bool, typer.Option("--allow-regrant", help="Let what was forbidden since be allowed again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it alone; exit with 2 if anything changes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever meets the hold.")] = "",
    max_removals: opt.MaxRemovals = None,
    max_clients_losing: opt.MaxClientsLosing = None,
    allow_empty: opt.AllowEmpty = False,
    allow_protected: opt.AllowProtected = None,
    seal_key_file: opt.SealKeyFile = None,
    show_all: opt.All = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Bring the records of one source back to an earlier revision, and hold it until git agrees.

    Secrets stay as they are, and so do the records of other sources.
    """
    consent = Consent(
        max_removals=max_removals,
        max_clients_losing=max_clients_losing,
        allow_empty=allow_empty,
        allow_protected=frozenset(allow_protected or ()),
    )
    keys = opt.seal_keys(seal_key_file)
    everything = show_all or verbose
    with Database.open(db, keys, create=False) as database:
        owner = opt.owner(source, _writers(database), db)
        if dry_run:
            made = plan_rollback(database, owner, number, now_ms=now_ms())
            refused = refusals(made, consent, allow_regrant=allow_regrant)
            if as_json:
                typer.echo(rollback_json(made, refused))
            elif not quiet:
                show(rollback_text(made, refused, everything=everything))
            raise typer.Exit(ExitCode.PENDING if made.plan.changes else ExitCode.DONE)
    shown = False

    def confirm(made: Rollback) -> bool:
        nonlocal shown
        shown = True
        show(rollback_text(made, (), everything=everything), to_stderr=True)
        return typer.confirm(f"Roll {owner} back to revision {number}?", err=True)

    done = roll_back(
        db,
        keys,
        owner,
        number,
        consent=consent,
        allow_regrant=allow_regrant,
        confirm=confirm if on_terminal() and not yes else None,
        reason=reason,
    )
    if as_json:
        held = done.hold.as_json() if done.hold else None
        typer.echo(rollback_json(done.rollback, (), revision=done.revision, hold=held))
    elif not quiet:
        if not shown:
            show(rollback_text(done.rollback, (), everything=everything))
        _say_what_was_done(done)


def release(
    db: opt.Db = opt.DEFAULT_DB,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="The source that is held; needed where there are several.")
    ] = "",
    seal_key_file: opt.SealKeyFile = None,
    quiet: opt.Quiet = False,
) -> None:
    """End the hold that a rollback set, so that the policy may be applied again."""
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database:
        held = sorted(holds_of(database))
        if not source and len(held) > 1:
            raise Usage(f"{db}: several sources are held; name one by --source: {', '.join(held)}")
        owner = source or "".join(held)
        ended = end_hold(database, owner) if owner else None
    if quiet:
        return
    if ended is None:
        say(f"{owner} is not held" if owner else "nothing is held")
    else:
        say(f"{ended.source} is no longer held; it was rolled back from revision {ended.since} to {ended.to}")


def _writers(database: Database) -> list[str]:
    """The sources that have records, or once had."""
    with told_clearly(database.path):
        rows = database.connection.execute(
            "SELECT DISTINCT source FROM revisions WHERE added + changed + removed > 0"
        ).fetchall()
    return sorted({*sources_of(database), *(row[0] for row in rows)})


def _say_what_was_done(done: RolledBack) -> None:
    if not done.rollback.plan.changes:
        say("nothing to roll back")
        return
    say(f"rolled back to revision {done.rollback.to}, as revision {done.revision}")
    if done.hold:
        say(f"{done.hold.source} is held: {done.hold.mend}")
