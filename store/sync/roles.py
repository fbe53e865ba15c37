"""Roles: topics under a name, which permission blocks take as if they stood there."""

import difflib
from dataclasses import dataclass

from store.records import Permission
from store.sync.findings import Findings
from store.sync.placed import Placed


@dataclass(slots=True)
class Role:
    """One role; its rows grant to nobody yet."""

    name: Placed[str]
    rows: tuple[Placed[Permission], ...]
    document: int
    override: bool
    used: bool = False


class Roles:
    """The roles of all files."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._known: dict[str, Role] = {}

    def add(self, role: Role) -> None:
        """Take a role; a later file may replace one of an earlier file where it says so."""
        name, file, at = role.name
        first = self._known.get(name)
        if role.override and (first is None or first.document == role.document):
            message = f"`override: true`, and no earlier file has the role {name!r}; leave `override` out"
            self._findings.error(file, at, message)
        elif first is not None and not role.override:
            mend = (
                "leave one out" if first.document == role.document else "leave one out, or replace it, `override: true`"
            )
            self._findings.error(file, at, f"the role {name!r} is given already, at {first.name.where}; {mend}")
            return
        self._known[name] = role

    def rows(self, name: str) -> tuple[Placed[Permission], ...] | None:
        """What a role grants and denies; None where there is no such role."""
        role = self._known.get(name)
        if role is None:
            return None
        role.used = True
        return role.rows

    def unknown(self, name: str) -> str:
        """What is said of a role that is not there."""
        if close := difflib.get_close_matches(name, self._known, n=1):
            return f"there is no role {name!r}; did you mean {close[0]!r}?"
        return f"there is no role {name!r}; add it to `roles`"

    def warn_unused(self) -> None:
        """Warn of roles that no permission block takes."""
        for role in self._known.values():
            if not role.used:
                name, file, at = role.name
                message = f"the role {name!r} is not used; leave it out"
                self._findings.warn(file, at, message, rule="unused-role", record=name)
