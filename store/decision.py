"""The decision core. Pure: a view of the records, a client and a clock in, a `Decision` out.

Authentication has three steps around a slow one: `select` finds who must prove what, `verify` (in
`store.credentials`, in a pool where it is slow) tries the password, `conclude` decides. The order of the
checks is that of ``docs/semantics.md``; every adapter shares it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from store.grants import GrantIndex
from store.placeholders import TopicPattern
from store.records import (
    RESERVED_MODES,
    Action,
    ClientIdRule,
    Effect,
    Identity,
    NoMatch,
    Permission,
    Record,
    Secret,
    SignMode,
    follows_group_rule,
)
from store.topics import (
    MAX_BYTES,
    PRIVATE,
    InvalidTopic,
    Levels,
    levels_cover,
    levels_overlap,
    levels_reach,
    parse_publication,
    parse_subscription,
)
from store.view import Client, View

UPLOAD_TOKEN: Final = ("$SYS", "uploadToken")
"""Topic on which a client in Token mode renews its tokens (vendor)."""


class Reason(StrEnum):
    """Why a decision fell as it did. A closed set: logs, metrics, explain and tests name these and no others."""

    ALLOWED = "allowed"
    INVALID_INPUT = "invalid_input"
    BLACKLISTED = "blacklisted"
    INVALID_CLIENT_ID = "invalid_client_id"
    CLIENT_ID_OWNED = "client_id_owned"
    UNKNOWN_IDENTITY = "unknown_identity"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason, no password
    EXPIRED = "expired"
    EXTERNAL_ONLY = "external_only"
    WRONG_INSTANCE = "wrong_instance"
    MODE_UNAVAILABLE = "mode_unavailable"
    """Signature, Token and DeviceCredential user names: refused until their records are in the store."""
    INVALID_TOPIC = "invalid_topic"
    PRIVATE_TOPIC = "private_topic"
    """`$exhook/...` is nobody's; `$SYS/uploadToken` takes PUBLISH in Token mode alone."""
    DENIED = "denied"
    NO_MATCH = "no_match"
    UNSAFE_PLACEHOLDER = "unsafe_placeholder"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Nearest:
    """For a refusal: the record that came closest to allowing, and what it lacked."""

    record: Record
    why: str
    """``level``, ``action``, ``expired`` or ``client_ids``."""
    level: int | None = None
    """0-based level of the asked topic or filter at which the grant stops covering."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request, and all that logs, metrics, explain and tests say about it."""

    allow: bool
    reason: Reason
    revision: int
    rule: Record | None = None
    """The record that decided."""
    nearest: Nearest | None = None
    secret_id: str = ""
    """Which of the live secrets was proven."""
    passed_on: bool = False
    """Neither allowed nor denied: the broker's own chain goes on (``no_match: pass``)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a password must prove. `verdict` is the reason once it does; only ALLOWED lets in.

    An unknown name gets a challenge that nothing proves, so that it costs what a wrong password costs.
    """

    mode: SignMode
    secrets: tuple[Secret, ...]
    client_id: str
    verdict: Reason
    revision: int
    identity: Identity | None = None
    nearest: Nearest | None = field(default=None, compare=False)

    def same_proof(self, other: "Challenge") -> bool:
        """Whether a password verified for `other` stands for this one: nothing but the revision differs."""
        return replace(self, revision=other.revision) == other


def refused(reason: Reason, revision: int = 0) -> Decision:
    """A denial that no record made."""
    return Decision(allow=False, reason=reason, revision=revision)


def instance_of(client: Client) -> str:
    """The instance whose records decide: an account mode's user name names it, else it is the listener's."""
    return _account_mode(client.username)[1] or client.listener.instance


