"""The decision core. Pure: a view of the records, a client and a clock in, a `Decision` out.

Authentication has three steps around a slow one: `select` finds who must prove what, `verify` (in
`store.credentials`, in a pool where it is slow) tries the password, `conclude` decides. The order of the
checks is that of ``docs/semantics.md``; every adapter shares it. The account modes go their own way, in
`store.account_modes`, once nothing bars the client.
"""

from dataclasses import replace
from typing import Final

from store.account_modes import account_grants, authorize_account, fallen, renew, select_account
from store.account_names import Mode, account_of
from store.authorizing import Question
from store.names import follows_group_rule
from store.records import Action, ClientIdRule, Identity, SignMode
from store.topics import MAX_BYTES, PRIVATE, InvalidTopic, parse_publication, parse_subscription
from store.verdict import Challenge, Decision, Nearest, Reason, refused
from store.view import Client, View

__all__ = [
    "Challenge",
    "Decision",
    "Nearest",
    "Reason",
    "authorize",
    "conclude",
    "instance_of",
    "refused",
    "select",
]

UPLOAD_TOPIC: Final = "$SYS/uploadToken"
"""Topic on which a client in Token mode renews its tokens (vendor)."""

UPLOAD_TOKEN: Final = tuple(UPLOAD_TOPIC.split("/"))


def instance_of(client: Client) -> str:
    """The instance whose records decide: an account mode's user name names it, else it is the listener's."""
    account = account_of(client.username)
    return account.instance if account and account.instance else client.listener.instance


def select(view: View, client: Client, password: bytes | None, now_ms: int) -> Challenge | Decision:
    """Who must prove what; or the refusal, where no proof could help.

    `password` is None where it is not known (explain): the empty one is refused, an unknown one is not.
    """
    empty = password == b"" and not client.listener.external
    if empty or (password is not None and len(password) > MAX_BYTES):
        return refused(Reason.INVALID_INPUT, view.revision)
    if barred := _barred(view, client, now_ms):
        return barred
    if view.account is not None:
        return select_account(view, view.account, client, password, now_ms)
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
    account = view.account
    renewing = action is Action.PUB and asked == UPLOAD_TOKEN
    # Behind `$delayed`, or a mountpoint, no broker would know it for a renewal: the token would be delivered.
    known = topic == UPLOAD_TOPIC and not client.listener.mounted
    renewal = renewing and known and account is not None and account.name.mode is Mode.TOKEN
    if asked[0] == PRIVATE or (renewing and not renewal):
        return refused(Reason.PRIVATE_TOPIC, view.revision)
    if account is not None and renewal:
        question = Question(view, client, account_grants(view, account), asked, action, now_ms)
        return _barred(view, client, now_ms) or renew(account, question)
    if hindered := hindrance(view, client, now_ms):
        return hindered
    if account is not None:
        return authorize_account(account, Question(view, client, account_grants(view, account), asked, action, now_ms))
    grants = (view.client_grants, view.user_grants, view.group_grants, view.all_grants)
    return Question(view, client, grants, asked, action, now_ms).answer()


def hindrance(view: View, client: Client, now_ms: int) -> Decision | None:
    """What refuses a client whatever it asks; None where its permissions, or tokens, decide."""
    if barred := _barred(view, client, now_ms):
        return barred
    if view.account is not None:
        return fallen(view, view.account, now_ms)
    identity, nearest = _identity(view, client)
    verdict = _standing(identity, client, now_ms)
    if verdict is Reason.ALLOWED:
        return None
    return replace(refused(verdict, view.revision), rule=identity, nearest=nearest)


def _barred(view: View, client: Client, now_ms: int) -> Decision | None:
    """What refuses a client in every mode: instance, blacklist, client id rule, ownership of the client id."""
    account, instance = view.account, view.instance
    named = client.listener.instance if account is None else account.name.instance
    if instance is None or not instance.in_force(now_ms) or named != client.listener.instance:
        return refused(Reason.WRONG_INSTANCE, view.revision)
    for entry in view.blacklist:
        if entry.in_force(now_ms):
            return replace(refused(Reason.BLACKLISTED, view.revision), rule=entry)
    if instance.client_id_rule is ClientIdRule.GROUP:
        registered = view.group is not None and view.group.in_force(now_ms)
        if not registered or not follows_group_rule(client.client_id):
            return refused(Reason.INVALID_CLIENT_ID, view.revision)
    if instance.pin_client_ids and (view.owners or view.device) and not _owns(view, client):
        return replace(refused(Reason.CLIENT_ID_OWNED, view.revision), rule=(*view.owners, view.device)[0])
    if account is not None and client.listener.external:
        return refused(Reason.EXTERNAL_ONLY, view.revision)
    return None


def _owns(view: View, client: Client) -> bool:
    """Whether the client id belongs to the identity or the device credential that the user name names."""
    if view.account is None:
        return any(owner.username == client.username for owner in view.owners)
    name = view.account.name
    device = view.device if name.mode is Mode.DEVICE_CREDENTIAL else None
    return device is not None and device.device_access_key_id == name.key_id


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
