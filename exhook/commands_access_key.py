"""The commands `access-key create`, `list`, `disable`, `enable`, `rotate`."""

import json as jsons
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from exhook.moments import duration_of, moment_of
from exhook.options import Config, Db, Json, SealKeyFile
from exhook.settings import load_settings
from store.access_keys import NewSecret, access_keys, create, fresh_id, rotate, set_active
from store.account_records import AccessKey
from store.clock import now_ms
from store.database import Database
from store.names import InvalidRecord
from store.records import Secret
from store.seal import SealKeys
from store.sync.exit_codes import Usage
from store.sync.phrases import moment
from store.sync.printable import printable
from store.sync.provenance import actor
from store.tables import INSTANCES

access_key_app: Final = typer.Typer(
    help="Access keys: accounts of applications, and of the clients that sign with them.",
    epilog="Example: exhook access-key create --instance mqtt-prod --connect",
    rich_markup_mode=None,
)

KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="The access key id.")]


@contextmanager
def opened(config: Path | None, db: Path | None, seal_key_file: Path | None) -> Iterator[Database]:
    """The store that the options name."""
    settings = load_settings({"db": db, "seal_key_file": seal_key_file}, os.environ, config)
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    with Database.open(settings.db, keys, create=False) as database:
        yield database


@access_key_app.command("create", epilog="Example: exhook access-key create --instance mqtt-prod --call ApplyToken")
def make(
    key_id: Annotated[str | None, typer.Option("--id", help="Its id; made up if left out.")] = None,
    instance: Annotated[
        list[str] | None, typer.Option(help="Instance where it counts; the only one of the store if left out.")
    ] = None,
    call: Annotated[list[str] | None, typer.Option(help="API call that it may sign; may be given often.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ceases to hold: 2027-01-31T12:00:00Z.")] = None,
    note: Annotated[str, typer.Option(help="A remark for people.")] = "",
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    connect: Annotated[bool, typer.Option("--connect", help="MQTT clients may connect by it.")] = False,
    all_topics: Annotated[bool, typer.Option("--all-topics", help="It is allowed what is not denied.")] = False,
    reveal_secrets: Annotated[
        bool, typer.Option("--reveal-secrets", help="The API shows secrets to it in the clear.")
    ] = False,
    json: Json = False,
) -> None:
    """Make an access key; its secret is shown this once."""
    with opened(config, db, seal_key_file) as database:
        try:
            wanted = AccessKey(
                access_key_id=key_id or fresh_id(),
                secrets=(Secret(id="1", value=b"-", fingerprint=""),),
                instances=tuple(instance or [_only_instance(database)]),
                connect=connect,
                calls=tuple(call or ()),
                all_topics=all_topics,
                reveal_secrets=reveal_secrets,
                expires_at=moment_of(expires, "--expires") if expires else None,
                note=note,
            )
        except InvalidRecord as wrong:
            raise Usage(str(wrong)) from None
        _show(create(database, wanted, now_ms=now_ms(), actor=actor()), json=json)


@access_key_app.command("list", epilog="Example: exhook access-key list --json")
def show_all(config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None, *, json: Json = False) -> None:
    """Show the access keys of the store, without their secrets."""
    with opened(config, db, seal_key_file) as database:
        found = access_keys(database)
    if json:
        typer.echo(jsons.dumps([_said(key) for key in found], indent=2))
        return
    for key in found:
        typer.echo(printable(_line(key)))


@access_key_app.command(epilog="Example: exhook access-key disable app-1")
def disable(key: KeyArgument, config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None) -> None:
    """Let an access key, and every token that it issued, count no longer."""
    with opened(config, db, seal_key_file) as database:
        changed = set_active(database, key, active=False, now_ms=now_ms(), actor=actor())
    typer.echo(f"{key}: {'disabled' if changed else 'was not active'}")


@access_key_app.command(epilog="Example: exhook access-key enable app-1")
def enable(key: KeyArgument, config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None) -> None:
    """Let an access key count again."""
    with opened(config, db, seal_key_file) as database:
        changed = set_active(database, key, active=True, now_ms=now_ms(), actor=actor())
    typer.echo(f"{key}: {'enabled' if changed else 'was active'}")


@access_key_app.command("rotate", epilog="Example: exhook access-key rotate app-1 --keep 7d")
def renew(
    key: KeyArgument,
    keep: Annotated[
        str | None,
        typer.Option(help="How long the old secret still counts: 12h, 7d; else until the next rotation."),
    ] = None,
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    json: Json = False,
) -> None:
    """Give an access key a new secret, which is shown this once, beside the one that it has."""
    now = now_ms()
    keep_until = now + duration_of(keep, "--keep") if keep else None
    with opened(config, db, seal_key_file) as database:
        _show(rotate(database, key, keep_until=keep_until, now_ms=now, actor=actor()), json=json)


def _show(made: NewSecret, *, json: bool) -> None:
    if json:
        typer.echo(jsons.dumps(_said(made.key) | {"secret": made.secret}, indent=2))
        return
    typer.echo(f"access key {made.key.access_key_id}")
    typer.echo(f"secret     {made.secret}    (shown this once)")


def _said(key: AccessKey) -> dict[str, Any]:
    return {
        "access_key_id": key.access_key_id,
        "instances": list(key.instances),
        "active": key.active,
        "connect": key.connect,
        "calls": list(key.calls),
        "all_topics": key.all_topics,
        "reveal_secrets": key.reveal_secrets,
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "source": key.source,
        "note": key.note,
        "secrets": [
            {"id": secret.id, "expires": None if secret.expires_at is None else moment(secret.expires_at)}
            for secret in key.secrets
        ],
    }


def _line(key: AccessKey) -> str:
    flags = [name for name in ("connect", "all_topics", "reveal_secrets") if getattr(key, name)]
    flags += [f"{len(key.calls)} calls"] if key.calls else []
    flags += ["not active"] if not key.active else []
    until = f", until {moment(key.expires_at)}" if key.expires_at is not None else ""
    return f"{key.access_key_id}  {', '.join(key.instances)}  [{key.source}]  {', '.join(flags)}{until}".rstrip()


def _only_instance(database: Database) -> str:
    names = [found.name for found in database.records(INSTANCES)]
    if len(names) != 1:
        raise Usage(f"the store has {len(names)} instances; name one by --instance")
    return names[0]
