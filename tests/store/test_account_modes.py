"""Signature, Token and DeviceCredential: who gets in, what they may do, and how rights could grow on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import (
    INSTANCE,
    NOW,
    PUB,
    SUB,
    access_key,
    allow,
    answer_to,
    asking,
    blocked,
    challenged,
    client,
    credential,
    deny,
    instance,
    secret,
    token,
    token_key,
    user,
    view_of,
)

from store.account_names import Mode, account_of
from store.account_records import TokenActions
from store.credentials import sign
from store.decision import Decision, Reason, authorize, select
from store.records import Action, ClientIdRule, Grantee, NoMatch, Record, SecretForm
from store.token_mode import Binding, bound, read_offer
from store.token_text import TokenKeys
from store.topics import covers, overlaps
from store.view import Client, Listener

SEED_CLIENT = "GID_Test@@@0001"
SEED_PASSWORD = b"vI009IZJZVGRwBwZvnbwjfuXxVM="
SIGNATURE = f"Signature|YYYYY|{INSTANCE}"
TOKEN = f"Token|YYYYY|{INSTANCE}"
DEVICE = f"DeviceCredential|DC.1|{INSTANCE}"
OTHER_INSTANCE = "mqtt-other"

KEYS = TokenKeys({"k1": b"token key"})
TO_KEY = (Grantee.ACCESS_KEY, "YYYYY")
CONNECTING = access_key(connect=True)
ISSUING = access_key(all_topics=True)
HOUR = 3_600_000


def shown(kind: str, token_id: str = "t1", expires_at: int = NOW + HOUR, keys: TokenKeys = KEYS) -> str:
    return f"{kind}|{keys.sign(token_id, expires_at)}"


def connected(records: Sequence[Record], asker: Client, password: bytes, now_ms: int = NOW) -> Decision:
    held = [instance(), *records] if all(record.kind != "instance" for record in records) else records
    return answer_to(view_of(held, asker), asker, password, now_ms)


def offered(*pairs: str, keys: TokenKeys = KEYS, **fields: Any) -> Binding:
    """What an allowed CONNECT with these pairs bound."""
    offer = read_offer("|".join(pairs).encode())
    assert offer is not None
    return Binding(INSTANCE, fields.pop("access_key_id", "YYYYY"), bound(offer, keys), **fields)


def asked(  # noqa: PLR0917 - a question, in its order
    records: Sequence[Record],
    asker: Client,
    action: Action,
    topic: str,
    binding: Binding | None = None,
    now_ms: int = NOW,
) -> Decision:
    held = [instance(), *records] if all(record.kind != "instance" for record in records) else records
    return authorize(view_of(held, asker, binding=binding), asker, action, topic, now_ms)


def test_the_seed_s_example() -> None:
    assert sign(b"XXXXX", SEED_CLIENT) == SEED_PASSWORD
    assert connected([CONNECTING], asking(SIGNATURE, SEED_CLIENT), SEED_PASSWORD).allow
    assert not connected([CONNECTING], asking(SIGNATURE, "GID_Test@@@0002"), SEED_PASSWORD).allow


class TestNames:
    @pytest.mark.parametrize("mode", Mode)
    def test_three_parts(self, mode: Mode) -> None:
        assert account_of(f"{mode}|k|i") == (mode, "k", "i")

    @pytest.mark.parametrize("name", ["", "k", "Signature", "Signature|k", "Signature|k|i|j", "signature|k|i", "X|k|i"])
    def test_every_other_one_is_custom(self, name: str) -> None:
        assert account_of(name) is None


@dataclass(frozen=True)
class Case:
    sentence: str
    records: Sequence[Record]
    reason: Reason
    username: str = SIGNATURE
    client_id: str = "c1"
    secret: bytes = b"XXXXX"

    @property
    def asker(self) -> Client:
        return asking(self.username, self.client_id)

    @property
    def password(self) -> bytes:
        return sign(self.secret, self.client_id)


ROTATING = access_key("YYYYY", secret("old", id="1", expires_at=NOW + 1), secret("new", id="2"), connect=True)
DEAD = access_key("YYYYY", secret("old", id="1", expires_at=NOW, form=SecretForm.KEY), connect=True)
GROUPED = instance(client_id_rule=ClientIdRule.GROUP)

CONNECTS = [
    Case("a signature", [CONNECTING], Reason.ALLOWED),
    Case("a wrong signature", [CONNECTING], Reason.WRONG_PASSWORD, secret=b"wrong"),
    Case("an unknown key", [access_key("other", connect=True)], Reason.UNKNOWN_IDENTITY),
    Case("both live secrets: old", [ROTATING], Reason.ALLOWED, secret=b"old"),
    Case("both live secrets: new", [ROTATING], Reason.ALLOWED, secret=b"new"),
    Case("no live secret", [DEAD], Reason.EXPIRED, secret=b"old"),
    Case("not active", [access_key(connect=True, active=False)], Reason.KEY_INACTIVE),
    Case("expired", [access_key(connect=True, expires_at=NOW)], Reason.EXPIRED),
    Case("not for connecting", [access_key()], Reason.KEY_MAY_NOT_CONNECT),
    Case("another instance's key", [access_key(connect=True, instances=(OTHER_INSTANCE,))], Reason.WRONG_INSTANCE),
    Case(
        "another instance named",
        [access_key(connect=True, instances=(INSTANCE, OTHER_INSTANCE))],
        Reason.WRONG_INSTANCE,
        f"Signature|YYYYY|{OTHER_INSTANCE}",
    ),
    Case("blacklisted client id", [CONNECTING, blocked("c1")], Reason.BLACKLISTED),
    Case("blacklisted user name", [CONNECTING, blocked(username=SIGNATURE)], Reason.BLACKLISTED),
    Case("the group rule", [GROUPED, CONNECTING], Reason.INVALID_CLIENT_ID),
    Case("an owned client id", [CONNECTING, client("u", "c1")], Reason.CLIENT_ID_OWNED),
    Case("a device's client id", [CONNECTING, credential("c1")], Reason.CLIENT_ID_OWNED),
    Case("no pinning", [instance(pin_client_ids=False), CONNECTING, credential("c1")], Reason.ALLOWED),
    # A user name spelled like an access key, and the other way round.
    Case("a user named like the key", [user("YYYYY", "XXXXX")], Reason.UNKNOWN_IDENTITY),
    Case("a key named like the user", [access_key("u", connect=True)], Reason.UNKNOWN_IDENTITY, "u"),
    # Device credentials.
    Case("a device", [credential()], Reason.ALLOWED, DEVICE, secret=b"device"),
    Case("a device's wrong secret", [credential()], Reason.WRONG_PASSWORD, DEVICE, secret=b"wrong"),
    Case("no such device", [], Reason.UNKNOWN_IDENTITY, DEVICE, secret=b"device"),
    Case("another device's client id", [credential()], Reason.UNKNOWN_IDENTITY, DEVICE, "c2", b"device"),
    Case(
        "another device's key",
        [credential("c1", "DC.1"), credential("c2", "DC.2")],
        Reason.CLIENT_ID_OWNED,
        DEVICE,
        "c2",
        b"device",
    ),
    Case(
        "another device's key, no pinning",
        [instance(pin_client_ids=False), credential("c1", "DC.1"), credential("c2", "DC.2")],
        Reason.UNKNOWN_IDENTITY,
        DEVICE,
        "c2",
        b"device",
    ),
    Case("an access key is no device's", [access_key("DC.1", connect=True)], Reason.UNKNOWN_IDENTITY, DEVICE),
    Case("a device's key is no access key", [credential("c2", "YYYYY")], Reason.UNKNOWN_IDENTITY),
    Case("an expired credential", [credential(expires_at=NOW)], Reason.EXPIRED, DEVICE, secret=b"device"),
    Case("an expired credential owns", [credential(expires_at=NOW), user("u")], Reason.CLIENT_ID_OWNED, "u"),
    Case("a credential owns", [credential(), user("u")], Reason.CLIENT_ID_OWNED, "u"),
    Case("owner and credential", [credential(), client("u", "c1")], Reason.ALLOWED, DEVICE, secret=b"device"),
]


@pytest.mark.parametrize("case", CONNECTS, ids=lambda case: case.sentence)
def test_connecting(case: Case) -> None:
    decision = connected(case.records, case.asker, case.password)
    assert decision.reason is case.reason
    assert decision.allow is (case.reason is Reason.ALLOWED)


@pytest.mark.parametrize("case", CONNECTS, ids=lambda case: case.sentence)
def test_whoever_may_not_connect_may_not_publish(case: Case) -> None:
    """All checks but the password's are made again."""
    decision = asked([*case.records, allow("#")], case.asker, PUB, "a")
    lasting = case.reason in (Reason.ALLOWED, Reason.WRONG_PASSWORD) or case.records == [DEAD]
    assert decision.reason is (Reason.ALLOWED if lasting else case.reason)


