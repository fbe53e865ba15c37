"""The command `demo`: a server, an embedded broker, and real MQTT clients that try things."""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {"amqtt": "amqtt", "paho": "paho-mqtt"}
"""Packages that the demo alone needs (the extra `broker`), by the module that tells whether they are there."""


def missing_extras() -> list[str]:
    """The packages that are not installed."""
    return [package for module, package in EXTRAS.items() if not _importable(module)]


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
