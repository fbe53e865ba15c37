"""Authenticate, sentence by sentence of ``docs/semantics.md``: who must prove what, and what follows from it."""

from dataclasses import replace
from itertools import permutations

import pytest
from authenticate_cases import CASES, DEVICE, Case
from records_under_test import (
    INSTANCE,
    LISTENER,
    NOW,
    answer_to,
    asking,
    authenticated,
    blocked,
    challenged,
    client,
    group,
    instance,
    secret,
    user,
    view_of,
)

from store.decision import Decision, Reason, instance_of, select
from store.names import InvalidRecord
from store.records import ClientIdRule, Record
from store.topics import MAX_BYTES
from store.view import Client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_authenticate(case: Case) -> None:
    decision = authenticated(case.records, case.asker, case.password)
    assert decision.reason is case.reason
    assert decision.allow is (case.reason is Reason.ALLOWED)
    assert decision.rule == case.rule
    assert decision.revision == 7
    assert not decision.passed_on
    assert decision.secret_id == ("1" if decision.allow else "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_the_order_of_the_records_decides_nothing(case: Case) -> None:
    for records in permutations(case.records):
        assert authenticated(records, case.asker, case.password).reason is case.reason


# Steps 2 to 4 precede any password work: what they refuse is no challenge.
REFUSED_AT_ONCE = {
    Reason.INVALID_INPUT,
    Reason.WRONG_INSTANCE,
    Reason.BLACKLISTED,
    Reason.INVALID_CLIENT_ID,
    Reason.CLIENT_ID_OWNED,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_what_a_password_cannot_mend_is_refused_before_it_is_tried(case: Case) -> None:
    found = select(view_of(case.records, case.asker), case.asker, case.password, NOW)
    reserved_on_external = case.asker.listener.external and "|" in case.asker.username
    assert isinstance(found, Decision) is (case.reason in REFUSED_AT_ONCE or reserved_on_external)


def test_a_password_that_explain_does_not_know_is_not_the_empty_one() -> None:
    asker = asking("u")
    assert challenged([instance(), user("u")], asker, None).verdict is Reason.ALLOWED


@pytest.mark.parametrize(
    ("record", "reason", "before"),
    [
        (user("u", expires_at=NOW), Reason.EXPIRED, Reason.ALLOWED),
        (user("u", secret(expires_at=NOW)), Reason.EXPIRED, Reason.ALLOWED),
        (client("u", DEVICE, expires_at=NOW), Reason.EXPIRED, Reason.ALLOWED),
        (blocked(DEVICE, expires_at=NOW), Reason.ALLOWED, Reason.BLACKLISTED),
        (blocked(username="u", expires_at=NOW), Reason.ALLOWED, Reason.BLACKLISTED),
        (group("GID_Press", expires_at=NOW), Reason.INVALID_CLIENT_ID, Reason.ALLOWED),
    ],
)
def test_expiry_bites_at_the_very_millisecond(record: Record, reason: Reason, before: Reason) -> None:
    """Pitfall 19: in force while now < expires_at."""
    kinds = {found.kind for found in (record,)}
    records: list[Record] = [record]
    records.append(instance(client_id_rule=ClientIdRule.GROUP if "group" in kinds else ClientIdRule.ANY))
    if "identity" not in kinds:
        records.append(user("u"))
    asker = asking("u", DEVICE)
    assert authenticated(records, asker, now_ms=NOW - 1).reason is before
    assert authenticated(records, asker, now_ms=NOW).reason is reason
    assert authenticated(records, asker, now_ms=NOW + 1).reason is reason


def test_of_two_secrets_one_may_expire_and_the_other_authenticates() -> None:
    rotating = user("u", secret("old", id="2026-02", expires_at=NOW), secret("new", id="2026-08"))
    records = [instance(), rotating]
    for password, now_ms, named in (
        (b"old", NOW - 1, "2026-02"),
        (b"new", NOW - 1, "2026-08"),
        (b"new", NOW, "2026-08"),
    ):
        assert authenticated(records, asking("u"), password, now_ms).secret_id == named
    late = authenticated(records, asking("u"), b"old", NOW)
    assert (late.reason, late.secret_id, late.rule) == (Reason.WRONG_PASSWORD, "", rotating)


def test_an_expired_identity_with_all_its_secrets_expired_is_expired_not_unknown() -> None:
    gone = user("u", secret(expires_at=NOW), expires_at=NOW)
    assert authenticated([instance(), gone], asking("u")).reason is Reason.EXPIRED


def test_a_client_that_client_ids_does_not_admit_is_told_by_explain() -> None:
    bounded = user("u", client_ids_prefix="meter-")
    decision = authenticated([instance(), bounded], asking("u"))
    assert decision.nearest is not None
    assert (decision.nearest.record, decision.nearest.why, decision.nearest.level) == (bounded, "client_ids", None)


@pytest.mark.parametrize(
    ("username", "named"),
    [
        ("u", INSTANCE),
        ("", INSTANCE),
        ("Signature|key|mqtt-b", "mqtt-b"),
        ("Token|key|mqtt-b", "mqtt-b"),
        ("DeviceCredential|key|mqtt-b", "mqtt-b"),
        ("Signature|key|mqtt-b|x", INSTANCE),
        ("Signature|mqtt-b", INSTANCE),
        ("Custom|key|mqtt-b", INSTANCE),
    ],
)
def test_the_instance_is_the_listeners_unless_an_account_mode_names_it(username: str, named: str) -> None:
    assert instance_of(asking(username)) == named


def test_an_account_mode_never_reaches_another_instance() -> None:
    """Pitfall 22: even where the named instance exists and its records are in the view."""
    asker = asking("Signature|key|mqtt-b", listener=replace(LISTENER, instance=INSTANCE))
    view = view_of([instance(name="mqtt-b")], asker)
    assert answer_to(view, asker, b"password").reason is Reason.WRONG_INSTANCE


@pytest.mark.parametrize("mode", ["Signature", "Token", "DeviceCredential"])
def test_no_identity_stands_under_a_reserved_prefix(mode: str) -> None:
    for name in (f"{mode}|key|{INSTANCE}", f"{mode}|", f"{mode}|x"):
        with pytest.raises(InvalidRecord, match="begins like an account mode"):
            user(name)
    user(mode)
    user(f"x{mode}|")


@pytest.mark.parametrize(
    ("username", "client_id", "cn"),
    [
        (b"u\xff", b"c1", b""),
        (b"u", b"c\xff", b""),
        (b"u", b"c1", b"\xff"),
        (b"u\0", b"c1", b""),
        (b"u", b"c1\0", b""),
        (b"u", b"", b""),
        (b"u", b"x" * (MAX_BYTES + 1), b""),
        (b"x" * (MAX_BYTES + 1), b"c1", b""),
        (b"\xed\xa0\x80", b"c1", b""),
        (b"\xc0\xaf", b"c1", b""),
    ],
)
def test_what_no_connect_could_carry_makes_no_client(username: bytes, client_id: bytes, cn: bytes) -> None:
    assert Client.from_wire(username, client_id, LISTENER, cn=cn) is None


def test_a_client_keeps_its_exact_bytes() -> None:
    made = Client.from_wire(b"", "cafe\u0301 ".encode(), LISTENER, cn=b"cn", address="192.0.2.1")
    assert made == Client("", "cafe\u0301 ", LISTENER, "cn", "192.0.2.1")
