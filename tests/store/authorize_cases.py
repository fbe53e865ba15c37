"""One case for each sentence of ``docs/semantics.md`` on authorizing: records, who asks for what, and the answer.

Unless a case brings its own, the instance ``mqtt-test`` and the USER identity ``u`` stand in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from records_under_test import (
    INSTANCE,
    NOW,
    PUB,
    SUB,
    allow,
    asking,
    blocked,
    client,
    deny,
    group,
    instance,
    user,
)

from store.decision import Reason
from store.records import Action, ClientIdRule, Grantee, NoMatch, Record, SignMode
from store.view import Client, Listener

EXTERNAL = Listener("tls", INSTANCE, external=True)
MOSQUITTO = Listener("mosquitto", INSTANCE, emqx=False)
DEVICE = "GID_Press@@@0001"
HASH_INJECTOR = "#"

U = user("u")
MINE = asking("u")
THEIRS = asking("u", listener=MOSQUITTO)
TO_U = (Grantee.USER, "u")
TO_C1 = (Grantee.CLIENT, "c1")
TO_PRESS = (Grantee.GROUP, "GID_Press")
EVERYTHING = allow("#")
OWNER = client("other", "c1")
EXPIRED_U = replace(U, expires_at=NOW)
CERTIFICATE = user("u", sign_mode=SignMode.EXTERNAL)
PASSING = instance(no_match=NoMatch.PASS)


@dataclass(frozen=True)
class Case:
    sentence: str
    records: Sequence[Record]
    action: Action
    topic: str
    reason: Reason
    rule: Record | None = None
    asker: Client = MINE
    passed_on: bool = False

    def store(self) -> list[Record]:
        """The records of the case, with the instance and the identity that it takes for granted."""
        held = {record.kind for record in self.records}
        usual: list[Record] = [] if "instance" in held else [instance()]
        return [*usual, *([] if "identity" in held else [U]), *self.records]


def _topics(reason: Reason, action: Action, *topics: str, asker: Client = MINE) -> list[Case]:
    return [Case(f"{action} {topic!r}", [EVERYTHING], action, topic, reason, asker=asker) for topic in topics]


TOPICS = [
    # 1. Legal topics and filters; prefixes.
    *_topics(Reason.INVALID_TOPIC, PUB, "", "a/+", "a/#", "#", "a\0", "$share/g/a", "$share", "\ud800"),
    *_topics(Reason.INVALID_TOPIC, SUB, "", "a/#/b", "a#", "a/b+", "a\0", "x" * 65_536),
    *_topics(Reason.INVALID_TOPIC, SUB, "$share", "$share/g", "$share/g/", "$share//x", "$share/+/x", "$share/#/x"),
    *_topics(Reason.INVALID_TOPIC, SUB, "$share/g/$share/h/x", "$share/g/$queue/x", "$share/g/a#", "$queue", "$queue/"),
    *_topics(Reason.INVALID_TOPIC, SUB, "$queue/$share/g/x", "$queue/$queue/x"),
    *_topics(
        Reason.INVALID_TOPIC,
        PUB,
        "$delayed",
        "$delayed/5",
        "$delayed/x/a",
        "$delayed/-1/a",
        "$delayed/\u0665/a",
        "$delayed/1/$delayed/1/a",
    ),
    Case("$share/g/F is read as F", [EVERYTHING], SUB, "$share/g/secret", Reason.ALLOWED, EVERYTHING),
    Case("$share/g/a as a", [allow("a")], SUB, "$share/g/a", Reason.ALLOWED, allow("a")),
    Case("the group is no level", [allow("+/+/x")], SUB, "$share/g/x", Reason.NO_MATCH),
    Case(
        "a DENY reaches through $share", [EVERYTHING, deny("secret")], SUB, "$share/g/#", Reason.DENIED, deny("secret")
    ),
    Case("$share/g/$SYS/# is $SYS", [EVERYTHING], SUB, "$share/g/$SYS/#", Reason.NO_MATCH),
    Case("$queue/F is read as F on EMQX", [allow("a/#")], SUB, "$queue/a/b", Reason.ALLOWED, allow("a/#")),
    Case("$queue and a DENY", [EVERYTHING, deny("a/b")], SUB, "$queue/a/#", Reason.DENIED, deny("a/b")),
    Case("$queue is a topic elsewhere", [allow("a/#")], SUB, "$queue/a/b", Reason.NO_MATCH, asker=THEIRS),
    Case("# does not reach $queue elsewhere", [EVERYTHING], SUB, "$queue/a", Reason.NO_MATCH, asker=THEIRS),
    Case("$queue takes no PUBLISH as F", [allow("a/#")], PUB, "$queue/a/b", Reason.NO_MATCH),
    Case("$delayed/N/T is read as T on EMQX", [allow("a/#")], PUB, "$delayed/5/a/b", Reason.ALLOWED, allow("a/#")),
    Case("$delayed and a DENY", [EVERYTHING, deny("a/b")], PUB, "$delayed/5/a/b", Reason.DENIED, deny("a/b")),
    Case("$delayed is a topic elsewhere", [allow("a/#")], PUB, "$delayed/5/a/b", Reason.NO_MATCH, asker=THEIRS),
    Case("$delayed takes no SUBSCRIBE as T", [allow("a/#")], SUB, "$delayed/5/a/b", Reason.NO_MATCH),
    Case("$share on Mosquitto, too", [allow("a")], SUB, "$share/g/a", Reason.ALLOWED, allow("a"), asker=THEIRS),
    *_topics(Reason.PRIVATE_TOPIC, PUB, "$exhook", "$exhook/", "$exhook/a/b", "$delayed/5/$exhook/a"),
    *_topics(Reason.PRIVATE_TOPIC, SUB, "$exhook/#", "$exhook/+", "$share/g/$exhook/a", "$queue/$exhook/a"),
    *_topics(Reason.PRIVATE_TOPIC, SUB, "$exhook", asker=THEIRS),
    *_topics(Reason.PRIVATE_TOPIC, PUB, "$SYS/uploadToken", "$delayed/0/$SYS/uploadToken"),
    Case(
        "$SYS/uploadToken takes PUBLISH in Token mode alone",
        [allow("$SYS/#")],
        PUB,
        "$SYS/uploadToken",
        Reason.PRIVATE_TOPIC,
    ),
    Case("another $SYS topic", [allow("$SYS/#")], PUB, "$SYS/uploadTokens", Reason.ALLOWED, allow("$SYS/#")),
    Case("a filter on it", [allow("$SYS/#")], SUB, "$SYS/uploadToken", Reason.ALLOWED, allow("$SYS/#")),
    Case("it is judged before the client is", [EVERYTHING, blocked("c1")], PUB, "a/#", Reason.INVALID_TOPIC),
    Case("private before the client, too", [EVERYTHING, blocked("c1")], PUB, "$exhook/a", Reason.PRIVATE_TOPIC),
]

AGAIN = [
    # 2. Every check of authenticate but the password again.
    Case("the client id blacklisted", [EVERYTHING, blocked("c1")], PUB, "a", Reason.BLACKLISTED, blocked("c1")),
    Case(
        "the user name blacklisted",
        [EVERYTHING, blocked(username="u")],
        PUB,
        "a",
        Reason.BLACKLISTED,
        blocked(username="u"),
    ),
    Case(
        "the client id rule",
        [instance(client_id_rule=ClientIdRule.GROUP), EVERYTHING],
        PUB,
        "a",
        Reason.INVALID_CLIENT_ID,
    ),
    Case("the client id is another's", [OWNER, U, EVERYTHING], PUB, "a", Reason.CLIENT_ID_OWNED, OWNER),
    Case(
        "not pinned",
        [instance(pin_client_ids=False), OWNER, U, EVERYTHING],
        PUB,
        "a",
        Reason.ALLOWED,
        EVERYTHING,
    ),
    Case("the identity deleted", [client("u", "c2"), EVERYTHING], PUB, "a", Reason.UNKNOWN_IDENTITY),
    Case("the identity expired", [EXPIRED_U, EVERYTHING], PUB, "a", Reason.EXPIRED, EXPIRED_U),
    Case(
        "an expired CLIENT identity does not fall through to the USER identity",
        [client("u", "c1", expires_at=NOW), U, EVERYTHING],
        PUB,
        "a",
        Reason.EXPIRED,
        client("u", "c1", expires_at=NOW),
    ),
    Case(
        "client_ids admits this client no more",
        [user("u", client_ids_prefix="meter-"), EVERYTHING],
        PUB,
        "a",
        Reason.UNKNOWN_IDENTITY,
    ),
    Case("no such instance", [instance(name="mqtt-b", expires_at=NOW), EVERYTHING], PUB, "a", Reason.WRONG_INSTANCE),
    *(
        Case(
            f"{mode}, no key",
            [EVERYTHING],
            PUB,
            "a",
            Reason.UNKNOWN_IDENTITY,
            asker=asking(f"{mode}|u|{INSTANCE}"),
        )
        for mode in ("Signature", "Token", "DeviceCredential")
    ),
    Case(
        "a mode of another instance",
        [EVERYTHING],
        PUB,
        "a",
        Reason.WRONG_INSTANCE,
        asker=asking("Signature|u|mqtt-b"),
    ),
    # The mode is fit for the listener, both ways (pitfall 23).
    Case(
        "EXTERNAL where the broker proves it",
        [CERTIFICATE, EVERYTHING],
        PUB,
        "a",
        Reason.ALLOWED,
        EVERYTHING,
        asker=asking("u", listener=EXTERNAL),
    ),
    Case("EXTERNAL where it does not", [CERTIFICATE, EVERYTHING], PUB, "a", Reason.EXTERNAL_ONLY, CERTIFICATE),
    Case(
        "a certificate named like a password identity",
        [EVERYTHING],
        PUB,
        "a",
        Reason.EXTERNAL_ONLY,
        U,
        asker=asking("u", listener=EXTERNAL),
    ),
    Case(
        "a certificate that nobody knows",
        [EVERYTHING],
        PUB,
        "a",
        Reason.EXTERNAL_ONLY,
        asker=asking("x", listener=EXTERNAL),
    ),
    Case(
        "a certificate named like a mode",
        [EVERYTHING],
        PUB,
        "a",
        Reason.EXTERNAL_ONLY,
        asker=asking(f"Signature|u|{INSTANCE}", listener=EXTERNAL),
    ),
    Case(
        "an expired EXTERNAL identity",
        [replace(CERTIFICATE, expires_at=NOW), EVERYTHING],
        PUB,
        "a",
        Reason.EXPIRED,
        replace(CERTIFICATE, expires_at=NOW),
        asker=asking("u", listener=EXTERNAL),
    ),
]


def _granted(to: tuple[Grantee, str], asker: Client, *, reason: Reason = Reason.ALLOWED) -> Case:
    grant = allow("a", to=to)
    rule = grant if reason is Reason.ALLOWED else None
    return Case(f"{to[0]} {to[1]!r}", [grant], PUB, "a", reason, rule, asker=asker)


GRANTEES = [
    # 4. The permissions in force of USER, CLIENT, GROUP and ALL; union.
    _granted(TO_U, MINE),
    _granted(TO_C1, MINE),
    _granted(TO_PRESS, asking("u", DEVICE)),
    _granted((Grantee.ALL, ""), MINE),
    _granted((Grantee.USER, "U"), MINE, reason=Reason.NO_MATCH),
    _granted((Grantee.USER, "c1"), MINE, reason=Reason.NO_MATCH),
    _granted((Grantee.CLIENT, "u"), MINE, reason=Reason.NO_MATCH),
    _granted((Grantee.CLIENT, "c2"), MINE, reason=Reason.NO_MATCH),
    _granted((Grantee.GROUP, "GID_Other"), asking("u", DEVICE), reason=Reason.NO_MATCH),
    _granted(TO_PRESS, asking("u", "GID_Press"), reason=Reason.NO_MATCH),
    _granted(TO_PRESS, asking("u", "x@@@GID_Press@@@0001"), reason=Reason.NO_MATCH),
    _granted((Grantee.GROUP, "GID_Press"), asking("u", "GID_Press@@@GID_Other@@@1")),
    # Pitfall 22: a user name spelled like an access key.
    _granted((Grantee.ACCESS_KEY, "u"), MINE, reason=Reason.NO_MATCH),
    _granted((Grantee.ACCESS_KEY, "c1"), MINE, reason=Reason.NO_MATCH),
    Case(
        "nor its denials",
        [allow("a", to=TO_U), deny("a", to=(Grantee.ACCESS_KEY, "u"))],
        PUB,
        "a",
        Reason.ALLOWED,
        allow("a", to=TO_U),
    ),
    Case("another instance's grants", [allow("a", instance="mqtt-b")], PUB, "b", Reason.NO_MATCH),
    # Actions.
    Case("PUB for PUB", [allow("a", PUB)], PUB, "a", Reason.ALLOWED, allow("a", PUB)),
    Case("PUB is no SUB", [allow("a", PUB)], SUB, "a", Reason.NO_MATCH),
    Case("SUB is no PUB", [allow("a", SUB)], PUB, "a", Reason.NO_MATCH),
    Case("PUB_SUB is both", [allow("a")], SUB, "a", Reason.ALLOWED, allow("a")),
    Case("a DENY of SUB denies no PUB", [EVERYTHING, deny("a", SUB)], PUB, "a", Reason.ALLOWED, EVERYTHING),
    Case("a DENY of PUB denies no SUB", [EVERYTHING, deny("a", PUB)], SUB, "a", Reason.ALLOWED, EVERYTHING),
    # A DENY wins, whoever it concerns.
    *(
        Case(f"a DENY to {to[0]} wins", [*allowing, deny("a", to=to)], PUB, "a", Reason.DENIED, deny("a", to=to), asker)
        for to, asker in ((TO_U, MINE), (TO_C1, MINE), (TO_PRESS, asking("u", DEVICE)), ((Grantee.ALL, ""), MINE))
        for allowing in ([allow("a", to=TO_U), allow("a", to=TO_C1), allow("a", to=TO_PRESS), allow("#")],)
    ),
    Case("a wide DENY over a narrow ALLOW", [allow("a/b"), deny("a/#")], PUB, "a/b", Reason.DENIED, deny("a/#")),
    Case(
        "a DENY of any source wins",
        [allow("a", source="plant"), deny("a", source="other")],
        PUB,
        "a",
        Reason.DENIED,
        deny("a", source="other"),
    ),
    Case(
        "an expired DENY denies nothing",
        [EVERYTHING, deny("a", expires_at=NOW)],
        PUB,
        "a",
        Reason.ALLOWED,
        EVERYTHING,
    ),
    Case("an expired ALLOW allows nothing", [allow("a", expires_at=NOW)], PUB, "a", Reason.NO_MATCH),
    Case(
        "an expired ALLOW falls through to no wider one of another client (pitfall 22)",
        [allow("a", expires_at=NOW), allow("#", to=(Grantee.CLIENT, "c2"))],
        PUB,
        "a",
        Reason.NO_MATCH,
    ),
    # 5. No ALLOW.
    Case("nothing granted at all", [], PUB, "a", Reason.NO_MATCH),
    Case("nothing granted at all, SUB", [], SUB, "a", Reason.NO_MATCH),
    Case("no_match: pass", [PASSING], PUB, "a", Reason.NO_MATCH, passed_on=True),
    Case("no_match: pass, of filters", [PASSING, allow("b")], SUB, "a", Reason.NO_MATCH, passed_on=True),
    Case("pass leaves a DENY alone", [PASSING, deny("a")], PUB, "a", Reason.DENIED, deny("a")),
    Case("pass leaves an ALLOW alone", [PASSING, allow("a")], PUB, "a", Reason.ALLOWED, allow("a")),
    Case("pass leaves an illegal topic alone", [PASSING], PUB, "a/+", Reason.INVALID_TOPIC),
    Case("pass leaves private topics alone", [PASSING], PUB, "$exhook/a", Reason.PRIVATE_TOPIC),
    Case("pass leaves the blacklist alone", [PASSING, blocked("c1")], PUB, "a", Reason.BLACKLISTED, blocked("c1")),
    Case("pass leaves unknown names alone", [PASSING, client("u", "c2")], PUB, "a", Reason.UNKNOWN_IDENTITY),
    Case("pass leaves expired names alone", [PASSING, EXPIRED_U], PUB, "a", Reason.EXPIRED, EXPIRED_U),
    Case("pass leaves owned ids alone", [PASSING, OWNER, U], PUB, "a", Reason.CLIENT_ID_OWNED, OWNER),
    Case(
        "pass leaves unsafe placeholders alone",
        [PASSING, allow("x/${cn}")],
        PUB,
        "x/a",
        Reason.UNSAFE_PLACEHOLDER,
        allow("x/${cn}"),
    ),
]

REGISTERING = instance(parent_topics=("plant-a", "meters"))


def _registered(reason: Reason, action: Action, *topics: str, asker: Client = MINE) -> list[Case]:
    rule = EVERYTHING if reason is Reason.ALLOWED else None
    return [
        Case(f"registry: {action} {topic!r}", [REGISTERING, EVERYTHING], action, topic, reason, rule, asker)
        for topic in topics
    ]


PARENTS = [
    *_registered(Reason.ALLOWED, PUB, "plant-a", "plant-a/line1/up", "meters/", "$delayed/5/meters/1"),
    *_registered(Reason.UNKNOWN_PARENT_TOPIC, PUB, "plant-b", "plant-b/up", "plant-a1", "Plant-a", "/plant-a", "meter"),
    *_registered(Reason.UNKNOWN_PARENT_TOPIC, PUB, "$delayed/5/plant-b/1", " plant-a"),
    *_registered(Reason.ALLOWED, SUB, "plant-a", "plant-a/#", "meters/+/up", "$share/g/meters/#", "$queue/meters"),
    *_registered(Reason.UNKNOWN_PARENT_TOPIC, SUB, "plant-b/#", "zoo", "a", "/#", "$share/g/plant-b", "$queue/plant-b"),
    # A wildcard reaches what was published, which is in registered parent topics alone.
    *_registered(Reason.ALLOWED, SUB, "#", "+", "+/line1/#", "$share/g/#"),
    *_registered(Reason.NO_MATCH, SUB, "$SYS/#", "$other"),
    *_registered(Reason.NO_MATCH, PUB, "$SYS/a", "$other"),
    # On brokers that do not read it so, `$queue` is a first level like `$SYS`.
    *_registered(Reason.NO_MATCH, SUB, "$queue/plant-b", asker=THEIRS),
    Case(
        "registry: topics that begin with $ go by permissions",
        [REGISTERING, allow("$SYS/#")],
        SUB,
        "$SYS/brokers",
        Reason.ALLOWED,
        allow("$SYS/#"),
    ),
    Case("registry: it grants nothing", [REGISTERING], PUB, "plant-a/up", Reason.NO_MATCH),
    Case("registry: a DENY still applies", [REGISTERING, deny("+/x")], PUB, "meters/x", Reason.DENIED, deny("+/x")),
    Case("registry: named before a DENY", [REGISTERING, deny("#")], PUB, "plant-b", Reason.UNKNOWN_PARENT_TOPIC),
    Case(
        "registry: nothing is passed on",
        [instance(no_match=NoMatch.PASS, parent_topics=("a",))],
        PUB,
        "b",
        Reason.UNKNOWN_PARENT_TOPIC,
    ),
    Case("registry: the client first", [REGISTERING, EXPIRED_U], PUB, "plant-b", Reason.EXPIRED, EXPIRED_U),
    Case("registry: private topics first", [REGISTERING], PUB, "$exhook/a", Reason.PRIVATE_TOPIC),
]

# grant, filter, covered: the table of ``docs/semantics.md`` (pitfall 1).
COVERED = [
    ("a/+", "a/#", False),
    ("+", "#", False),
    ("+/+", "+/#", False),
    ("a/+/+", "a/b/#", False),
    ("a/+/#", "a/#", False),
    ("+/#", "#", False),
    ("/+/#", "/#", False),
    ("a/#", "a/+/b", True),
    ("a/#", "a", True),
    ("a/#", "a/#", True),
    ("#", "$SYS/#", False),
    ("+/#", "$CONTROL/#", False),
    ("+/x", "$SYS/x", False),
    ("#", "$share/g/secret", True),
    ("+/+/x", "$share/g/x", False),
    ("a", "$share/g/a", True),
    ("a/+", "a/+", True),
    ("a/+", "a/b", True),
    ("a/b", "a/+", False),
    ("a/+", "a", False),
    ("a/+", "a/", True),
    ("a//b", "a//b", True),
    ("a/+/b", "a//b", True),
    ("a/b", "A/b", False),
    ("a/b", "a/c", False),
    ("a/b/c", "a/b", False),
    ("a/b", "a/b/c", False),
]

# deny, filter, denied although all is allowed (pitfall 2).
OVERLAPPED = [
    ("a/secret", "a/#", True),
    ("a/secret", "a/+", True),
    ("a/secret", "+/secret", True),
    ("a/secret", "#", True),
    ("a/secret/#", "a/secret", True),
    ("a/#", "a", True),
    ("a", "a/#", True),
    ("+/b", "a/+", True),
    ("a/+/c", "+/b/#", True),
    ("a/secret", "a/b", False),
    ("a/secret", "a/+/c", False),
    ("a/b/c", "a/+", False),
    ("a", "a/+", False),
    ("$SYS/secret", "#", False),
    ("$SYS/secret", "+/secret", False),
    ("#", "$SYS/x", False),
    ("+/x", "$SYS/x", False),
]


def _filled(topic: str, asked: str, reason: Reason, asker: Client, action: Action = PUB) -> Case:
    grant = allow(topic)
    rule = grant if reason in (Reason.ALLOWED, Reason.UNSAFE_PLACEHOLDER) else None
    return Case(f"ALLOW {topic} for {asker.client_id!r}: {action} {asked}", [grant], action, asked, reason, rule, asker)


def _guarded(topic: str, asked: str, reason: Reason, asker: Client, action: Action = PUB) -> Case:
    denial = deny(topic)
    rule = EVERYTHING if reason is Reason.ALLOWED else denial
    sentence = f"DENY {topic} for {asker.client_id!r}: {action} {asked}"
    return Case(sentence, [EVERYTHING, denial], action, asked, reason, rule, asker)


PRESS = asking("u", DEVICE, cn="press.example")
PLUS, SLASH, DOLLAR, NUL = (asking("u", client_id) for client_id in ("+", "x/y", "$SYS", "x\0"))
INJECTOR = asking("u", HASH_INJECTOR)

PLACEHOLDERS = [
    _filled("dev/${clientid}/up", f"dev/{DEVICE}/up", Reason.ALLOWED, PRESS),
    _filled("dev/${clientid}/up", "dev/GID_Press@@@0002/up", Reason.NO_MATCH, PRESS),
    _filled("dev/${username}", "dev/u", Reason.ALLOWED, PRESS),
    _filled("dev/${group}/${device}", "dev/GID_Press/0001", Reason.ALLOWED, PRESS),
    _filled("dev/${device}", "dev/a@@@b", Reason.ALLOWED, asking("u", "GID_Press@@@a@@@b")),
    _filled("dev/${cn}", "dev/press.example", Reason.ALLOWED, PRESS),
    _filled("dev/p-${username}-x", "dev/p-u-x", Reason.ALLOWED, PRESS),
    _filled("dev/$${clientid}", "dev/${clientid}", Reason.ALLOWED, PRESS),
    _filled("${username}/#", "u/a/b", Reason.ALLOWED, PRESS),
    _filled("dev/${clientid}/#", f"dev/{DEVICE}/#", Reason.ALLOWED, PRESS, SUB),
    _filled("dev/${clientid}/#", "dev/+/#", Reason.NO_MATCH, PRESS, SUB),
    _filled("dev/${clientid}/#", "dev/#", Reason.NO_MATCH, PRESS, SUB),
    # Unsafe: empty, `+ # /`, NUL, `$` first (pitfall 3).
    _filled("dev/${clientid}/#", "dev/x/up", Reason.UNSAFE_PLACEHOLDER, INJECTOR),
    _filled("dev/${clientid}/#", "dev/x/up", Reason.UNSAFE_PLACEHOLDER, PLUS),
    _filled("dev/${clientid}/#", "dev/+/#", Reason.UNSAFE_PLACEHOLDER, PLUS, SUB),
    _filled("dev/${clientid}", "dev/x", Reason.UNSAFE_PLACEHOLDER, SLASH),
    _filled("dev/${clientid}", "dev/x", Reason.UNSAFE_PLACEHOLDER, NUL),
    _filled("dev/p-${clientid}", "dev/p-#", Reason.INVALID_TOPIC, INJECTOR),
    _filled("dev/${cn}", "dev/x", Reason.UNSAFE_PLACEHOLDER, MINE),
    _filled("dev/${group}", "dev/x", Reason.UNSAFE_PLACEHOLDER, MINE),
    _filled("dev/${device}", "dev/x", Reason.UNSAFE_PLACEHOLDER, MINE),
    _filled("${clientid}/x", "a/x", Reason.UNSAFE_PLACEHOLDER, DOLLAR),
    _filled("${clientid}/x", "$SYS/x", Reason.NO_MATCH, DOLLAR),
    _filled("${clientid}", "$SYS", Reason.NO_MATCH, DOLLAR),
    _filled("dev/${clientid}", "dev/$SYS", Reason.ALLOWED, DOLLAR),
    # Not applicable: the reason stays no_match.
    _filled("dev/${clientid}/#", "other/x", Reason.NO_MATCH, INJECTOR),
    _filled("dev/${clientid}/up", "dev/x/down", Reason.NO_MATCH, INJECTOR),
    Case("of another action", [allow("dev/${clientid}", SUB)], PUB, "dev/x", Reason.NO_MATCH, asker=INJECTOR),
    Case("expired", [allow("dev/${clientid}", expires_at=NOW)], PUB, "dev/x", Reason.NO_MATCH, asker=INJECTOR),
    Case(
        "an unsafe ALLOW beside one that allows",
        [allow("dev/${clientid}"), allow("dev/x")],
        PUB,
        "dev/x",
        Reason.ALLOWED,
        allow("dev/x"),
        asker=INJECTOR,
    ),
    Case(
        "an unsafe ALLOW beside one with a safe placeholder",
        [allow("dev/${clientid}"), allow("${username}/+")],
        PUB,
        "u/x",
        Reason.ALLOWED,
        allow("${username}/+"),
        asker=INJECTOR,
    ),
    Case(
        "an unsafe ALLOW beside a DENY",
        [allow("dev/${clientid}"), deny("dev/#")],
        PUB,
        "dev/x",
        Reason.DENIED,
        deny("dev/#"),
        asker=INJECTOR,
    ),
    # DENY.
    _guarded("dev/${clientid}/#", f"dev/{DEVICE}/x", Reason.DENIED, PRESS),
    _guarded("dev/${clientid}/#", "dev/x/y", Reason.ALLOWED, PRESS),
    _guarded("dev/${clientid}/#", "dev/+/y", Reason.DENIED, PRESS, SUB),
    _guarded("dev/${clientid}/#", "#", Reason.DENIED, PRESS, SUB),
    _guarded("dev/${clientid}/#", "dev/x/y", Reason.UNSAFE_PLACEHOLDER, INJECTOR),
    _guarded("dev/${clientid}/#", "other/x", Reason.ALLOWED, INJECTOR),
    _guarded("dev/${clientid}/up", "dev/x/down", Reason.ALLOWED, INJECTOR),
    _guarded("dev/${clientid}/up", "dev/+/up", Reason.UNSAFE_PLACEHOLDER, SLASH, SUB),
    _guarded("dev/${clientid}/up", "#", Reason.UNSAFE_PLACEHOLDER, PLUS, SUB),
    _guarded("dev/${cn}", "dev/x", Reason.UNSAFE_PLACEHOLDER, MINE),
    Case(
        "an unsafe DENY beside a safe one",
        [EVERYTHING, deny("dev/${clientid}"), deny("dev/${username}")],
        SUB,
        "dev/+",
        Reason.DENIED,
        deny("dev/${username}"),
        asker=INJECTOR,
    ),
    Case(
        "an unsafe DENY of another action",
        [EVERYTHING, deny("dev/${clientid}", SUB)],
        PUB,
        "dev/x",
        Reason.ALLOWED,
        EVERYTHING,
        asker=INJECTOR,
    ),
    Case(
        "an unsafe DENY that expired",
        [EVERYTHING, deny("dev/${clientid}", expires_at=NOW)],
        PUB,
        "dev/x",
        Reason.ALLOWED,
        EVERYTHING,
        asker=INJECTOR,
    ),
    Case(
        "an unsafe DENY to somebody else",
        [EVERYTHING, deny("dev/${clientid}", to=(Grantee.USER, "v"))],
        PUB,
        "dev/x",
        Reason.ALLOWED,
        EVERYTHING,
        asker=INJECTOR,
    ),
    # The placeholders of one grantee's permission are the asking client's.
    Case(
        "a CLIENT grant",
        [allow("dev/${clientid}", to=(Grantee.CLIENT, DEVICE))],
        PUB,
        f"dev/{DEVICE}",
        Reason.ALLOWED,
        allow("dev/${clientid}", to=(Grantee.CLIENT, DEVICE)),
        asker=PRESS,
    ),
    Case(
        "a GROUP grant",
        [group("GID_Press"), allow("gateways/${device}/#", to=TO_PRESS)],
        SUB,
        "gateways/0001/+",
        Reason.ALLOWED,
        allow("gateways/${device}/#", to=TO_PRESS),
        asker=PRESS,
    ),
]

CASES = [*TOPICS, *AGAIN, *GRANTEES, *PARENTS, *PLACEHOLDERS]