def test_an_unknown_key_costs_what_a_known_one_costs() -> None:
    for records, name in (
        ([CONNECTING], SIGNATURE),
        ([ROTATING], SIGNATURE),
        ([], SIGNATURE),
        ([DEAD], SIGNATURE),
        ([access_key(active=False)], SIGNATURE),
        ([credential()], DEVICE),
        ([], DEVICE),
    ):
        challenge = challenged([instance(), *records], asking(name), b"x")
        assert len(challenge.secrets) == 2


def test_what_fills_a_challenge_up_proves_nothing() -> None:
    asker = asking(SIGNATURE)
    for guess in (b"exhook", b"", b"xxxxx"):
        assert connected([CONNECTING], asker, sign(guess, "c1")).reason is Reason.WRONG_PASSWORD


@pytest.mark.parametrize("username", [SIGNATURE, TOKEN, DEVICE])
def test_a_listener_where_the_broker_proves_takes_no_account(username: str) -> None:
    asker = asking(username, listener=Listener("tls", INSTANCE, external=True))
    for records in ([CONNECTING], [credential("c2")], []):
        assert connected(records, asker, b"x").reason is Reason.EXTERNAL_ONLY
        assert asked([*records, allow("#")], asker, PUB, "a").reason is Reason.EXTERNAL_ONLY


