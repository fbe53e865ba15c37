"""The shape of the store file, as named steps. A step that was released is never edited; a new one is added."""

from collections.abc import Iterator
from sqlite3 import Connection, complete_statement
from typing import Final

from store.connection import Shape

STORE: Final = Shape("exhook-store")

_PROVENANCE: Final = """
    source TEXT NOT NULL, record_id TEXT NOT NULL, origin TEXT NOT NULL, note TEXT NOT NULL,
    protect INTEGER NOT NULL, expires_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
"""

_TABLES: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;

CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL,
    commit_id TEXT NOT NULL, checksum TEXT NOT NULL, added INTEGER NOT NULL, changed INTEGER NOT NULL,
    removed INTEGER NOT NULL, expired INTEGER NOT NULL
) STRICT;

CREATE TABLE changes (
    id INTEGER PRIMARY KEY, revision INTEGER NOT NULL REFERENCES revisions (revision),
    operation TEXT NOT NULL, kind TEXT NOT NULL, instance TEXT NOT NULL,
    subject_type TEXT NOT NULL, subject TEXT NOT NULL, record_key TEXT NOT NULL, before TEXT, after TEXT
) STRICT;
CREATE INDEX changes_by_revision ON changes (revision);

CREATE TABLE instances (
    name TEXT PRIMARY KEY, record_quota INTEGER, client_id_rule TEXT NOT NULL, pin_client_ids INTEGER NOT NULL,
    no_match TEXT NOT NULL, {_PROVENANCE}
) STRICT;

CREATE TABLE groups (
    row INTEGER PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances (name), name TEXT NOT NULL, {_PROVENANCE},
    UNIQUE (instance, name)
) STRICT;

CREATE TABLE identities (
    row INTEGER PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances (name), identity_type TEXT NOT NULL,
    username TEXT NOT NULL, client_id TEXT NOT NULL, sign_mode TEXT NOT NULL,
    client_ids_prefix TEXT NOT NULL, client_ids_group TEXT NOT NULL, work TEXT NOT NULL, {_PROVENANCE},
    UNIQUE (instance, identity_type, username, client_id)
) STRICT;
CREATE INDEX identities_by_client ON identities (instance, client_id) WHERE identity_type = 'CLIENT';