def select(view: View, client: Client, password: bytes | None, now_ms: int) -> Challenge | Decision:
    """Who must prove what; or the refusal, where no proof could help.

    `password` is None where it is not known (explain): the empty one is refused, an unknown one is not.
    """
    empty = password == b"" and not client.listener.external
    if empty or (password is not None and len(password) > MAX_BYTES):
        return refused(Reason.INVALID_INPUT, view.revision)
    if barred := _barred(view, client, now_ms):
        return barred
    identity, nearest = _identity(view, client)
    verdict = _standing(identity, client, now_ms)
    live = tuple(secret for secret in identity.secrets if secret.in_force(now_ms)) if identity else ()
    if identity is not None and verdict is Reason.ALLOWED and not live:
        # What the broker proves by itself, no password proves.
        verdict = Reason.EXTERNAL_ONLY if identity.sign_mode is SignMode.EXTERNAL else Reason.EXPIRED
    mode, secrets = (identity.sign_mode, live) if identity and live else view.works.draw(client.username)
    return Challenge(mode, secrets, client.client_id, verdict, view.revision, identity, nearest)


def conclude(challenge: Challenge, proven: str | None) -> Decision:
    """The decision once the password was tried; `proven` is the id of the secret that it proved."""
    reason = challenge.verdict
    if reason is Reason.ALLOWED and proven is None:
        reason = Reason.WRONG_PASSWORD
    return Decision(
        allow=reason is Reason.ALLOWED,
        reason=reason,
        revision=challenge.revision,
        rule=challenge.identity,
        nearest=challenge.nearest,
        secret_id=proven or "" if reason is Reason.ALLOWED else "",
    )


def authorize(view: View, client: Client, action: Action, topic: str, now_ms: int) -> Decision:
    """Whether a client may publish to a topic, or subscribe to a filter."""
    emqx = client.listener.emqx
    try:
        asked = (parse_publication if action is Action.PUB else parse_subscription)(topic, emqx=emqx)
    except InvalidTopic:
        return refused(Reason.INVALID_TOPIC, view.revision)
    if asked[0] == PRIVATE or (action is Action.PUB and asked == UPLOAD_TOKEN):
        return refused(Reason.PRIVATE_TOPIC, view.revision)
    if barred := _barred(view, client, now_ms):
        return barred
    identity, nearest = _identity(view, client)
    verdict = _standing(identity, client, now_ms)
    if verdict is not Reason.ALLOWED:
        return replace(refused(verdict, view.revision), rule=identity, nearest=nearest)
    grants = (view.client_grants, view.user_grants, view.group_grants, view.all_grants)
    return _Question(view, client, grants, asked, action, now_ms).answer()


def _account_mode(username: str) -> tuple[str, str]:
    """Mode and instance that a user name of an account mode names; nothing for custom authentication (seed)."""
    if "|" not in username:
        return "", ""
    parts = username.split("|")
    if len(parts) == 3 and parts[0] in RESERVED_MODES:  # noqa: PLR2004 - mode|key|instance
        return parts[0], parts[2]
    return "", ""


def _barred(view: View, client: Client, now_ms: int) -> Decision | None:
    """What refuses a client in every mode: instance, blacklist, client id rule, ownership of the client id."""
    mode, named = _account_mode(client.username)
    instance = view.instance
    if instance is None or not instance.in_force(now_ms) or (mode and named != client.listener.instance):
        return refused(Reason.WRONG_INSTANCE, view.revision)
    for entry in view.blacklist:
        if entry.in_force(now_ms):
            return replace(refused(Reason.BLACKLISTED, view.revision), rule=entry)
    if instance.client_id_rule is ClientIdRule.GROUP:
        registered = view.group is not None and view.group.in_force(now_ms)
        if not registered or not follows_group_rule(client.client_id):
            return refused(Reason.INVALID_CLIENT_ID, view.revision)
    if instance.pin_client_ids and view.owners and all(owner.username != client.username for owner in view.owners):
        return replace(refused(Reason.CLIENT_ID_OWNED, view.revision), rule=view.owners[0])
    if mode:
        # The three account modes are decided here once their records exist.
        return refused(Reason.EXTERNAL_ONLY if client.listener.external else Reason.MODE_UNAVAILABLE, view.revision)
    return None


def _identity(view: View, client: Client) -> tuple[Identity | None, Nearest | None]:
    """The identity that decides; a CLIENT identity alone where there is one, else the admitting USER identity."""
    for owner in view.owners:
        if owner.username == client.username:
            return owner, None
    if view.user is None:
        return None, None
    if view.user.admits(client.client_id):
        return view.user, None
    return None, Nearest(view.user, "client_ids")


