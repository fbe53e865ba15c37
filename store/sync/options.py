"""The options that several commands of `exhook-sync` take, and what they stand for."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from store.seal import SealKeys
from store.sync.console import complain
from store.sync.document import Policy, load_policy
from store.sync.exit_codes import Usage
from store.sync.findings import PolicyWarning
from store.sync.lint_off import ENV_RULE
from store.sync.outputs import FORMS
from store.sync.references import SecretSources
from store.sync.scalars import API_SOURCE

_DIGITS: Final = 30
"""Of the longest number that is read; there is no use for a longer one."""

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Policy files or folders; - is standard input.")]
Db = Annotated[Path, typer.Option("--db", envvar="EXHOOK_DB", metavar="FILE", help="The store.")]
SealKeyFile = Annotated[
    Path | None,
    typer.Option("--seal-key-file", envvar="EXHOOK_SEAL_KEY_FILE", metavar="FILE", help="Keys that seal secrets."),
]
SecretsDir = Annotated[
    Path | None,
    typer.Option(
        "--secrets-dir", envvar="EXHOOK_SECRETS_DIR", metavar="DIR", help="Folder that {file: …} secrets are read from."
    ),
]
AllowEnv = Annotated[
    bool, typer.Option("--allow-env", help="Let {env: …} read variables that do not begin with EXHOOK_SECRET_.")
]
Prune = Annotated[
    bool | None,
    typer.Option("--prune/--no-prune", help="Remove what left the policy; by default as sync.prune says."),
]
Adopt = Annotated[
    list[str] | None,
    typer.Option(
        "--adopt", metavar="ID", help="Take over the records of this owner, or one record by its id; repeatable."
    ),
]


def whole_number(name: str, least: int) -> Callable[[str], int]:
    """What reads a whole number, as people write them: digits alone.

    Raises:
        Usage: from what is returned: it is none, or too small or large.
    """

    def read(given: str) -> int:
        text = str(given)  # a default is a number already
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) >= least):
            raise Usage(f"{name} {text}: no whole number from {least} on; write one, such as {max(least, 12)}")
        return int(text)

    return read


MaxRemovals = Annotated[
    int | None,
    typer.Option(
        "--max-removals",
        parser=whole_number("--max-removals", 0),
        metavar="N",
        help="Let up to N removals through.",
    ),
]
MaxClientsLosing = Annotated[
    int | None,
    typer.Option(
        "--max-clients-losing",
        parser=whole_number("--max-clients-losing", 0),
        metavar="N",
        help="Let up to N clients lose something.",
    ),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="text|json|markdown|gitlab[=FILE]",
        help="How to show it; repeatable, each may go to a file.",
    ),
]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Let a policy through that lets nobody in.")]
AllowProtected = Annotated[
    list[str] | None,
    typer.Option("--allow-protected", metavar="ID", help="Let this protected record be removed; repeatable."),
]
Label = Annotated[
    str, typer.Option("--label", metavar="NAME", help="Label a store that has none, for sync.environment.")
]
All = Annotated[bool, typer.Option("--all", help="Show every change, not 50 of a kind.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors alone.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show every change, and traces of internal errors.")]

DEFAULT_DB: Final = Path("exhook.db")


def seal_keys(file: Path | None) -> SealKeys:
    """The keys of the option, or of the environment.

    Raises:
        SealError: the file cannot be read, or holds no key.
    """
    return SealKeys.from_environment(os.environ, file)


def outputs(written: Sequence[str] | None) -> list[tuple[str, Path | None]]:
    """Form and file of each ``--output``; text to the terminal where there is none.

    Raises:
        Usage: a form that does not exist, or two in one file.
    """
    found: list[tuple[str, Path | None]] = []
    places: set[Path] = set()
    for one in written or ["text"]:
        form, given, file = one.partition("=")
        if form not in FORMS or (given and not file):
            raise Usage(f"--output {one}: no such output; write {', '.join(FORMS)}, or one of them =FILE")
        found.append((form, Path(file) if file else None))
        place = Path(file).resolve()
        if file and place in places:
            raise Usage(f"--output {one}: another one goes to this file, and would be overwritten; name two files")
        if file and (place.is_file() or not place.exists()):
            places.add(place)
    return found


def secret_sources(secrets_dir: Path | None, allow_env: bool, seal_key_file: Path | None = None) -> SecretSources:
    private = () if seal_key_file is None else (seal_key_file,)
    return SecretSources(environ=os.environ, secrets_dir=secrets_dir, allow_env=allow_env, private=private)


def policy(paths: Sequence[Path], quiet: bool, *, allow_env: bool = False) -> Policy:
    """The policy of some files, its warnings told.

    Raises:
        InvalidPolicy: the files are none.
    """
    read = load_policy(paths)
    if not quiet:
        warn(read, allow_env=allow_env)
    return read


def warn(read: Policy, *, allow_env: bool = False) -> None:
    """What is allowed in the files, and seldom meant."""
    told = warnings(read, allow_env=allow_env)
    complain([f"{one.file}:{one.line}:{one.column}: warning: {one.message}" for one in told])


def warnings(read: Policy, *, allow_env: bool) -> list[PolicyWarning]:
    """The warnings of a policy that concern whoever lets any variable be read, or not."""
    return [one for one in read.warnings if not (allow_env and one.rule == ENV_RULE)]


def owner(asked: str, sources: Sequence[str], db: Path) -> str:
    """The source that is meant: the one asked for, or the only one there is beside the API.

    Raises:
        Usage: there is no such source, or there are several.
    """
    owners = [asked] if asked else [one for one in sources if one != API_SOURCE] or list(sources)
    if len(owners) == 1 and owners[0] in sources:
        return owners[0]
    known = f"name one of its sources by --source: {', '.join(sources)}" if sources else "apply a policy to it first"
    raise Usage(
        f"{db}: holds {'no records' if asked or not sources else 'records of several sources'}"
        f"{f' of {asked}' if asked else ''}; {known}"
    )