class TestSignatureRights:
    def test_its_own_permissions_and_those_of_everyone(self) -> None:
        records = [CONNECTING, allow("k", to=TO_KEY), allow("c", to=(Grantee.CLIENT, "c1")), allow("all")]
        for topic, reason in (("k", "allowed"), ("c", "allowed"), ("all", "allowed"), ("x", "no_match")):
            assert asked(records, asking(SIGNATURE), PUB, topic).reason == reason

    def test_none_of_a_user_name(self) -> None:
        grants = [allow("a", to=(Grantee.USER, name)) for name in ("YYYYY", SIGNATURE)]
        assert asked([CONNECTING, *grants], asking(SIGNATURE), PUB, "a").reason is Reason.NO_MATCH
        assert asked([user("YYYYY"), allow("a", to=TO_KEY)], asking("YYYYY"), PUB, "a").reason is Reason.NO_MATCH

    def test_a_denial_of_a_user_name_is_none_of_a_key(self) -> None:
        records = [CONNECTING, allow("a"), deny("a", to=(Grantee.USER, "YYYYY"))]
        assert asked(records, asking(SIGNATURE), PUB, "a").allow

    def test_all_topics_is_what_is_not_denied(self) -> None:
        records = [access_key(connect=True, all_topics=True), deny("secret/#")]
        asker = asking(SIGNATURE)
        assert asked(records, asker, PUB, "a").allow
        assert asked(records, asker, SUB, "a/#").allow
        assert asked(records, asker, SUB, "#").reason is Reason.DENIED
        assert asked(records, asker, PUB, "secret/x").reason is Reason.DENIED

    def test_all_topics_reaches_nothing_of_the_broker(self) -> None:
        records = [access_key(connect=True, all_topics=True)]
        for topic in ("$SYS/#", "$CONTROL/dynamic-security/v1"):
            assert asked(records, asking(SIGNATURE), SUB, topic).reason is Reason.NO_MATCH
        assert asked([*records, allow("$SYS/#", to=TO_KEY)], asking(SIGNATURE), SUB, "$SYS/#").allow

    def test_the_user_name_in_a_topic_is_the_key_s_id(self) -> None:
        records = [CONNECTING, allow("by/${username}/#", to=TO_KEY)]
        assert asked(records, asking(SIGNATURE), PUB, "by/YYYYY/x").allow
        assert not asked(records, asking(SIGNATURE), PUB, f"by/{SIGNATURE}/x").allow

    def test_no_match_may_pass_on(self) -> None:
        records = [instance(no_match=NoMatch.PASS), CONNECTING]
        assert asked(records, asking(SIGNATURE), PUB, "a").passed_on

    def test_it_renews_nothing(self) -> None:
        records = [access_key(connect=True, all_topics=True)]
        assert asked(records, asking(SIGNATURE), PUB, "$SYS/uploadToken").reason is Reason.PRIVATE_TOPIC


