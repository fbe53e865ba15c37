"""Authorize, sentence by sentence of ``docs/semantics.md``: what may be published and subscribed."""

from itertools import islice, permutations

import pytest
from authorize_cases import CASES, COVERED, EVERYTHING, MINE, OVERLAPPED, PRESS, TO_C1, TO_U, Case, U
from records_under_test import (
    NOW,
    PUB,
    SUB,
    allow,
    asking,
    authorized,
    blocked,
    client,
    deny,
    group,
    instance,
    secret,
    user,
)

from store.decision import Decision, Nearest, Reason
from store.names import InvalidRecord
from store.records import Action, ClientIdRule, Grantee, Permission, Record

PREFIXES = ("$share", "$queue", "$delayed", "$exhook")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_authorize(case: Case) -> None:
    decision = authorized(case.store(), case.asker, case.action, case.topic)
    assert decision.reason is case.reason
    assert decision.rule == case.rule
    assert decision.allow is (case.reason is Reason.ALLOWED)
    assert decision.passed_on is case.passed_on
    assert decision.revision == 7
    assert decision.secret_id == ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_the_order_of_the_records_decides_nothing(case: Case) -> None:
    for records in islice(permutations(case.store()), 24):
        decision = authorized(records, case.asker, case.action, case.topic)
        assert (decision.reason, decision.rule) == (case.reason, case.rule)


@pytest.mark.parametrize(("grant", "filter_", "covered"), COVERED)
def test_an_allow_must_cover_the_filter(grant: str, filter_: str, covered: bool) -> None:
    decision = authorized([instance(), U, allow(grant)], MINE, SUB, filter_)
    assert decision.reason is (Reason.ALLOWED if covered else Reason.NO_MATCH)


@pytest.mark.parametrize(("denial", "filter_", "denied"), OVERLAPPED)
def test_a_deny_need_only_overlap_the_filter(denial: str, filter_: str, denied: bool) -> None:
    records = [instance(), U, EVERYTHING, allow("$SYS/#"), deny(denial)]
    decision = authorized(records, MINE, SUB, filter_)
    reachable = authorized(records[:-1], MINE, SUB, filter_).allow
    assert reachable
    assert decision.reason is (Reason.DENIED if denied else Reason.ALLOWED)


def test_there_is_no_union_reasoning() -> None:
    records = [instance(), U, allow("a/b"), allow("a/c"), allow("a/+/x")]
    assert not authorized(records, MINE, SUB, "a/+").allow


def test_a_template_and_a_fixed_permission_judge_alike() -> None:
    """Every filter decides the same whether its literal is written out or put in."""
    for asked, action in (("dev/u/x", PUB), ("dev/+/x", SUB), ("dev/u/#", SUB), ("dev/#", SUB), ("dev/u", SUB)):
        for template, fixed in (
            ("dev/${username}/#", "dev/u/#"),
            ("${username}/+", "u/+"),
            ("dev/${username}", "dev/u"),
        ):
            for make in (allow, deny):
                reasons = {
                    authorized([instance(), U, allow("dev/#"), make(topic)], MINE, action, asked).reason
                    for topic in (template, fixed)
                }
                assert len(reasons) == 1, (template, asked)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_permissions_that_begin_with_a_prefix_are_refused_when_written(prefix: str) -> None:
    for topic in (prefix, f"{prefix}/", f"{prefix}/g/a"):
        with pytest.raises(InvalidRecord):
            allow(topic)
    allow(f"a/{prefix}")


@pytest.mark.parametrize(
    ("record", "until", "then"),
    [
        (user("u", expires_at=NOW), Reason.ALLOWED, Reason.EXPIRED),
        (client("u", "GID_Press@@@0001", expires_at=NOW), Reason.ALLOWED, Reason.EXPIRED),
        (allow("a", expires_at=NOW), Reason.ALLOWED, Reason.NO_MATCH),
        (deny("a", expires_at=NOW), Reason.DENIED, Reason.ALLOWED),
        (allow("${group}", expires_at=NOW), Reason.NO_MATCH, Reason.NO_MATCH),
        (deny("${username}", expires_at=NOW), Reason.ALLOWED, Reason.ALLOWED),
        (blocked("GID_Press@@@0001", expires_at=NOW), Reason.BLACKLISTED, Reason.ALLOWED),
        (group("GID_Press", expires_at=NOW), Reason.ALLOWED, Reason.INVALID_CLIENT_ID),
        # A password that was proven stays proven: rotation ends no session.
        (user("u", secret(expires_at=NOW)), Reason.ALLOWED, Reason.ALLOWED),
    ],
)
def test_expiry_bites_at_the_very_millisecond(record: Record, until: Reason, then: Reason) -> None:
    records: list[Record] = [record, instance(client_id_rule=ClientIdRule.GROUP)]
    if record.kind != "identity":
        records.append(U)
    if record.kind != "group":
        records.append(group("GID_Press"))
    if not isinstance(record, Permission) or record.effect == "DENY":
        records.append(EVERYTHING)
    for now_ms, reason in ((NOW - 1, until), (NOW, then), (NOW + 1, then)):
        assert authorized(records, PRESS, PUB, "a", now_ms).reason is reason, now_ms


