"""What the soak asks, and what is right: worked out from the numbers that made the policy, by no code of exhook."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import argon2
from questions import AUTHENTICATE, AUTHORIZE

from protos import exhook_v3_pb2

INSTANCE: Final = "mqtt-bench"
OTHER_INSTANCE: Final = "mqtt-elsewhere"
PORT: Final = 1883
MOVING_PORT: Final = 8884
"""A listener that the settings file gives to the one instance or to the other."""
CLIENTS_A_USER: Final = 20
_LONG_AGO_SECONDS: Final = 60.0
"""No call takes that long."""
_FLIPS: Final = 3
"""One of so many users, or clients, is granted something, or let in, by the version of the policy alone."""

Right = Callable[[int, int], bool]
"""What is right by a version of the policy and one of the settings."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, and what is right."""

    kind: str
    path: str
    message: bytes
    right: Right


class InForce:
    """Which versions may have decided, and when: while one takes the place of another, both may."""

    def __init__(self) -> None:
        self.version = 0
        self._since = {0: 0.0}
        self._until: dict[int, float] = {}

    def begins(self) -> int:
        """The next version is about to be made; its number."""
        self.version += 1
        self._since[self.version] = monotonic()
        return self.version

    def is_settled(self) -> None:
        """It alone decides from now on."""
        now = monotonic()
        for one in self._since:
            if one != self.version:
                self._until.setdefault(one, now)
        for one in [one for one, until in self._until.items() if until < now - _LONG_AGO_SECONDS]:
            del self._since[one], self._until[one]

    def between(self, began: float, ended: float) -> list[int]:
        """The versions that may have answered what was asked and answered then."""
        return [one for one, since in self._since.items() if since <= ended and self._until.get(one, ended) >= began]


