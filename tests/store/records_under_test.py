"""Short ways to write down records, and the view and the answers that follow from them."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from store.account_names import AccountName, Mode, account_of
from store.account_records import AccessKey, DeviceCredential, Token, TokenActions, TokenKey
from store.credentials import dummy_secrets, verify, work_of
from store.database import Database
from store.decision import Challenge, Decision, authorize, conclude, select
from store.grants import GrantIndex
from store.names import group_of
from store.records import (
    Action,
    BlacklistEntry,
    Effect,
    Grantee,
    Group,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Record,
    Secret,
    SecretForm,
    SignMode,
)
from store.tables import BY_KIND, WITH_SECRETS
from store.token_mode import Binding
from store.token_text import TokenKeys
from store.view import Account, Client, Listener, View, Works

NOW = 1_800_000_000_000
INSTANCE = "mqtt-test"
LISTENER = Listener("tcp", INSTANCE)
DRAW_KEY = b"draw"

R = TypeVar("R", bound=Record)

ORIGIN = SignMode.ORIGIN
PUB, SUB, BOTH = Action.PUB, Action.SUB, Action.PUB_SUB


def secret(value: bytes | str = b"password", **fields: Any) -> Secret:
    """A live secret; `form` is told from the value."""
    raw = value.encode() if isinstance(value, str) else value
    form = fields.pop("form", SecretForm.HASH if raw.startswith(b"$") else SecretForm.KEY)
    printed = hashlib.sha256(form.encode() + raw).hexdigest()[:16]
    return Secret(id=fields.pop("id", "1"), value=raw, form=form, fingerprint=printed, **fields)


def instance(**fields: Any) -> Instance:
    return Instance(name=fields.pop("name", INSTANCE), **fields)


def group(name: str, **fields: Any) -> Group:
    return Group(instance=INSTANCE, name=name, **fields)


def user(username: str, *secrets: Secret | str, sign_mode: SignMode = ORIGIN, **fields: Any) -> Identity:
    """A USER identity; texts are secrets, and with none its secret is ``password``."""
    return _identity(IdentityType.USER, secrets, username=username, sign_mode=sign_mode, **fields)


def client(
    username: str, client_id: str, *secrets: Secret | str, sign_mode: SignMode = ORIGIN, **fields: Any
) -> Identity:
    """A CLIENT identity."""
    return _identity(
        IdentityType.CLIENT, secrets, username=username, client_id=client_id, sign_mode=sign_mode, **fields
    )


def _identity(identity_type: IdentityType, secrets: Iterable[Secret | str], **fields: Any) -> Identity:
    made = tuple(given if isinstance(given, Secret) else secret(given) for given in secrets)
    if not made and fields["sign_mode"] is not SignMode.EXTERNAL:
        made = (secret(),)
    return Identity(instance=fields.pop("instance", INSTANCE), identity_type=identity_type, secrets=made, **fields)


def allow(topic: str, action: Action = BOTH, **fields: Any) -> Permission:
    """An ALLOW; `to` is a pair of grantee and name, everyone where it is left out."""
    return _permission(topic, action, Effect.ALLOW, **fields)


def deny(topic: str, action: Action = BOTH, **fields: Any) -> Permission:
    return _permission(topic, action, Effect.DENY, **fields)


def _permission(topic: str, action: Action, effect: Effect, **fields: Any) -> Permission:
    grantee, name = fields.pop("to", (Grantee.ALL, ""))
    return Permission(
        instance=fields.pop("instance", INSTANCE),
        identity_type=grantee,
        identity=name,
        topic=topic,
        action=action,
        effect=effect,
        **fields,
    )


def blocked(client_id: str = "", username: str = "", **fields: Any) -> BlacklistEntry:
    return BlacklistEntry(instance=INSTANCE, client_id=client_id, username=username, **fields)


def access_key(access_key_id: str = "YYYYY", *secrets: Secret | str, **fields: Any) -> AccessKey:
    """An access key of the one instance; its secret is ``XXXXX`` where none is given."""
    return AccessKey(
        access_key_id=access_key_id,
        secrets=_keys(secrets or ("XXXXX",)),
        instances=fields.pop("instances", (INSTANCE,)),
        **fields,
    )


def credential(client_id: str = "c1", device_access_key_id: str = "DC.1", **fields: Any) -> DeviceCredential:
    """A device's credential; its secret is ``device`` where none is given."""
    return DeviceCredential(
        instance=fields.pop("instance", INSTANCE),
        client_id=client_id,
        device_access_key_id=device_access_key_id,
        secrets=_keys((fields.pop("secret", "device"),)),
        **fields,
    )


def token(*resources: str, actions: TokenActions = TokenActions.RW, **fields: Any) -> Token:
    """A token of the access key ``YYYYY`` that ends an hour after NOW."""
    return Token(
        token_id=fields.pop("token_id", "t1"),
        instance=fields.pop("instance", INSTANCE),
        access_key_id=fields.pop("access_key_id", "YYYYY"),
        actions=actions,
        resources=resources or ("a/#",),
        expires_at=fields.pop("expires_at", NOW + 3_600_000),
        **fields,
    )


