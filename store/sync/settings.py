"""What is said once for the whole policy: its source, its defaults, how it may change the store.

Each file may say it. Files that differ are refused, unless the later one says ``override: true``: then what it says
counts, key by key, and what it does not say stays.
"""

from typing import Any, Final

from store.sync import schema
from store.sync.findings import Findings
from store.sync.policy import SyncRules
from store.sync.source import Located, Mapping, Value

_PATHS: Final = (
    ("source",),
    ("defaults", "instance"),
    ("sync", "environment"),
    ("sync", "prune"),
    ("sync", "limits", "removals"),
    ("sync", "limits", "clients_losing_access"),
    ("sync", "adopt"),
)
_OVERRIDABLE: Final = frozenset({"defaults", "sync"})


class Settings:
    """What the files read so far agree on."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._said: dict[str, tuple[Any, str]] = {}

    def read(self, file: str, header: schema.Header, root: Mapping) -> None:
        """Take what one file says, and report where it contradicts another."""
        for path in _PATHS:
            said, value = _said(header, path)
            if said:
                override = path[0] in _OVERRIDABLE and getattr(header, path[0]).override
                self._say(".".join(path), value, file, _place(root, path), override=override)

    def _say(self, name: str, value: Any, file: str, at: Located, *, override: bool) -> None:
        if override:
            self._said.pop(name, None)
        first, where = self._said.setdefault(name, (value, f"{file}:{at.line}"))
        if first != value:
            section = name.partition(".")[0]
            mend = f", or say `override: true` under `{section}`" if section in _OVERRIDABLE else ""
            message = f"`{name}` differs from that at {where}; one policy has one, let one file say it{mend}"
            self._findings.error(file, at, message)

    def _get(self, name: str, default: Any = None) -> Any:
        return self._said.get(name, (default, ""))[0]

    @property
    def source(self) -> str:
        return str(self._get("source", schema.DEFAULT_SOURCE))

    @property
    def instance(self) -> str:
        return str(self._get("defaults.instance", schema.DEFAULT_INSTANCE))

    @property
    def sync(self) -> SyncRules:
        removals: str = self._get("sync.limits.removals") or ""
        share = removals.endswith("%")
        return SyncRules(
            environment=self._get("sync.environment") or "",
            prune=self._get("sync.prune", default=False),
            removals_percent=int(removals[:-1]) if share else None,
            removals=int(removals) if removals and not share else None,
            clients_losing_access=self._get("sync.limits.clients_losing_access"),
            adopt=tuple(self._get("sync.adopt", ())),
        )


def _said(header: schema.Header, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Whether a file says it, and what."""
    holder: Any = header
    for part in path:
        if part not in holder.model_fields_set:
            return False, None
        holder = getattr(holder, part)
    return True, holder


def _place(root: Mapping, path: tuple[str, ...]) -> Located:
    value: Value = root
    for part in path:
        if isinstance(value, Mapping):
            value = value[part]
    return value