class TestDeviceRights:
    def test_its_own_and_everyone_s(self) -> None:
        records = [credential(), allow("c", to=(Grantee.CLIENT, "c1")), allow("k", to=(Grantee.ACCESS_KEY, "DC.1"))]
        assert asked(records, asking(DEVICE), PUB, "c").allow
        assert asked(records, asking(DEVICE), PUB, "k").reason is Reason.NO_MATCH

    def test_not_those_of_an_access_key_named_so(self) -> None:
        records = [credential(), access_key("DC.1", connect=True, all_topics=True)]
        assert asked(records, asking(DEVICE), PUB, "a").reason is Reason.NO_MATCH


R, W, RW = TokenActions.R, TokenActions.W, TokenActions.RW


class TestTokenConnect:
    RECORDS = (ISSUING, token_key(value="token key"), token("a/#"), token("b", token_id="r", actions=R))

    @pytest.mark.parametrize(
        ("password", "reason"),
        [
            (shown("RW"), Reason.ALLOWED),
            (shown("R", "r"), Reason.ALLOWED),
            (f"{shown('RW')}|{shown('R', 'r')}", Reason.ALLOWED),
            (f"{shown('R', 'r')}|{shown('RW')}", Reason.ALLOWED),
            (shown("R"), Reason.WRONG_TOKEN_TYPE),
            (shown("RW", "r"), Reason.WRONG_TOKEN_TYPE),
            (shown("W", "r"), Reason.WRONG_TOKEN_TYPE),
            (f"{shown('RW')}|R|forged", Reason.FORGED_TOKEN),
            (shown("RW", keys=TokenKeys({"k1": b"another"})), Reason.FORGED_TOKEN),
            (shown("RW", keys=TokenKeys({"k2": b"token key"})), Reason.FORGED_TOKEN),
            (shown("RW", expires_at=NOW), Reason.EXPIRED_TOKEN),
            (shown("RW", "gone"), Reason.REVOKED_TOKEN),
            ("R", Reason.INVALID_INPUT),
            ("", Reason.INVALID_INPUT),
            ("|", Reason.INVALID_INPUT),
            ("R|", Reason.INVALID_INPUT),
            ("X|token", Reason.INVALID_INPUT),
            ("R,W|token", Reason.INVALID_INPUT),
            (f"{shown('R', 'r')}|{shown('R', 'r')}", Reason.INVALID_INPUT),
            (f"{shown('RW')}|", Reason.INVALID_INPUT),
            (f"|{shown('RW')}", Reason.INVALID_INPUT),
            ("R|é", Reason.INVALID_INPUT),
            ("R|a|W|b|RW|c|R|d", Reason.INVALID_INPUT),
        ],
    )
    def test_every_token_must_be_good(self, password: str, reason: Reason) -> None:
        assert connected(self.RECORDS, asking(TOKEN), password.encode()).reason is reason

    @pytest.mark.parametrize(
        ("records", "username", "reason"),
        [
            ([access_key("ZZZZZ", connect=True, all_topics=True)], f"Token|ZZZZZ|{INSTANCE}", Reason.FOREIGN_TOKEN),
            ([], f"Token|nobody|{INSTANCE}", Reason.FOREIGN_TOKEN),
            ([], f"Token|YYYYY|{OTHER_INSTANCE}", Reason.WRONG_INSTANCE),
            ([blocked("c1")], TOKEN, Reason.BLACKLISTED),
            ([client("u", "c1")], TOKEN, Reason.CLIENT_ID_OWNED),
            ([credential("c1")], TOKEN, Reason.CLIENT_ID_OWNED),
        ],
    )
    def test_another_s_token(self, records: Sequence[Record], username: str, reason: Reason) -> None:
        assert connected([*self.RECORDS, *records], asking(username), shown("RW").encode()).reason is reason

    def test_a_token_of_another_instance(self) -> None:
        foreign = replace(token("a"), instance=OTHER_INSTANCE)
        records = [access_key(instances=(INSTANCE, OTHER_INSTANCE)), token_key(value="token key"), foreign]
        assert connected(records, asking(TOKEN), shown("RW").encode()).reason is Reason.FOREIGN_TOKEN

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            (access_key(active=False), Reason.KEY_INACTIVE),
            (access_key(expires_at=NOW), Reason.EXPIRED),
            (access_key(instances=(OTHER_INSTANCE,)), Reason.WRONG_INSTANCE),
            (token("a/#", revoked=True), Reason.REVOKED_TOKEN),
            (token("a/#", expires_at=NOW), Reason.EXPIRED_TOKEN),
        ],
    )
    def test_what_stands_behind_it_must_hold(self, changed: Record, reason: Reason) -> None:
        kept = [record for record in self.RECORDS if (record.kind, record.key) != (changed.kind, changed.key)]
        assert connected([*kept, changed], asking(TOKEN), shown("RW").encode()).reason is reason
        allowed = [ISSUING, *self.RECORDS[1:]]
        assert connected(allowed, asking(TOKEN), shown("RW").encode()).allow

    def test_without_a_password_nothing_is_said_to_be_allowed(self) -> None:
        found = select(view_of([instance(), *self.RECORDS], asking(TOKEN)), asking(TOKEN), None, NOW)
        assert not isinstance(found, Decision)
        assert not found.secrets


