"""Policies as large as they come: identities and permissions as JSON lines, a line each."""

import json
from pathlib import Path

from bare import IDENTITIES, PERMISSIONS
from filling import INSTANCE, secret_of, username


def make_policy(folder: Path, records: int, *, source: str = "bench", prefix: str = "", changed: int = 0) -> Path:
    """A policy of so many identities and as many permissions, `changed` of them other than without; its path."""
    folder.mkdir(exist_ok=True)
    step = records // changed if changed else records + 1
    with (folder / IDENTITIES).open("w") as file:
        for number in range(records):
            entry = {
                "username": f"{prefix}{username(number)}",
                "sign_mode": "signed",
                "secret": {"literal": secret_of(number).decode()},
            }
            if changed and number % step == 0 and number < step * changed:
                entry["note"] = "changed"
            file.write(f"{json.dumps(entry)}\n")
    with (folder / PERMISSIONS).open("w") as file:
        for number in range(records):
            name = f"{prefix}{username(number)}"
            file.write(f"{json.dumps({'username': name, 'both': [f'fleet/{name}/#']})}\n")
    path = folder / "policy.yaml"
    path.write_text(
        f"format: exhook/v1\nsource: {source}\ndefaults: {{instance: {INSTANCE}}}\n"
        f"include:\n  - identities: {IDENTITIES}\n  - permissions: {PERMISSIONS}\n"
    )
    return path
