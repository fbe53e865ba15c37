"""The access keys of the store, as they are now: a key that is switched off signs no further call."""

from pathlib import Path

from store.account_records import AccessKey
from store.clock import Clock
from store.seal import SealKeys
from store.standing import StandingStore
from store.tables import ACCESS_KEYS
from store.unavailable import told_clearly


class AccessKeys:
    """Looks keys up, and remembers them until somebody commits. Used by one thread."""

    def __init__(self, path: Path, keys: SealKeys, clock: Clock) -> None:
        self._store = StandingStore(path, keys)
        self._clock = clock
        self._known: dict[str, AccessKey] = {}
        self._seen: tuple[int, int] = (0, 0)

    def close(self) -> None:
        self._store.close()

    def get(self, access_key_id: str) -> AccessKey | None:
        """The key of an id.

        Raises:
            StoreUnavailable, SealError: it cannot be read.
        """
        with told_clearly(self._store.path):
            database = self._store.database
            (version,) = database.connection.execute("PRAGMA data_version").fetchone()
            seen = (id(database), version)
            if seen != self._seen:
                self._known.clear()
                self._seen = seen
            if access_key_id not in self._known:
                found = database.get(ACCESS_KEYS, (access_key_id,))
                if found is None:
                    return None  # not remembered: ids that are not there are without number
                self._known[access_key_id] = found
            return self._known[access_key_id]

    def signing(self, access_key_id: str) -> tuple[list[bytes], bool] | None:
        """The secrets that sign for an id now, and whether the key is in use; None where there is none.

        Raises:
            StoreUnavailable, SealError: as `get`.
        """
        key = self.get(access_key_id)
        if key is None:
            return None
        now_ms = self._clock()
        secrets = [secret.value for secret in key.secrets if secret.in_force(now_ms)]
        return secrets, key.active and key.in_force(now_ms)