class TestTokenRights:
    KEY = access_key(all_topics=True)
    RECORDS = (KEY, token_key(value="token key"), token("a/+", "b/#", actions=RW), token("r", token_id="r", actions=R))
    BOUND = offered(shown("RW"))

    @pytest.mark.parametrize(
        ("action", "topic", "reason"),
        [
            (PUB, "a/x", "allowed"),
            (SUB, "a/+", "allowed"),
            (SUB, "b/#", "allowed"),
            (SUB, "$share/g/b/x", "allowed"),
            (SUB, "a/#", "token_scope"),
            (SUB, "#", "token_scope"),
            (PUB, "c", "token_scope"),
            (PUB, "r", "token_scope"),
            (PUB, "$SYS/uploadToken", "allowed"),
            (SUB, "$SYS/uploadToken", "token_scope"),
            (PUB, "$exhook/uploadToken", "private_topic"),
            (SUB, "$exhook/#", "private_topic"),
            (PUB, "$delayed/5/$SYS/uploadToken", "private_topic"),
            (PUB, "a/+", "invalid_topic"),
        ],
    )
    def test_what_the_bound_tokens_grant(self, action: Action, topic: str, reason: str) -> None:
        assert asked(self.RECORDS, asking(TOKEN), action, topic, self.BOUND).reason == reason

    def test_each_action_by_its_own_token(self) -> None:
        both = offered(shown("RW"), shown("R", "r"))
        assert asked(self.RECORDS, asking(TOKEN), SUB, "r", both).allow
        refusal = asked(self.RECORDS, asking(TOKEN), PUB, "r", both)
        assert (refusal.reason, refusal.nearest and refusal.nearest.why) == (Reason.TOKEN_SCOPE, "action")

    def test_never_the_permissions_of_anybody(self) -> None:
        grants = [allow("c"), allow("c", to=TO_KEY), allow("c", to=(Grantee.CLIENT, "c1"))]
        assert asked([*self.RECORDS, *grants], asking(TOKEN), PUB, "c", self.BOUND).reason is Reason.TOKEN_SCOPE

    def test_nothing_is_passed_on(self) -> None:
        decision = asked([instance(no_match=NoMatch.PASS), *self.RECORDS], asking(TOKEN), PUB, "c", self.BOUND)
        assert not decision.passed_on

    @pytest.mark.parametrize("to", [TO_KEY, (Grantee.CLIENT, "c1"), (Grantee.ALL, "")])
    def test_every_denial_of_the_client_s_applies(self, to: tuple[Grantee, str]) -> None:
        records = [*self.RECORDS, deny("b/secret", to=to)]
        assert asked(records, asking(TOKEN), SUB, "b/#", self.BOUND).reason is Reason.DENIED
        assert asked(records, asking(TOKEN), PUB, "b/x", self.BOUND).allow

    @pytest.mark.parametrize("to", [TO_KEY, (Grantee.CLIENT, "c1"), (Grantee.ALL, "")])
    def test_a_denial_of_renewals(self, to: tuple[Grantee, str]) -> None:
        for topic, allow_it in (("$SYS/#", False), ("#", True), ("$SYS/broker/#", True)):
            records = [*self.RECORDS, deny(topic, to=to)]
            assert asked(records, asking(TOKEN), PUB, "$SYS/uploadToken", self.BOUND).allow is allow_it

    def test_it_is_never_wider_than_its_key_is_now(self) -> None:
        narrow = [access_key(), *self.RECORDS[1:], allow("a/+", PUB, to=TO_KEY), allow("b/x", to=TO_KEY)]
        asker = asking(TOKEN)
        assert asked(narrow, asker, PUB, "a/x", self.BOUND).allow
        assert asked(narrow, asker, SUB, "a/x", self.BOUND).reason is Reason.KEY_SCOPE
        # The resource is `b/#`, which the key does not have any more.
        assert asked(narrow, asker, PUB, "b/x", self.BOUND).reason is Reason.KEY_SCOPE
        expired = [access_key(), *self.RECORDS[1:], allow("a/+", PUB, to=TO_KEY, expires_at=NOW)]
        assert asked(expired, asker, PUB, "a/x", self.BOUND).reason is Reason.KEY_SCOPE

    @pytest.mark.parametrize(
        "binding",
        [
            None,
            offered(shown("RW"), access_key_id="ZZZZZ"),
            replace(offered(shown("RW")), instance=OTHER_INSTANCE),
            offered(shown("RW"), address="10.0.0.1"),
            offered(shown("RW"), address="10.0.0.2", port=5),
        ],
        ids=["none", "another-key", "another-instance", "no-address", "another-address"],
    )
    def test_another_s_binding(self, binding: Binding | None) -> None:
        asker = asking(TOKEN, address="10.0.0.1", port=5)
        for topic in ("a/x", "$SYS/uploadToken"):
            assert asked(self.RECORDS, asker, PUB, topic, binding).reason is Reason.NO_BINDING
        fitting = offered(shown("RW"), address="10.0.0.1", port=5)
        assert asked(self.RECORDS, asker, PUB, "a/x", fitting).allow

    @pytest.mark.parametrize(
        ("changed", "reason", "renewable"),
        [
            (token("a/+", revoked=True), Reason.REVOKED_TOKEN, True),
            (token("a/+", expires_at=NOW), Reason.EXPIRED_TOKEN, True),
            (token("a/+", actions=W), Reason.WRONG_TOKEN_TYPE, True),
            (token_key("k2"), Reason.FORGED_TOKEN, True),
            (access_key(active=False), Reason.KEY_INACTIVE, False),
        ],
        ids=["revoked", "expired", "other-actions", "key-retired", "key-inactive"],
    )
    def test_what_ends_while_the_client_is_connected(self, changed: Record, reason: Reason, *, renewable: bool) -> None:
        kept = [record for record in self.RECORDS if record.kind != changed.kind]
        records = [*kept, changed]
        assert asked(records, asking(TOKEN), PUB, "a/x", self.BOUND).reason is reason
        renewal = asked(records, asking(TOKEN), PUB, "$SYS/uploadToken", self.BOUND)
        assert renewal.allow is renewable

    def test_to_the_millisecond(self) -> None:
        for now, allowed in ((NOW + HOUR - 1, True), (NOW + HOUR, False)):
            assert asked(self.RECORDS, asking(TOKEN), PUB, "a/x", self.BOUND, now).allow is allowed

    def test_one_that_ended_spoils_the_others(self) -> None:
        binding = offered(shown("RW"), shown("R", "r", expires_at=NOW))
        assert asked(self.RECORDS, asking(TOKEN), PUB, "a/x", binding).reason is Reason.EXPIRED_TOKEN

    @pytest.mark.parametrize("order", [("R", "W"), ("W", "R")], ids="-".join)
    def test_whose_token_was_revoked_may_not_stay_since_another_one_expired(self, order: tuple[str, str]) -> None:
        tokens = {"R": shown("R", "r", expires_at=NOW), "W": shown("W", "w")}
        records = [*self.RECORDS, token("a/+", token_id="r", actions=R), token("a", token_id="w", revoked=True)]
        binding = offered(*(tokens[kind] for kind in order))
        assert asked(records, asking(TOKEN), PUB, "a/x", binding).reason is Reason.REVOKED_TOKEN

    def test_the_nearest_resource_is_told(self) -> None:
        decision = asked(self.RECORDS, asking(TOKEN), SUB, "a/x/y", self.BOUND)
        assert decision.nearest is not None
        assert (decision.nearest.record.kind, decision.nearest.level) == ("token", 2)


