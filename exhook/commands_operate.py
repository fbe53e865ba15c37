"""The commands that look at a server: why, status, revocations, tail."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from exhook.options import Config, Db, SealKeyFile
from exhook.revoking import Revoking
from exhook.settings import load_settings
from exhook.status import Status
from exhook.tail import Wanted, listening, received
from exhook.why import as_text, last_denials
from store.clock import now_ms
from store.database import Database
from store.revocations import Revocations
from store.runtime import Runtime, path_beside
from store.seal import SealKeys
from store.sync.exit_codes import Usage
from store.sync.phrases import counted
from store.sync.printable import printable

FINDINGS = 1
"""Something is not as it should be."""

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def why(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT", help="The client id.")],
    limit: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Show the last N denials.")] = 10,
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what a client was denied lately: by which rule, from which file and commit, applied by whom."""
    with _store(config, db, seal_key_file) as database:
        found = last_denials(database, client_id, limit)
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], ensure_ascii=False))
    elif found:
        typer.echo(as_text(found))
    else:
        typer.echo(f"no denial of {printable(client_id)!r} is kept; `exhook explain` says what would be decided now")


def status(config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None, *, as_json: Json = False) -> int:
    """Show workers and their revisions, the store, the policy, holds. Exit code: 0 all is well, 1 it is not."""
    with _store(config, db, seal_key_file) as database:
        found = Status.of(database, now_ms())
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        for line in found.as_text():
            typer.echo(line)
    return FINDINGS if list(found.findings()) else 0


def revocations(
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Show the last N.")] = 20,
    config: Config = None,
    db: Db = None,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Let those that failed be tried again.")] = False,
    as_json: Json = False,
) -> int:
    """Show what was taken from live sessions, what waits, what failed. Exit code: 0 all is well, 1 it is not."""
    store = load_settings({"db": db}, os.environ, config).db
    if not path_beside(store).exists():
        raise Usage(f"{store}: no server has run on this store")
    with Runtime.open(store) as runtime:
        retried = Revocations(runtime).retry() if retry else 0
        found = Revoking.of(runtime, limit)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
        return FINDINGS if list(found.findings()) else 0
    if retry:
        typer.echo(f"{counted(retried, 'revocation')} will be tried again")
    for line in found.as_text():
        typer.echo(line)
    if not found.counts:
        typer.echo("nothing: no cluster is configured, or none was reached yet; see [[emqx]] in the settings")
    return FINDINGS if list(found.findings()) else 0


def tail(
    client_id: Annotated[str, typer.Option(help="Decisions about this client id alone.")] = "",
    username: Annotated[str, typer.Option(help="… about this user name.")] = "",
    reason: Annotated[str, typer.Option(help="… for this reason.")] = "",
    hook: Annotated[str, typer.Option(help="… of this hook: authenticate, publish, subscribe.")] = "",
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after N decisions.")] = 0,
    config: Config = None,
    db: Db = None,
    *,
    denials: Annotated[bool, typer.Option("--denials", help="No allows.")] = False,
    as_json: Json = False,
) -> None:
    """Follow decisions as they fall, until Ctrl-C."""
    store = load_settings({"db": db}, os.environ, config).db
    _say_whether_one_runs(store)
    try:
        _follow(store, Wanted(client_id, username, reason, hook, denials), count, as_json=as_json)
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise Usage(
            f"{store}: cannot listen beside it ({error.strerror}); be the user that the server runs as"
        ) from None


def _follow(store: Path, wanted: Wanted, count: int, *, as_json: bool) -> None:
    dropped: dict[Any, int] = {}
    with listening(store, wanted) as receiving:
        shown = 0
        while not count or shown < count:
            said = received(receiving)
            missed = said["dropped"] - dropped.get(said["pid"], 0)
            dropped[said["pid"]] = said["dropped"]
            if missed and not as_json:
                typer.echo(f"… {missed:,} missed", err=True)
            typer.echo(json.dumps(said, ensure_ascii=False) if as_json else _line(said))
            shown += 1


def _line(said: dict[str, Any]) -> str:
    topic = f" {printable(said['topic'])}" if said.get("topic") else ""
    parts = [f"{said['result']:<5} {said['hook']}{topic}: {said['reason']}"]
    parts += [f"{name} {printable(str(said[name]))}" for name in ("client_id", "username", "rule") if said.get(name)]
    return "  ".join(parts)


def _say_whether_one_runs(store: Path) -> None:
    runs = False
    if path_beside(store).exists():
        with Runtime.open(store) as runtime:
            runs = bool(runtime.workers())
    if not runs:
        typer.echo("no server runs on this store yet; waiting for one", err=True)


def _store(config: Path | None, db: Path | None, seal_key_file: Path | None) -> Database:
    settings = load_settings({"db": db, "seal_key_file": seal_key_file}, os.environ, config)
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    return Database.open(settings.db, keys, create=False)
