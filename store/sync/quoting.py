"""Texts as YAML scalars that every reader of YAML takes for the same text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*")
_OTHERS_MEANING: Final = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
"""Words that some readers take for something else than text."""


def quoted(text: str) -> str:
    """The text in double quotes, with escapes for what cannot be seen."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in escaped) + '"'


def scalar(text: str) -> str:
    """The text as it is, where everybody reads it so; else in quotes."""
    plain = _PLAIN.fullmatch(text) and not _OTHERS_MEANING.fullmatch(text)
    return text if plain else quoted(text)


def flow(value: Any) -> str:
    """A value in one line: mappings and lists in brackets; what stands in lists in quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(quoted(one) if isinstance(one, str) else flow(one) for one in value) + "]"
    return scalar(value) if isinstance(value, str) else str(value)


def block(entry: Mapping[str, Any], indent: int) -> str:
    """A mapping as an entry of a list, a line a key; the dash stands at `indent`."""
    lines = [f"{key}: {flow(value)}" for key, value in entry.items()]
    return "".join(f"{' ' * indent}{'- ' if place == 0 else '  '}{line}\n" for place, line in enumerate(lines))
