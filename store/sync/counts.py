"""How many records a store holds, by owner and by instance."""

from store.database import Database
from store.tables import ALL_TABLES, TABLES


def owned_by(database: Database, source: str) -> int:
    """How many records a source has."""
    return sum(
        _one(database, f"SELECT count(*) FROM {table.name} WHERE source = ?", source)  # noqa: S608 - our own names
        for table in TABLES
    )


def identities_in(database: Database, instance: str) -> int:
    """How many identities an instance holds."""
    return _one(
        database,
        "SELECT coalesce(sum(n), 0) FROM tallies WHERE instance = ? AND kind = 'identity'",
        instance,
    )


def records_in(database: Database, instance: str) -> dict[str, int]:
    """How many records each source has in an instance, those that are issued among them."""
    counts: dict[str, int] = {}
    for table in ALL_TABLES:
        if not table.has_instance:
            continue
        for source, count in database.connection.execute(
            f"SELECT source, count(*) FROM {table.name} WHERE instance = ? GROUP BY source",  # noqa: S608 - our own names
            (instance,),
        ):
            counts[source] = counts.get(source, 0) + count
    return counts


def _one(database: Database, query: str, value: str) -> int:
    return int(database.connection.execute(query, (value,)).fetchone()[0])
