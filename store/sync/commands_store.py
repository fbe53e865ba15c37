"""The commands of `exhook-sync` that compare files with a store, and bring one to the other."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from store.clock import now_ms
from store.database import Database
from store.records import Record, SecretForm
from store.seal import PLAIN, SealKeys
from store.sync import export as exporting
from store.sync import options as opt
from store.sync import rendering
from store.sync.apply import apply_policy
from store.sync.console import complain, on_terminal, say, show
from store.sync.exit_codes import ExitCode
from store.sync.hold import holding
from store.sync.outputs import render, written
from store.sync.phrases import counted
from store.sync.plan import Plan
from store.sync.plan import plan as make_plan
from store.sync.progress import Bars
from store.sync.snapshot import snapshot_store
from store.sync.stand_ins import ByName
from store.sync.thresholds import Consent, refusals
from store.tables import WITH_SECRETS


def plan(
    paths: opt.Paths,
    db: opt.Db = opt.DEFAULT_DB,
    prune: opt.Prune = None,
    adopt: opt.Adopt = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="SNAPSHOT", help="Plan against this snapshot of a store; no secret is needed."
        ),
    ] = None,
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets", help="Resolve no secret; tell them apart by id and expiry alone.")
    ] = False,
    output: opt.Output = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if changes are pending.")] = False,
    seal_key_file: opt.SealKeyFile = None,
    secrets_dir: opt.SecretsDir = None,
    allow_env: opt.AllowEnv = False,
    show_all: opt.All = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Show what apply would change. Exits with 2 if anything is pending."""
    outputs = opt.outputs(output)
    consent = Consent(prune=prune, adopt=frozenset(adopt or ()))
    uncompared = no_secrets or against is not None
    sources = ByName() if uncompared else opt.secret_sources(secrets_dir, allow_env, seal_key_file)
    with Bars(quiet=quiet), ExitStack() as stack:
        policy = opt.policy(paths, quiet, allow_env=allow_env)
        database = stack.enter_context(_store_to_plan(db, against, seal_key_file, quiet=quiet))
        made = make_plan(database, policy, sources, prune=prune, now_ms=now_ms(), adopt=consent.adopt)
        refused = refusals(made, policy, database.environment, consent, holding(database, made.owners))
    for form, file in outputs:
        render(made, refused, form, file, everything=show_all or verbose, quiet=quiet)
    if (made.changes or made.foreign) and not exit_zero:
        raise typer.Exit(ExitCode.PENDING)