class TestBinding:
    def test_a_renewal_takes_the_place_of_its_type(self) -> None:
        both = offered(shown("R"), shown("W"))
        (fresh,) = offered(shown("R", "new")).tokens
        assert {one.type: one.token_id for one in both.renewed(fresh, NOW).tokens} == {"R": "new", "W": "t1"}

    def test_one_for_both_takes_the_place_of_all(self) -> None:
        (fresh,) = offered(shown("RW", "new")).tokens
        assert offered(shown("R"), shown("W")).renewed(fresh, NOW).tokens == (fresh,)

    def test_what_ended_goes_with_it(self) -> None:
        """Else whoever has an RW, and renews it by an R and a W, would be refused everything from its end on."""
        ended, (fresh,) = offered(shown("RW", expires_at=NOW)), offered(shown("R", "new")).tokens
        assert ended.renewed(fresh, NOW).tokens == (fresh,)
        assert len(ended.renewed(fresh, NOW - 1).tokens) == 2

    @pytest.mark.parametrize(("more", "left"), [(1, {"R", "W"}), (0, {"R", "W", "RW"}), (-1, {"R", "W", "RW"})])
    def test_one_for_each_takes_the_place_of_one_for_both_that_they_outlast(self, more: int, left: set[str]) -> None:
        binding = offered(shown("RW", expires_at=NOW + HOUR))
        for kind, end in (("W", NOW + 2 * HOUR), ("R", NOW + HOUR + more)):
            (fresh,) = offered(shown(kind, kind, expires_at=end)).tokens
            binding = binding.renewed(fresh, NOW)
        assert {one.type for one in binding.tokens} == left


