"""The commands of `exhook-sync` that need files alone, no store."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from store.credentials import hash_password
from store.sync import options as opt
from store.sync.console import say
from store.sync.exit_codes import Usage
from store.sync.sample import USERNAME, sample
from store.sync.wording import counted


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("policy.yaml"),
    quiet: opt.Quiet = False,
) -> None:
    """Write a small policy to begin with, and show its password once."""
    text, password = sample()
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise Usage(f"{path}: exists already; name another file, or move it away") from None
    except OSError as error:
        raise Usage(f"{path}: cannot be written ({error.strerror}); name a file in a folder that exists") from None
    if quiet:
        typer.echo(password)
        return
    say(f"{path} is written. Its user {USERNAME!r} has the password {password} (shown this once).")
    say(f"Next: exhook-sync plan {path}, or exhook serve --policy {path}")


def validate(paths: opt.Paths, quiet: opt.Quiet = False, verbose: opt.Verbose = False) -> None:
    """Check policy files, without a store and without secrets."""
    policy = opt.policy(paths, quiet)
    if quiet:
        return
    say(
        f"ok: {counted(len(policy.identities), 'identity', 'identities')}, "
        f"{counted(len(policy.permissions), 'permission')}, "
        f"{counted(len(policy.blacklist), 'blacklist entry', 'blacklist entries')}"
    )
    if verbose:
        say(f"source {policy.source}; instances: {', '.join(one.name for one in policy.instances) or 'none'}")


def hash_() -> None:
    """Hash a password, asked for or read from standard input, for `{hash: …}` in a policy."""
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True).encode()
    else:
        line = sys.stdin.buffer.read()
        password = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")
    if not password:
        raise Usage("an empty password; nobody could prove it, and everybody could")
    typer.echo(hash_password(password))
