"""Strategies for small stores and the requests that they are asked: few names, so that things meet."""

from hypothesis import strategies as st
from records_under_test import INSTANCE, LISTENER, NOW, allow, asking, blocked, client, group, instance, secret, user

from store.names import InvalidRecord
from store.records import (
    Action,
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Grantee,
    Group,
    Identity,
    Instance,
    NoMatch,
    Permission,
    Record,
    SignMode,
)
from store.view import Client, Listener

LISTENERS = (
    LISTENER,
    Listener("tls", INSTANCE, external=True),
    Listener("mosquitto", INSTANCE, emqx=False),
)
GROUPS = ("GID_Abc", "GID_Xyz")
USERNAMES = ("u", "v", "+", "a")
CLIENT_IDS = ("c", "a", "#", "$S", "GID_Abc@@@a", "GID_Abc@@@+", "GID_Xyz@@@b")
PASSWORDS = (b"one", b"two")

LEVELS = ("a", "b", "+", "+", "a", "", "$S", "u")
ASKED = ("a", "a", "b", "+", "", "$S", "u", "c")
TEMPLATES = ("${clientid}", "${username}", "${group}", "${device}", "${cn}")
PREFIXES = ("$share/g/", "$share/+/", "$queue/", "$delayed/5/", "$delayed/x/", "$exhook/", "$SYS/")

_expiry = st.sampled_from([*[None] * 6, NOW, NOW + 1])
_instances = st.builds(
    instance,
    client_id_rule=st.sampled_from([*[ClientIdRule.ANY] * 5, ClientIdRule.GROUP]),
    pin_client_ids=st.booleans(),
    no_match=st.sampled_from(NoMatch),
    parent_topics=st.sampled_from([*[()] * 5, ("a",), ("b", "a"), ("u",)]),
)
_groups = st.builds(group, st.sampled_from(GROUPS), expires_at=_expiry)
_secrets = st.lists(
    st.builds(secret, st.sampled_from(PASSWORDS), id=st.sampled_from("12"), expires_at=_expiry),
    min_size=1,
    max_size=2,
    unique_by=lambda made: made.id,
)


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    mode = draw(st.sampled_from([*[SignMode.ORIGIN] * 4, SignMode.SIGNED, SignMode.EXTERNAL]))
    secrets = () if mode is SignMode.EXTERNAL else tuple(draw(_secrets))
    username, expires_at = draw(st.sampled_from(USERNAMES)), draw(_expiry)
    if draw(st.integers(0, 2)) == 0:
        owned = draw(st.sampled_from(CLIENT_IDS))
        return client(username, owned, *secrets, sign_mode=mode, expires_at=expires_at)
    prefix, owned_by = draw(st.sampled_from([("", ""), ("", ""), ("GID_", ""), ("", "GID_Abc")]))
    return user(
        username,
        *secrets,
        sign_mode=mode,
        expires_at=expires_at,
        client_ids_prefix=prefix,
        client_ids_group=owned_by,
    )


@st.composite
def permissions(draw: st.DrawFn) -> Permission:
    grantee = draw(st.sampled_from([Grantee.ALL, Grantee.ALL, *Grantee]))
    names = {
        Grantee.ALL: ("",),
        Grantee.CLIENT: CLIENT_IDS,
        Grantee.GROUP: GROUPS,
    }.get(grantee, USERNAMES)
    levels = draw(st.lists(st.sampled_from(LEVELS + TEMPLATES), min_size=1, max_size=2))
    if draw(st.booleans()):
        levels.append("#")
    try:
        return Permission(
            instance=INSTANCE,
            identity_type=grantee,
            identity=draw(st.sampled_from(names)),
            topic="/".join(levels),
            action=draw(st.sampled_from(Action)),
            effect=draw(st.sampled_from(Effect)),
            expires_at=draw(_expiry),
            source=draw(st.sampled_from(["api", "plant"])),
        )
    except InvalidRecord:
        return Permission(
            instance=INSTANCE,
            identity_type=Grantee.ALL,
            identity="",
            topic="#",
            action=Action.PUB_SUB,
            effect=Effect.ALLOW,
        )


_blacklist = st.one_of(
    st.builds(blocked, client_id=st.sampled_from(CLIENT_IDS), expires_at=_expiry),
    st.builds(blocked, username=st.sampled_from(USERNAMES), expires_at=_expiry),
)


@st.composite
def stores(draw: st.DrawFn) -> list[Record]:
    """An instance and what stands in it, one record a key."""
    found: list[Instance | Group | Identity | Permission | BlacklistEntry] = [draw(_instances)]
    found += draw(st.lists(_groups, max_size=2))
    found += draw(st.lists(identities(), min_size=1, max_size=4))
    found += draw(st.lists(permissions(), max_size=8))
    if draw(st.booleans()):
        # Else few denials would be seen to deny.
        found.append(allow("#"))
    if draw(st.integers(0, 5)) == 0:
        found.append(draw(_blacklist))
    return list({(record.kind, record.key): record for record in found}.values())


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Record], Client]:
    """A store and a client that asks: mostly one that an identity lets in."""
    records = draw(stores())
    known = [record for record in records if isinstance(record, Identity)]
    if draw(st.integers(0, 5)) == 0:
        names = [*USERNAMES, "", f"Token|u|{INSTANCE}", "Signature|u|mqtt-b"]
        name, client_id, listener = (draw(st.sampled_from(some)) for some in (names, CLIENT_IDS, LISTENERS))
        return records, asking(str(name), str(client_id), listener if isinstance(listener, Listener) else LISTENER)
    identity = draw(st.sampled_from(known))
    client_id = identity.client_id or draw(st.sampled_from(CLIENT_IDS))
    external = identity.sign_mode is SignMode.EXTERNAL
    listener = LISTENERS[1] if external else draw(st.sampled_from((LISTENERS[0], LISTENERS[0], LISTENERS[2])))
    cn = draw(st.sampled_from(["", "b", "+"]))
    return records, asking(identity.username, client_id, listener, cn=cn)


@st.composite
def topics(draw: st.DrawFn) -> str:
    """A topic or filter, mostly legal."""
    levels = draw(st.lists(st.sampled_from(ASKED), min_size=1, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        levels.append("#")
    return draw(st.sampled_from([*[""] * 14, *PREFIXES])) + "/".join(levels)
