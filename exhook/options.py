"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML); EXHOOK_CONFIG names it, too.")]
Db = Annotated[Path | None, typer.Option("--db", help="The store; EXHOOK_DB, or ./exhook.db, if left out.")]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
SealKeyFile = Annotated[Path | None, typer.Option("--seal-key-file", help="File with the keys that seal secrets.")]
Api = Annotated[str | None, typer.Option("--api", help="Serve the management API at ADDRESS:PORT.")]
ApiTlsCert = Annotated[Path | None, typer.Option("--api-tls-cert", help="Its certificate chain (PEM).")]
ApiTlsKey = Annotated[Path | None, typer.Option("--api-tls-key", help="The private key of that certificate (PEM).")]
