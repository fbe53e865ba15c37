"""The commands of `exhook-sync` that need files alone, no store."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from store.credentials import hash_password
from store.sync import options as opt
from store.sync.console import say
from store.sync.document import InvalidPolicy, load_policy
from store.sync.exit_codes import ExitCode, Usage
from store.sync.phrases import counted
from store.sync.sample import USERNAME, sample


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("policy.yaml"),
    quiet: opt.Quiet = False,
) -> None:
    """Write a small policy to begin with, and show its password once."""
    text, password = sample()
    if path.exists():
        raise Usage(f"{path}: exists already; name another file, or move it away")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise Usage(f"{path}: cannot be written ({error.strerror}); name another file") from None
    if quiet:
        typer.echo(password)
        return
    say(f"{path} is written. Its user {USERNAME!r} has the password {password} (shown this once).")
    say(f"Next: exhook-sync plan {path}, or exhook serve --policy {path}")


def validate(
    paths: opt.Paths,
    allow_env: opt.AllowEnv = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check policy files, without a store and without secrets."""
    if as_json:
        _validate_as_json(paths, allow_env=allow_env)
        return
    policy = opt.policy(paths, quiet, allow_env=allow_env)
    if quiet:
        return
    say(
        f"ok: {counted(len(policy.identities), 'identity', 'identities')}, "
        f"{counted(len(policy.permissions), 'permission')}, "
        f"{counted(len(policy.blacklist), 'blacklist entry', 'blacklist entries')}"
    )
    if verbose:
        say(f"source {policy.source}; instances: {', '.join(one.name for one in policy.instances) or 'none'}")


def _validate_as_json(paths: Sequence[Path], *, allow_env: bool) -> None:
    try:
        policy = load_policy(paths)
    except InvalidPolicy as invalid:
        typer.echo(json.dumps({"ok": False, "errors": [asdict(one) for one in invalid.errors]}, indent=2))
        raise typer.Exit(ExitCode.INVALID) from None
    said = {
        "ok": True,
        "source": policy.source,
        "identities": len(policy.identities),
        "permissions": len(policy.permissions),
        "blacklist": len(policy.blacklist),
        "warnings": [asdict(one) for one in opt.warnings(policy, allow_env=allow_env)],
    }
    typer.echo(json.dumps(said, indent=2))


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
