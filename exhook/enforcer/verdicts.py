"""What is to become of one live session, asked of the same core that decides requests."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from exhook.brokers.emqx import LiveClient
from store.account_names import Mode, account_of
from store.bindings import Bindings
from store.decision import authorize, instance_of
from store.names import group_of
from store.reader import Reader
from store.records import Action, Effect, Grantee
from store.revocations import BROAD
from store.tables import OF_TOKEN_KEY, Subject
from store.verdict import Reason
from store.view import Client, Listener, View

_OF_A_TOPIC: Final = frozenset({
    Reason.ALLOWED, Reason.DENIED, Reason.NO_MATCH, Reason.UNSAFE_PLACEHOLDER, Reason.INVALID_TOPIC,
    Reason.PRIVATE_TOPIC, Reason.UNKNOWN_PARENT_TOPIC, Reason.TOKEN_SCOPE, Reason.KEY_SCOPE,
    # It loses its subscriptions, and keeps the connection: it may renew the token there.
    Reason.EXPIRED_TOKEN,
})  # fmt: skip
"""Reasons that tell of what was asked for; every other one tells of who asks."""

_PROBE: Final = "exhook/standing"
"""Any legal topic: asked to learn whether the client may ask at all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What befalls one session."""

    disconnect: bool = False
    unsubscribe: tuple[str, ...] = ()
    """Its filters that are no longer allowed, as the broker holds them."""


def is_broad(subject: Subject) -> bool:
    """Whether all sessions of an instance, or of all, must be looked at."""
    return subject.type in BROAD


def concerns(subject: Subject, client: LiveClient, instances: Iterable[str]) -> bool:
    """Whether a session is one of those whom a subject means, where one of `instances` decides for it."""
    if subject.instance and subject.instance not in instances:
        return False
    if subject.type == OF_TOKEN_KEY:
        account = account_of(client.username)
        return account is not None and account.mode is Mode.TOKEN
    return is_broad(subject) or (subject.type, subject.name) in names_of(client)


def names_of(client: LiveClient) -> list[tuple[str, str]]:
    """Types and names of the subjects, other than broad ones, that mean a session."""
    names = [(Grantee.USER.value, client.username), (Grantee.CLIENT.value, client.client_id)]
    if group := group_of(client.client_id):
        names.append((Grantee.GROUP.value, group))
    account = account_of(client.username)
    if account is not None and account.mode is not Mode.DEVICE_CREDENTIAL:
        names.append((Grantee.ACCESS_KEY.value, account.key_id))
    return names


def instances_of(client: LiveClient, listeners: Iterable[Listener]) -> frozenset[str]:
    """The instances that may decide for a session."""
    return frozenset(instance_of(asked) for listener in listeners if (asked := _asked(client, listener)))


def judge(
    reader: Reader, bindings: Bindings, client: LiveClient, listeners: Iterable[Listener], topics: Iterable[str], *,
    proofs: frozenset[Subject], now_ms: int,
) -> Verdict:  # fmt: skip
    """The verdict on a session that came in by one of `listeners` and holds `topics`.

    `proofs` are the subjects of which a secret went. Where several listeners might be its, the strictest counts.

    Raises:
        StoreUnavailable, SealError: as `Reader.view`.
    """
    lost: dict[str, None] = {}
    for listener in listeners:
        asked = _asked(client, listener)
        if asked is None:
            return Verdict(disconnect=True)
        binding = bindings.find(listener.name, asked.client_id) if "|" in asked.username else None
        if binding is not None:
            # Whether it is that connection's, the workers saw to: each allowed CONNECT puts its own in its place.
            asked = replace(asked, address=binding.address, port=binding.port)
        view = reader.view(instance_of(asked), asked, binding=binding)
        standing = authorize(view, asked, Action.SUB, _PROBE, now_ms).reason
        if standing not in _OF_A_TOPIC or _proven_anew(view, asked, proofs):
            return Verdict(disconnect=True)
        for topic in topics:
            said = authorize(view, asked, Action.SUB, unmounted(topic, client.mountpoint), now_ms)
            if said.allow or said.passed_on:
                continue
            if said.reason is not Reason.DENIED and _hangs_on_certificate(view):
                # The API does not tell the certificate's name: when it connects again, the broker does.
                return Verdict(disconnect=True)
            lost[topic] = None
    return Verdict(unsubscribe=tuple(lost))


def unmounted(topic: str, mountpoint: str) -> str:
    """A filter as its client wrote it; one that lies elsewhere stays as it is."""
    if not mountpoint:
        return topic
    share, rest = "", topic
    if topic.startswith("$share/"):
        word, group, rest = [*topic.split("/", 2), "", ""][:3]
        share = f"{word}/{group}/"
    elif topic.startswith("$queue/"):
        share, rest = "$queue/", topic.removeprefix("$queue/")
    return share + rest.removeprefix(mountpoint) if rest.startswith(mountpoint) else topic


def _asked(client: LiveClient, listener: Listener) -> Client | None:
    return Client.from_wire(
        client.username.encode(errors="surrogatepass"), client.client_id.encode(errors="surrogatepass"), listener
    )


def _proven_anew(view: View, asked: Client, proofs: frozenset[Subject]) -> bool:
    """Whether what let it in is of a subject whose proof was lost."""
    instance = view.instance.name if view.instance else ""
    if Subject(instance, Grantee.CLIENT.value, asked.client_id) in proofs:
        return True
    account = account_of(asked.username)
    if account is None:
        own = any(owner.username == asked.username for owner in view.owners)
        return not own and Subject(instance, Grantee.USER.value, asked.username) in proofs
    # Tokens are not signed by the access key that issued them.
    return account.mode is Mode.SIGNATURE and Subject("", Grantee.ACCESS_KEY.value, account.key_id) in proofs


def _hangs_on_certificate(view: View) -> bool:
    return any("${cn}" in topic for topic in _allowed_templates(view))


def _allowed_templates(view: View) -> Iterator[str]:
    for grants in (view.user_grants, view.client_grants, view.group_grants, view.all_grants):
        for template in grants.templates:
            if template.permission.effect is Effect.ALLOW:
                yield template.permission.topic
