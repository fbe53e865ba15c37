"""Placeholders in permission topics: ``dev/${clientid}/#``. Pure.

A value is put into the parsed filter, never into its text, and a value that could widen the filter is
unsafe: it grants nothing (CVE-2017-7650 was a client named ``#``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from store.topics import DELAYED, PRIVATE, QUEUE, SHARE, InvalidTopic, Levels, parse_filter

NAMES: Final = ("username", "clientid", "group", "device", "cn")
"""What a topic may hold: the user name (in account modes the key id), the client id, the parts of the client
id before and after its first ``@@@``, the common name of the client's certificate."""

_TOKEN: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_UNSAFE: Final = re.compile(r"[+#/\0]")
_RESERVED: Final = (SHARE, QUEUE, DELAYED, PRIVATE)

Level = str | tuple[tuple[bool, str], ...]
"""A literal level or wildcard; or parts, each (is it a placeholder?, its name or text)."""


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """The topic of a permission, parsed."""

    levels: tuple[Level, ...]
    widest: Levels
    """The filter with ``+`` in place of each level that holds a placeholder: all it could ever name."""

    @property
    def fixed(self) -> bool:
        """Whether it holds no placeholder, so that `widest` is the filter itself."""
        return all(isinstance(level, str) for level in self.levels)

    def substitute(self, values: Mapping[str, str]) -> Levels | None:
        """The filter for one client, or None where a value is unsafe.

        Unsafe is a value that is empty, holds ``+ # /`` or NUL, or puts ``$`` first.
        """
        filled: list[str] = []
        for level in self.levels:
            if isinstance(level, str):
                filled.append(level)
                continue
            parts = []
            for held, text in level:
                part = values.get(text, "") if held else text
                if held and (not part or _UNSAFE.search(part)):
                    return None
                parts.append(part)
            filled.append("".join(parts))
        if filled[0].startswith("$") and not isinstance(self.levels[0], str):
            return None
        return tuple(filled)


def parse_pattern(text: str) -> TopicPattern:
    """The topic of a permission: a filter that may hold placeholders. ``$${`` stands for a literal ``${``.

    Raises:
        InvalidTopic: no legal filter, an unknown or unclosed placeholder, or a prefix (``$share``, ``$queue``,
            ``$delayed``, ``$exhook``) that no permission may begin with.
    """
    raw = text.split("/")
    if raw[0] in _RESERVED:
        raise InvalidTopic(f"{text!r} begins with {raw[0]}; grant the topic behind the prefix")
    if "${" not in text:
        levels_of_all = parse_filter(text)
        return TopicPattern(levels_of_all, levels_of_all)
    levels = tuple(_parse_level(level, text) for level in raw)
    first = levels[0] if isinstance(levels[0], str) else levels[0][0]
    if isinstance(first, tuple) and not first[0] and first[1].startswith("$"):
        raise InvalidTopic(f"{text!r} has a placeholder in a first level that begins with '$'; write that level out")
    # To the checks a placeholder is an ordinary character: its value may be no wildcard.
    parse_filter("/".join(_specimen(level) for level in levels))
    return TopicPattern(levels, tuple(level if isinstance(level, str) else "+" for level in levels))


def client_values(*, username: str, client_id: str, cn: str = "") -> dict[str, str]:
    """The values of the placeholders for one client; group and device are empty without ``@@@``."""
    group, found, device = client_id.partition("@@@")
    return {
        "username": username,
        "clientid": client_id,
        "group": group if found else "",
        "device": device,
        "cn": cn,
    }


def _parse_level(raw: str, text: str) -> Level:
    parts: list[tuple[bool, str]] = []
    end = 0
    for token in _TOKEN.finditer(raw):
        parts.append((False, raw[end : token.start()]))
        parts.append(_read_token(token, text))
        end = token.end()
    parts.append((False, raw[end:]))
    if not any(held for held, _ in parts):
        return "".join(part for _, part in parts)
    literal = "".join(part for held, part in parts if not held)
    if "+" in literal or "#" in literal:
        raise InvalidTopic(f"{text!r} has a wildcard beside a placeholder in one level")
    return tuple(part for part in parts if part[1])


def _specimen(level: Level) -> str:
    return level if isinstance(level, str) else "".join("x" if held else text for held, text in level)


def _read_token(token: re.Match[str], text: str) -> tuple[bool, str]:
    name: str | None = token[1]
    if token[0] == "$${":
        return False, "${"
    if name in NAMES:
        return True, name
    known = ", ".join(f"${{{known}}}" for known in NAMES)
    raise InvalidTopic(f"{text!r} holds {token[0]!r}, no placeholder; known are {known}; $${{ is a literal ${{")
