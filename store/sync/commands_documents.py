"""The commands of `exhook-sync` that write policy files, and what editors need for them."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from store.credentials import hash_password
from store.sync import options as opt
from store.sync.adding import NewUser, NotAdded, with_user
from store.sync.console import complain, examples, say
from store.sync.exit_codes import ExitCode, Usage
from store.sync.files import STDIN, STDIN_NAME, expand, why_unreadable
from store.sync.findings import InvalidPolicy, PolicyError
from store.sync.formatting import WouldChange, formatted
from store.sync.json_schema import schema_text
from store.sync.late import FilledCommand
from store.sync.replacing import replace_file
from store.sync.syntax import InvalidSource

_BEYOND: Final = (
    "is left as it is, for formatted it would lose a comment or say something else; a bug, please report it"
)

users = typer.Typer(
    help="Users in a policy file.",
    epilog=examples("exhook-sync user add meters --sign-mode signed --secret-env EXHOOK_SECRET_METERS"),
    rich_markup_mode=None,
)


# A group of one command is one command to Typer, unless it has a callback.
@users.callback(invoke_without_command=True)
def _no_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise Usage(f"{context.get_help()}\n\nname a command")


def fmt(
    paths: opt.Paths,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; name the files that would change, and exit with 10.")
    ] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Format policy files: keys in their order, indented alike, comments kept. What they say stays the same.

    A file that cannot be read leaves all of them as they are. Standard input (-) goes to standard output.
    """
    changed = 0
    made, beyond = _formatted(paths)
    for file, old, text in made:
        if file == STDIN:
            if not check:
                typer.echo(text, nl=False)
        elif text.encode() == old:
            continue
        elif not check:
            _write(file, text.encode())
        changed += text.encode() != old
        if file != STDIN and not quiet:
            say(f"{file}: would be formatted" if check else f"{file}: formatted")
    complain([f"{_named(file)}: {_BEYOND}" for file in beyond])
    if beyond:
        raise typer.Exit(ExitCode.INTERNAL)
    if check and changed:
        raise typer.Exit(ExitCode.LINT)


def schema(
    file: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Print the JSON Schema of policy files, by which editors complete and check them."""
    if file is None:
        typer.echo(schema_text(), nl=False)
        return
    _write(file, schema_text().encode())
    if not quiet:
        say(f"{file} is written; `# yaml-language-server: $schema={file.name}` in a policy beside it names it")


@users.command(
    cls=FilledCommand,
    epilog=examples(
        'exhook-sync user add dashboard --client-id dash-01 --password-stdin --subscribe "plant/#" < password.txt',
        "exhook-sync user add sensors --sign-mode signed --secret-env EXHOOK_SECRET_SENSORS "
        "--publish 'plant/${clientid}/up'",
    ),
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The MQTT user name.")],
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The policy file.")] = Path("policy.yaml"),
    client_id: Annotated[str, typer.Option("--client-id", metavar="C", help="Let this client in alone.")] = "",
    sign_mode: Annotated[
        str,
        typer.Option(
            "--sign-mode",
            metavar="MODE",
            help="origin, signed, signed-sha256, hashed or external; hashed with --password-stdin.",
        ),
    ] = "",
    secret_env: Annotated[
        str, typer.Option("--secret-env", metavar="VARIABLE", help="The variable that will hold the secret.")
    ] = "",
    secret_file: Annotated[
        str, typer.Option("--secret-file", metavar="FILE", help="The file that will hold it, below --secrets-dir.")
    ] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password, and write its hash into the file.")
    ] = False,
    publish: Annotated[
        list[str] | None, typer.Option("--publish", metavar="TOPIC", help="What it may publish to; repeatable.")
    ] = None,
    subscribe: Annotated[
        list[str] | None, typer.Option("--subscribe", metavar="FILTER", help="What it may subscribe to; repeatable.")
    ] = None,
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Id of the identity; the user name if left out.")] = "",
    quiet: opt.Quiet = False,
) -> None:
    """Add an identity, and the permissions named, to a policy file. What stands there stays, comments too.

    The file must be a policy by itself, before and after; else nothing is written.
    """
    given = [one for one in (secret_env, secret_file, password_stdin) if one]
    if len(given) != (0 if sign_mode == "external" else 1):
        raise Usage(
            "name one source of the secret: --secret-env, --secret-file or --password-stdin; or --sign-mode external"
        )
    if given and not sign_mode and not password_stdin:
        raise Usage("--sign-mode is missing: hashed (the secret is a password), signed (it signs client ids) or origin")
    data = _read(file)
    user = NewUser(
        username=name,
        id=id_,
        client_id=client_id,
        sign_mode=sign_mode,
        secret=_secret(secret_env, secret_file, hashed=password_stdin),
        publish=publish or (),
        subscribe=subscribe or (),
    )
    try:
        made = with_user(file, data, user)
    except NotAdded as wrong:
        raise Usage(f"{file}: {wrong}") from None
    _write(file, made)
    if not quiet:
        say(f"{file}: {name} is added")


def _secret(env: str, file: str, *, hashed: bool) -> dict[str, str] | None:
    if hashed:
        return {"hash": hash_password(_password())}
    if env:
        return {"env": env}
    return {"file": file} if file else None


def _password() -> bytes:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)).encode()
    line = sys.stdin.buffer.read()
    password = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")
    if not password:
        raise Usage("an empty password; nobody could prove it, and everybody could")
    return password


def _formatted(paths: list[Path]) -> tuple[list[tuple[Path, bytes, str]], list[Path]]:
    """Each file, what it holds, and how it is meant to look, all of them or none; and those that are beyond us."""
    made: list[tuple[Path, bytes, str]] = []
    beyond: list[Path] = []
    errors: list[PolicyError] = []
    for path in paths:
        for file in _expand(path):
            data = _read(file)
            try:
                made.append((file, data, formatted(data)))
            except InvalidSource as wrong:
                errors.append(PolicyError(_named(file), wrong.fault.line, wrong.fault.column, wrong.fault.message))
            except WouldChange:
                beyond.append(file)
    if errors:
        raise InvalidPolicy(tuple(errors))
    return made, beyond


def _named(file: Path) -> str:
    return STDIN_NAME if file == STDIN else str(file)


def _expand(path: Path) -> list[Path]:
    try:
        return expand(path)
    except OSError as wrong:
        raise _unreadable(path, wrong) from None


def _read(file: Path) -> bytes:
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as wrong:
        raise _unreadable(file, wrong) from None


def _unreadable(path: Path, wrong: OSError) -> InvalidPolicy:
    """As `validate` has it."""
    message = f"cannot be read ({why_unreadable(wrong)}); name a policy file or a folder of them"
    return InvalidPolicy((PolicyError(str(path), 0, 0, message),))


def _write(file: Path, data: bytes) -> None:
    try:
        replace_file(file, data)
    except OSError as wrong:
        mend = "it is as it was" if file.exists() else "name a file in a folder that exists"
        raise Usage(f"{file}: cannot be written ({why_unreadable(wrong)}); {mend}") from None