def apply(
    paths: opt.Paths,
    db: opt.Db = opt.DEFAULT_DB,
    prune: opt.Prune = None,
    checksum: Annotated[
        str | None, typer.Option("--checksum", metavar="SUM", help="Of the reviewed plan; else exit 5.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removals.")] = False,
    max_removals: opt.MaxRemovals = None,
    max_clients_losing: opt.MaxClientsLosing = None,
    allow_empty: opt.AllowEmpty = False,
    allow_protected: opt.AllowProtected = None,
    adopt: opt.Adopt = None,
    label: opt.Label = "",
    seal_key_file: opt.SealKeyFile = None,
    secrets_dir: opt.SecretsDir = None,
    allow_env: opt.AllowEnv = False,
    show_all: opt.All = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Bring the store to what the files say, in one transaction. On a terminal it asks before removals."""
    consent = Consent(
        prune=prune,
        checksum=checksum,
        max_removals=max_removals,
        max_clients_losing=max_clients_losing,
        allow_empty=allow_empty,
        allow_protected=frozenset(allow_protected or ()),
        adopt=frozenset(adopt or ()),
        label=label,
    )
    everything = show_all or verbose
    shown = False

    def confirm(made: Plan) -> bool:
        nonlocal shown
        shown = True
        bars.pause()
        show(rendering.text(made, everything=everything, fingerprints=True), to_stderr=True)
        said = typer.confirm(f"Remove {counted(len(made.removals), 'record')}?", err=True)
        bars.resume()
        return bool(said)

    asks = on_terminal() and not yes
    keys = opt.seal_keys(seal_key_file)
    with Bars(quiet=quiet) as bars:
        done = apply_policy(
            db,
            keys,
            paths,
            opt.secret_sources(secrets_dir, allow_env, seal_key_file),
            consent=consent,
            confirm=confirm if asks else None,
            progress=bars,
            warn=None if quiet else partial(opt.warn, allow_env=allow_env),
        )
    if not quiet:
        _warn_unsealed(done.plan, db, keys)
    if as_json:
        typer.echo(rendering.as_json(done.plan, revision=done.revision, commit=done.commit))
    elif not quiet:
        if not shown:
            show(rendering.text(done.plan, everything=everything, fingerprints=sys.stdout.isatty()))
        at = f" (commit {done.commit})" if done.commit else ""
        say(f"applied as revision {done.revision}{at}" if done.changed else "nothing to change")
        if done.released:
            say(f"the hold on {done.released.source} is over: the files say what the store says")


def drift(
    paths: opt.Paths,
    db: opt.Db = opt.DEFAULT_DB,
    seal_key_file: opt.SealKeyFile = None,
    secrets_dir: opt.SecretsDir = None,
    allow_env: opt.AllowEnv = False,
    show_all: opt.All = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Compare the store with the files, records that left the files included. Exits with 9 if they differ."""
    policy = opt.policy(paths, quiet, allow_env=allow_env)
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database:
        sources = opt.secret_sources(secrets_dir, allow_env, seal_key_file)
        made = make_plan(database, policy, sources, prune=True, now_ms=now_ms())
    differs = bool(made.changes or made.foreign)
    if as_json:
        typer.echo(rendering.as_json(made))
    elif not quiet and differs:
        say("+ in the files alone   ~ differs   - in the store alone")
        show(rendering.text(made, everything=show_all or verbose, fingerprints=sys.stdout.isatty()))
    elif not quiet:
        say("no drift: the store says what the files say")
    if differs:
        raise typer.Exit(ExitCode.DRIFT)


def export(
    db: opt.Db = opt.DEFAULT_DB,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Owner of the records; needed where there are several.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    seal_key_file: opt.SealKeyFile = None,
    quiet: opt.Quiet = False,
) -> None:
    """Write the records of one source as a policy file. Secrets stay in the store, as `stored: true`."""
    with Database.open(db, opt.seal_keys(seal_key_file), create=False) as database:
        owner = opt.owner(source, exporting.sources_of(database), db)
        if file is None:
            exporting.export(database, owner, sys.stdout)
            return
        with written(file) as stream:
            exporting.export(database, owner, stream)
    if not quiet:
        say(f"{file} is written: the records of {owner}")


@contextmanager
def _store_to_plan(path: Path, snapshot: Path | None, seal_key_file: Path | None, *, quiet: bool) -> Iterator[Database]:
    """The snapshot, or the store, or an empty one where there is none: a plan makes no file."""
    if snapshot is not None:
        with snapshot_store(snapshot) as database:
            yield database
        return
    keys = opt.seal_keys(seal_key_file)
    if path.exists():
        with Database.open(path, keys, create=False) as database:
            yield database
        return
    if not quiet:
        complain([f"{path}: there is no store yet; planned for an empty one (a checksum holds once there is a store)"])
    with (
        tempfile.TemporaryDirectory(prefix="exhook-") as folder,
        Database.open(Path(folder, "empty.db"), keys) as empty,
    ):
        yield empty


def _warn_unsealed(made: Plan, db: Path, keys: SealKeys) -> None:
    if keys.primary == PLAIN and any(_has_key(change.new) for change in made.changes):
        complain([f"{db}: warning: secrets are stored unsealed, for no seal key is given; see --seal-key-file"])


def _has_key(record: Record | None) -> bool:
    """Whether the store now holds a secret that must be readable."""
    return isinstance(record, WITH_SECRETS) and any(secret.form is SecretForm.KEY for secret in record.secrets)
