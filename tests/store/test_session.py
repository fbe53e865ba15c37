"""Sessions against the decision that they stand for: what a session allows, `authorize` allows; through any commits."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_under_test import (
    BOTH,
    INSTANCE,
    NOW,
    PUB,
    SUB,
    access_key,
    allow,
    asking,
    blocked,
    client,
    credential,
    deny,
    group,
    instance,
    stored,
    user,
    written,
)
from small_stores import CLIENT_IDS, LISTENERS, USERNAMES, permissions, stores, topics

from store.database import Database
from store.decision import Decision, authorize, instance_of
from store.reader import Reader
from store.records import Action, Grantee, Record
from store.seal import SealKeys
from store.session import MAX_TEMPLATES, Session
from store.tables import TABLES
from store.view import Client, View

KEYS = SealKeys()
U = asking("u")
ACCOUNTS = ("Signature|YYYYY", "Signature|other", "DeviceCredential|DC.1", "Token|YYYYY")


@st.composite
def stores_with_keys(draw: st.DrawFn) -> list[Record]:
    """A small store, sometimes with an access key and a device's credential."""
    records: list[Record] = list(draw(stores()))
    expiry = st.sampled_from([None, None, None, NOW, NOW + 1])
    if draw(st.booleans()):
        ways: dict[str, Any] = {name: draw(st.booleans()) for name in ("active", "connect", "all_topics")}
        records.append(access_key(expires_at=draw(expiry), **ways))
        records += draw(
            st.lists(st.builds(allow, st.sampled_from(["a", "a/#", "${clientid}/#"]), to=st.just(KEY)), max_size=2)
        )
    if draw(st.booleans()):
        records.append(credential(draw(st.sampled_from(CLIENT_IDS)), expires_at=draw(expiry)))
    return list({(record.kind, record.key): record for record in records}.values())


KEY = (Grantee.ACCESS_KEY, "YYYYY")


@st.composite
def clients(draw: st.DrawFn) -> Client:
    names = [*USERNAMES, *USERNAMES, "", *(f"{name}|{INSTANCE}" for name in ACCOUNTS), "Signature|YYYYY|mqtt-b"]
    return asking(
        draw(st.sampled_from(names)),
        draw(st.sampled_from(CLIENT_IDS)),
        draw(st.sampled_from(LISTENERS)),
        cn=draw(st.sampled_from(["", "b", "+"])),
    )


@settings(max_examples=40, deadline=None)
@given(
    states=st.lists(stores_with_keys(), min_size=1, max_size=4),
    more=st.lists(permissions(), max_size=30),
    asking_them=st.lists(clients(), min_size=1, max_size=4),
    asked=st.lists(st.tuples(st.sampled_from([PUB, SUB]), topics()), min_size=1, max_size=6),
    moments=st.lists(st.sampled_from([NOW - 1, NOW, NOW + 1]), min_size=1, max_size=3),
    polled=st.booleans(),
)
def test_a_session_allows_what_is_allowed_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    states: list[list[Record]],
    more: list[Record],
    asking_them: list[Client],
    asked: list[tuple[Action, str]],
    moments: list[int],
    polled: bool,
) -> None:
    """Sessions are held through commits, and through a clock that jumps, as long as they are said to stand."""
    path = tmp_path_factory.mktemp("session") / "exhook.db"
    states[-1] = list({(one.kind, one.key): one for one in (*states[-1], *more)}.values())
    with Database.open(path, KEYS) as database:
        database.connection.execute("PRAGMA synchronous = OFF")
        reader = Reader(path, KEYS, max_subjects=16)
        held: dict[Client, Session] = {}
        for records in states:
            replaced_by(database, records)
            # Without a poll, what is not there yet makes it read the commit; until then the old views decide.
            right = Reader(path, KEYS) if polled else reader
            if polled:
                reader.poll()
            for asker in asking_them:
                for now in moments:
                    view = right.view(instance_of(asker), asker)
                    session = held.get(asker)
                    if session is None or not stands(reader, session, now):
                        session = held[asker] = reader.session(instance_of(asker), asker, now)
                    agree(view, session, asker, asked, now)
            if polled:
                right.close()
        reader.close()


def stands(reader: Reader, session: Session, now: int) -> bool:
    return reader.stands(session) and session.window.since <= now < session.window.until


def agree(view: View, session: Session, asker: Client, asked: list[tuple[Action, str]], now: int) -> None:
    for action, topic in asked:
        decision = authorize(view, asker, action, topic, now)
        says = session.publishes(topic) if action is PUB else session.subscribes(topic)
        assert not says or decision.allow, (asker, action, topic, decision)
        if decision.allow and not says:
            assert doubtful(session, asker, topic), (asker, action, topic, decision)


def doubtful(session: Session, asker: Client, topic: str) -> bool:
    """What is for the view to say, though it is allowed."""
    many = any(one.barred_sub.may_overlap(topic) for one in session.rights)
    return topic.startswith("$") or asker.username.startswith("Token|") or many or session.rights == ()


def replaced_by(database: Database, records: list[Record]) -> None:
    with database.writing(actor="a", source="s", now_ms=NOW) as write:
        wanted = {(record.kind, record.key) for record in records}
        for table in TABLES:
            for record in list(database.records(table)):
                if (record.kind, record.key) not in wanted:
                    write.remove(record)
        for record in records:
            write.put(stored(database, record))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exhook.db"


