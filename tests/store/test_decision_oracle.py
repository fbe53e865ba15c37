"""The decision core against the rules said once more: naive, slow, written from ``docs/semantics.md`` alone."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import INSTANCE, NOW, authenticated, authorized
from small_stores import PASSWORDS, cases, topics

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
from store.view import Client

Levels = Sequence[str]


class Rules:
    """The rules of one store for one client at one moment."""

    def __init__(self, records: Sequence[Record], asker: Client) -> None:
        self.records = records
        self.asker = asker
        (self.instance,) = [record for record in records if isinstance(record, Instance)]
        parts = asker.client_id.split("@@@", 1)
        self.group, self.device = parts if len(parts) == 2 else ("", "")

    def authenticate(self, password: bytes) -> str:
        if not password and not self.asker.listener.external:
            return "invalid_input"
        if refusal := self.barred() or ("invalid_input" if self.asker.username.startswith("Token|") else ""):
            return refusal
        identity = self.identity()
        if refusal := self.unfit(identity):
            return refusal
        assert identity is not None
        if identity.sign_mode is SignMode.EXTERNAL:
            return "external_only"
        live = [secret for secret in identity.secrets if self.now(secret.expires_at)]
        if not live:
            return "expired"
        proofs = [self.proof(identity.sign_mode, secret.value) for secret in live]
        return "allowed" if password in proofs else "wrong_password"

    def authorize(self, action: Action, text: str) -> str:
        asked = self.parse(action, text)
        if asked is None:
            return "invalid_topic"
        if asked[0] == "$exhook" or (action is Action.PUB and asked == ["$SYS", "uploadToken"]):
            return "private_topic"
        if refusal := self.barred() or self.unfit(self.identity()) or self.unregistered(asked[0]):
            return refusal
        concerning = [
            record
            for record in self.records
            if isinstance(record, Permission)
            and self.concerns(record)
            and record.action in (action, Action.PUB_SUB)
            and self.now(record.expires_at)
        ]
        denials = [self.judge(record, asked, action) for record in concerning if record.effect is Effect.DENY]
        allowances = [self.judge(record, asked, action) for record in concerning if record.effect is Effect.ALLOW]
        if True in denials or None in denials:
            return "denied" if True in denials else "unsafe_placeholder"
        if True in allowances:
            return "allowed"
        return "unsafe_placeholder" if None in allowances else "no_match"

    def barred(self) -> str:
        """Steps 2 to 4. No access key stands in these stores."""
        name = self.asker.username.split("|")
        reserved = len(name) == 3 and name[0] in ("Signature", "Token", "DeviceCredential")
        if reserved and name[2] != INSTANCE:
            return "wrong_instance"
        for record in self.records:
            if (
                isinstance(record, BlacklistEntry)
                and self.now(record.expires_at)
                and (record.client_id == self.asker.client_id or record.username == self.asker.username != "")
            ):
                return "blacklisted"
        registered = [
            record.name for record in self.records if isinstance(record, Group) and self.now(record.expires_at)
        ]
        if self.instance.client_id_rule is ClientIdRule.GROUP and (not self.device or self.group not in registered):
            return "invalid_client_id"
        owners = {owner.username for owner in self.owners()}
        if self.instance.pin_client_ids and owners and self.asker.username not in owners:
            return "client_id_owned"
        return "external_only" if reserved and self.asker.listener.external else ""

    def owners(self) -> list[Identity]:
        return [
            record
            for record in self.records
            if isinstance(record, Identity) and record.client_id == self.asker.client_id
        ]

    def identity(self) -> Identity | None:
        for owner in self.owners():
            if owner.username == self.asker.username:
                return owner
        for record in self.records:
            if isinstance(record, Identity) and not record.client_id and record.username == self.asker.username:
                prefix, group = record.client_ids_prefix, record.client_ids_group
                admitted = self.group == group if group else self.asker.client_id.startswith(prefix)
                return record if admitted else None
        return None

    def unfit(self, identity: Identity | None) -> str:
        external = self.asker.listener.external
        if identity is None:
            return "external_only" if external else "unknown_identity"
        if external != (identity.sign_mode is SignMode.EXTERNAL):
            return "external_only"
        return "" if self.now(identity.expires_at) else "expired"

    def unregistered(self, first: str) -> str:
        registry = self.instance.parent_topics
        known = not registry or first in ("+", "#", *registry) or first[:1] == "$"
        return "" if known else "unknown_parent_topic"

    def proof(self, mode: SignMode, secret: bytes) -> bytes:
        if mode is SignMode.ORIGIN:
            return secret
        return base64.b64encode(hmac.new(secret, self.asker.client_id.encode(), hashlib.sha1).digest())

    def concerns(self, record: Permission) -> bool:
        mine = {
            Grantee.USER: self.asker.username,
            Grantee.CLIENT: self.asker.client_id,
            Grantee.GROUP: self.group,
            Grantee.ALL: "",
        }
        return mine.get(record.identity_type) == record.identity

    def judge(self, record: Permission, asked: Levels, action: Action) -> bool | None:
        """Whether a permission bites; None where a value is unsafe and it could."""
        reaches = overlaps if record.effect is Effect.DENY and action is Action.SUB else covers
        template = record.topic.split("/")
        if not reaches(["+" if "${" in level else level for level in template], asked):
            return False
        values = {
            "username": self.asker.username,
            "clientid": self.asker.client_id,
            "group": self.group,
            "device": self.device,
            "cn": self.asker.cn,
        }
        filled = []
        for place, level in enumerate(template):
            made = level
            for name, value in values.items():
                if "${" + name + "}" in level:
                    if not value or any(bad in value for bad in "+#/\0"):
                        return None
                    made = made.replace("${" + name + "}", value)
            if place == 0 and made.startswith("$") and made != level:
                return None
            filled.append(made)
        return reaches(filled, asked)

    def parse(self, action: Action, text: str) -> list[str] | None:
        emqx = self.asker.listener.emqx
        levels = text.split("/")
        if action is Action.PUB:
            if emqx and levels[0] == "$delayed":
                if len(levels) < 3 or not levels[1].isdigit():
                    return None
                levels = levels[2:]
            legal = levels != [""] and levels[0] != "$share" and not {"+", "#"} & set(levels)
            return levels if legal else None
        if levels[0] == "$share" or (emqx and levels[0] == "$queue"):
            behind = 2 if levels[0] == "$share" else 1
            if behind == 2 and (len(levels) < 2 or levels[1] in ("", "+", "#")):
                return None
            levels = levels[behind:]
            if levels in ([], [""]) or levels[0] in ("$share", "$queue"):
                return None
        return levels if levels != [""] and "#" not in levels[:-1] else None

    @staticmethod
    def now(expires_at: int | None) -> bool:
        return expires_at is None or expires_at > NOW


def covers(grant: Levels, asked: Levels) -> bool:
    def below(left: Levels, right: Levels) -> bool:
        if not left:
            return not right
        if left[0] == "#":
            return True
        if not right or right[0] == "#":
            return False
        return left[0] in ("+", right[0]) and below(left[1:], right[1:])

    return not (grant[0] in ("+", "#") and asked[0].startswith("$")) and below(grant, asked)


def overlaps(one: Levels, other: Levels) -> bool:
    def below(left: Levels, right: Levels) -> bool:
        if left[:1] == ["#"] or right[:1] == ["#"]:
            return True
        if not left or not right:
            return not left and not right
        return (left[0] == right[0] or "+" in (left[0], right[0])) and below(left[1:], right[1:])

    for left, right in ((one, other), (other, one)):
        if left[0] in ("+", "#") and right[0].startswith("$"):
            return False
    return below(one, other)


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from([b"", *PASSWORDS]))
def test_authenticate_follows_the_rules(case: tuple[list[Record], Client], password: bytes) -> None:
    records, asker = case
    rules = Rules(records, asker)
    proofs = {password, *(rules.proof(SignMode.SIGNED, known) for known in PASSWORDS)}
    for tried in sorted(proofs):
        decision = authenticated(records, asker, tried)
        assert decision.reason.value == rules.authenticate(tried)
        assert decision.allow is (decision.reason.value == "allowed")
        assert not decision.passed_on


@settings(max_examples=200, deadline=None)
@given(cases(), st.lists(topics(), min_size=1, max_size=8))
def test_authorize_follows_the_rules(case: tuple[list[Record], Client], asked: list[str]) -> None:
    records, asker = case
    rules = Rules(records, asker)
    for action in (Action.PUB, Action.SUB):
        for topic in asked:
            decision = authorized(records, asker, action, topic)
            assert decision.reason.value == rules.authorize(action, topic), topic
            assert decision.allow is (decision.reason.value == "allowed")
            passes = rules.instance.no_match is NoMatch.PASS and decision.reason.value == "no_match"
            assert decision.passed_on is passes


@settings(max_examples=80, deadline=None)
@given(cases(), topics(), st.sampled_from([Action.PUB, Action.SUB]), st.randoms(use_true_random=False))
def test_no_order_of_records_changes_an_answer(
    case: tuple[list[Record], Client], topic: str, action: Action, chance: Random
) -> None:
    records, asker = case
    before = authorized(records, asker, action, topic)
    shuffled = list(records)
    chance.shuffle(shuffled)
    assert authorized(shuffled, asker, action, topic).reason is before.reason


@settings(max_examples=80, deadline=None)
@given(cases(), topics(), st.sampled_from([Action.PUB, Action.SUB]), st.integers(0, 20))
def test_a_deny_less_never_takes_away_and_an_allow_less_never_gives(
    case: tuple[list[Record], Client], topic: str, action: Action, which: int
) -> None:
    records, asker = case
    held = [record for record in records if isinstance(record, Permission)]
    if not held:
        return
    gone = held[which % len(held)]
    before = authorized(records, asker, action, topic).allow
    after = authorized([record for record in records if record is not gone], asker, action, topic).allow
    assert after >= before if gone.effect is Effect.DENY else after <= before