@given(st.binary(max_size=60))
def test_any_password_can_be_read(password: bytes) -> None:
    offer = read_offer(password)
    assert offer is None or set(offer) <= {"R", "W", "RW"}


FILTERS = st.lists(st.sampled_from(["a", "b", "+", "$S"]), min_size=1, max_size=2).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"]), "#"])
)


@settings(max_examples=200, deadline=None)
@given(
    granted=st.lists(FILTERS, max_size=3),
    denied=st.lists(FILTERS, max_size=1),
    resources=st.lists(FILTERS, min_size=1, max_size=3, unique=True),
    actions=st.sampled_from(TokenActions),
    action=st.sampled_from([PUB, SUB]),
    topic=FILTERS,
    all_topics=st.booleans(),
)
def test_a_token_allows_what_both_it_and_its_key_grant_and_nobody_denies(
    *, granted: list[str], denied: list[str], resources: list[str], actions: TokenActions, action: Action, topic: str,
    all_topics: bool,
) -> None:  # fmt: skip
    """Against the rules said once more, by the public functions on filters."""
    if action is PUB and ("+" in topic or "#" in topic):
        return
    records = [
        access_key(all_topics=all_topics),
        token_key(value="token key"),
        token(*resources, actions=actions),
        *{permission.key: permission for permission in (allow(one, to=TO_KEY) for one in granted)}.values(),
        *(deny(one, to=TO_KEY) for one in denied),
    ]
    binding = offered(shown(actions.name))
    widest = [*granted, "#"] if all_topics else granted
    by_token = [one for one in resources if covers(one, topic) and actions.includes(action)]
    by_key = [one for one in by_token if any(covers(wide, one) for wide in widest)]
    refused = any((covers if action is PUB else overlaps)(one, topic) for one in denied)
    expected = "denied" if refused else "allowed" if by_key else "key_scope" if by_token else "token_scope"
    assert asked(records, asking(TOKEN), action, topic, binding).reason == expected
