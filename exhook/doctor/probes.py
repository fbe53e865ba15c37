"""Proves an allow and a deny from outside, as an MQTT client; needs the extra `broker`.

That a broker refuses proves little: it may refuse by itself. So a refusal must show among the denials that this
server keeps, where the server is at hand.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exhook.demo.clients import MqttClient, NoAnswer
from exhook.demo.script import Login
from exhook.doctor.finding import Finding, Grade
from store.runtime import Runtime, path_beside

KEPT_SECONDS: Final = 5.0
"""How long a denial may take to be written; workers write once a second."""

VERSION_TOPIC: Final = "$SYS/broker/version"
VERSION_SECONDS: Final = 2.0
"""It is retained: it comes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Who connects, and what it must and must not be granted."""

    host: str
    port: int
    ca_file: Path | None = None
    """TLS, by these certificates; in the clear where there is none."""
    login: Login = field(repr=False)
    allowed: str = ""
    """A filter that it may subscribe to."""
    denied: str = ""
    """One that it may not."""
    ask_version: bool = False
    """Ask a Mosquitto which one it is, if the probe may."""

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


def probe(one: Probe, store: Path) -> Iterator[Finding]:
    """Try a wrong password, then the right one, then the filters."""
    since = int(time.time() * 1000)
    try:
        yield _wrong_password(one)
        yield _seen(one, store, since, "authenticate")
        with MqttClient(one.login, one.port, host=one.host, ca_file=one.ca_file) as client:
            if not client.connect():
                yield _finding(
                    one,
                    "connect",
                    Grade.WRONG,
                    "the probe was refused with its right password",
                    "exhook why, or exhook explain, says why",
                )
                return
            yield _finding(one, "connect", Grade.OK, "the probe was let in")
            if one.ask_version:
                yield from _version(one, client)
            if one.allowed:
                yield _subscribed(one, client.subscribe(one.allowed), one.allowed, wanted=True)
            if one.denied:
                since = int(time.time() * 1000)
                yield _subscribed(one, client.subscribe(one.denied), one.denied, wanted=False)
                yield _seen(one, store, since, "subscribe")
    except (OSError, NoAnswer) as error:
        yield _finding(one, "connect", Grade.WRONG, f"no MQTT broker answers there ({error})", "name it by --mqtt")


def _version(one: Probe, client: MqttClient) -> Iterator[Finding]:
    """What the broker that answers says it is, which need not be the one that is installed."""
    if client.subscribe(VERSION_TOPIC) and _within(VERSION_SECONDS, lambda: VERSION_TOPIC in client.last):
        said = client.last[VERSION_TOPIC].decode(errors="replace")
        yield _finding(one, "version", Grade.OK, f"the broker says: {said}")


def _wrong_password(one: Probe) -> Finding:
    wrong = replace(one.login, password=one.login.password[::-1] + b"-wrong")
    with MqttClient(wrong, one.port, host=one.host, ca_file=one.ca_file) as client:
        if client.connect():
            return _finding(
                one,
                "wrong password",
                Grade.WRONG,
                "it was let in: nobody asks this server",
                "exhook doctor with the cluster's API says why; see docs/emqx.md",
            )
    return _finding(one, "wrong password", Grade.OK, "refused")


def _subscribed(one: Probe, granted: bool, topic: str, *, wanted: bool) -> Finding:
    said = f"{topic} was {'granted' if granted else 'refused'}"
    if granted is wanted:
        return _finding(one, "subscribe", Grade.OK, said)
    return _finding(
        one,
        "subscribe",
        Grade.WRONG,
        said,
        "exhook explain says what this server would decide; where that differs, the broker does not ask",
    )


def _seen(one: Probe, store: Path, since: int, hook: str) -> Finding:
    """Whether the denial was this server's."""
    if not path_beside(store).exists():
        return _finding(
            one,
            hook,
            Grade.ADVICE,
            "cannot tell who refused: no server has run on this store",
            "run exhook doctor where the server runs",
        )
    with Runtime.open(store) as runtime:

        def found() -> bool:
            denials = runtime.denials_of(one.login.client_id)
            return any(denial.at >= since and denial.hook == hook for denial in denials)

        if _within(KEPT_SECONDS, found):
            return _finding(one, hook, Grade.OK, "this server refused it")
    return _finding(
        one,
        hook,
        Grade.WRONG,
        "it was refused, but not by this server: the broker decides by itself",
        "see docs/troubleshooting.md, The broker decides by itself",
    )


def _within(seconds: float, found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _finding(one: Probe, check: str, grade: Grade, said: str, mend: str = "") -> Finding:
    return Finding(one.where, check, grade, said, mend)
