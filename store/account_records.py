"""The records of the account modes: access keys, the tokens that they issue, and the credentials of single devices."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from store.api_calls import CALLS
from store.names import InvalidRecord, check_instance, check_text
from store.records import MAX_LIVE_SECRETS, Action, Record, Secret, SecretForm
from store.topics import PRIVATE, QUEUE, SHARE, InvalidTopic, Levels, parse_filter

MAX_RESOURCES: Final = 100
"""How many filters a token may name (vendor)."""

KEY_ID_PATTERN: Final = "[A-Za-z0-9_.-]{1,128}"
_KEY_ID: Final = re.compile(KEY_ID_PATTERN)


class TokenActions(StrEnum):
    """What a token lets a client do with its resources: `R` subscribes, `W` publishes (vendor)."""

    R = "R"
    W = "W"
    RW = "R,W"

    @property
    def actions(self) -> tuple[Action, ...]:
        return _GRANTED[self]

    def includes(self, asked: Action) -> bool:
        return asked in _GRANTED[self]


_GRANTED: Final = {
    TokenActions.R: (Action.SUB,),
    TokenActions.W: (Action.PUB,),
    TokenActions.RW: (Action.SUB, Action.PUB),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey(Record):
    """An account of an application: it may sign API calls, issue tokens and, where `connect` is set, let clients in."""

    kind = "access_key"

    access_key_id: str
    secrets: tuple[Secret, ...]
    instances: tuple[str, ...]
    """Where it counts; nowhere else."""
    active: bool = True
    connect: bool = False
    """MQTT clients may prove themselves by it (Signature mode)."""
    calls: tuple[str, ...] = ()
    """The API calls that it may sign."""
    all_topics: bool = False
    """It is allowed what is not denied, without permissions of its own."""
    reveal_secrets: bool = False
    """The API shows secrets to it in the clear."""

    def __post_init__(self) -> None:
        check_key_id("access_key_id", self.access_key_id)
        _check_keys(self.secrets, "an access key", MAX_LIVE_SECRETS)
        if not self.instances:
            raise InvalidRecord("instances", f"access key {self.access_key_id} names no instance; it counts nowhere")
        for name in self.instances:
            check_instance(name)
        for call in self.calls:
            check_call(call)
        for field, named in (("instances", self.instances), ("calls", self.calls)):
            if len(set(named)) != len(named):
                raise InvalidRecord(field, f"{field} of access key {self.access_key_id} name one twice")

    @property
    def key(self) -> tuple[str, ...]:
        return (self.access_key_id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Record):
    """What one issued token grants, and until when. The string that clients show is made by `store.tokens`."""

    kind = "token"

    token_id: str
    instance: str
    access_key_id: str
    """The access key that issued it: the token never reaches further."""
    actions: TokenActions
    resources: tuple[str, ...]
    revoked: bool = False

    def __post_init__(self) -> None:
        check_instance(self.instance)
        check_key_id("access_key_id", self.access_key_id)
        if self.expires_at is None:
            raise InvalidRecord("expires_at", "a token without an end; give it a time")
        if not 1 <= len(self.resources) <= MAX_RESOURCES:
            raise InvalidRecord("resources", f"{len(self.resources)} resources; a token names 1 to {MAX_RESOURCES}")
        for resource in self.resources:
            parse_resource(resource)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.token_id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCredential(Record):
    """The key of one device: it belongs to one client id, and pins that client id (vendor; pinning is ours)."""

    kind = "device_credential"

    instance: str
    client_id: str
    device_access_key_id: str
    """Names one credential of the whole store."""
    secrets: tuple[Secret, ...]
    """One, the DeviceAccessKeySecret."""

    def __post_init__(self) -> None:
        check_instance(self.instance)
        check_text("client_id", self.client_id)
        check_key_id("device_access_key_id", self.device_access_key_id)
        _check_keys(self.secrets, "a device credential", 1)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.instance, self.client_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey(Record):
    """A key that signs tokens. The newest signs; each one in the store verifies; to retire one is to remove it."""

    kind = "token_key"

    name: str
    secrets: tuple[Secret, ...]

    def __post_init__(self) -> None:
        check_key_id("name", self.name)
        _check_keys(self.secrets, "a token key", 1)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.name,)


def parse_resource(resource: str) -> Levels:
    """The levels of a filter that a token names; it holds no placeholder.

    Raises:
        InvalidRecord: no legal filter, or one of a shared subscription, a queue, or this system's own.
    """
    if resource.split("/", 1)[0] in (SHARE, QUEUE, PRIVATE):
        raise InvalidRecord("resources", f"{resource!r}: name the topic behind the prefix")
    try:
        return parse_filter(resource)
    except InvalidTopic as wrong:
        raise InvalidRecord("resources", str(wrong)) from None


def check_key_id(field: str, name: str) -> None:
    """What stands between the bars of a user name, and in the headers of a signed call."""
    if not _KEY_ID.fullmatch(name):
        raise InvalidRecord(field, f"{name!r} is no key id; 1 to 128 of A-Z a-z 0-9 _ . -")


def check_call(name: str) -> None:
    if name not in CALLS:
        raise InvalidRecord("calls", f"{name!r} is no call of the API; known are {', '.join(CALLS)}")


def _check_keys(secrets: tuple[Secret, ...], whose: str, most: int) -> None:
    if not 1 <= len(secrets) <= most:
        raise InvalidRecord("secrets", f"{len(secrets)} secrets; {whose} has one" + (", or two" if most > 1 else ""))
    if len({secret.id for secret in secrets}) != len(secrets):
        raise InvalidRecord("secrets", f"two secrets named {secrets[0].id!r}; give each its own id")
    if any(not secret.value for secret in secrets):
        raise InvalidRecord("secrets", "an empty secret; nobody could prove it, and everybody could")
    if any(secret.form is not SecretForm.KEY for secret in secrets):
        raise InvalidRecord("secrets", f"{whose} signs, so that its secret is a key, no password and no hash")
