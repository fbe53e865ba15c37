"""One `plugin` line of Mosquitto's configuration that loads exhook's plugin, and the options below it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from exhook.brokers.mosquitto.conf_file import Line, Plugin
from exhook.brokers.mosquitto.configuration import Auth, PluginOptions, ReadCheck
from exhook.doctor.finding import Finding, Grade
from exhook.doctor.mosquitto_host import Host
from exhook.settings import is_loopback, split_address

WHERE: Final = "mosquitto"
NUMBERS: Final = {"cache_size": (0, 1_000_000), "cache_seconds": (0, 3600), "deadline_ms": (10, 10_000)}
"""Least and most of each, as the plugin takes them."""
LONGEST_DEADLINE: Final = 1_000
UNIX: Final = "unix:"

_WORDS: Final[dict[str, type[StrEnum]]] = {"auth": Auth, "read_check": ReadCheck}
_KNOWN: Final = tuple(one.name for one in fields(PluginOptions))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The server that the plugin is to ask, by its settings and its store."""

    port: int
    """Where it listens; 0 where it is not known."""
    unix_socket: str = ""
    instances: frozenset[str] = frozenset()
    """Those that the store holds."""
    default_instance: str = ""
    clusters: frozenset[str] = frozenset()
    """Names for which the settings choose an instance."""


def is_ours(plugin: Plugin, host: Host) -> bool:
    """Whether it is exhook's: by what stands in the file; by its name where it cannot be read."""
    path = Path(plugin.path)
    try:
        return host.plugin_version(path) is not None
    except OSError:
        return "exhook" in path.name


