"""Denials kept for `exhook why`: written by the workers, off the way of answers, bounded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands_under_test import Exhook
from worker_under_test import Serve, Store, identity, instance, permission

from exhook import denials, metrics
from exhook.denials import Denials, Noted, write
from store.decision import Reason, refused
from store.records import Effect, NoMatch
from store.runtime import Runtime
from store.unavailable import StoreUnavailable
from store.view import Client, Listener


def noted(client_id: str, at: int = 0) -> Noted:
    client = Client("alice", client_id, Listener("default", "mqtt-test"))
    return Noted(at, client, "publish", "t", refused(Reason.NO_MATCH, 1), "0123", "node")


def dropped() -> float:
    return float(metrics.DENIALS_DROPPED._value.get())


async def test_a_worker_keeps_its_denials(serve: Serve, store: Store) -> None:
    rule = permission("alice", "a/secret/#", effect=Effect.DENY, id="keep-out", origin="policy.yaml:7@abc123")
    revision = store.put(identity("alice", b"right"), permission("alice", "a/#", id="own"), rule)
    async with serve(decisions="none", clock=lambda: 1_800_000_000_000) as served:
        assert await served.authenticate("c", "alice", b"right")
        assert not await served.authenticate("c", "alice", b"wrong")
        assert not await served.authorize("c", "alice", "PUBLISH", "a/secret/x")
        assert not await served.authorize("c", "alice", "SUBSCRIBE", "b/#")
        assert not await served.authorize("other", "alice", "SUBSCRIBE", "b/#")
    with Runtime.open(store.path) as runtime:
        found = runtime.denials_of("c")
    assert [(one.hook, one.topic, one.reason) for one in found] == [
        ("subscribe", "b/#", "no_match"),
        ("publish", "a/secret/x", "denied"),
        ("authenticate", "", "wrong_password"),
    ]
    assert [one.rule_revision for one in found] == [0, revision, revision]
    assert found[1].rule == "permission keep-out [policy policy.yaml:7@abc123]"
    assert found[0].nearest == "permission own [policy]"
    assert {one.at for one in found} == {1_800_000_000_000}
    assert len({one.decision_id for one in found}) == 3


async def test_what_is_passed_on_is_no_denial(serve: Serve, store: Store) -> None:
    store.put(instance(no_match=NoMatch.PASS), identity("alice", b"right"))
    async with serve() as served:
        with pytest.raises(AssertionError):
            await served.authorize("c", "alice", "PUBLISH", "x")
    with Runtime.open(store.path) as runtime:
        assert not runtime.denials_of("c")


def test_a_client_that_hammers_does_not_crowd_out_others() -> None:
    kept, before = Denials(), dropped()
    for _ in range(denials.MOST * 2):
        kept.note(noted("loud"))
    kept.note(noted("quiet"))
    assert [one.client.client_id for one in kept.take()] == ["loud"] * denials.MOST_OF_ONE + ["quiet"]
    assert dropped() - before == denials.MOST * 2 - denials.MOST_OF_ONE
    assert kept.take() == []


def test_many_at_once_are_bounded_and_counted() -> None:
    kept, before = Denials(), dropped()
    for number in range(denials.MOST + 5):
        kept.note(noted(f"c{number}"))
    assert len(kept.take()) == denials.MOST
    assert dropped() - before == 5


def test_names_that_fill_memory_are_bounded() -> None:
    kept, before = Denials(), dropped()
    for number in range(200):
        kept.note(noted(f"{number}" + "c" * 60_000))
    taken = kept.take()
    assert sum(len(one.client.client_id) for one in taken) <= denials.MOST_CHARACTERS
    assert (len(taken), dropped() - before) == (33, 167)
    kept.note(noted("c" * 60_000))
    assert len(kept.take()) == 1


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    before = dropped()
    with Runtime.open(tmp_path / "exhook.db") as runtime:
        runtime.connection.execute("DROP TABLE denials")
        with pytest.raises(StoreUnavailable):
            write(runtime, [noted("c")])
    assert dropped() - before == 1


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


class TestWhy:
    @pytest.fixture
    def denied(self, store: Store) -> Store:
        rule = permission("alice", "a/#", effect=Effect.DENY, id="keep-out", origin="policy.yaml:7@abc123")
        store.put(rule)
        client = Client("alice", "c\x1b", Listener("default", "mqtt-test"))
        decision = replace(refused(Reason.DENIED, 2), rule=replace(rule, revision=2))
        with Runtime.open(store.path) as runtime:
            write(
                runtime, [Noted(1_800_000_000_123, client, "publish", "a/\x1b[31m", decision, "0123456789abcdef", "n")]
            )
        return store

    def test_for_people(self, denied: Store, exhook: Exhook) -> None:
        done = exhook("why", "c\x1b", "--db", str(denied.path))
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "publish a/\\x1b[31m: denied (revision 2)" in done.out
        assert "rule:     permission keep-out [policy policy.yaml:7@abc123]" in done.out
        assert "applied:  revision 2, by test at " in done.out

    def test_for_scripts(self, denied: Store, exhook: Exhook) -> None:
        (found,) = json.loads(exhook("why", "c\x1b", "--json", "--db", str(denied.path)).out)
        assert found["at"] == "2027-01-15T08:00:00.123Z"
        assert (found["reason"], found["rule_revision"], found["topic"]) == ("denied", 2, "a/\x1b[31m")
        assert found["applied"]["actor"] == "test"

    def test_nothing_is_kept(self, store: Store, exhook: Exhook) -> None:
        assert "no denial of 'c' is kept" in exhook("why", "c", "--db", str(store.path)).out
        assert exhook("why", "c", "--json", "--db", str(store.path)).out == "[]\n"
        assert not store.path.with_name("exhook.runtime.db").exists()

    def test_no_store(self, exhook: Exhook) -> None:
        assert exhook("why", "c", "--db", "none.db").code == 8
