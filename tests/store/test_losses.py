"""Who lost something: by hand, and against the decisions themselves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from records_under_test import (
    INSTANCE,
    NOW,
    PUB,
    SUB,
    allow,
    authenticated,
    authorized,
    blocked,
    client,
    deny,
    group,
    instance,
    secret,
    stored,
    user,
    written,
)
from small_stores import PASSWORDS, cases, stores, topics

from store.database import Database
from store.losses import MAX_CHANGES, losses
from store.names import group_of
from store.records import ClientIdRule, Grantee, NoMatch, Record, SignMode
from store.seal import SealKeys
from store.sweeper import sweep
from store.tables import TABLES, Subject
from store.view import Client

LATER = NOW + 1000
U, V = (Grantee.USER, "u"), (Grantee.USER, "v")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "exhook.db", SealKeys()) as opened:
        written(opened, instance())
        yield opened


def lost(database: Database, since: int, now_ms: int = NOW) -> set[tuple[str, str]] | None:
    found = losses(database.connection, since, database.revision, now_ms)
    return None if found is None else {(subject.type, subject.name) for subject in found}


def removed(database: Database, *records: Record, now_ms: int = NOW) -> None:
    with database.writing(actor="tester", source="api", now_ms=now_ms) as write:
        for record in records:
            write.remove(record)


NOTHING: set[tuple[str, str]] = set()
USER, CLIENT = {("USER", "u")}, {("CLIENT", "c1")}
ALL = {("ALL", "")}
TWO = (secret("one", id="1"), secret("two", id="2"))

CHANGED: list[Any] = [
    ("a new user", [], [user("u")], NOTHING),
    ("a new grant", [], [allow("a", to=U)], NOTHING),
    ("a new denial", [], [deny("a", to=U)], USER),
    ("a new denial for all", [], [deny("a")], ALL),
    ("a new blacklist entry", [], [blocked("c1")], CLIENT),
    ("a blacklisted user", [], [blocked(username="u")], USER),
    ("an expired denial", [], [deny("a", to=U, expires_at=NOW)], NOTHING),
    ("an owned client id", [], [client("u", "c1")], CLIENT),
    ("an owned client id, expired", [], [client("u", "c1", expires_at=NOW)], CLIENT),
    ("another secret", [user("u", "one")], [user("u", "two")], USER),
    ("one more secret", [user("u", TWO[0])], [user("u", *TWO)], NOTHING),
    ("one secret less", [user("u", *TWO)], [user("u", TWO[0])], USER),
    ("another mode", [user("u", "one")], [user("u", "one", sign_mode=SignMode.SIGNED)], USER),
    ("an end in the past", [user("u")], [user("u", expires_at=NOW)], USER),
    ("an end to come", [user("u")], [user("u", expires_at=NOW + 1)], NOTHING),
    ("a note", [user("u")], [user("u", note="new")], NOTHING),
    ("a prefix", [user("u")], [user("u", client_ids_prefix="x")], USER),
    ("a wider prefix", [user("u", client_ids_prefix="xy")], [user("u", client_ids_prefix="x")], NOTHING),
    ("a group", [user("u")], [user("u", client_ids_group="GID_Abc")], USER),
    ("a group's prefix", [user("u", client_ids_group="GID_Abc")], [user("u", client_ids_prefix="GID_")], NOTHING),
    ("narrowed", [allow("a", to=U)], [allow("a", SUB, to=U)], USER),
    ("widened", [allow("a", SUB, to=U)], [allow("a", to=U)], NOTHING),
    ("a denial narrowed", [deny("a", to=U)], [deny("a", SUB, to=U)], NOTHING),
    ("a denial widened", [deny("a", PUB, to=U)], [deny("a", to=U)], USER),
    ("the group rule", [], [instance(client_id_rule=ClientIdRule.GROUP)], {("INSTANCE", "")}),
    ("no more passing on", [instance(no_match=NoMatch.PASS)], [instance()], {("INSTANCE", "")}),
    ("passing on", [instance()], [instance(no_match=NoMatch.PASS)], NOTHING),
    ("pinned", [instance(pin_client_ids=False)], [instance()], {("INSTANCE", "")}),
    ("a quota", [instance()], [instance(record_quota=9)], NOTHING),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"), [case[1:] for case in CHANGED], ids=[one[0] for one in CHANGED]
)
def test_what_a_change_takes_away(
    database: Database, before: list[Record], after: list[Record], expected: set[tuple[str, str]]
) -> None:
    written(database, *before)
    since = database.revision
    written(database, *after, now_ms=LATER)
    assert lost(database, since) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (user("u"), USER),
        (client("u", "c1"), CLIENT),
        (allow("a", to=U), USER),
        (deny("a", to=U), NOTHING),
        (blocked("c1"), NOTHING),
        (group("GID_Abc"), {("GROUP", "GID_Abc")}),
        (instance(), {("INSTANCE", "")}),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_a_removal_takes_away(database: Database, record: Record, expected: set[tuple[str, str]]) -> None:
    written(database, record)
    since = database.revision
    removed(database, record)
    assert lost(database, since) == expected


def test_a_grant_that_goes_over_to_another_source_is_nobodys_loss(database: Database) -> None:
    written(database, allow("a", to=U))
    since = database.revision
    written(database, allow("a", to=U, source="plant"), source="plant")
    removed(database, allow("a", to=U))
    assert lost(database, since) == NOTHING


def test_what_comes_and_goes_is_nobodys_loss(database: Database) -> None:
    since = database.revision
    written(database, user("u"), deny("a", to=U))
    removed(database, deny("a", to=U))
    assert lost(database, since) == NOTHING


def test_what_is_given_and_taken_is_lost_by_whoever_had_it_meanwhile(database: Database) -> None:
    """Nobody looked in between; a session that began then stands."""
    written(database, user("u"), user("v"), deny("b", to=V), blocked("c1"))
    since = database.revision
    written(database, user("w"), allow("a", to=U))
    removed(database, deny("b", to=V), blocked("c1"))
    written(database, allow("x", to=U), deny("b", to=V), blocked("c1"))
    removed(database, user("w"), allow("a", to=U))
    assert lost(database, since) == {U, V, ("USER", "w"), ("CLIENT", "c1")}


def test_what_changes_too_often_may_be_everyones_loss(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.losses.MAX_STEPS", 9)
    since = database.revision
    for _ in range(2):
        written(database, deny("a", to=U))
        removed(database, deny("a", to=U))
    assert lost(database, since) is None
    assert lost(database, since + 1) == NOTHING


def test_what_expires(database: Database) -> None:
    """An expired denial lets in; a grant, an identity and a secret that run out are lost."""
    kept, ending = secret("one", id="1"), secret("two", id="2", expires_at=NOW + 5)
    written(
        database,
        user("u", expires_at=NOW + 5),
        user("v", kept, ending),
        user("w"),
        allow("a", to=(Grantee.CLIENT, "c1"), expires_at=NOW + 5),
        deny("a", expires_at=NOW + 5),
        blocked("c2", expires_at=NOW + 5),
    )
    since = database.revision
    assert sweep(database, NOW + 5) == 5
    assert lost(database, since, NOW + 5) == {("USER", "u"), ("USER", "v"), ("CLIENT", "c1")}


ENDS = NOW + 5
"""Between the first write, at NOW, and the second, at LATER: before any sweep."""

EXPIRED: list[Any] = [
    ("a user", user("u", expires_at=ENDS), USER),
    ("a secret", user("u", TWO[0], secret("two", id="2", expires_at=ENDS)), USER),
    ("an owner", client("u", "c1", expires_at=ENDS), CLIENT),
    ("a grant", allow("a", to=U, expires_at=ENDS), USER),
    ("a denial", deny("a", to=U, expires_at=ENDS), NOTHING),
    ("a blacklist entry", blocked("c1", expires_at=ENDS), NOTHING),
    ("a group", group("GID_Abc", expires_at=ENDS), {("GROUP", "GID_Abc")}),
]
EACH_EXPIRED = pytest.mark.parametrize(
    ("record", "expected"), [one[1:] for one in EXPIRED], ids=[one[0] for one in EXPIRED]
)


@EACH_EXPIRED
@pytest.mark.parametrize("how", ["removed", "changed", "left"])
def test_what_expired_is_lost_whatever_came_of_it_before_a_sweep(
    database: Database, record: Record, expected: set[tuple[str, str]], how: str
) -> None:
    written(database, record)
    since = database.revision
    if how == "removed":
        removed(database, record, now_ms=LATER)
    elif how == "changed":
        written(database, replace(record, note="seen"), now_ms=LATER)
    sweep(database, LATER)
    assert lost(database, since, LATER) == expected
    assert database.revision == since + 1


def test_what_was_told_is_not_lost_again_when_it_goes(database: Database) -> None:
    records = [one[1] for one in EXPIRED[1:]]
    written(database, *records)
    sweep(database, LATER)
    since = database.revision
    removed(database, *records[1:], now_ms=LATER)
    written(database, user("u", TWO[0]), now_ms=LATER)
    assert lost(database, since, LATER) == NOTHING


def test_what_expired_and_is_renewed(database: Database) -> None:
    """A grant that is back is nobody's loss; a denial that is back takes from whoever came in meanwhile."""
    kept = [user("u"), allow("a", to=U)]
    back = [deny("a", to=V), blocked("c1")]
    written(database, *(replace(record, expires_at=ENDS) for record in (*kept, *back)))
    since = database.revision
    written(database, *kept, *back, now_ms=LATER)
    assert lost(database, since, LATER) == {("USER", "v"), ("CLIENT", "c1")}


