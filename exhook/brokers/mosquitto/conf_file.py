"""Mosquitto's configuration, as the broker reads it: lines, the files that they take in, the listeners they make.

What counts where is Mosquitto's own (mosquitto.conf(5)); that an included file begins outside of every listener was
seen on 2.0.11.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOST_FILES: Final = 1_000
DEFAULT_PORT: Final = 1883

_STARTS_PLUGIN: Final = frozenset({"plugin", "auth_plugin", "global_plugin", "plugin_load", "plugin_use"})
_OPTIONS: Final = ("plugin_opt_", "auth_opt_")
PER_LISTENER: Final = frozenset(
    {"allow_anonymous", "password_file", "acl_file", "psk_file", "plugin", "auth_plugin", "plugin_use"}
)
"""What counts for the listener above it alone, where `per_listener_settings` is true."""


class CannotRead(Exception):
    """The configuration cannot be read; the message says which file, and why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One setting, and where it stands."""

    key: str
    value: str
    place: str
    """``FILE:LINE``."""

    @property
    def is_true(self) -> bool:
        return self.value.lower() == "true"


@dataclass(slots=True)
class Plugin:
    """A plugin line and the options below it."""

    line: Line
    options: list[Line] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The library; `plugin_load` names it behind a name."""
        return self.line.value.partition(" ")[2] if self.line.key == "plugin_load" else self.line.value

    def option(self, name: str) -> Line | None:
        """The last line that gives an option."""
        found = [one for one in self.options if one.key == name]
        return found[-1] if found else None


@dataclass(slots=True)
class Part:
    """The settings of a listener, or those outside of every listener."""

    line: Line | None = None
    """The `listener` line; None outside."""
    lines: list[Line] = field(default_factory=list)
    plugins: list[Plugin] = field(default_factory=list)

    def find(self, key: str) -> Line | None:
        """The last line with a key, which is the one that counts."""
        found = [line for line in self.lines if line.key == key]
        return found[-1] if found else None

    def is_true(self, key: str) -> bool:
        line = self.find(key)
        return line is not None and line.is_true

    @property
    def port(self) -> int:
        """The port; 0 for a Unix-domain socket."""
        line = self.line or self.find("port")
        text = line.value.split()[0] if line and line.value else str(DEFAULT_PORT)
        return int(text) if text.isdecimal() else 0

    @property
    def address(self) -> str:
        """The address it is bound to; empty for all."""
        bound = self.find("bind_address")
        words = self.line.value.split()[1:] if self.line else [bound.value] if bound else []
        return words[0] if words else ""


@dataclass(slots=True)
class Configuration:
    """A whole configuration."""

    outside: Part
    listeners: list[Part]
    """Those that the broker opens; the default one is `outside` itself."""
    bridges: list[Line]
    per_listener: bool
    lines: list[Line]

    def last(self, key: str) -> Line | None:
        """The last line with a key, wherever it stands: what is the whole broker's."""
        return next((line for line in reversed(self.lines) if line.key == key), None)

    @property
    def local_only(self) -> bool:
        """Whether nothing says where to listen: then it is 127.0.0.1, and 2.0 lets in anybody unasked."""
        return self.listeners == [self.outside] and self.outside.find("port") is None

    def security_of(self, listener: Part) -> Part:
        """Where the settings stand that decide for a listener."""
        return listener if self.per_listener else self.outside

    def plugins_of(self, listener: Part) -> list[Plugin]:
        """The plugins that are asked about a listener's clients, in their order."""
        everywhere = [one for one in self.outside.plugins if one.line.key in {"global_plugin", "plugin_load"}]
        mine = self.security_of(listener).plugins
        return everywhere + [one for one in mine if one not in everywhere]


def read_configuration(file: Path) -> Configuration:
    """Read a configuration and what it includes.

    Raises:
        CannotRead: a file or folder cannot be read.
    """
    lines = list(_lines(file))
    per_listener = any(line.key == "per_listener_settings" and line.is_true for line, _ in lines)
    made = Configuration(Part(), [], [], per_listener, [line for line, _ in lines])
    part, source, in_bridge = made.outside, file, False
    plugin: Plugin | None = None
    for line, origin in lines:
        if origin != source:
            part, source, in_bridge = made.outside, origin, False
        if line.key == "listener":
            part, in_bridge = Part(line), False
            made.listeners.append(part)
        elif line.key == "connection":
            in_bridge = True
            made.bridges.append(line)
        elif not in_bridge:
            # Security settings below a `listener` are everybody's, unless each listener has its own.
            target = made.outside if line.key in PER_LISTENER and not per_listener else part
            if line.key in _STARTS_PLUGIN:
                plugin = _plugin(made.outside if line.key in {"global_plugin", "plugin_load"} else target, line)
            elif line.key.startswith(_OPTIONS):
                if plugin is not None:
                    plugin.options.append(_named(line))
            else:
                target.lines.append(line)
    if not made.listeners or made.outside.find("port") is not None:
        made.listeners.insert(0, made.outside)
    return made


def _plugin(part: Part, line: Line) -> Plugin:
    plugin = Plugin(line)
    part.plugins.append(plugin)
    return plugin


def _named(line: Line) -> Line:
    name = next(line.key.removeprefix(prefix) for prefix in _OPTIONS if line.key.startswith(prefix))
    return Line(name, line.value, line.place)


def _lines(file: Path, *, top: bool = True) -> Iterator[tuple[Line, Path]]:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise CannotRead(f"{file}: cannot be read ({error.strerror})") from None
    for number, raw in enumerate(text.split("\n"), 1):
        if raw.startswith("#") or not raw.strip():
            continue
        key, _, value = raw.lstrip(" ").partition(" ")
        line = Line(key.rstrip("\r"), value.strip(), f"{file}:{number}")
        if line.key == "include_dir" and top:
            for inner in _included(line):
                yield from _lines(inner, top=False)
        else:
            yield line, file


def _included(line: Line) -> list[Path]:
    try:
        found = sorted(one for one in Path(line.value).iterdir() if one.suffix == ".conf")
    except OSError as error:
        raise CannotRead(f"{line.place}: {line.value} cannot be read ({error.strerror})") from None
    if len(found) > MOST_FILES:
        raise CannotRead(f"{line.place}: {line.value} holds more than {MOST_FILES:,} files")
    return found