class PluginChecks:
    """The checks of one such line."""

    def __init__(self, plugin: Plugin, asked: Asked, host: Host, user: str) -> None:
        self._plugin = plugin
        self._asked = asked
        self._host = host
        self._user = user

    def findings(self) -> Iterator[Finding]:
        yield from self._library()
        wrong = list(self._options())
        yield from wrong
        if not wrong:
            yield _finding("options", Grade.OK, "each is known, and of its kind", self._plugin.line)
        yield from self._address()
        yield from self._instance()
        yield from self._times()

    def _library(self) -> Iterator[Finding]:
        line, path = self._plugin.line, Path(self._plugin.path)
        rebuild = f"exhook mosquitto build-plugin -o {path}"
        if not path.is_file():
            yield _finding("library", Grade.WRONG, f"{path} is not there: the broker does not start", line, rebuild)
            return
        if closed := self._host.unreadable_for(self._user, path):
            said = f"the broker's user {self._user!r} may not read {path}: it does not start"
            yield _finding("library", Grade.WRONG, said, line, f"chmod o+rX {closed}")
            return
        built, wanted = self._host.plugin_version(path), version("exhook")
        if built != wanted:
            said = f"{path} was built by exhook {built}; this is {wanted}"
            mend = f"{rebuild}, and restart the broker"
            yield _finding("library", Grade.ADVICE, said, line, mend)
        else:
            yield _finding("library", Grade.OK, f"{path}, exhook {built}", line)

    def _options(self) -> Iterator[Finding]:
        for one in self._plugin.options:
            if one.key not in _KNOWN:
                said = f"plugin_opt_{one.key}: there is no such option; the broker does not start"
                yield _finding("options", Grade.WRONG, said, one, f"take it out; there are: {', '.join(_KNOWN)}")
            elif one.key in NUMBERS and not _within(one.value, *NUMBERS[one.key]):
                least, most = NUMBERS[one.key]
                said = f"plugin_opt_{one.key} {one.value!r} is no whole number from {least} to {most}"
                mend = f"plugin_opt_{one.key} {getattr(PluginOptions(), one.key)}"
                yield _finding("options", Grade.WRONG, f"{said}; the broker does not start", one, mend)
            elif one.key in _WORDS and one.value not in list(_WORDS[one.key]):
                said = f"plugin_opt_{one.key} {one.value!r}; the broker does not start"
                yield _finding("options", Grade.WRONG, said, one, f"one of: {', '.join(_WORDS[one.key])}")

    def _address(self) -> Iterator[Finding]:
        text, line = self._value("address"), self._plugin.option("address") or self._plugin.line
        mend = f"plugin_opt_address 127.0.0.1:{self._asked.port or 9000}"
        target: str | tuple[str, int] = text.removeprefix(UNIX)
        if not text.startswith(UNIX):
            try:
                target = split_address(text)
            except ValueError:
                yield _finding("address", Grade.WRONG, f"{text!r}: write HOST:PORT or unix:/PATH", line, mend)
                return
        if why := self._host.cannot_reach(target):
            said = f"nobody answers at {text} ({why}): every client is denied"
            yield _finding(
                "address", Grade.WRONG, said, line, f"see that exhook serve runs and listens there; or {mend}"
            )
            return
        yield from self._whose(text, target, line, mend)

    def _whose(self, text: str, target: str | tuple[str, int], line: Line, mend: str) -> Iterator[Finding]:
        if isinstance(target, str):
            other = self._asked.unix_socket not in {"", target}
        elif is_loopback(target[0]):
            other = self._asked.port not in {0, target[1]}
        else:
            said = f"passwords go to {text} in the clear"
            keep = "keep it in a network that only brokers reach; or run a server beside the broker: "
            yield _finding("address", Grade.ADVICE, said, line, keep + mend)
            return
        if other:
            said = f"the server at {text} is not the one of these settings"
            yield _finding("address", Grade.ADVICE, said, line, f"{mend}; or name its settings by --config")
        else:
            yield _finding("address", Grade.OK, f"a server answers at {text}", line)

    def _instance(self) -> Iterator[Finding]:
        line = self._plugin.option("instance")
        named = line.value if line else self._asked.default_instance
        known = ", ".join(sorted(self._asked.instances)) or "none"
        if line and named in self._asked.clusters:
            return
        if not named and len(self._asked.instances) != 1:
            said = f"nothing says which instance decides; the store has {known}"
            mend = f"plugin_opt_instance {min(self._asked.instances, default='mqtt-prod')}"
            yield _finding("instance", Grade.WRONG, said, line or self._plugin.line, mend)
        elif named and named not in self._asked.instances:
            said = f"the store has no instance {named!r}, so that everything is denied; it has {known}"
            mend = f"plugin_opt_instance {min(self._asked.instances, default='mqtt-prod')}"
            yield _finding("instance", Grade.WRONG, said, line or self._plugin.line, mend)
        else:
            said = f"{named or known} decides"
            yield _finding("instance", Grade.OK, said, line or self._plugin.line)

    def _times(self) -> Iterator[Finding]:
        """What the broker waits for, and what it asks about."""
        deadline, size = self._plugin.option("deadline_ms"), self._plugin.option("cache_size")
        if deadline and _within(deadline.value, LONGEST_DEADLINE + 1, NUMBERS["deadline_ms"][1]):
            said = f"everybody waits up to {deadline.value} ms while the server does not answer"
            yield _finding("deadline", Grade.ADVICE, said, deadline, "plugin_opt_deadline_ms 300")
        seconds = self._plugin.option("cache_seconds")
        for line in (size, seconds):
            if line and line.value == "0":
                said = "no decision is kept: every PUBLISH waits for the server"
                mend = f"plugin_opt_{line.key} {getattr(PluginOptions(), line.key)}"
                yield _finding("cache", Grade.ADVICE, said, line, mend)
        reads = self._plugin.option("read_check")
        if reads and reads.value == ReadCheck.OFF:
            said = "whoever comes back to a session goes on receiving what was taken from them"
            yield _finding("read_check", Grade.ADVICE, said, reads, "plugin_opt_read_check revoked")

    def _value(self, name: str) -> str:
        line = self._plugin.option(name)
        return line.value if line else str(getattr(PluginOptions(), name))


def _within(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdecimal() and least <= int(text) <= most


def _finding(check: str, grade: Grade, said: str, line: Line, mend: str = "") -> Finding:
    return Finding(WHERE, check, grade, said, mend, line.place)
