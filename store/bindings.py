"""Token bindings in the runtime file: every worker reads them there, and so does a server that was started anew.

What is bound to a client is found by listener and client id: within one cluster of brokers, which a listener serves
alone, a client id has one connection.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from typing import Final

from store.runtime import Runtime
from store.token_mode import Binding, BoundToken
from store.unavailable import told_clearly

KEPT_MS: Final = 24 * 3_600_000
"""How long after the end of all its tokens a binding is kept: its client may still be there, and renew them."""

_COLUMNS: Final = "instance, access_key_id, tokens, address, port"


class Bindings:
    """The bindings of one runtime file. Every method raises `StoreUnavailable` where that cannot be read or written."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def bind(self, listener: str, client_id: str, binding: Binding, now_ms: int) -> None:
        """Put a binding in place of the one that stands."""
        with self._runtime.writing():
            self._put(listener, client_id, binding, now_ms)

    def unbind(self, listener: str, client_id: str) -> None:
        """Remove what is bound, if anything is; only then anything is written."""
        if self.find(listener, client_id) is not None:
            with self._runtime.writing():
                self._runtime.connection.execute(
                    "DELETE FROM bindings WHERE listener = ? AND client_id = ?", (listener, client_id)
                )

    def find(self, listener: str, client_id: str) -> Binding | None:
        """What is bound to a client."""
        with told_clearly(self._runtime.path):
            row = self._runtime.connection.execute(
                f"SELECT {_COLUMNS} FROM bindings WHERE listener = ? AND client_id = ?",  # noqa: S608 - our own names
                (listener, client_id),
            ).fetchone()
        return _binding(row) if row else None

    def newest(self, client_id: str, listeners: Iterable[str]) -> tuple[str, Binding] | None:
        """What is bound to a client at the one of these listeners by which it came in last, and which that is."""
        with told_clearly(self._runtime.path):
            rows = self._runtime.connection.execute(
                f"SELECT listener, {_COLUMNS} FROM bindings WHERE client_id = ? ORDER BY at DESC",  # noqa: S608
                (client_id,),
            ).fetchall()
        wanted = frozenset(listeners)
        return next(((row["listener"], _binding(row)) for row in rows if row["listener"] in wanted), None)

    def renew(self, listener: str, client_id: str, seen: Binding, token: BoundToken, now_ms: int) -> bool:
        """Bind a token as `Binding.renewed` does; False where the binding is not the one that was `seen`."""
        with self._runtime.writing():
            row = self._runtime.connection.execute(
                f"SELECT {_COLUMNS}, at FROM bindings WHERE listener = ? AND client_id = ?",  # noqa: S608 - our own names
                (listener, client_id),
            ).fetchone()
            if row is None or _binding(row) != seen:
                return False
            self._put(listener, client_id, seen.renewed(token, now_ms), row["at"])
            return True

    def forget_ended(self, now_ms: int) -> int:
        """Remove the bindings all of whose tokens ended `KEPT_MS` ago or earlier; how many there were."""
        with self._runtime.writing():
            return self._runtime.connection.execute(
                "DELETE FROM bindings WHERE ends_at <= ?", (now_ms - KEPT_MS,)
            ).rowcount

    def _put(self, listener: str, client_id: str, binding: Binding, at: int) -> None:
        self._runtime.connection.execute(
            "INSERT OR REPLACE INTO bindings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                listener,
                client_id,
                binding.instance,
                binding.access_key_id,
                json.dumps([astuple(token) for token in binding.tokens]),
                binding.address,
                binding.port,
                max(token.expires_at for token in binding.tokens),
                at,
            ),
        )


def _binding(row: sqlite3.Row) -> Binding:
    tokens = tuple(BoundToken(*token) for token in json.loads(row["tokens"]))
    return Binding(row["instance"], row["access_key_id"], tokens, row["address"], row["port"])
