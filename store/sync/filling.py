"""Records put into an empty store as they are, to be compared with: no revision, no change log, no sealed secret."""

from store.database import Database
from store.records import Identity, Record
from store.tables import BY_KIND, WITH_SECRETS


class Filling:
    """Puts records in, in a transaction that stands; `count` says how many."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection
        self.count = 0

    def put(self, record: Record) -> None:
        """Put one record in, its instance before it.

        Raises:
            sqlite3.IntegrityError: it is there already, or its instance is not.
        """
        table = BY_KIND[record.kind]
        row = table.row(record)
        if isinstance(record, Identity):
            row["work"] = ""
        names, values = ", ".join(row), ", ".join(f":{column}" for column in row)
        done = self._connection.execute(f"INSERT INTO {table.name} ({names}) VALUES ({values})", row)  # noqa: S608 - our own names
        if isinstance(record, WITH_SECRETS):
            self._connection.executemany(
                f"INSERT INTO {table.secrets} VALUES (?, ?, ?, x'', ?, ?)",  # noqa: S608 - our own names
                [
                    (done.lastrowid, secret.id, secret.form.value, secret.fingerprint, secret.expires_at)
                    for secret in record.secrets
                ],
            )
        self.count += 1
