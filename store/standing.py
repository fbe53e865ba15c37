"""The store that stands at a path, whichever file that is: opened anew when another one takes its place."""

from pathlib import Path

from store.connection import file_at, sidecars_of, without_sidecars
from store.database import Database
from store.seal import SealKeys


class StandingStore:
    """For those who write for as long as the server runs. Not to be shared between threads."""

    def __init__(self, path: Path, keys: SealKeys) -> None:
        self.path = path
        self._keys = keys
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The store, open.

        Raises:
            StoreUnavailable, SealError: as `Database.open`.
        """
        if self._database is None:
            return self._adopt(Database.open(self.path, self._keys, create=False))
        if file_at(self.path) in (None, self._database.file):
            return self._database
        with without_sidecars(self.path, self._sidecars):
            other = Database.open(self.path, self._keys, create=False)
        self._database.close()
        return self._adopt(other)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _adopt(self, database: Database) -> Database:
        self._database = database
        self._sidecars = sidecars_of(self.path)
        return database
