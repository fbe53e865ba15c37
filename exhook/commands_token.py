"""The commands `token issue`, `show`, `revoke`, `list`, and `token-key rotate`, `list`, `retire`."""

import json as jsons
import sys
from typing import Annotated, Any, Final

import typer

from exhook.commands_access_key import opened
from exhook.moments import duration_of, moment_of
from exhook.options import Config, Db, Json, SealKeyFile
from store.account_records import Token, TokenActions
from store.clock import now_ms
from store.database import Database
from store.names import InvalidRecord
from store.sync.exit_codes import Usage
from store.sync.phrases import moment
from store.sync.printable import printable
from store.sync.provenance import actor
from store.tables import ACCESS_KEYS, TOKENS
from store.tokens import Standing, issue, judge, retire_token_key, revoke, rotate_token_key, token_keys

token_app: Final = typer.Typer(
    help="Tokens: what clients in Token mode show.",
    epilog="Example: exhook token issue --access-key app-1 --resource 'plant/#' --for 12h",
    rich_markup_mode=None,
)
token_key_app: Final = typer.Typer(
    help="Keys that sign tokens.", epilog="Example: exhook token-key rotate", rich_markup_mode=None
)

STDIN: Final = "-"
TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="The id of a token; - reads a token from here.")]


@token_app.command("issue", epilog="Example: exhook token issue --access-key app-1 --resource 'plant/#' --for 12h")
def make(
    access_key: Annotated[str, typer.Option(help="The access key that issues it, and bounds it.")],
    resource: Annotated[list[str], typer.Option(help="A filter of topics; may be given up to 100 times.")],
    actions: Annotated[str, typer.Option(help="R to subscribe, W to publish, RW for both.")] = "RW",
    instance: Annotated[str | None, typer.Option(help="The instance; the key's only one if left out.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="How long it holds: 30m, 12h; 30d at most.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when: 2027-01-31T12:00:00Z.")] = None,
    note: Annotated[str, typer.Option(help="A remark for people.")] = "",
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    json: Json = False,
) -> None:
    """Issue a token, which is shown this once."""
    now = now_ms()
    if bool(lasting) == bool(until):
        raise Usage("how long shall it hold? say --for 12h, or --until 2027-01-31T12:00:00Z")
    if actions not in TokenActions.__members__:
        raise Usage(f"--actions {actions!r}: write R, W or RW")
    ends = now + duration_of(lasting, "--for") if lasting else moment_of(until or "", "--until")
    with opened(config, db, seal_key_file) as database:
        try:
            made = issue(
                database,
                access_key,
                instance=instance or _only_instance_of(database, access_key),
                actions=TokenActions[actions],
                resources=resource,
                expires_at=ends,
                now_ms=now,
                actor=actor(),
                note=note,
            )
        except InvalidRecord as wrong:
            raise Usage(str(wrong)) from None
    typer.echo(jsons.dumps(_said(made.token, now) | {"token": made.text}, indent=2) if json else made.text)


@token_app.command(epilog="Example: exhook token show - < token.txt; echo $?")
def show(
    token: TokenArgument, config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None, *, json: Json = False
) -> None:
    """Say what a token is worth, and what it grants. Exit code: 0 good, 1 not."""
    now = now_ms()
    with opened(config, db, seal_key_file) as database:
        standing, found = _looked_at(database, token, now)
    if json:
        typer.echo(jsons.dumps({"standing": standing} | (_said(found, now) if found else {}), indent=2))
    else:
        typer.echo(printable(f"{standing}" + (f": {_line(found, now)}" if found else "")))
    raise typer.Exit(0 if standing == Standing.GOOD else 1)


@token_app.command("revoke", epilog="Example: exhook token revoke - < token.txt")
def end(token: TokenArgument, config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None) -> None:
    """Revoke a token: at the next publish or subscribe it is worth nothing."""
    now = now_ms()
    with opened(config, db, seal_key_file) as database:
        standing, found = _looked_at(database, token, now)
        if found is None:
            raise Usage(f"there is no such token ({standing}); `exhook token list` names those that there are")
        changed = revoke(database, found.token_id, now_ms=now, actor=actor())
    typer.echo(f"{found.token_id}: {'revoked' if changed else 'was revoked already'}")


@token_app.command("list", epilog="Example: exhook token list --access-key app-1")
def show_all(
    access_key: Annotated[str | None, typer.Option(help="Tokens of this access key alone.")] = None,
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Revoked and expired ones, too.")] = False,
    json: Json = False,
) -> None:
    """Show the tokens that are good."""
    now = now_ms()
    where, values = ("access_key_id = ?", (access_key,)) if access_key else ("TRUE", ())
    with opened(config, db, seal_key_file) as database:
        found = [token for token in database.find(TOKENS, where, values) if every or _standing(token, now) == "good"]
    if json:
        typer.echo(jsons.dumps([_said(token, now) for token in found], indent=2))
        return
    for token in found:
        typer.echo(printable(_line(token, now)))


@token_key_app.command("rotate", epilog="Example: exhook token-key rotate")
def renew_key(config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None) -> None:
    """Sign new tokens by a new key; what the old ones signed stays good until they are retired."""
    with opened(config, db, seal_key_file) as database:
        name = rotate_token_key(database, now_ms=now_ms(), actor=actor())
    typer.echo(f"token key {name} signs from now on")


@token_key_app.command("list", epilog="Example: exhook token-key list")
def show_keys(config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None, *, json: Json = False) -> None:
    """Show the names of the token keys, the one that signs first."""
    with opened(config, db, seal_key_file) as database:
        names = list(token_keys(database).keys)
    if json:
        typer.echo(jsons.dumps(names))
        return
    for place, name in enumerate(names):
        typer.echo(f"{name}  {'verifies' if place else 'signs'}")


@token_key_app.command("retire", epilog="Example: exhook token-key retire 1f2e3d4c")
def retire(
    name: Annotated[str, typer.Argument(help="Its name, as `exhook token-key list` shows it.")],
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
) -> None:
    """Take a token key away: every token that it signed counts as forged from now on."""
    with opened(config, db, seal_key_file) as database:
        if not retire_token_key(database, name, now_ms=now_ms(), actor=actor()):
            raise Usage(f"there is no token key {name!r}; `exhook token-key list` names those that there are")
    typer.echo(f"token key {name} is retired")


def _looked_at(database: Database, named: str, now: int) -> tuple[str, Token | None]:
    """What a token is worth, by its id, or by its text from standard input."""
    if named == STDIN:
        judged = judge(database, sys.stdin.read().strip(), now)
        return judged.standing.value, judged.token
    token = database.get(TOKENS, (named,))
    return ("unknown" if token is None else _standing(token, now)), token


def _standing(token: Token, now: int) -> str:
    if token.revoked:
        return Standing.REVOKED.value
    return (Standing.GOOD if token.in_force(now) else Standing.EXPIRED).value


def _said(token: Token, now: int) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "standing": _standing(token, now),
        "instance": token.instance,
        "access_key_id": token.access_key_id,
        "actions": token.actions.name,
        "resources": list(token.resources),
        "expires": moment(token.expires_at or 0),
        "note": token.note,
    }


def _line(token: Token, now: int) -> str:
    return (
        f"{token.token_id}  {_standing(token, now)}  {token.instance}  {token.access_key_id}  {token.actions.name}  "
        f"until {moment(token.expires_at or 0)}  {', '.join(token.resources)}"
    )


def _only_instance_of(database: Database, access_key_id: str) -> str:
    key = next(database.find(ACCESS_KEYS, "access_key_id = ?", (access_key_id,), unsealed=False), None)
    if key is None:
        raise Usage(f"there is no access key {access_key_id!r}; `exhook access-key list` names those that there are")
    if len(key.instances) != 1:
        raise Usage(f"access key {access_key_id} counts in several instances; name one by --instance")
    return key.instances[0]
