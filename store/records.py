"""The records of the store: frozen, validated where they are made, the same for every reader.

A record says what is in force, who owns it (`source`), where it was written down (`origin`), and until when
it holds (`expires_at`, milliseconds since the epoch; in force while ``now_ms < expires_at``).
"""

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from store.names import InvalidRecord, check_group, check_instance, check_parent_topic, check_text, group_of
from store.placeholders import TopicPattern, parse_pattern
from store.topics import InvalidTopic, Levels

RESERVED_MODES: Final = ("Signature", "Token", "DeviceCredential")
"""First part of the user names that select an account mode (seed; `DeviceCredential` by the vendor)."""

MAX_LIVE_SECRETS: Final = 2
"""Two secrets may be live at once, so that they rotate without an outage."""


class IdentityType(StrEnum):
    """To whom an identity belongs: all clients of a user name, or one client (seed)."""

    USER = "USER"
    CLIENT = "CLIENT"


class SignMode(StrEnum):
    """How a password is proven; see ``docs/semantics.md``, "Sign modes"."""

    ORIGIN = "ORIGIN"
    SIGNED = "SIGNED"
    SIGNED_SHA256 = "SIGNED_SHA256"
    HASHED = "HASHED"
    EXTERNAL = "EXTERNAL"


class Grantee(StrEnum):
    """To whom a permission is granted. USER and CLIENT are the vendor's; the others are ours."""

    USER = "USER"
    CLIENT = "CLIENT"
    GROUP = "GROUP"
    ACCESS_KEY = "ACCESS_KEY"
    ALL = "ALL"


class Effect(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"


class Action(StrEnum):
    """What a client asks for; `PUB_SUB` stands in permissions alone."""

    PUB = "PUB"
    SUB = "SUB"
    PUB_SUB = "PUB_SUB"

    def includes(self, asked: "Action") -> bool:
        return self is Action.PUB_SUB or self is asked


class ClientIdRule(StrEnum):
    """`ANY` is the seed's group downgrade; `GROUP` asks for ``<GroupID>@@@<DeviceID>``."""

    ANY = "any"
    GROUP = "group"


class NoMatch(StrEnum):
    """What no ALLOW means: denied, or passed on to the broker's own chain."""

    DENY = "deny"
    PASS = "pass"  # noqa: S105 - a word of the policy file, no password


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every record carries beside its own fields."""

    kind: ClassVar[str]

    source: str = "api"
    """Who owns it: the name a policy document gives itself, or ``api``."""
    id: str = ""
    """The name a policy file gave it; empty where it gave none."""
    origin: str = ""
    """``file:line@commit`` of the place that made it; empty for the API."""
    note: str = ""
    protect: bool = False
    """A plan that would remove it is refused."""
    expires_at: int | None = None
    created_at: int = 0
    updated_at: int = 0
    revision: int = 0
    """The revision that wrote it."""

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it this record and no other, in its kind."""
        raise AssertionError(f"{type(self).__name__} has no key")

    def in_force(self, now_ms: int) -> bool:
        return self.expires_at is None or now_ms < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(Record):
    """A name space of identities and permissions, with the rules that hold in it."""

    kind = "instance"

    name: str
    record_quota: int | None = None
    client_id_rule: ClientIdRule = ClientIdRule.ANY
    pin_client_ids: bool = True
    no_match: NoMatch = NoMatch.DENY
    parent_topics: tuple[str, ...] = ()
    """The first levels that may be asked for by name, sorted; empty where there is no registry of them (seed)."""

    def __post_init__(self) -> None:
        check_instance(self.name)
        if self.record_quota is not None and self.record_quota < 0:
            raise InvalidRecord("record_quota", f"a record quota of {self.record_quota}; it is a count of records")
        for topic in self.parent_topics:
            check_parent_topic(topic)
        if len(set(self.parent_topics)) != len(self.parent_topics):
            raise InvalidRecord("parent_topics", f"parent_topics of instance {self.name} name one twice")
        # Their order says nothing, and the search below wants one.
        object.__setattr__(self, "parent_topics", tuple(sorted(self.parent_topics)))

    @property
    def key(self) -> tuple[str, ...]:
        return (self.name,)

    def registers(self, asked: Levels) -> bool:
        """Whether the registry of parent topics, if there is one, lets a topic or filter be asked for.

        It speaks of the first levels that are spelt out: a wildcard there reaches no more than was published, and
        topics that begin with ``$`` have rules of their own.
        """
        parents, first = self.parent_topics, asked[0]
        if not parents or first in ("+", "#") or first.startswith("$"):
            return True
        place = bisect_left(parents, first)
        return place < len(parents) and parents[place] == first


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Record):
    """A registered group id: the part of client ids before ``@@@`` (seed)."""

    kind = "group"

    instance: str
    name: str

    def __post_init__(self) -> None:
        check_instance(self.instance)
        check_group(self.name)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.instance, self.name)