def token_key(name: str = "k1", value: str = "token key") -> TokenKey:
    return TokenKey(name=name, secrets=_keys((value,)))


def _keys(secrets: Iterable[Secret | str]) -> tuple[Secret, ...]:
    return tuple(given if isinstance(given, Secret) else secret(given, form=SecretForm.KEY) for given in secrets)


def asking(username: str, client_id: str = "c1", listener: Listener = LISTENER, **fields: Any) -> Client:
    """A client that asks."""
    return Client(username, client_id, listener, **fields)


def view_of(records: Iterable[Record], asker: Client, revision: int = 7, *, binding: Binding | None = None) -> View:
    """The view that a reader would make of a store that holds these records and no others."""
    held = tuple(records)
    identities = [found for found in held if isinstance(found, Identity)]
    permissions = [found for found in held if isinstance(found, Permission)]
    owned = group_of(asker.client_id)

    def granted(grantee: Grantee, name: str) -> GrantIndex:
        return GrantIndex([found for found in permissions if (found.identity_type, found.identity) == (grantee, name)])

    works: dict[str, int] = {}
    for identity in identities:
        work = work_of(identity.sign_mode, identity.secrets)
        works[work] = works.get(work, 0) + 1
    return View(
        revision=revision,
        instance=next((found for found in held if isinstance(found, Instance)), None),
        group=next((found for found in held if isinstance(found, Group) and found.name == owned), None),
        blacklist=tuple(
            found
            for found in held
            if isinstance(found, BlacklistEntry)
            and (found.client_id == asker.client_id or (found.username and found.username == asker.username))
        ),
        owners=tuple(found for found in identities if found.client_id == asker.client_id),
        user=next((found for found in identities if not found.client_id and found.username == asker.username), None),
        user_grants=granted(Grantee.USER, asker.username),
        client_grants=granted(Grantee.CLIENT, asker.client_id),
        group_grants=granted(Grantee.GROUP, owned),
        all_grants=granted(Grantee.ALL, ""),
        works=Works(tuple((work, count) for work, count in works.items() if work), DRAW_KEY),
        device=next(
            (found for found in held if isinstance(found, DeviceCredential) and found.client_id == asker.client_id),
            None,
        ),
        account=_account(held, account, granted, binding) if (account := account_of(asker.username)) else None,
    )


def _account(
    held: Iterable[Record],
    name: AccountName,
    granted: Callable[[Grantee, str], GrantIndex],
    binding: Binding | None,
) -> Account:
    keys = {found.access_key_id: found for found in held if isinstance(found, AccessKey)}
    device = name.mode is Mode.DEVICE_CREDENTIAL
    return Account(
        name=name,
        key=None if device else keys.get(name.key_id),
        # In DeviceCredential mode, too: what is granted to a key named so must not count there.
        grants=granted(Grantee.ACCESS_KEY, name.key_id),
        tokens={found.token_id: found for found in held if isinstance(found, Token)},
        token_keys=TokenKeys({found.name: found.secrets[0].value for found in held if isinstance(found, TokenKey)}),
        binding=binding,
    )


def written(database: Database, *records: Record, now_ms: int = NOW, source: str = "api") -> list[Record]:
    """Put records under one revision; as they came to stand in the store."""
    with database.writing(actor="tester", source=source, now_ms=now_ms) as write:
        for record in records:
            write.put(stored(database, record))
    return [found for record in records if (found := database.get(BY_KIND[record.kind], record.key))]


def stored(database: Database, record: R) -> R:
    """The record with the fingerprints that this store gives to its secrets."""
    if not isinstance(record, WITH_SECRETS):
        return record
    secrets = (replace(made, fingerprint=database.fingerprint(made.form, made.value)) for made in record.secrets)
    return replace(record, secrets=tuple(secrets))


def challenged(records: Iterable[Record], asker: Client, password: bytes | None, now_ms: int = NOW) -> Challenge:
    """The challenge of an authentication; a refusal is a failure."""
    found = select(view_of(records, asker), asker, password, now_ms)
    assert isinstance(found, Challenge), found
    return found


def authenticated(
    records: Iterable[Record], asker: Client, password: bytes = b"password", now_ms: int = NOW
) -> Decision:
    """All three steps of an authentication."""
    return answer_to(view_of(records, asker), asker, password, now_ms)


def answer_to(view: View, asker: Client, password: bytes, now_ms: int = NOW) -> Decision:
    found = select(view, asker, password, now_ms)
    if isinstance(found, Decision):
        return found
    return conclude(found, verify(found.mode, found.secrets, found.client_id, password))


def authorized(records: Iterable[Record], asker: Client, action: Action, topic: str, now_ms: int = NOW) -> Decision:
    return authorize(view_of(records, asker), asker, action, topic, now_ms)


def same_work(challenge: Challenge, work: str) -> bool:
    """Whether verifying the challenge costs what `work` names."""
    return work_of(challenge.mode, challenge.secrets) == work and dummy_secrets(work)[0] is challenge.mode