@dataclass(frozen=True)
class Fleet:
    """Users of one source of policy, twenty clients each. Its policy has versions, which differ in who may what."""

    source: str
    users: int
    hashes: bool = False
    """Whether one of ten users has a password that is slow to verify."""

    def name(self, user: int) -> str:
        return f"{self.source}-{user:04}"

    def client(self, user: int, number: int) -> str:
        return f"{self.name(user)}-{number:02}"

    def mode(self, user: int) -> str:
        if self.hashes and user % 10 == 9:
            return "hashed"
        return "signed" if user % 2 else "origin"

    def granted(self, user: int, version: int) -> bool:
        """Whether the permission of this user that comes and goes is there."""
        return user % _FLIPS == 0 and _coin(self.source, "granted", user, version)

    def blacklisted(self, user: int, number: int, version: int) -> bool:
        return number == 0 and user % _FLIPS == 1 and _coin(self.source, "blacklisted", user, version)

    def password(self, user: int, client: str) -> bytes:
        secret = f"secret of {self.name(user)}".encode()
        if self.mode(user) != "signed":
            return secret
        return base64.b64encode(hmac.new(secret, client.encode(), hashlib.sha1).digest())

    def write(self, path: Path, version: int) -> None:
        """Its policy file; put in place whole, since the server may look at any moment."""
        lines = ["format: exhook/v1", f"source: {self.source}", f"defaults: {{instance: {INSTANCE}}}"]
        lines += ["sync: {prune: true}", "identities:"]
        for user in range(self.users):
            lines.append(f"  - {{username: {self.name(user)}, {self._proof(user)}}}")
        lines.append("permissions:")
        lines.append(f'  - {{everyone: true, deny: {{both: ["{self.source}/area/+/locked"]}}}}')
        for user in range(self.users):
            name = self.name(user)
            own, area = f"{self.source}/own/{name}/${{clientid}}/#", f"{self.source}/area/{name}/#"
            lines.append(f'  - {{username: {name}, both: ["{own}", "{area}"]}}')
            if self.granted(user, version):
                lines.append(f'  - {{username: {name}, publish: ["{self.source}/flip/{name}"]}}')
        entries = [
            f"  - {{client_id: {self.client(user, 0)}, reason: soak}}"
            for user in range(self.users)
            if self.blacklisted(user, 0, version)
        ]
        lines += ["blacklist:", *entries] if entries else []
        new = path.with_name(f".{path.name}.new")
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.replace(path)

    def ask(self, dice: Random) -> Asked:
        """A call of some kind about some client."""
        user, number = dice.randrange(self.users), dice.randrange(CLIENTS_A_USER)
        kind = dice.choice((self._connect, self._publish, self._subscribe, self._flip, self._flip, self._move))
        if self.mode(user) == "hashed" and kind in (self._connect, self._move) and dice.random() < 0.8:
            kind = self._publish  # what is slow to verify stays rare
        return kind(user, number, dice)

    def everyone(self) -> list[Asked]:
        """One call about each client, so that what is remembered of clients is."""
        dice = Random(1)  # noqa: S311 - a mixture, no secret
        return [self._publish(user, number, dice) for user in range(self.users) for number in range(CLIENTS_A_USER)]

    def _proof(self, user: int) -> str:
        if self.mode(user) == "hashed":
            return f'sign_mode: hashed, secret: {{hash: "{self._hash}"}}'
        return f"sign_mode: {self.mode(user)}, secret: {{literal: secret of {self.name(user)}}}"

    @cached_property
    def _hash(self) -> str:
        hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
        return hasher.hash(f"secret of {self.name(9)}")

    def _connect(self, user: int, number: int, dice: Random) -> Asked:
        client = self.client(user, number)
        password = self.password(9 if self.mode(user) == "hashed" else user, client)
        wrong = dice.choice((b"", b"wrong", password + b" ", self.password(user, "another") + b"=", password[:-1]))
        name, given, good = dice.choice(
            (
                (self.name(user), password, True),
                (self.name(user), wrong, False),
                (f"no-{self.name(user)}", wrong, False),
            )
        )
        return _authenticate(
            client, name, given, lambda version, _: good and not self.blacklisted(user, number, version)
        )

    def _move(self, user: int, number: int, _: Random) -> Asked:
        client = self.client(user, number)
        password = self.password(9 if self.mode(user) == "hashed" else user, client)
        return _authenticate(
            client,
            self.name(user),
            password,
            lambda version, settings: is_here(settings) and not self.blacklisted(user, number, version),
            port=MOVING_PORT,
        )

    def _publish(self, user: int, number: int, dice: Random) -> Asked:
        name, client = self.name(user), self.client(user, number)
        topic, right = dice.choice(
            (
                (f"{self.source}/own/{name}/{client}/up", True),
                (f"{self.source}/own/{name}/{client}x/up", False),
                (f"{self.source}/own/{name}/+/up", False),
                (f"{self.source}/area/{name}/open", True),
                (f"{self.source}/area/{name}/locked", False),
                (f"{self.source}/area/{name}/locked/open", True),
            )
        )
        return _authorize(
            client, name, "PUBLISH", topic, lambda version, _: right and not self.blacklisted(user, number, version)
        )

    def _subscribe(self, user: int, number: int, dice: Random) -> Asked:
        name, client = self.name(user), self.client(user, number)
        topic, right = dice.choice(
            (
                (f"{self.source}/own/{name}/{client}/#", True),
                (f"{self.source}/own/{name}/+/up", False),
                ("#", False),
                (f"{self.source}/area/{name}/#", False),  # reaches over what is locked
                (f"{self.source}/area/{name}/+", False),
                (f"{self.source}/area/{name}/x/#", True),
            )
        )
        return _authorize(
            client, name, "SUBSCRIBE", topic, lambda version, _: right and not self.blacklisted(user, number, version)
        )

    def _flip(self, user: int, number: int, _: Random) -> Asked:
        user -= user % _FLIPS
        name = self.name(user)
        return _authorize(
            self.client(user, number),
            name,
            "PUBLISH",
            f"{self.source}/flip/{name}",
            lambda version, _: self.granted(user, version),
            kind="flip",
        )


def is_here(settings: int) -> bool:
    """Whether this version of the settings gives the moving listener to the instance that has the fleets."""
    return settings % 2 == 0


def _coin(*parts: object) -> bool:
    return hashlib.sha256(repr(parts).encode()).digest()[0] % 2 == 0


def _info(client: str, username: str, port: int, password: bytes = b"") -> exhook_v3_pb2.ClientInfo:
    return exhook_v3_pb2.ClientInfo(
        node="soak@127.0.0.1",
        clientid=client.encode(),
        username=username.encode(),
        password=password,
        peerhost="127.0.0.1",
        sockport=port,
        protocol="mqtt",
        anonymous=True,
    )


def _authenticate(client: str, username: str, password: bytes, right: Right, *, port: int = PORT) -> Asked:
    asked = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=_info(client, username, port, password))
    return Asked("moving" if port == MOVING_PORT else "connect", AUTHENTICATE, asked.SerializeToString(), right)


def _authorize(client: str, username: str, action: str, topic: str, right: Right, *, kind: str = "") -> Asked:
    asked = exhook_v3_pb2.ClientAuthorizeRequest(
        clientinfo=_info(client, username, PORT), type=action, topic=topic.encode()
    )
    return Asked(kind or action.lower(), AUTHORIZE, asked.SerializeToString(), right)