@pytest.fixture
def reader(path: Path) -> Reader:
    with Database.open(path, KEYS) as database:
        written(database, instance(), user("u"), user("v"), group("GID_Abc"), allow("u/#", to=(Grantee.USER, "u")))
    return Reader(path, KEYS)


def commit(path: Path, *records: Record) -> None:
    with Database.open(path, KEYS) as database:
        written(database, *records)


def decided(reader: Reader, action: Action, topic: str, asker: Client = U) -> Decision:
    return authorize(reader.view(INSTANCE, asker), asker, action, topic, NOW)


class TestStanding:
    @pytest.mark.parametrize(
        "record",
        [
            user("u", "other"),
            client("u", "c1"),
            allow("x", to=(Grantee.USER, "u")),
            deny("x", to=(Grantee.CLIENT, "c1")),
            deny("x"),
            blocked("c1"),
            blocked(username="u"),
            instance(pin_client_ids=False),
            credential("c1"),
        ],
        ids=lambda record: f"{record.kind} {record.key}",
    )
    def test_what_touches_a_client_ends_its_session(self, reader: Reader, path: Path, record: Record) -> None:
        session = reader.session(INSTANCE, U, NOW)
        assert session.publishes("u/x")
        commit(path, record)
        assert reader.poll()
        assert not reader.stands(session)

    @pytest.mark.parametrize(
        "record",
        [
            user("v", "other"),
            user("new"),
            client("u", "c2"),
            allow("x", to=(Grantee.USER, "v")),
            allow("x", to=(Grantee.ACCESS_KEY, "u")),
            group("GID_Abc", expires_at=NOW),
            blocked("c2"),
            instance(name="mqtt-b"),
        ],
        ids=lambda record: f"{record.kind} {record.key}",
    )
    def test_what_touches_others_does_not(self, reader: Reader, path: Path, record: Record) -> None:
        session = reader.session(INSTANCE, U, NOW)
        commit(path, record)
        assert reader.poll()
        # Somebody asks, so that the instance is there again.
        reader.view(INSTANCE, asking("v"))
        assert reader.stands(session)
        assert session.publishes("u/x")

    def test_a_miss_of_another_client_ends_it_too(self, reader: Reader, path: Path) -> None:
        """As with views: what one decision goes by, all go by."""
        session = reader.session(INSTANCE, U, NOW)
        commit(path, deny("#", to=(Grantee.USER, "u")))
        assert reader.stands(session)
        reader.view(INSTANCE, asking("v", "never seen"))
        assert not reader.stands(session)

    def test_another_file_ends_all(self, reader: Reader, path: Path) -> None:
        session = reader.session(INSTANCE, U, NOW)
        other = path.with_name("other.db")
        with Database.open(other, KEYS) as database:
            written(database, instance(), user("u"))
        other.replace(path)
        assert reader.poll()
        assert not reader.stands(session)

    def test_who_was_dropped_to_make_room_stands_until_the_next_commit(self, path: Path, reader: Reader) -> None:
        reader.close()
        small = Reader(path, KEYS, max_subjects=6)
        session = small.session(INSTANCE, U, NOW)
        for number in range(10):
            small.view(INSTANCE, asking(f"u{number}", f"c{number}"))
        assert small.stands(session)
        commit(path, user("elsewhere"))
        small.poll()
        assert not small.stands(session)
        small.close()


def test_a_shared_registry_of_parent_topics(reader: Reader, path: Path) -> None:
    commit(path, instance(parent_topics=("u",)), allow("#", to=(Grantee.USER, "u")))
    reader.poll()
    session = reader.session(INSTANCE, U, NOW)
    for topic in ("u/x", "u", "x/u"):
        assert session.publishes(topic) is decided(reader, PUB, topic).allow
    assert session.subscribes("#")
    assert not session.subscribes("x/#")


def test_as_many_placeholders_as_it_holds(reader: Reader, path: Path) -> None:
    for count, sure in ((MAX_TEMPLATES, True), (MAX_TEMPLATES + 1, False)):
        commit(path, *(allow(f"{number}/${{clientid}}", to=(Grantee.USER, "u")) for number in range(count)))
        reader.poll()
        session = reader.session(INSTANCE, U, NOW)
        assert decided(reader, PUB, "3/c1").allow
        assert session.publishes("3/c1") is sure
        assert not session.publishes("3/c2")


def test_many_permissions_and_many_ends(reader: Reader, path: Path) -> None:
    many = [
        allow(topic, to=(Grantee.USER, "u"), action=action, expires_at=expires_at)
        for number in range(100)
        for topic, action, expires_at in (
            (f"a/{number}/#", BOTH, None),
            (f"b/{number}/+/x", PUB, NOW + number),
            (f"c/{number}", SUB, None),
        )
    ]
    commit(path, *many, deny("a/7/x"))
    reader.poll()
    session = reader.session(INSTANCE, U, NOW)
    asked = [f"{first}/{number}{rest}" for first in "abc" for number in (0, 7, 99, 100) for rest in ("", "/y/x", "/x")]
    agree(reader.view(INSTANCE, U), session, U, [(PUB, topic) for topic in asked if topic[0] != "b"], NOW)
    assert [decided(reader, PUB, topic).allow for topic in ("b/0/y/x", "b/99/y/x")] == [False, True]
    # Of so many that end, none is compiled: the view is asked.
    assert not session.publishes("b/99/y/x")
    assert [session.subscribes(asked) for asked in ("a/8/+", "a/+/x", "c/99", "c/+")] == [True, False, True, False]