def test_what_was_written_by_a_clock_that_was_ahead(database: Database) -> None:
    """It held once the clock was put right, whatever it was taken for when it was written."""
    since = database.revision
    written(database, allow("a", to=U, expires_at=ENDS), now_ms=LATER)
    assert sweep(database, ENDS) == 1
    assert lost(database, since, ENDS) == USER
    assert lost(database, since + 1, ENDS) == USER


def test_a_range_of_revisions(database: Database) -> None:
    written(database, user("u"), user("v"))
    since = database.revision
    removed(database, user("u"))
    until = database.revision
    removed(database, user("v"))
    assert losses(database.connection, since, until, NOW) == frozenset({Subject(INSTANCE, "USER", "u")})
    assert losses(database.connection, until, until, NOW) == frozenset()


def test_a_gap_and_too_much_are_everyones_loss(database: Database) -> None:
    since = database.revision
    written(database, user("u"))
    assert losses(database.connection, since, since + 2, NOW) is None
    database.connection.execute("DELETE FROM changes WHERE revision = ?", (since,))
    database.connection.execute("DELETE FROM revisions WHERE revision = ?", (since,))
    assert losses(database.connection, since - 1, since + 1, NOW) is None
    assert losses(database.connection, since, since + 1, NOW) == frozenset()
    with database.writing(actor="tester", source="api", now_ms=NOW) as write:
        for number in range(MAX_CHANGES):
            write.put(allow(f"t/{number}"))
    assert lost(database, since) is None


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(tmp_path_factory.mktemp("losses") / "exhook.db", SealKeys()) as opened:
        opened.connection.execute("PRAGMA synchronous = OFF")
        yield opened


