"""``include`` of a policy file: its entries as the files of rows that they name."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from store.sync import blocks, include
from store.sync.csv_rows import CsvRows
from store.sync.entries import Scope
from store.sync.files import matching, read_rows, why_unreadable
from store.sync.included import KINDS, Included
from store.sync.json_lines import JsonLines
from store.sync.provenance import commit_of
from store.sync.source import WHOLE, Items, Mapping, Nothing, Text, Value
from store.sync.table import Table
from store.sync.validation import validate
from store.sync.variables import SIGN, Vars

_MODELS: Final[dict[str, type[include.Include]]] = {
    "identities": include.IncludeIdentities,
    "permissions": include.IncludePermissions,
    "blacklist": include.IncludeBlacklist,
}
_COLUMNS: Final[dict[str, type[include.RemarkColumns]]] = {
    "identities": include.IdentityColumns,
    "permissions": include.PermissionColumns,
    "blacklist": include.BlacklistColumns,
}
CSV: Final = ".csv"
_OF_CSV: Final = ("columns", "delimiter", "separator")


class Inclusion:
    """Opens the files that the policy files include, one policy file after the other."""

    def __init__(self, known: Vars, *, unpacked: bool) -> None:
        self.files: list[Path] = []
        """Those opened so far."""
        self.at_commit = True
        """Whether all of them are in git as they are, at the commit of the policy files."""
        self._vars = known
        self._unpacked = unpacked
        self._seen: set[tuple[str, Path]] = set()

    def open(self, root: Mapping, folder: Path, document: int, scope: Scope) -> Iterator[Included]:
        """The included files of one policy file; what is wrong is reported, and left out."""
        value = root.get("include", Items())
        if not isinstance(value, (Items, Nothing)):
            scope.error(value, "`include` is a list; write `- ` before each entry")
        for one in value if isinstance(value, Items) else ():
            if isinstance(one, Nothing):
                continue
            asked = _asked(one, scope)
            if asked is not None:
                yield from self._open(asked, folder, document, scope)

    def _open(self, asked: "_Asked", folder: Path, document: int, scope: Scope) -> Iterator[Included]:
        paths = self._files(asked, folder, scope)
        commit = scope.commit if self._unpacked or (scope.commit and commit_of(paths) == scope.commit) else ""
        self.at_commit &= commit == scope.commit
        for path in paths:
            name = str(path)
            scope.findings.begin(name)
            own = replace(scope, file=name, commit=commit, rows=True)
            try:
                data = read_rows(path)
            except ValueError as wrong:
                own.error(WHOLE, str(wrong))
            except OSError as wrong:
                own.error(WHOLE, f"cannot be read ({why_unreadable(wrong)}); make it readable, or leave it out")
            else:
                self.files.append(path)
                yield Included(
                    kind=KINDS[asked.section],
                    document=document,
                    table=asked.table(data),
                    scope=own,
                    vars=self._vars,
                    defaults=asked.defaults,
                    has_vars=b"var." in data and (SIGN.encode() in data or b"\\u" in data),
                    may_override=b"override" in data or "override" in (asked.columns or ()),
                )

    def _files(self, asked: "_Asked", folder: Path, scope: Scope) -> list[Path]:
        """The files that a pattern names, unless they were included before."""
        try:
            found = matching(folder, asked.pattern)
            places = [path.resolve() for path in found]
        except ValueError as wrong:
            scope.error(asked.pattern, str(wrong))
            return []
        except (OSError, RuntimeError) as wrong:
            scope.error(asked.pattern, f"cannot be read ({why_unreadable(wrong)}); name files that can")
            return []
        fresh = []
        for path, place in zip(found, places, strict=True):
            if (asked.section, place) in self._seen:
                scope.error(asked.pattern, f"{str(path)!r} is included twice; let one pattern name it")
            else:
                self._seen.add((asked.section, place))
                fresh.append(path)
        return fresh


@dataclass(frozen=True, slots=True)
class _Asked:
    """One entry of ``include``."""

    section: str
    pattern: Text
    entry: include.Include
    columns: dict[str, str] | None
    defaults: Mapping

    def table(self, data: bytes) -> Table:
        if not self.pattern.endswith(CSV):
            return JsonLines(data)
        keys = frozenset(_COLUMNS[self.section].model_fields)
        return CsvRows(data, keys, self.columns, delimiter=self.entry.delimiter, separator=self.entry.separator)


def _asked(value: Value, scope: Scope) -> _Asked | None:
    """An entry of ``include``; None where it is wrong, which is reported."""
    sections = [key for key in _MODELS if isinstance(value, Mapping) and key in value]
    if not isinstance(value, Mapping) or len(sections) != 1:
        example = include.IncludeIdentities.example
        scope.error(value, f"one of {', '.join(_MODELS)} names files to include; write {example}")
        return None
    mistakes = scope.findings.errors_in(scope.file)
    entry = validate(_MODELS[sections[0]], value, scope.error)
    pattern, columns, defaults = (value.get(key) for key in (sections[0], "columns", "defaults"))
    if entry is None or not isinstance(pattern, Text):
        return None
    if not pattern.endswith(CSV):
        for key in _OF_CSV:
            if key in value:
                scope.error(value.key_at(key), f"`{key}` is for CSV files; leave it out")
    if isinstance(entry, include.IncludePermissions) and entry.defaults and isinstance(defaults, Mapping):
        blocks.check_grants(entry.defaults, defaults, scope)
    if scope.findings.errors_in(scope.file) > mistakes:
        return None
    names = {str(key): str(name) for key, name in columns.items()} if isinstance(columns, Mapping) else None
    return _Asked(sections[0], pattern, entry, names, defaults if isinstance(defaults, Mapping) else Mapping.at(value))
