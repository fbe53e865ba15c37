"""The lines to paste into Mosquitto's configuration."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_DEFAULT_LISTENER: Final = "1883 127.0.0.1"


class Auth(StrEnum):
    """Who proves what a client is: the server by its password, or the broker by a certificate."""

    PASSWORD = "password"  # noqa: S105 - a word of the configuration
    CERTIFICATE = "certificate"


class ReadCheck(StrEnum):
    """Which deliveries are asked about."""

    OFF = "off"
    REVOKED = "revoked"
    DURABLE = "durable"
    ON = "on"


class InvalidOption(ValueError):
    """An option that would not stand in one line of the configuration; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginOptions:
    """The plugin's options; those that hold their default are left out of the lines."""

    address: str = "127.0.0.1:9000"
    instance: str = ""
    node: str = ""
    auth: Auth = Auth.PASSWORD
    read_check: ReadCheck = ReadCheck.REVOKED
    cache_size: int = 10_000
    cache_seconds: int = 60
    deadline_ms: int = 300

    def lines(self) -> list[str]:
        """`plugin_opt_…` lines."""
        said = {name: getattr(self, name) for name in self.__slots__}
        defaults = PluginOptions()
        return [
            f"plugin_opt_{name} {_in_line(name, str(value))}"
            for name, value in said.items()
            if name == "address" or value != getattr(defaults, name)
        ]


def configuration(plugin: Path, options: PluginOptions, listener: str = "") -> str:
    """The whole block: a listener, the plugin, its options.

    Raises:
        InvalidOption: a value has a line break or is empty.
    """
    lines = [
        "# exhook: who may connect, publish and subscribe is decided by the server at plugin_opt_address.",
        "# Nothing else in this file may let clients in: no password_file, no acl_file, no other plugin.",
        f"listener {_in_line('listener', listener or _DEFAULT_LISTENER)}",
        "# The server decides about clients without a user name, too, and denies them.",
        "allow_anonymous false",
        f"plugin {_in_line('plugin', str(plugin))}",
        *options.lines(),
    ]
    if options.auth is Auth.CERTIFICATE:
        lines += [
            "cafile /etc/mosquitto/certs/ca.crt",
            "certfile /etc/mosquitto/certs/server.crt",
            "keyfile /etc/mosquitto/certs/server.key",
            "require_certificate true",
            "use_identity_as_username true",
        ]
    return "\n".join(lines) + "\n"


def _in_line(name: str, value: str) -> str:
    if not value or re.search(r"[\x00-\x1f\x7f]", value):
        raise InvalidOption(f"{name} {value!r}: give one line of text")
    return value
