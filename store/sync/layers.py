"""Files over files: entries of earlier ones that later ones replace, where they say so."""

from dataclasses import dataclass

from store.sync.findings import Findings
from store.sync.placed import Placed, Written


@dataclass(slots=True)
class _Override:
    """An entry that replaces another one."""

    section: str
    document: int
    named: Placed[str]
    found: bool = False
    elsewhere: str = ""
    """Where an entry of the same id but of another kind stands."""


class Overrides:
    """What says ``override: true``, in all files."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._known: dict[tuple[str, ...], list[_Override]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, entry: Written) -> None:
        """Take an entry that says so."""
        _, file, at = entry.named
        if entry.name:
            self._known.setdefault(entry.name, []).append(_Override(entry.section, entry.document, entry.named))
        else:
            message = "`override: true` without an `id`; give that of the entry which this one replaces"
            self._findings.error(file, at, message)

    def replace(self, entry: Written) -> bool:
        """Whether a later file replaces the entry, which is then known to have been there."""
        replaced = False
        for one in self._known.get(entry.name, ()):
            if one.document > entry.document:
                if one.section == entry.section:
                    one.found = replaced = True
                else:
                    one.elsewhere = f"{entry.section}, at {entry.named.where}"
        return replaced

    def check(self) -> None:
        """Report those that replace nothing, once `replace` was asked of every entry."""
        for overrides in self._known.values():
            for one in overrides:
                if not one.found:
                    name, file, at = one.named
                    mend = (
                        f"it stands under {one.elsewhere}"
                        if one.elsewhere
                        else "leave `override` out, or name the files in their order"
                    )
                    message = f"`override: true`, and no earlier file has {name!r} under {one.section}; {mend}"
                    self._findings.error(file, at, message)
