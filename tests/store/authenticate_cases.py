"""One case for each sentence of ``docs/semantics.md`` on authenticating: records, who asks, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from records_under_test import (
    INSTANCE,
    NOW,
    asking,
    blocked,
    client,
    group,
    instance,
    user,
)

from store.credentials import hash_password, sign
from store.decision import Reason
from store.records import ClientIdRule, Record, SignMode
from store.topics import MAX_BYTES
from store.view import Client, Listener

EXTERNAL = Listener("tls", INSTANCE, external=True)
GROUPED = instance(client_id_rule=ClientIdRule.GROUP)
HASHED = hash_password(b"password")
DEVICE = "GID_Press@@@0001"
SIGNED = sign(b"key", DEVICE)
SIGNED_SHA256 = sign(b"key", DEVICE, SignMode.SIGNED_SHA256)


@dataclass(frozen=True)
class Case:
    sentence: str
    records: Sequence[Record]
    asker: Client
    reason: Reason
    rule: Record | None = None
    password: bytes = b"password"


BLACKLISTED = blocked("c1")
BLACKLISTED_NAME = blocked(username="u")
PLAIN_USER = user("u")
OWNER = client("u", "c1", "own password")
OTHER_OWNER = client("other", "c1")
EXPIRED_OWNER = replace(OWNER, expires_at=NOW)

CASES = [
    # 1. What cannot be a legal CONNECT.
    Case("an empty password", [instance(), user("u")], asking("u"), Reason.INVALID_INPUT, password=b""),
    Case("an empty password, unknown name", [instance()], asking("u"), Reason.INVALID_INPUT, password=b""),
    Case(
        "an empty password, in a reserved mode",
        [instance()],
        asking(f"Signature|key|{INSTANCE}"),
        Reason.INVALID_INPUT,
        password=b"",
    ),
    Case(
        "a password longer than MQTT allows",
        [instance(), user("u")],
        asking("u"),
        Reason.INVALID_INPUT,
        password=b"x" * (MAX_BYTES + 1),
    ),
    Case(
        "a password as long as MQTT allows",
        [instance(), user("u")],
        asking("u"),
        Reason.WRONG_PASSWORD,
        PLAIN_USER,
        b"x" * MAX_BYTES,
    ),
    # The instance.
    Case("no such instance", [user("u")], asking("u"), Reason.WRONG_INSTANCE),
    Case("the instance expired", [instance(expires_at=NOW), user("u")], asking("u"), Reason.WRONG_INSTANCE),
    # 2. Blacklisted in every mode, before any password work.
    Case("client id", [instance(), PLAIN_USER, BLACKLISTED], asking("u"), Reason.BLACKLISTED, BLACKLISTED),
    Case("user name", [instance(), PLAIN_USER, BLACKLISTED_NAME], asking("u"), Reason.BLACKLISTED, BLACKLISTED_NAME),
    Case("unknown name", [instance(), BLACKLISTED], asking("nobody"), Reason.BLACKLISTED, BLACKLISTED),
    Case("a client of its own", [instance(), OWNER, BLACKLISTED], asking("u"), Reason.BLACKLISTED, BLACKLISTED),
    *(
        Case(
            f"{mode} mode",
            [instance(), BLACKLISTED],
            asking(f"{mode}|key|{INSTANCE}"),
            Reason.BLACKLISTED,
            BLACKLISTED,
        )
        for mode in ("Signature", "Token", "DeviceCredential")
    ),
    Case(
        "on an external listener",
        [instance(), BLACKLISTED],
        asking("u", listener=EXTERNAL),
        Reason.BLACKLISTED,
        BLACKLISTED,
    ),
    Case(
        "before the client id rule",
        [GROUPED, PLAIN_USER, BLACKLISTED],
        asking("u"),
        Reason.BLACKLISTED,
        BLACKLISTED,
    ),
    Case("before ownership", [instance(), OTHER_OWNER, BLACKLISTED], asking("u"), Reason.BLACKLISTED, BLACKLISTED),
    Case("another client id", [instance(), PLAIN_USER, blocked("c2")], asking("u"), Reason.ALLOWED, PLAIN_USER),
    Case("another name", [instance(), PLAIN_USER, blocked(username="U")], asking("u"), Reason.ALLOWED, PLAIN_USER),
    Case(
        "a client id spelled like the name",
        [instance(), PLAIN_USER, blocked("u")],
        asking("u"),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    Case(
        "a name spelled like the client id",
        [instance(), PLAIN_USER, blocked(username="c1")],
        asking("u"),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    # 3. The client id rule.
    Case("no group at all", [GROUPED, PLAIN_USER], asking("u", "c1"), Reason.INVALID_CLIENT_ID),
    Case("an unregistered group", [GROUPED, PLAIN_USER], asking("u", DEVICE), Reason.INVALID_CLIENT_ID),
    Case(
        "another group registered",
        [GROUPED, PLAIN_USER, group("GID_Other")],
        asking("u", DEVICE),
        Reason.INVALID_CLIENT_ID,
    ),
    Case(
        "a registered group",
        [GROUPED, PLAIN_USER, group("GID_Press")],
        asking("u", DEVICE),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    Case(
        "no device",
        [GROUPED, PLAIN_USER, group("GID_Press")],
        asking("u", "GID_Press@@@"),
        Reason.INVALID_CLIENT_ID,
    ),
    Case(
        "64 characters",
        [GROUPED, PLAIN_USER, group("GID_Press")],
        asking("u", "GID_Press@@@" + "x" * 52),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    Case(
        "65 characters",
        [GROUPED, PLAIN_USER, group("GID_Press")],
        asking("u", "GID_Press@@@" + "x" * 53),
        Reason.INVALID_CLIENT_ID,
    ),
    Case("the rule downgraded", [instance(), PLAIN_USER], asking("u", "c1"), Reason.ALLOWED, PLAIN_USER),
    Case(
        "before ownership",
        [GROUPED, client("other", DEVICE)],
        asking("u", DEVICE),
        Reason.INVALID_CLIENT_ID,
    ),
    # 4. Ownership of the client id.
    Case("another name", [instance(), PLAIN_USER, OTHER_OWNER], asking("u"), Reason.CLIENT_ID_OWNED, OTHER_OWNER),
    Case("an unknown name", [instance(), OTHER_OWNER], asking("x"), Reason.CLIENT_ID_OWNED, OTHER_OWNER),
    Case(
        "an expired one still owns",
        [instance(), PLAIN_USER, replace(OTHER_OWNER, expires_at=1)],
        asking("u"),
        Reason.CLIENT_ID_OWNED,
        replace(OTHER_OWNER, expires_at=1),
    ),
    Case(
        "a reserved mode",
        [instance(), OWNER],
        asking(f"Signature|key|{INSTANCE}"),
        Reason.CLIENT_ID_OWNED,
        OWNER,
    ),
    Case(
        "one of two owners",
        [instance(), OTHER_OWNER, OWNER],
        asking("u"),
        Reason.ALLOWED,
        OWNER,
        b"own password",
    ),
    Case(
        "not pinned",
        [instance(pin_client_ids=False), PLAIN_USER, OTHER_OWNER],
        asking("u"),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    Case(
        "not pinned, an unknown name",
        [instance(pin_client_ids=False), OTHER_OWNER],
        asking("u"),
        Reason.UNKNOWN_IDENTITY,
    ),
    Case(
        "not pinned: its own identity still decides",
        [instance(pin_client_ids=False), PLAIN_USER, OWNER],
        asking("u"),
        Reason.WRONG_PASSWORD,
        OWNER,
    ),
    # 5. Custom mode.
    Case("the CLIENT identity", [instance(), OWNER], asking("u"), Reason.ALLOWED, OWNER, b"own password"),
    Case(
        "the CLIENT identity alone: no fall-through to the USER identity",
        [instance(), PLAIN_USER, OWNER],
        asking("u"),
        Reason.WRONG_PASSWORD,
        OWNER,
    ),
    Case(
        "an expired CLIENT identity does not fall through either",
        [instance(), PLAIN_USER, EXPIRED_OWNER],
        asking("u"),
        Reason.EXPIRED,
        EXPIRED_OWNER,
    ),
    Case(
        "an expired CLIENT identity, its own password",
        [instance(), PLAIN_USER, EXPIRED_OWNER],
        asking("u"),
        Reason.EXPIRED,
        EXPIRED_OWNER,
        b"own password",
    ),
    Case("the USER identity", [instance(), PLAIN_USER], asking("u"), Reason.ALLOWED, PLAIN_USER),
    Case("the USER identity, another client", [instance(), PLAIN_USER], asking("u", "c2"), Reason.ALLOWED, PLAIN_USER),
    Case(
        "the USER identity beside another client's",
        [instance(), PLAIN_USER, client("u", "c2")],
        asking("u"),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
    Case("a wrong password", [instance(), PLAIN_USER], asking("u"), Reason.WRONG_PASSWORD, PLAIN_USER, b"wrong"),
    Case("an unknown name", [instance(), PLAIN_USER], asking("v"), Reason.UNKNOWN_IDENTITY),
    Case("no name", [instance(), PLAIN_USER], asking(""), Reason.UNKNOWN_IDENTITY),
    Case("another client's identity alone", [instance(), client("u", "c2")], asking("u"), Reason.UNKNOWN_IDENTITY),
    # client_ids.
    Case(
        "client_ids, a prefix",
        [instance(), user("u", client_ids_prefix="meter-")],
        asking("u", "meter-1"),
        Reason.ALLOWED,
        user("u", client_ids_prefix="meter-"),
    ),
    Case(
        "client_ids, not the prefix",
        [instance(), user("u", client_ids_prefix="meter-")],
        asking("u", "Meter-1"),
        Reason.UNKNOWN_IDENTITY,
    ),
    Case(
        "client_ids, a group",
        [instance(), user("u", client_ids_group="GID_Press")],
        asking("u", DEVICE),
        Reason.ALLOWED,
        user("u", client_ids_group="GID_Press"),
    ),
    Case(
        "client_ids, not the group",
        [instance(), user("u", client_ids_group="GID_Press")],
        asking("u", "GID_Press2@@@0001"),
        Reason.UNKNOWN_IDENTITY,
    ),
    Case(
        "client_ids, the group without a device",
        [instance(), user("u", client_ids_group="GID_Press")],
        asking("u", "GID_Press"),
        Reason.UNKNOWN_IDENTITY,
    ),
    # Sign modes.
    Case(
        "SIGNED",
        [instance(), user("u", "key", sign_mode=SignMode.SIGNED)],
        asking("u", DEVICE),
        Reason.ALLOWED,
        user("u", "key", sign_mode=SignMode.SIGNED),
        SIGNED,
    ),
    Case(
        "SIGNED, another client's signature",
        [instance(), user("u", "key", sign_mode=SignMode.SIGNED)],
        asking("u", "GID_Press@@@0002"),
        Reason.WRONG_PASSWORD,
        user("u", "key", sign_mode=SignMode.SIGNED),
        SIGNED,
    ),
    Case(
        "SIGNED, the key itself",
        [instance(), user("u", "key", sign_mode=SignMode.SIGNED)],
        asking("u", DEVICE),
        Reason.WRONG_PASSWORD,
        user("u", "key", sign_mode=SignMode.SIGNED),
        b"key",
    ),
    Case(
        "SIGNED_SHA256",
        [instance(), user("u", "key", sign_mode=SignMode.SIGNED_SHA256)],
        asking("u", DEVICE),
        Reason.ALLOWED,
        user("u", "key", sign_mode=SignMode.SIGNED_SHA256),
        SIGNED_SHA256,
    ),
    Case(
        "ORIGIN takes a signature literally",
        [instance(), user("u", SIGNED.decode())],
        asking("u", "c1"),
        Reason.ALLOWED,
        user("u", SIGNED.decode()),
        SIGNED,
    ),
    Case(
        "HASHED",
        [instance(), user("u", HASHED, sign_mode=SignMode.HASHED)],
        asking("u"),
        Reason.ALLOWED,
        user("u", HASHED, sign_mode=SignMode.HASHED),
    ),
    Case(
        "HASHED, the hash itself",
        [instance(), user("u", HASHED, sign_mode=SignMode.HASHED)],
        asking("u"),
        Reason.WRONG_PASSWORD,
        user("u", HASHED, sign_mode=SignMode.HASHED),
        HASHED.encode(),
    ),
    # EXTERNAL, both ways (pitfall 23).
    Case(
        "an EXTERNAL identity where the broker proves nothing",
        [instance(), user("u", sign_mode=SignMode.EXTERNAL)],
        asking("u"),
        Reason.EXTERNAL_ONLY,
        user("u", sign_mode=SignMode.EXTERNAL),
    ),
    Case(
        "an EXTERNAL identity where the broker proves it",
        [instance(), user("u", sign_mode=SignMode.EXTERNAL)],
        asking("u", listener=EXTERNAL),
        Reason.EXTERNAL_ONLY,
        user("u", sign_mode=SignMode.EXTERNAL),
    ),
    Case(
        "a password identity where the broker proves it, its password right",
        [instance(), PLAIN_USER],
        asking("u", listener=EXTERNAL),
        Reason.EXTERNAL_ONLY,
        PLAIN_USER,
    ),
    Case(
        "an empty password is no error where none is asked for",
        [instance(), PLAIN_USER],
        asking("u", listener=EXTERNAL),
        Reason.EXTERNAL_ONLY,
        PLAIN_USER,
        b"",
    ),
    Case(
        "a reserved mode on an external listener",
        [instance()],
        asking(f"Signature|key|{INSTANCE}", listener=EXTERNAL),
        Reason.EXTERNAL_ONLY,
    ),
    Case("an unknown certificate", [instance()], asking("u", listener=EXTERNAL), Reason.EXTERNAL_ONLY),
    # Reserved modes.
    *(
        Case(f"{mode} mode, unknown key", [instance()], asking(f"{mode}|key|{INSTANCE}"), Reason.UNKNOWN_IDENTITY)
        for mode in ("Signature", "DeviceCredential")
    ),
    *(
        Case(f"{mode} mode of another instance", [instance()], asking(f"{mode}|key|mqtt-b"), Reason.WRONG_INSTANCE)
        for mode in ("Signature", "Token", "DeviceCredential")
    ),
    # Not three parts, or not a mode's word: custom authentication.
    *(
        Case(f"custom: {name}", [instance()], asking(name), Reason.UNKNOWN_IDENTITY)
        for name in ("Signature|key", f"Signature|a|b|{INSTANCE}", f"signature|key|{INSTANCE}", f"X|key|{INSTANCE}")
    ),
    # Confusables (pitfall 20): exact bytes.
    *(
        Case(f"exact bytes: {name!r}", [instance(), user("caf\u00e9")], asking(name), Reason.UNKNOWN_IDENTITY)
        for name in ("Caf\u00e9", "cafe\u0301", "caf\u00e9 ", " caf\u00e9", "cafe")
    ),
    Case(
        "exact bytes of a blacklisted client id",
        [instance(), PLAIN_USER, blocked("caf\u00e9")],
        asking("u", "cafe\u0301"),
        Reason.ALLOWED,
        PLAIN_USER,
    ),
]
