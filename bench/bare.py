"""What the machine can do with the same files: `json.loads` of every line, and rows by bare `executemany`.

`python bench/bare.py FOLDER [DATABASE]`. Nothing is checked, sealed, logged or counted.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

IDENTITIES: Final = "identities.jsonl"
PERMISSIONS: Final = "permissions.jsonl"

_TABLES: Final = {
    IDENTITIES: "CREATE TABLE identities (username TEXT PRIMARY KEY, sign_mode TEXT, secret TEXT) STRICT",
    PERMISSIONS: "CREATE TABLE permissions (username TEXT, topic TEXT, UNIQUE (username, topic)) STRICT",
}


def rows(path: Path) -> Iterator[tuple[Any, ...]]:
    with path.open("rb") as file:
        for line in file:
            said = json.loads(line)
            if "secret" in said:
                yield said["username"], said["sign_mode"], said["secret"]["literal"]
            else:
                yield said["username"], said["both"][0]


def main(folder: Path, database: Path | None) -> None:
    if database is None:
        for name in _TABLES:
            for _ in rows(folder / name):
                pass
        return
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN")
    for name, made in _TABLES.items():
        connection.execute(made)
        marks = "?, ?, ?" if name == IDENTITIES else "?, ?"
        connection.executemany(f"INSERT INTO {name.partition('.')[0]} VALUES ({marks})", rows(folder / name))  # noqa: S608 - our own names
    connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
