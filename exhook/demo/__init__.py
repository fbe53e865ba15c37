"""The command `demo`: a server, a broker, and real MQTT clients that try things."""

from enum import StrEnum
from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {"amqtt": "amqtt", "paho": "paho-mqtt"}
"""Packages that the demo alone needs (the extra `broker`), by the module that tells whether they are there."""


class DemoBroker(StrEnum):
    """What the clients go through."""

    AUTO = "auto"
    """Mosquitto where it can be run, else the embedded one."""
    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


def missing_extras(*, mosquitto: bool = False) -> list[str]:
    """The packages that are needed and not installed."""
    return [
        package
        for module, package in EXTRAS.items()
        if not (mosquitto and module == "amqtt") and not _importable(module)
    ]


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
