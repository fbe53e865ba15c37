"""What the clients of the demo try, and what its policy says to it."""

from dataclasses import dataclass, field
from typing import Final

from store.credentials import sign
from store.decision import Reason

_KEY: Final = b"demo-signing-key"


@dataclass(frozen=True, slots=True)
class Login:
    """One client's user name, client id and password."""

    username: str
    client_id: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that one client tries."""

    title: str
    login: Login
    hook: str
    """``authenticate``, ``publish`` or ``subscribe``."""
    allowed: bool
    reason: Reason
    rule: str = ""
    """Id of the record that decides, where the policy names one."""
    topic: str = ""


def sensor(device: str) -> Login:
    """A device that signs its client id, as the policy of the demo has it."""
    client_id = f"GID_Sensors@@@{device}"
    return Login("sensors", client_id, sign(_KEY, client_id))


_SENSOR: Final = sensor("0001")
_OPERATOR: Final = Login("operator", "laptop-1", b"demo-operator")
_DASHBOARD: Final = Login("dashboard", "dash-01", b"demo-dashboard")

WITNESS: Final = _DASHBOARD
"""Listens to what sensors publish, so that the demo sees what the broker let through."""
WITNESS_FILTER: Final = "plant/+/up"

SCRIPT: Final = (
    Step("a dashboard, with its own client id", _DASHBOARD, "authenticate", True, Reason.ALLOWED, "dashboard"),
    Step("… reads what sensors send", _DASHBOARD, "subscribe", True, Reason.ALLOWED, "dashboard-read", WITNESS_FILTER),
    Step("a sensor, by signature", _SENSOR, "authenticate", True, Reason.ALLOWED, "sensors"),
    Step(
        "… sends on its own topic",
        _SENSOR,
        "publish",
        True,
        Reason.ALLOWED,
        "sensor-own-topics",
        f"plant/{_SENSOR.client_id}/up",
    ),
    Step("… sends as another sensor", _SENSOR, "publish", False, Reason.NO_MATCH, "", "plant/GID_Sensors@@@0002/up"),
    Step("… hears announcements", _SENSOR, "subscribe", True, Reason.ALLOWED, "announcements", "announce/#"),
    Step("… wants to hear everything", _SENSOR, "subscribe", False, Reason.NO_MATCH, "", "#"),
    Step(
        "a sensor with another's signature",
        Login("sensors", "GID_Sensors@@@0003", _SENSOR.password),
        "authenticate",
        False,
        Reason.WRONG_PASSWORD,
        "sensors",
    ),
    Step(
        "a sensor of no known group",
        Login("sensors", "anything", sign(_KEY, "anything")),
        "authenticate",
        False,
        Reason.UNKNOWN_IDENTITY,
    ),
    Step("a sensor on the blacklist", sensor("0007"), "authenticate", False, Reason.BLACKLISTED, "stolen-sensor"),
    Step("an operator, by hashed password", _OPERATOR, "authenticate", True, Reason.ALLOWED, "operator"),
    Step("… reads a line", _OPERATOR, "subscribe", True, Reason.ALLOWED, "operator-all-lines", "plant/line1/#"),
    Step("… subscribes over the vault", _OPERATOR, "subscribe", False, Reason.DENIED, "operator-all-lines", "plant/#"),
    Step(
        "an operator with a wrong password",
        Login("operator", "laptop-2", b"guess"),
        "authenticate",
        False,
        Reason.WRONG_PASSWORD,
        "operator",
    ),
    Step(
        "an operator with another's client id",
        Login("operator", "dash-01", b"demo-operator"),
        "authenticate",
        False,
        Reason.CLIENT_ID_OWNED,
        "dashboard",
    ),
    Step("nobody we know", Login("mallory", "m-1", b"let me in"), "authenticate", False, Reason.UNKNOWN_IDENTITY),
    Step("no user name at all", Login("", "m-2", b""), "authenticate", False, Reason.INVALID_INPUT),
)
