"""Who loses something loses it in sessions that stand: real stores, a real HTTP API, faults of all kinds."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from emqx_api_under_test import KEY, SECRET, EmqxApiUnderTest, Session
from enforcer_under_test import after, enforcing, eventually_settled, make_haste, rows, settled
from server_under_test import becomes
from worker_under_test import INSTANCE, Store, identity, instance, permission, secret

from exhook import metrics
from exhook.brokers import emqx
from exhook.brokers.emqx import EmqxApi, LiveClient
from exhook.enforcer import enforcer as enforcer_module
from exhook.enforcer import lane
from exhook.enforcer.ledger import Ledger
from exhook.enforcer.sessions import Sessions
from exhook.listeners import ListenerRule
from exhook.settings import Settings
from store.clock import now_ms
from store.database import Database
from store.records import Action, BlacklistEntry, Effect, Grantee, Group, Instance
from store.revocations import EVERYBODY, MOST_ATTEMPTS, OWNED_MS, Revocation, Revocations, State
from store.runtime import Runtime
from store.seal import SealKeys, new_key
from store.sweeper import sweep
from store.tables import Subject


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    make_haste(monkeypatch)


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


@pytest.fixture
def known(store: Store) -> Store:
    """A store with some records, read by an enforcer up to its end."""
    store.put(
        identity("alice", b"right", id="alice"),
        identity("bob", b"right"),
        identity("alice", b"own", client_id="own"),
        permission("alice", "a/#"),
        permission("bob", "b/#"),
        permission("", "all/#", to=Grantee.ALL),
        Group(instance=INSTANCE, name="GID_Alpha", source="policy"),
        permission("GID_Alpha", "g/#", to=Grantee.GROUP),
        permission("c1", "c/#", to=Grantee.CLIENT),
    )
    return store


class TestWhoLoses:
    async def test_a_removed_identity_ends_its_sessions_and_no_others(
        self, known: Store, broker: EmqxApiUnderTest
    ) -> None:
        broker.join(Session("c1", "alice"), Session("c2", "alice"), Session("own", "alice"), Session("c3", "bob"))
        await after(known, broker, lambda: known.remove(identity("alice", b"right")))
        assert sorted(broker.disconnected) == ["c1", "c2"]
        # Of the same user name, and let in by its own identity: it stays, and is decided anew.
        assert set(broker.cleared) == {"own"}

    async def test_a_secret_that_went_ends_what_it_let_in(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice", {"a/b"}), Session("own", "alice"), Session("c3", "bob"))
        await after(known, broker, lambda: known.put(identity("alice", b"other")))
        assert broker.disconnected == ["c1"]

    @pytest.mark.parametrize("removed", [True, False], ids=["removed", "changed"])
    async def test_what_expired_and_was_removed_or_changed_before_a_sweep(
        self, known: Store, broker: EmqxApiUnderTest, removed: bool
    ) -> None:
        """A lapsed line that is deleted while the server restarts, or within the half second until it sweeps."""
        ended = now_ms() - 1
        lapsed = [
            permission("bob", "visit/#", expires_at=ended),
            identity("carol", b"right", expires_at=ended),
            identity("dora", secrets=(secret("old", b"x", expires_at=ended), secret("new", b"y"))),
        ]
        with (
            Database.open(known.path, known.keys) as database,
            database.writing(actor="t", source="policy", now_ms=ended - 1_000) as write,
        ):
            for record in lapsed:
                write.put(record)

        def tidy() -> None:
            # Whom the enforcer's own first look must not find yet.
            broker.join(Session("c1", "bob", {"visit/1", "b/1"}), Session("c2", "carol"), Session("c3", "dora"))
            if removed:
                known.remove(*lapsed[:2])
                known.put(identity("dora", secrets=(secret("new", b"y"),)))
            else:
                known.put(*(replace(record, note="seen") for record in lapsed))

        await after(known, broker, tidy)
        assert sorted(broker.disconnected) == ["c2", "c3"]
        assert broker.sessions["c1"].topics == {"b/1"}

    async def test_a_second_secret_ends_nothing(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice"))
        both = (secret("default", b"right"), secret("next", b"other"))
        await after(known, broker, lambda: known.put(identity("alice", secrets=both)))
        assert not broker.disconnected
        assert not rows(known) or {one.subject.name for one in rows(known)} == {""}

    async def test_a_client_id_that_gets_an_owner(self, known: Store, broker: EmqxApiUnderTest) -> None:
        """Whoever holds it was let in by another secret, even under the same user name."""
        broker.join(Session("c1", "alice"), Session("c2", "bob"), Session("c3", "alice"))
        await after(
            known, broker,
            lambda: known.put(identity("alice", b"x", client_id="c1"), identity("alice", b"x", client_id="c2")),
        )  # fmt: skip
        assert sorted(broker.disconnected) == ["c1", "c2"]

    @pytest.mark.parametrize("entry", [{"client_id": "c1"}, {"username": "alice"}], ids=str)
    async def test_a_blacklist_entry(self, known: Store, broker: EmqxApiUnderTest, entry: dict[str, Any]) -> None:
        broker.join(Session("c1", "alice"), Session("c2", "bob"))
        barred = BlacklistEntry(instance=INSTANCE, source="policy", **entry)
        await after(known, broker, lambda: known.put(barred))
        assert broker.disconnected == ["c1"]

    async def test_a_narrowed_permission_ends_what_it_no_longer_covers(
        self, known: Store, broker: EmqxApiUnderTest
    ) -> None:
        broker.join(
            Session("c1", "alice", {"m/a/1", "m/a/#", "$share/g/m/a/1", "$share/g/m/a/2", "m/all/x"}, "m/"),
            Session("c2", "alice"),
            Session("c3", "bob", {"b/1"}),
        )

        def narrow() -> None:
            with (
                Database.open(known.path, known.keys) as database,
                database.writing(actor="t", source="policy", now_ms=now_ms()) as write,
            ):
                write.remove(permission("alice", "a/#"))
                write.put(permission("alice", "a/1"))

        await after(known, broker, narrow)
        assert not broker.disconnected
        assert broker.sessions["c1"].topics == {"m/a/1", "$share/g/m/a/1", "m/all/x"}
        assert sorted(set(broker.unsubscribed)) == [("c1", "$share/g/a/2"), ("c1", "a/#")]
        assert set(broker.cleared) == {"c1", "c2"}
        (row,) = [one for one in rows(known) if one.subject.name == "alice"]
        assert (row.state, row.disconnected, row.unsubscribed) == (State.DONE, 0, 2)

    async def test_a_denial_ends_what_overlaps_it(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice", {"a/#", "a/x", "a/secret"}))
        await after(known, broker, lambda: known.put(permission("alice", "a/secret", effect=Effect.DENY)))
        assert broker.sessions["c1"].topics == {"a/x"}

    async def test_a_registry_of_parent_topics_ends_what_is_outside_of_it(
        self, known: Store, broker: EmqxApiUnderTest
    ) -> None:
        broker.join(Session("c1", "alice", {"a/1", "all/1"}))
        registering = Instance(name=INSTANCE, source="policy", parent_topics=("all",))
        await after(known, broker, lambda: known.put(registering))
        assert not broker.disconnected
        assert broker.sessions["c1"].topics == {"all/1"}

    async def test_to_lose_a_publish_empties_the_cache(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice", {"a/1"}))
        await after(known, broker, lambda: known.put(permission("alice", "a/#", Action.SUB)))
        assert set(broker.cleared) == {"c1"}
        assert broker.sessions["c1"].topics == {"a/1"}

    async def test_disconnect_where_that_is_wanted(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice", {"a/1"}), Session("c2", "alice", {"all/1"}))
        await after(
            known, broker, lambda: known.remove(permission("alice", "a/#")), cluster={"on_narrowed": "disconnect"}
        )
        assert broker.disconnected == ["c1"]
        assert not broker.unsubscribed

    async def test_a_subscription_that_does_not_go_takes_its_session(
        self, known: Store, broker: EmqxApiUnderTest
    ) -> None:
        broker.stubborn = True
        broker.join(Session("c1", "alice", {"a/1"}), Session("c2", "alice", {"all/1"}))
        await after(known, broker, lambda: known.remove(permission("alice", "a/#")))
        assert broker.disconnected == ["c1"]

    async def test_what_hangs_on_a_certificate_connects_anew(self, known: Store, broker: EmqxApiUnderTest) -> None:
        """The API does not tell the certificate's name; neither staying nor unsubscribing would be right."""
        known.put(permission("alice", "cn/${cn}/#"))
        broker.join(Session("c1", "alice", {"cn/x/1"}), Session("c2", "alice", {"all/1"}))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]

    @pytest.mark.parametrize("how", ["secret", "blacklist", "identity"])
    async def test_who_was_let_in_just_before_it_was_ended_is_ended_at_the_second_look(
        self, known: Store, broker: EmqxApiUnderTest, how: str
    ) -> None:
        """EMQX knows the session of a CONNECT that was allowed a moment ago only after the first one was ended."""
        broker.join(Session("c1", "alice", {"a/b"}))

        def cut(client_id: str) -> None:
            broker.cut = lambda _: None
            broker.join(Session(client_id, "alice", {"a/b"}, connected_at=datetime.now(UTC)))

        broker.cut = cut
        changes: dict[str, Callable[[], object]] = {
            "secret": lambda: known.put(identity("alice", b"other")),
            "blacklist": lambda: known.put(BlacklistEntry(instance=INSTANCE, client_id="c1", source="policy")),
            "identity": lambda: known.remove(identity("alice", b"right")),
        }
        await after(known, broker, changes[how])
        assert broker.disconnected == ["c1", "c1"]
        assert not broker.sessions

    async def test_who_came_back_with_the_new_secret_stays(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice", {"a/b"}))
        broker.cut = lambda client_id: broker.join(
            Session(client_id, "alice", {"a/b"}, connected_at=datetime.now(UTC) + timedelta(seconds=5))
        )
        await after(known, broker, lambda: known.put(identity("alice", b"other")))
        assert (broker.disconnected, broker.sessions["c1"].topics) == (["c1"], {"a/b"})

    @pytest.mark.parametrize("subject", [
        Subject(INSTANCE, "USER", "alice"), Subject(INSTANCE, "GROUP", "GID_Alpha"), Subject("", "ACCESS_KEY", "key"),
        EVERYBODY,
    ], ids=lambda subject: subject.type)  # fmt: skip
    async def test_who_was_missed_between_two_pages_is_found(
        self, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch, subject: Subject
    ) -> None:
        """Whoever comes or goes shifts the pages."""
        monkeypatch.setattr(emqx, "PAGE", 2)
        listings = iter([["a", "b"], ["b", "c"], ["a", "c"], ["d"]])

        async def clients(_self: EmqxApi, **_query: str) -> AsyncIterator[LiveClient]:
            for name in next(listings):
                yield LiveClient.of({"clientid": name})

        monkeypatch.setattr(EmqxApi, "clients", clients)
        async with EmqxApi(broker.cluster(), broker.environ) as api:
            wanted = Revocation(
                id=1, cluster="", revision=1, at=0, subject=subject, proof=False, state=State.WAITING, due=0,
                attempts=0, ended_at=0, disconnected=0, unsubscribed=0, note="",
            )  # fmt: skip
            assert {one.client_id for one in await Sessions(api).meant_by([wanted])} == {"a", "b", "c"}

    async def test_groups_and_everyone(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(
            Session("GID_Alpha@@@1", "alice", {"g/1", "all/1"}),
            Session("xGID_Alpha@@@1", "alice", {"all/1"}),
            Session("c3", "bob", {"b/1", "all/1"}),
        )

        def change() -> None:
            known.remove(permission("GID_Alpha", "g/#", to=Grantee.GROUP))

        await after(known, broker, change)
        assert broker.unsubscribed == [("GID_Alpha@@@1", "g/1")]
        broker.unsubscribed.clear()
        await after(known, broker, lambda: known.remove(permission("", "all/#", to=Grantee.ALL)))
        assert sorted(broker.unsubscribed) == [
            ("GID_Alpha@@@1", "all/1"), ("c3", "all/1"), ("xGID_Alpha@@@1", "all/1"),
        ]  # fmt: skip

    async def test_many_of_one_subject_are_listed_together(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(emqx, "PAGE", 40)
        broker.join(*(Session(f"c{number}", "bob", {"b/1", "all/1"}) for number in range(150)))
        await after(known, broker, lambda: known.remove(permission("", "all/#", to=Grantee.ALL)))
        assert all(session.topics == {"b/1"} for session in broker.sessions.values())
        assert broker.counted("GET", "/api/v5/clients/") <= 2 * 150
        assert set(broker.cleared) == {None}

    async def test_an_instance_is_that_of_the_listener(self, known: Store, broker: EmqxApiUnderTest) -> None:
        known.put(Instance(name="mqtt-two", source="policy"), identity("alice", b"right"))
        broker.listeners.append({"id": "ssl:two", "bind": "0.0.0.0:8883"})
        broker.join(Session("c1", "alice"), Session("c2", "alice", listener="ssl:two"))
        rules = (ListenerRule(name="two", port=8883, instance="mqtt-two"),)
        async with enforcing(known, broker, listeners=rules, instance=INSTANCE):
            await becomes(lambda: settled(known))
            # At the first look, everybody is checked: `mqtt-two` knows no alice.
            assert broker.disconnected == ["c2"]
            broker.join(Session("c2", "alice", listener="ssl:two"))
            known.put(BlacklistEntry(instance=INSTANCE, username="alice", source="policy"))
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c2", "c1"]

    async def test_where_emqx_does_not_tell_the_listener_the_strictest_counts(
        self, known: Store, broker: EmqxApiUnderTest
    ) -> None:
        known.put(Instance(name="mqtt-two", source="policy"))
        broker.join(Session("c1", "alice", listener=""))
        rules = (ListenerRule(name="two", port=8883, instance="mqtt-two"),)
        async with enforcing(known, broker, listeners=rules, instance=INSTANCE):
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]

    async def test_what_expires(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "carol"), Session("c2", "alice", {"x/1"}))
        soon = now_ms() + 1_500
        known.put(identity("carol", b"right", expires_at=soon), permission("alice", "x/#", expires_at=soon))

        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
            assert not broker.disconnected
            assert not broker.unsubscribed
            await asyncio.sleep(max(0.0, (soon - now_ms()) / 1000))
            with Database.open(known.path, known.keys) as database:
                assert sweep(database, now_ms()) == 2
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]
        assert broker.unsubscribed == [("c2", "x/1")]

    @pytest.mark.parametrize("client_id", ["..", ".", "a/b", "%2e%2e", "c?x=1", "ü\u202e", "undefined"])
    async def test_client_ids_of_all_kinds(self, known: Store, broker: EmqxApiUnderTest, client_id: str) -> None:
        broker.join(Session(client_id, "alice", {"a/1"}), Session("other", "bob"))
        await after(known, broker, lambda: known.put(BlacklistEntry(instance=INSTANCE, client_id=client_id)))
        assert broker.disconnected == [client_id]

    async def test_a_user_and_a_client_called_undefined(self, known: Store, broker: EmqxApiUnderTest) -> None:
        known.put(identity("undefined", b"right"))
        broker.join(Session("undefined", "alice", {"a/1"}), Session("c1", "undefined"))
        await after(known, broker, lambda: known.remove(identity("alice", b"right")))
        assert broker.disconnected == ["undefined"]
        known.remove(identity("undefined", b"right"))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["undefined", "c1"]

    async def test_a_gain_calls_nobody(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice"))
        await after(known, broker, lambda: known.put(permission("alice", "more/#"), identity("new", b"x")))
        assert [call for call in broker.calls if call[1] != "/api/v5/nodes"] == []


class TestPlace:
    async def test_the_first_look_checks_everybody(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(
            Session("c1", "alice", {"a/1", "b/1"}), Session("c2", "nobody"), Session("own", "bob"), Session("c3", "bob")
        )
        with structlog.testing.capture_logs() as lines:
            async with enforcing(known, broker):
                await becomes(lambda: settled(known))
        assert sorted(broker.disconnected) == ["c2", "own"]
        assert broker.sessions["c1"].topics == {"a/1"}
        assert [line["why"] for line in lines if line["event"] == "everybody's sessions are checked"] == [
            "no place yet"
        ]

    async def test_a_restart_goes_on_where_it_was(self, known: Store, broker: EmqxApiUnderTest) -> None:
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        known.remove(identity("alice", b"right"))
        broker.join(Session("c1", "alice"), Session("c3", "bob"))
        broker.calls.clear()
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]
        assert {one.revision for one in rows(known)} == {2, 3}

    async def test_another_store_in_its_place(self, known: Store, broker: EmqxApiUnderTest, tmp_path: Path) -> None:
        other = Store(tmp_path / "other" / "exhook.db")
        other.path.parent.mkdir()
        other.put(instance(), identity("bob", b"right"))
        with Database.open(other.path, other.keys) as database:
            database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        broker.join(Session("c1", "alice"), Session("c3", "bob"))
        await after(known, broker, lambda: other.path.rename(known.path))
        assert broker.disconnected == ["c1"]

    async def test_more_changes_than_can_be_told_one_by_one(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.losses.MAX_CHANGES", 2)
        broker.join(Session("c1", "alice", {"all/1"}), Session("c2", "bob", {"b/1", "b/2"}))

        def change() -> None:
            with (
                Database.open(known.path, known.keys) as database,
                database.writing(actor="t", source="policy", now_ms=now_ms()) as write,
            ):
                write.put(identity("alice", b"other"))
                write.remove(permission("bob", "b/#"))
                write.put(permission("bob", "b/1"))

        await after(known, broker, change)
        # A secret that went is known by name all the same.
        assert broker.disconnected == ["c1"]
        assert broker.sessions["c2"].topics == {"b/1"}
        assert next((one.subject, one.proof) for one in rows(known)) == (EVERYBODY, True)

    async def test_many_new_owners_of_client_ids_are_one_revocation(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.losses.MAX_CHANGES", 2)
        broker.join(Session("d7", "alice", {"a/1"}), Session("c1", "alice", {"a/1"}))
        await after(
            known, broker, lambda: known.put(*(identity("alice", b"x", client_id=f"d{number}") for number in range(20)))
        )
        assert broker.disconnected == ["d7"]
        assert len(rows(known)) == 2

    async def test_who_reads_for_so_long_that_another_took_over_notes_nothing(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [now_ms()]
        settings = Settings(db=known.path, emqx=(broker.cluster(),))
        slow, other = (Ledger(settings, known.keys, lambda: clock[0]) for _ in range(2))
        mine, parent = os.getpid(), os.getppid()
        assert slow.follow()
        known.remove(identity("alice", b"right"))
        losses = slow._reader.losses

        def taken_over(since: int, until: int, now: int) -> frozenset[Subject] | None:
            clock[0] += OWNED_MS + 1
            with monkeypatch.context() as patched:
                patched.setattr(os, "getpid", lambda: parent)
                assert other.follow()
            return losses(since, until, now)

        with monkeypatch.context() as patched:
            patched.setattr(slow._reader, "losses", taken_over)
            assert not slow.follow()
        assert os.getpid() == mine
        assert slow.follow() is None
        assert [one.subject.name for one in rows(known)] == ["alice", ""]
        for ledger in (slow, other):
            ledger.close()

    async def test_one_of_two_servers_on_a_store_does_it(self, known: Store, broker: EmqxApiUnderTest) -> None:
        with Runtime.open(known.path) as runtime:
            assert Revocations(runtime).claim(1, now_ms())
            with structlog.testing.capture_logs() as lines:
                async with enforcing(known, broker) as second:
                    await asyncio.sleep(0.1)
                    assert not second.working
                    assert not broker.calls
                    Revocations(runtime).release(1)
                    await becomes(lambda: second.working)
                    await becomes(lambda: settled(known))
            assert "enforcing" in {line["event"] for line in lines}
            # Left in order, so that the next one need not wait.
            await becomes(lambda: Revocations(runtime).claim(1, now_ms()))


class TestFaults:
    async def test_an_altered_secret_keeps_nobody_else_waiting(self, tmp_path: Path, broker: EmqxApiUnderTest) -> None:
        """Whose it is, the workers deny: it is ended."""
        store = Store(tmp_path / "exhook.db", SealKeys.from_text(new_key(), "keys"))
        everyone = permission("", "all/#", to=Grantee.ALL)
        store.put(
            instance(), identity("alice", b"right"), identity("bob", b"right"), permission("alice", "a/#"), everyone
        )

        def damage() -> None:
            with Database.open(store.path, store.keys) as database:
                database.connection.execute(
                    "UPDATE identity_secrets SET sealed = substr(sealed, 1, length(sealed) - 1)"
                    " WHERE identity = (SELECT row FROM identities WHERE username = 'bob')"
                )
            broker.join(Session("a1", "alice", {"all/x", "a/x"}), Session("b1", "bob", {"b/x"}))
            store.remove(everyone)

        await after(store, broker, damage)
        assert broker.sessions["a1"].topics == {"a/x"}
        assert broker.disconnected == ["b1"]

    async def test_an_api_that_is_down_for_long(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice"), Session("c2", "bob"))
        with structlog.testing.capture_logs() as lines:
            async with enforcing(known, broker):
                await becomes(lambda: settled(known))
                broker.down()
                known.remove(identity("alice", b"right"))
                await becomes(lambda: any(line["event"] == "revocations wait" for line in lines))
                known.remove(identity("bob", b"right"))
                await asyncio.sleep(0.3)
                assert metrics.API_UP.labels("under-test")._value.get() == 0
                assert metrics.WAITING.labels("under-test")._value.get() == 2
                assert {one.state for one in rows(known) if one.subject.name} == {State.WAITING}
                broker.up()
                await becomes(lambda: settled(known))
        assert sorted(broker.disconnected) == ["c1", "c2"]
        said = [line["event"] for line in lines if line["event"].startswith("revocations")]
        # Once each, however often it was tried.
        assert said == ["revocations wait", "revocations go on"]

    @pytest.mark.parametrize(("status", "kind"), [(401, "key"), (429, "api"), (500, "api"), (503, "api")])
    async def test_an_api_that_refuses_for_a_while(
        self, known: Store, broker: EmqxApiUnderTest, status: int, kind: str
    ) -> None:
        broker.join(Session("c1", "alice"))
        refusals = 0

        def fail(_: str, path: str) -> tuple[int, Any] | None:
            nonlocal refusals
            if path == "/api/v5/nodes" or refusals >= 5:
                return None
            refusals += 1
            return status, {"code": "A_CODE"}

        faults = metrics.API_FAULTS.labels("under-test", kind)
        async with enforcing(known, broker, cluster={"timeout_seconds": 0.5}):
            await becomes(lambda: settled(known))
            before = faults._value.get()
            broker.fail = fail
            if status == 429:
                # It asks for a second; once is enough here.
                refusals = 4
            known.remove(identity("alice", b"right"))
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]
        assert faults._value.get() - before == (1 if status == 429 else 5)

    async def test_whatever_befalls_the_probe_ends_nothing(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(enforcer_module, "PROBE_MS", 1)
        broken = False

        def note_clock(_self: EmqxApi, _answer: object) -> None:
            if broken:
                raise RuntimeError("a fault of our own")

        monkeypatch.setattr(EmqxApi, "_note_clock", note_clock)
        broker.join(Session("c1", "alice"))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
            with structlog.testing.capture_logs() as logs:
                broken = True
                await becomes(lambda: any("RuntimeError" in one.get("why", "") for one in logs))
                broken = False
                known.remove(identity("alice", b"right"))
                await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]

    async def test_a_key_that_is_mended(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "nobody"))
        broker.key = f"{KEY}:another"
        with structlog.testing.capture_logs() as lines:
            async with enforcing(known, broker):
                await becomes(lambda: any("refuses the API key" in str(line.get("why")) for line in lines))
                assert not broker.disconnected
                broker.key = f"{KEY}:{SECRET}"
                await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]
        assert SECRET not in repr(lines)

    async def test_a_slow_api(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "nobody"))
        broker.delay = 0.3
        async with enforcing(known, broker, cluster={"timeout_seconds": 0.1}):
            await asyncio.sleep(0.3)
            broker.delay = 0.01
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c1"]

    async def test_one_that_the_api_will_not_end_fails_alone(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.join(Session("c1", "alice"), Session("c2", "bob"))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
            broker.fail = lambda method, path: (
                (400, {"code": "BAD"}) if (method, path[-2:]) == ("DELETE", "c1") else None
            )
            with structlog.testing.capture_logs() as lines:
                known.remove(identity("alice", b"right"))
                await becomes(lambda: any(line["event"].startswith("a revocation failed") for line in lines))
                known.remove(identity("bob", b"right"))
                await becomes(lambda: settled(known))
            assert broker.disconnected == ["c2"]
            (failed,) = [one for one in rows(known) if one.state is State.FAILED]
            assert failed.attempts == MOST_ATTEMPTS
            assert "will not do DELETE (400 BAD)" in failed.note
            broker.fail = lambda _method, _path: None
            with Runtime.open(known.path) as runtime:
                assert Revocations(runtime).retry() == 1
            await becomes(lambda: settled(known))
        assert broker.disconnected == ["c2", "c1"]

    async def test_a_large_change_does_not_storm_the_cluster(self, known: Store, broker: EmqxApiUnderTest) -> None:
        broker.calls_per_second = 40
        broker.join(*(Session(f"c{number}", "alice") for number in range(30)))
        known.put(*(identity("alice", b"x", client_id=f"c{number}") for number in range(30)))
        async with enforcing(known, broker, cluster={"calls_per_second": 20, "disconnects_per_second": 50}):
            await becomes(lambda: settled(known))
            began = asyncio.get_running_loop().time()
            known.put(*(BlacklistEntry(instance=INSTANCE, client_id=f"c{number}") for number in range(30)))
            await becomes(lambda: len(broker.disconnected) == 30)
            took = asyncio.get_running_loop().time() - began
        # 30 look-ups at 20 a second; and never once too many for it.
        assert took > 1.0


class TestMany:
    async def test_ten_thousand_at_once(self, known: Store, broker: EmqxApiUnderTest) -> None:
        names = [f"device-{number}" for number in range(10_000)]
        async with enforcing(known, broker):
            await eventually_settled(known)
            broker.join(*(Session(name, "alice", {"all/1"}) for name in names), Session("own", "alice"))
            broker.calls.clear()
            known.put(*(BlacklistEntry(instance=INSTANCE, client_id=name, source="policy") for name in names))
            await eventually_settled(known)
        assert sorted(broker.disconnected) == sorted(names)
        # Listed and ended together: no call for each.
        assert len(broker.calls) < 500
        with Runtime.open(known.path) as runtime:
            assert Revocations(runtime).counts()["under-test"][State.DONE] == 10_001

    @pytest.mark.parametrize("stop_at", [1, 4, 9, 16])
    async def test_killed_in_the_middle_nothing_is_lost_or_repeated(
        self, known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch, stop_at: int
    ) -> None:
        monkeypatch.setattr(lane, "TOGETHER", 10)
        names = [f"device-{number}" for number in range(100)]
        known.put(*(identity("alice", b"x", client_id=name) for name in names))
        broker.join(*(Session(name, "alice") for name in names))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        known.remove(*(identity("alice", b"x", client_id=name) for name in names))
        broker.calls.clear()
        broker.delay = 0.002
        async with enforcing(known, broker):
            await becomes(lambda: len(broker.calls) >= stop_at or settled(known))
        # Whoever was ended comes back, with a secret that is good.
        known.put(*(identity("alice", b"y", client_id=name) for name in broker.disconnected))
        came_back = list(broker.disconnected)
        broker.join(*(Session(name, "alice") for name in came_back))
        async with enforcing(known, broker):
            await becomes(lambda: settled(known))
        ended_twice = {name for name in broker.disconnected if broker.disconnected.count(name) > 1}
        assert set(broker.disconnected) == set(names)
        # No more than what was under way when it was killed, and those that a new identity concerns.
        assert ended_twice <= set(came_back)