def _standing(identity: Identity | None, client: Client, now_ms: int) -> Reason:
    """Whether an identity holds, its password aside."""
    if identity is None:
        return Reason.EXTERNAL_ONLY if client.listener.external else Reason.UNKNOWN_IDENTITY
    if (identity.sign_mode is SignMode.EXTERNAL) is not client.listener.external:
        return Reason.EXTERNAL_ONLY
    return Reason.ALLOWED if identity.in_force(now_ms) else Reason.EXPIRED


@dataclass(slots=True)
class _Question:
    """One authorize request while it is being decided."""

    view: View
    client: Client
    grants: Sequence[GrantIndex]
    asked: Levels
    action: Action
    now_ms: int
    unsafe: Permission | None = None

    def answer(self) -> Decision:
        """DENY of any grantee first, then ALLOW of any, else no match."""
        revision = self.view.revision
        for grants in self.grants:
            if rule := grants.denying(self.asked, self.action, self.now_ms):
                return Decision(allow=False, reason=Reason.DENIED, revision=revision, rule=rule)
        templated = any(grants.templates for grants in self.grants)
        if templated and (rule := self._template(Effect.DENY)):
            reason = Reason.UNSAFE_PLACEHOLDER if rule is self.unsafe else Reason.DENIED
            return Decision(allow=False, reason=reason, revision=revision, rule=rule)
        for grants in self.grants:
            if rule := grants.allowing(self.asked, self.action, self.now_ms):
                return Decision(allow=True, reason=Reason.ALLOWED, revision=revision, rule=rule)
        if templated and (rule := self._template(Effect.ALLOW)):
            return Decision(allow=True, reason=Reason.ALLOWED, revision=revision, rule=rule)
        return self._no_match()

    def _template(self, effect: Effect) -> Permission | None:
        """The permission with placeholders that decides; a DENY whose value is unsafe is one (pitfall 3)."""
        reaches = levels_overlap if effect is Effect.DENY and self.action is Action.SUB else levels_cover
        values = self.client.placeholder_values()
        for permission, pattern in self._applicable(effect):
            if not reaches(pattern.widest, self.asked):
                continue
            levels = pattern.substitute(values)
            if levels is None:
                self.unsafe = self.unsafe or permission
            elif reaches(levels, self.asked):
                return permission
        return self.unsafe if effect is Effect.DENY else None

    def _applicable(self, effect: Effect) -> list[tuple[Permission, TopicPattern]]:
        return [
            (template.permission, template.pattern)
            for grants in self.grants
            for template in grants.templates
            if template.permission.effect is effect
            and template.permission.action.includes(self.action)
            and template.permission.in_force(self.now_ms)
        ]

    def _no_match(self) -> Decision:
        reason = Reason.UNSAFE_PLACEHOLDER if self.unsafe else Reason.NO_MATCH
        instance = self.view.instance
        passed_on = instance is not None and instance.no_match is NoMatch.PASS and reason is Reason.NO_MATCH
        return Decision(
            allow=False,
            reason=reason,
            revision=self.view.revision,
            rule=self.unsafe,
            nearest=self._nearest(),
            passed_on=passed_on,
        )

    def _nearest(self) -> Nearest | None:
        found = [
            Nearest(miss.permission, miss.why, miss.level)
            for grants in self.grants
            if (miss := grants.nearest(self.asked, self.action, self.now_ms))
        ]
        templates = [template for grants in self.grants for template in grants.templates]
        values = self.client.placeholder_values() if templates else {}
        for template in templates:
            levels = template.pattern.substitute(values)
            if levels is not None and (near := self._near(template.permission, levels)):
                found.append(near)
        # What lacks only the right action or some time came nearer than any level could.
        return max(found, key=lambda near: len(self.asked) + 1 if near.level is None else near.level, default=None)

    def _near(self, permission: Permission, levels: Levels) -> Nearest | None:
        """What a permission with placeholders lacks, if it is one thing: its filter's reach, the action, or time."""
        if permission.effect is Effect.DENY:
            return None
        fits, in_force = permission.action.includes(self.action), permission.in_force(self.now_ms)
        if fits and in_force:
            return Nearest(permission, "level", levels_reach(levels, self.asked))
        if fits is not in_force and levels_cover(levels, self.asked):
            return Nearest(permission, "expired" if fits else "action")
        return None
