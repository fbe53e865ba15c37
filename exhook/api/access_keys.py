"""The access keys of the store, as they are now: a key that is switched off signs no further call."""

import time
from pathlib import Path
from typing import Final

from store.account_records import AccessKey
from store.clock import Clock
from store.seal import SealKeys
from store.standing import StandingStore
from store.tables import ACCESS_KEYS
from store.unavailable import told_clearly

LOOK_SECONDS: Final = 0.01
"""How often the store is asked whether it changed; the workers ask every 20 ms or so."""


class AccessKeys:
    """Looks keys up, and remembers them until somebody commits. Used by one thread."""

    def __init__(self, path: Path, keys: SealKeys, clock: Clock) -> None:
        self._store = StandingStore(path, keys)
        self._clock = clock
        self._known: dict[str, AccessKey] = {}
        self._look_at = 0.0
        self._seen: tuple[int, int] = (0, 0)

    def close(self) -> None:
        self._store.close()

    def get(self, access_key_id: str) -> AccessKey | None:
        """The key of an id.

        Raises:
            StoreUnavailable, SealError: it cannot be read.
        """
        if time.monotonic() >= self._look_at:
            with told_clearly(self._store.path):
                self._look()
        if (known := self._known.get(access_key_id)) is not None:
            return known
        found = self._store.database.get(ACCESS_KEYS, (access_key_id,))
        if found is not None:  # ids that are not there are without number, and not remembered
            self._known[access_key_id] = found
        return found

    def _look(self) -> None:
        """Forget the keys where somebody committed, or another store took the place of this one."""
        database = self._store.database
        (version,) = database.connection.execute("PRAGMA data_version").fetchone()
        if (seen := (id(database), version)) != self._seen:
            self._known.clear()
            self._seen = seen
        self._look_at = time.monotonic() + LOOK_SECONDS

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