def _near(decision: Decision) -> tuple[str, str, int | None] | None:
    near = decision.nearest
    if near is None:
        return None
    topic = near.record.topic if isinstance(near.record, Permission) else type(near.record).__name__
    return topic, near.why, near.level


@pytest.mark.parametrize(
    ("permissions", "action", "asked", "near"),
    [
        ([], PUB, "a/b", None),
        ([deny("x")], PUB, "a/b", None),
        ([allow("a/b/c")], PUB, "a/x", ("a/b/c", "level", 1)),
        ([allow("a/b/c")], PUB, "x", ("a/b/c", "level", 0)),
        ([allow("a/b/c")], PUB, "a/b", ("a/b/c", "level", 2)),
        ([allow("a/b")], PUB, "a/b/c", ("a/b", "level", 2)),
        ([allow("a/x"), allow("a/b/x")], PUB, "a/b/c", ("a/b/x", "level", 2)),
        ([allow("a/+")], SUB, "a/#", ("a/+", "level", 1)),
        ([allow("#")], SUB, "$SYS/#", ("#", "level", 0)),
        ([allow("a", SUB)], PUB, "a", ("a", "action", None)),
        ([allow("a", PUB), allow("x")], SUB, "a", ("a", "action", None)),
        ([allow("a", expires_at=NOW)], PUB, "a", ("a", "expired", None)),
        ([allow("a/b", expires_at=NOW), allow("a/c")], PUB, "a/b", ("a/b", "expired", None)),
        ([allow("a/c", SUB), allow("a/c", expires_at=NOW, source="x")], PUB, "a/b", None),
        ([allow("dev/${username}/up")], PUB, "dev/u/down", ("dev/${username}/up", "level", 2)),
        ([allow("dev/${username}/up")], PUB, "dev/x/up", ("dev/${username}/up", "level", 1)),
        ([allow("dev/${username}", SUB)], PUB, "dev/u", ("dev/${username}", "action", None)),
        ([allow("dev/${username}", expires_at=NOW)], PUB, "dev/u", ("dev/${username}", "expired", None)),
        ([allow("dev/${username}", SUB), allow("dev/x")], PUB, "dev/v", ("dev/x", "level", 1)),
        ([allow("dev/${cn}")], PUB, "x", None),
        ([allow("a/x", to=TO_U), allow("a/b/x", to=TO_C1)], PUB, "a/b/c", ("a/b/x", "level", 2)),
        ([allow("a/b", SUB, to=TO_U), allow("a/x", to=TO_C1)], PUB, "a/b", ("a/b", "action", None)),
        ([allow("a/x", to=TO_C1), allow("${username}/b", SUB, to=TO_U)], PUB, "u/b", ("${username}/b", "action", None)),
    ],
)
def test_the_nearest_grant_says_what_it_lacks(
    permissions: list[Permission], action: Action, asked: str, near: tuple[str, str, int | None] | None
) -> None:
    decision = authorized([instance(), U, *permissions], MINE, action, asked)
    assert decision.reason is Reason.NO_MATCH
    assert _near(decision) == near


def test_an_identity_that_does_not_admit_the_client_is_the_nearest() -> None:
    bounded = user("u", client_ids_prefix="meter-")
    decision = authorized([instance(), bounded, EVERYTHING], MINE, PUB, "a")
    assert (decision.reason, decision.nearest) == (Reason.UNKNOWN_IDENTITY, Nearest(bounded, "client_ids"))


def test_an_allowed_request_names_no_nearest() -> None:
    assert authorized([instance(), U, allow("a"), allow("b")], MINE, PUB, "a").nearest is None


def test_rights_granted_to_a_client_id_go_to_its_owner_alone() -> None:
    """Pitfall 21: whoever else claims the id is refused, at both hooks."""
    owner = client("dashboard", "dash-01")
    records = [instance(), owner, user("u"), allow("#", to=(Grantee.CLIENT, "dash-01"))]
    assert authorized(records, asking("dashboard", "dash-01"), SUB, "a/#").allow
    assert authorized(records, asking("u", "dash-01"), SUB, "a/#").reason is Reason.CLIENT_ID_OWNED
    assert authorized(records, asking("u", "dash-1"), SUB, "a/#").reason is Reason.NO_MATCH


@pytest.mark.parametrize("client_id", ["DASH-01", "dash-01 ", "dash\u2010" + "01", "da\u0301sh-01"])
def test_confusable_client_ids_take_no_rights(client_id: str) -> None:
    """Pitfall 20: exact bytes."""
    records = [
        instance(),
        U,
        allow("a", to=(Grantee.CLIENT, "dash-01")),
        allow("a", to=(Grantee.CLIENT, "d\u00e1sh-01")),
    ]
    assert not authorized(records, asking("u", client_id), PUB, "a").allow