def concerned(subjects: frozenset[Subject], asker: Client) -> bool:
    mine = {
        ("USER", asker.username), ("CLIENT", asker.client_id), ("GROUP", group_of(asker.client_id)),
        ("ALL", ""), ("INSTANCE", ""),
    }  # fmt: skip
    return any((subject.type, subject.name) in mine for subject in subjects)


def turns(asker: Client) -> list[Record]:
    """What would be drawn too rarely by chance: each takes something from this client, and from few others."""
    grantees = [(Grantee.USER, asker.username), (Grantee.CLIENT, asker.client_id), (Grantee.ALL, "")]
    grantees += [(Grantee.GROUP, group_of(asker.client_id))] if group_of(asker.client_id) else []
    named = [to for to in grantees if to[0] is Grantee.ALL or to[1]]
    users = [blocked(username=asker.username)] if asker.username else []
    return [*(deny("#", to=to) for to in named), blocked(asker.client_id), *users]


# No shrinking: a failure is small enough as it is drawn.
@settings(
    max_examples=60, phases=(Phase.explicit, Phase.generate), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(cases(), stores(), st.data())
def test_whoever_is_denied_what_was_allowed_has_lost_something(
    reused: Database,
    case: tuple[list[Record], Client],
    other: list[Record],
    data: st.DataObject,
) -> None:
    """By the decisions: it may be reported needlessly, and is never left out."""
    records, asker = case
    if data.draw(st.booleans(), label="opens"):
        records = [*records, allow("#", to=(Grantee.USER, asker.username))] if asker.username else records
    # Some run out before the second write, and are changed or removed by it, before a sweep.
    lapses = data.draw(st.booleans(), label="lapses")
    records = [
        replace(record, expires_at=ENDS) if lapses and record.kind != "instance" else record for record in records
    ]
    before = {(record.kind, record.key): record for record in records}
    put = {
        (record.kind, record.key): record for record in other if data.draw(st.booleans(), label=f"puts {record.kind}")
    }
    if data.draw(st.booleans(), label="turns"):
        turn = data.draw(st.sampled_from(turns(asker)))
        put = {(turn.kind, turn.key): turn}
    gone = [
        record
        for key, record in before.items()
        if key not in put and key[0] != "instance" and (lapses or data.draw(st.integers(0, 3), label="goes") == 0)
    ]
    passing = [
        record
        for key, record in put.items()
        if key[0] != "instance" and data.draw(st.integers(0, 3), label="passes") == 0
    ]
    between = [*(record for key, record in before.items() if key not in put), *put.values()]
    after = [record for record in between if record not in gone and record not in passing]
    asked = [
        (action, topic) for topic in data.draw(st.lists(topics(), min_size=2, max_size=5)) for action in (PUB, SUB)
    ]
    removed(reused, *(record for table in reversed(TABLES) for record in list(reused.records(table))))
    with reused.transaction():
        reused.swept_until = NOW
    written(reused, *before.values())
    since = reused.revision
    written(reused, *put.values(), now_ms=LATER)
    removed(reused, *gone, *passing, now_ms=LATER)
    sweep(reused, LATER)
    subjects = losses(reused.connection, since, reused.revision, LATER)
    old = [stored(reused, record) for record in before.values()]
    middle = [stored(reused, record) for record in between]
    new = [stored(reused, record) for record in after]
    assert subjects is not None
    denied = any(
        authorized(had, asker, *one, at).allow and not authorized(new, asker, *one, LATER).allow
        for one in asked
        for had, at in ((old, NOW), (old, LATER), (middle, LATER))
    ) or any(
        authenticated(had, asker, password, at).allow and not authenticated(new, asker, password, LATER).allow
        for password in PASSWORDS
        for had, at in ((old, NOW), (old, LATER), (middle, LATER))
    )
    if denied:
        assert concerned(subjects, asker)
