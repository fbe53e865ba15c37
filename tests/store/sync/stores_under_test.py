"""A folder with a store and a policy file, and short ways to plan, apply and look."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.database import Database
from store.records import Group, Identity, IdentityType, Instance, Permission, Record, Secret, SignMode
from store.seal import SealKeys
from store.sync.apply import Applied, apply_policy
from store.sync.document import load_policy
from store.sync.plan import Plan, plan
from store.sync.policy import Policy
from store.sync.references import SecretSources
from store.sync.thresholds import Consent
from store.tables import TABLES, content

NOW = 1_800_000_000_000
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQxMjM$U29tZSBkaWdlc3Qgb2YgMzIgYnl0ZXMsIHBsYWluIQ"


class Store:
    """A store that may not exist yet, and the policy that is brought to it."""

    def __init__(self, folder: Path, keys: SealKeys | None = None) -> None:
        self.folder = folder
        self.path = folder / "exhook.db"
        self.keys = keys or SealKeys()
        self.environ: dict[str, str] = {}
        self.now = NOW

    @property
    def sources(self) -> SecretSources:
        return SecretSources(environ=self.environ, secrets_dir=self.folder)

    def write(self, text: str, name: str = "policy.yaml") -> Path:
        """A policy file; its format line is put before it."""
        path = self.folder / name
        path.write_text(text if "format:" in text else f"format: exhook/v1\n{text}")
        return path

    def load(self, text: str) -> Policy:
        return load_policy([self.write(text)])

    @contextmanager
    def open(self) -> Iterator[Database]:
        with Database.open(self.path, self.keys) as database:
            yield database

    def plan(self, text: str, *, prune: bool | None = None, adopt: Sequence[str] = ()) -> Plan:
        policy = self.load(text)
        with self.open() as database:
            return plan(database, policy, self.sources, prune=prune, now_ms=self.now, adopt=adopt)

    def apply(self, text: str, *, confirm: Callable[[Plan], bool] | None = None, **consent: Any) -> Applied:
        return apply_policy(
            self.path,
            self.keys,
            [self.write(text)],
            self.sources,
            consent=Consent(**consent),
            confirm=confirm,
            now_ms=lambda: self.now,
            busy_ms=200,
        )

    def put(self, *records: Record) -> None:
        """Records as another writer leaves them."""
        with (
            self.open() as database,
            database.writing(actor="test", source="api", now_ms=self.now) as write,
        ):
            for record in records:
                write.put(record)

    def contents(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """All that the store says, clerical fields and fingerprints of passwords left out."""
        with self.open() as database:
            return {
                (table.kind, *map(str, record.key)): content(record)
                for table in TABLES
                for _, record in database.contents(table)
            }

    @property
    def revision(self) -> int:
        with self.open() as database:
            return database.revision

    def secrets(self, username: str) -> list[Secret]:
        """The secrets of a user name, unsealed."""
        with self.open() as database:
            (table,) = (table for table in TABLES if table.record is Identity)
            return [secret for one in database.find(table, "username = ?", (username,)) for secret in one.secrets]


def described(made: Plan) -> list[str]:
    """The changes of a plan, a line each: operation, kind, key without instance."""
    return [
        f"{change.operation} {change.kind} {' '.join(part for part in change.key[-4:] if part)}"
        for change in made.changes
    ]


def instance(name: str = "mqtt-default", source: str = "api") -> Instance:
    return Instance(name=name, source=source)


def identity(username: str, source: str = "api", **fields: Any) -> Identity:
    key = Secret(id="default", value=b"key", fingerprint=f"of-{username}")
    said = {"instance": "mqtt-default", "identity_type": IdentityType.USER, "sign_mode": SignMode.ORIGIN}
    return Identity(**{**said, "username": username, "source": source, "secrets": (key,), **fields})


__all__ = [
    "HASH",
    "NOW",
    "Group",
    "Permission",
    "Store",
    "described",
    "identity",
    "instance",
]