CREATE TABLE identity_secrets (
    identity INTEGER NOT NULL REFERENCES identities (row) ON DELETE CASCADE, id TEXT NOT NULL, form TEXT NOT NULL,
    sealed BLOB NOT NULL, fingerprint TEXT NOT NULL, expires_at INTEGER,
    PRIMARY KEY (identity, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE permissions (
    row INTEGER PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances (name), identity_type TEXT NOT NULL,
    identity TEXT NOT NULL, topic TEXT NOT NULL, action TEXT NOT NULL, effect TEXT NOT NULL, {_PROVENANCE},
    UNIQUE (instance, identity_type, identity, topic, effect, source)
) STRICT;

CREATE TABLE blacklist (
    row INTEGER PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances (name), client_id TEXT NOT NULL,
    username TEXT NOT NULL, reason TEXT NOT NULL, {_PROVENANCE},
    UNIQUE (instance, client_id, username, source)
) STRICT;
CREATE INDEX blacklist_by_username ON blacklist (instance, username) WHERE username <> '';

CREATE TABLE tallies (
    instance TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (instance, kind)
) STRICT, WITHOUT ROWID;
"""


def _secrets_of(kind: str, table: str) -> str:
    return f"""
CREATE TABLE {kind}_secrets (
    {kind} INTEGER NOT NULL REFERENCES {table} (row) ON DELETE CASCADE, id TEXT NOT NULL, form TEXT NOT NULL,
    sealed BLOB NOT NULL, fingerprint TEXT NOT NULL, expires_at INTEGER,
    PRIMARY KEY ({kind}, id)
) STRICT, WITHOUT ROWID;
"""


_ACCOUNTS: Final = f"""
CREATE TABLE access_keys (
    row INTEGER PRIMARY KEY, access_key_id TEXT NOT NULL UNIQUE, instances TEXT NOT NULL, active INTEGER NOT NULL,
    connect INTEGER NOT NULL, calls TEXT NOT NULL, all_topics INTEGER NOT NULL, reveal_secrets INTEGER NOT NULL,
    {_PROVENANCE}
) STRICT;
{_secrets_of("access_key", "access_keys")}
CREATE TABLE device_credentials (
    row INTEGER PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances (name), client_id TEXT NOT NULL,
    device_access_key_id TEXT NOT NULL UNIQUE, {_PROVENANCE},
    UNIQUE (instance, client_id)
) STRICT;
{_secrets_of("device_credential", "device_credentials")}
CREATE TABLE tokens (
    row INTEGER PRIMARY KEY, token_id TEXT NOT NULL UNIQUE, instance TEXT NOT NULL REFERENCES instances (name),
    access_key_id TEXT NOT NULL, actions TEXT NOT NULL, resources TEXT NOT NULL, revoked INTEGER NOT NULL,
    {_PROVENANCE}
) STRICT;

CREATE TABLE token_keys (row INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, {_PROVENANCE}) STRICT;
{_secrets_of("token_key", "token_keys")}
"""

_ACCOUNTS_EXPIRING: Final = ("access_keys", "access_key_secrets", "device_credentials", "tokens")
_COUNTED: Final = {"identities": "identity", "permissions": "permission", "blacklist": "blacklist"}
_EXPIRING: Final = ("instances", "groups", "identities", "identity_secrets", "permissions", "blacklist")


def _count(row: str, kind: str, step: str) -> str:
    return (
        f"INSERT INTO tallies VALUES ({row}.instance, {kind}, {step}) "  # noqa: S608 - no input, only our own names
        f"ON CONFLICT (instance, kind) DO UPDATE SET n = n + ({step});"
    )


def _tally_triggers() -> str:
    """Counts kept by SQLite itself: a COUNT over ten million rows is no answer to a quota or a dummy draw."""
    triggers = ""
    for table, kind in _COUNTED.items():
        for event, row, step in (("INSERT", "new", "1"), ("DELETE", "old", "-1")):
            work = _count(row, f"'work:' || {row}.work", step) if table == "identities" else ""
            triggers += f"""
CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} BEGIN
    {_count(row, f"'{kind}'", step)} {work}
END;"""
    return f"""{triggers}
CREATE TRIGGER identities_work AFTER UPDATE OF work ON identities WHEN old.work <> new.work BEGIN
    {_count("old", "'work:' || old.work", "-1")} {_count("new", "'work:' || new.work", "1")}
END;"""


@STORE.step
def m001_records_under_revisions(database: Connection) -> None:
    """Records, the change log, and the counts that SQLite keeps by triggers."""
    expiry = "".join(
        f"CREATE INDEX {table}_by_expiry ON {table} (expires_at) WHERE expires_at IS NOT NULL;" for table in _EXPIRING
    )
    for statement in _statements(_TABLES + expiry + _tally_triggers()):
        database.execute(statement)


@STORE.step
def m003_account_modes(database: Connection) -> None:
    """Access keys, device credentials, tokens, and the keys that sign tokens."""
    expiry = "".join(
        f"CREATE INDEX {table}_by_expiry ON {table} (expires_at) WHERE expires_at IS NOT NULL;"
        for table in _ACCOUNTS_EXPIRING
    )
    for statement in _statements(_ACCOUNTS + expiry):
        database.execute(statement)


@STORE.step
def m005_parent_topics(database: Connection) -> None:
    """The registry of parent topics of an instance; none, as before."""
    database.execute("ALTER TABLE instances ADD COLUMN parent_topics TEXT NOT NULL DEFAULT '[]'")


def _statements(script: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit the transaction that a migration stands in."""
    pending = ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        if complete_statement(pending):
            yield pending
            pending = ""
