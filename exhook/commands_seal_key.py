"""The commands `seal-key new` and `seal-key rotate`."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from exhook.options import Config, Db, SealKeyFile
from exhook.settings import load_settings
from store.database import Database
from store.seal import SealKeys, new_key
from store.sync.exit_codes import Usage

seal_key_app: Final = typer.Typer(
    help="Keys that seal the secrets in the store.",
    epilog="Example: exhook seal-key new exhook.key; exhook serve --seal-key-file exhook.key",
    rich_markup_mode=None,
)


@seal_key_app.command("new", epilog="Example: exhook seal-key new exhook.key")
def make(
    file: Annotated[Path, typer.Argument(help="Key file; where it exists, the new key becomes its first line.")],
) -> None:
    """Make a key in a file that its owner alone can read.

    In a file that has keys already the new one comes first: it seals from now on, the others still unseal. Let the
    servers read the file anew (restart them), then say `exhook seal-key rotate`; after that the old lines may go.
    """
    old = ""
    if file.exists():
        SealKeys.from_environment({}, file)
        old = file.read_text(encoding="ascii")
    fresh = file.with_name(f".{file.name}.new")
    try:
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise Usage(f"{fresh}: cannot be made ({error.strerror}); name a file in a folder you may write to") from None
    with os.fdopen(handle, "w", encoding="ascii") as text:
        text.write(f"{new_key()}\n{old}")
    fresh.replace(file)
    typer.echo(f"a new key is the first in {file}; keep a copy apart from the store")


@seal_key_app.command("rotate", epilog="Example: exhook seal-key rotate --seal-key-file exhook.key")
def rotate(config: Config = None, db: Db = None, seal_key_file: SealKeyFile = None) -> None:
    """Seal every secret in the store anew under the first key of the file."""
    settings = load_settings({"db": db, "seal_key_file": seal_key_file}, os.environ, config)
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    if not keys.ids:
        raise Usage("no seal key is given; name its file by --seal-key-file or EXHOOK_SEAL_KEY_FILE")
    with Database.open(settings.db, keys, create=False) as database:
        count = database.reseal()
    typer.echo(f"sealed {count} secrets under key {keys.primary}")