class SecretForm(StrEnum):
    """What the bytes of a secret are."""

    KEY = "KEY"
    """A key or a literal password: ORIGIN and SIGNED modes."""
    HASH = "HASH"
    """A self-describing hash: HASHED mode."""
    PLAIN = "PLAIN"
    """A password still to be hashed: stands in a desired state, never in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One live secret of an identity. Its value never shows in `repr`."""

    id: str
    """The name a policy file gave it, so that logs can say which of two was used."""
    value: bytes
    form: SecretForm = SecretForm.KEY
    fingerprint: str
    """Truncated HMAC under a key of the store: equal secrets can be seen to be equal, nothing more."""
    expires_at: int | None = None

    def __repr__(self) -> str:
        return f"Secret(id={self.id!r}, expires_at={self.expires_at!r})"

    def in_force(self, now_ms: int) -> bool:
        return self.expires_at is None or now_ms < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Record):
    """Who may connect under a user name, and with what proof."""

    kind = "identity"

    instance: str
    identity_type: IdentityType
    username: str
    client_id: str = ""
    """The one client of a CLIENT identity; empty for USER."""
    sign_mode: SignMode
    secrets: tuple[Secret, ...] = ()
    client_ids_prefix: str = ""
    """Who may use a USER identity: client ids that begin so; empty for all."""
    client_ids_group: str = ""
    """Who may use a USER identity: client ids of this group; empty for all."""

    def __post_init__(self) -> None:
        check_instance(self.instance)
        check_text("username", self.username)
        if self.username.split("|", 1)[0] in RESERVED_MODES and "|" in self.username:
            raise InvalidRecord(
                "username",
                f"the user name {self.username!r} begins like an account mode's; no identity may stand there",
            )
        if self.identity_type is IdentityType.CLIENT:
            check_text("client_id", self.client_id)
            if self.client_ids_prefix or self.client_ids_group:
                raise InvalidRecord("client_ids", "client_ids bounds the identity of a user name; this has a client_id")
        elif self.client_id:
            raise InvalidRecord("client_id", f"a USER identity has no client id, but {self.client_id!r} is given")
        if self.client_ids_prefix and self.client_ids_group:
            raise InvalidRecord("client_ids", "client_ids takes a prefix or a group, not both")
        if self.client_ids_group:
            check_group(self.client_ids_group)
        if self.client_ids_prefix:
            check_text("client_ids", self.client_ids_prefix)
        self._check_secrets()

    def _check_secrets(self) -> None:
        if self.sign_mode is SignMode.EXTERNAL:
            if self.secrets:
                raise InvalidRecord("secrets", "an EXTERNAL identity is proven by the broker and has no secret")
            return
        if not 1 <= len(self.secrets) <= MAX_LIVE_SECRETS:
            raise InvalidRecord("secrets", f"{len(self.secrets)} secrets; an identity has one, or two that rotate")
        if len({secret.id for secret in self.secrets}) != len(self.secrets):
            raise InvalidRecord("secrets", f"two secrets named {self.secrets[0].id!r}; give each its own id")
        if any(not secret.value for secret in self.secrets):
            raise InvalidRecord("secrets", "an empty secret; nobody could prove it, and everybody could")

    @property
    def key(self) -> tuple[str, ...]:
        return (self.instance, self.identity_type, self.username, self.client_id)

    def admits(self, client_id: str) -> bool:
        """Whether `client_ids` lets this client use the identity."""
        if self.client_ids_group:
            return group_of(client_id) == self.client_ids_group
        return client_id.startswith(self.client_ids_prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission(Record):
    """What one grantee may, or may not, publish and subscribe."""

    kind = "permission"

    instance: str
    identity_type: Grantee
    identity: str
    """User name, client id, group id or access key id; empty for ALL."""
    topic: str
    """A filter, placeholders allowed."""
    action: Action
    effect: Effect

    def __post_init__(self) -> None:
        check_instance(self.instance)
        if self.identity_type is Grantee.ALL:
            if self.identity:
                raise InvalidRecord("identity", f"a permission of everyone names nobody, but has {self.identity!r}")
        else:
            check_text("identity", self.identity)
        if self.identity_type is Grantee.GROUP:
            check_group(self.identity)
        self.pattern()

    def pattern(self) -> TopicPattern:
        """The topic, parsed anew."""
        try:
            return parse_pattern(self.topic)
        except InvalidTopic as wrong:
            raise InvalidRecord("topic", str(wrong)) from None

    @property
    def key(self) -> tuple[str, ...]:
        return (self.instance, self.identity_type, self.identity, self.topic, self.effect, self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlacklistEntry(Record):
    """A client id, or a user name, that may not connect in any mode (seed; user names are ours)."""

    kind = "blacklist"

    instance: str
    client_id: str = ""
    username: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        check_instance(self.instance)
        if bool(self.client_id) == bool(self.username):
            raise InvalidRecord("client_id", "a blacklist entry names a client_id or a username, exactly one of them")
        check_text("client_id" if self.client_id else "username", self.client_id or self.username)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.instance, self.client_id, self.username, self.source)
