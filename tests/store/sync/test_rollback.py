"""Rollbacks as a whole: refused, asked for, held; and what holds for any policies."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents_under_test import documents
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rollbacks_under_test import FREELY, ONE, Said, back, owned, planned, refused
from stores_under_test import Store, described, identity, instance

from store.records import SignMode
from store.sync import rollback as rolling
from store.sync.apply import Declined
from store.sync.recorded import without_fingerprints
from store.sync.restoring import Rollback
from store.sync.rollback import StoreChanged
from store.sync.thresholds import Consent, Refused
from store.tables import INSTANCES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class TestRefusals:
    def test_many_removals_do(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [t]}]\n")
        store.apply(
            f"permissions: [{{username: u, publish: [t, {', '.join(f't{number}' for number in range(10))}]}}]\n"
        )
        [(rule, sentence)] = refused(store, 1, consent=Consent())
        assert (rule, "--max-removals 10" in sentence) == ("removals", True)
        back(store, 1, consent=Consent(max_removals=10))

    def test_protected_records_do(self, store: Store) -> None:
        store.apply(ONE)
        store.apply(f"{ONE}permissions: [{{id: p, username: u, publish: [t], protect: true}}]\n")
        [(rule, _)] = refused(store, 1, consent=Consent())
        assert rule == "protected"
        back(store, 1, consent=Consent(allow_protected=frozenset({"p"})))

    def test_clients_that_lose_something_do_where_a_limit_is_given(self, store: Store) -> None:
        store.apply(ONE)
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        [(rule, _)] = refused(store, 1, consent=Consent(max_clients_losing=0))
        assert rule == "clients_losing"

    def test_an_empty_state_does(self, store: Store) -> None:
        store.apply("instances: {mqtt-default: {}}\n", allow_empty=True)
        store.apply(ONE)
        [(rule, sentence)] = refused(store, 1, consent=Consent())
        assert (rule, "--allow-empty" in sentence) == ("empty", True)
        back(store, 1, consent=Consent(allow_empty=True))

    def test_the_quota_does(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [a, b]}]\n")
        store.apply("sync: {prune: true}\ninstances: {mqtt-default: {record_quota: 9}}\npermissions: []\n", **FREELY)
        store.apply("source: o\npermissions: [{username: u, publish: [a, b]}]\n")
        with store.open() as database, database.writing(actor="a", source="policy", now_ms=store.now) as write:
            found = next(iter(database.records(INSTANCES)))
            write.put(replace(found, record_quota=3, source="o"))
        before = store.contents()
        [(rule, sentence)] = refused(store, 1)
        assert (rule, "would hold 4 identities" in sentence) == ("quota", True)
        assert store.contents() == before

    def test_all_reasons_are_told_at_once(self, store: Store) -> None:
        store.apply("blacklist: []\nsource: policy\n", allow_empty=True)
        store.put(instance())
        topics = ", ".join(f"t{number}" for number in range(10))
        store.apply(f"permissions: [{{username: u, deny: {{publish: [{topics}]}}, protect: true, id: p}}]\n")
        found = refused(store, 1, consent=Consent(max_clients_losing=0), allow_regrant=False)
        assert [rule for rule, _ in found] == ["empty", "protected", "removals", "regrant"]


class TestConfirming:
    def prepare(self, store: Store) -> None:
        store.apply(ONE)
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")

    def test_a_no_changes_nothing(self, store: Store) -> None:
        self.prepare(store)
        with pytest.raises(Declined):
            back(store, 1, confirm=lambda _: False)
        assert store.revision == 2

    def test_what_was_shown_is_what_is_done(self, store: Store) -> None:
        self.prepare(store)
        shown: list[Rollback] = []

        def confirm(made: Rollback) -> bool:
            shown.append(made)
            Store(store.folder).put(identity("other"))
            return True

        done = back(store, 1, confirm=confirm)
        assert [described(made.plan) for made in shown] == [described(done.rollback.plan)]
        assert (store.revision, done.hold and done.hold.since) == (4, 3)

    def test_what_changed_while_asking_is_not_done(self, store: Store) -> None:
        self.prepare(store)

        def confirm(_: Rollback) -> bool:
            Store(store.folder).apply(f"{ONE}permissions: [{{username: u, publish: [t, s]}}]\n")
            return True

        with pytest.raises(StoreChanged, match="try again"):
            back(store, 1, confirm=confirm)
        assert store.revision == 3

    def test_an_exception_in_the_middle_leaves_the_old_revision(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.prepare(store)
        before = store.contents()

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(rolling, "set_hold", stop)
        with pytest.raises(KeyboardInterrupt):
            back(store, 1)
        assert (store.revision, store.contents()) == (2, before)
        store.apply(ONE)


def plain(said: Said) -> Said:
    """What a store says, without fingerprints, which are under a key of each store."""
    return {key: without_fingerprints(value) or {} for key, value in said.items()}


def without_secrets(said: Said) -> Said:
    return {key: {name: part for name, part in value.items() if name != "secrets"} for key, value in said.items()}


def applied(store: Store, text: str) -> bool:
    """Whether it was let through; what concerns others alone may stand in its way."""
    try:
        store.apply(text, prune=True, **FREELY)
    except Refused as error:
        if {one.rule for one in error.refusals} <= {"foreign", "in_use"}:
            return False
        raise
    return True


def without(text: str, *sections: str) -> str:
    """A policy file without some of its sections, each of which is a line."""
    return "".join(line for line in text.splitlines(keepends=True) if line.partition(":")[0] not in sections)


@given(documents(), documents(), documents(), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_then_b_is_b_and_back_is_a(first: str, last: str, foreign: str, shared: bool) -> None:
    if shared:
        # What has one owner alone would be refused to the second.
        first, last = without(first, "instances"), without(last, "instances")
        foreign = without(foreign, "instances", "groups", "identities")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        store, alone = Store(Path(one)), Store(Path(two))
        for each in (store, alone) if shared else ():
            assert applied(each, f"source: foreign\n{foreign}")
        first, last = f"source: plant\n{first}", f"source: plant\n{last}"
        assert applied(store, first)
        then, revision = store.contents(), store.revision
        assume(applied(store, last))
        assert applied(alone, last)
        now = store.contents()
        assert plain(now) == plain(alone.contents())
        assert store.plan(last, prune=True).changes == ()
        check_the_way_back(store, revision, then, now)


def check_the_way_back(store: Store, revision: int, then: Said, now: Said) -> None:
    """Everything of its own is as it was then, but for secrets; everything of others is as it is."""
    done = back(store, revision, "plant")
    after = store.contents()
    assert owned(after, "foreign") == owned(now, "foreign")
    lost = {tuple(map(str, (each.record.kind, *each.record.key))) for each in done.rollback.left_out}
    assert lost == {key for key, said in owned(then, "plant").items() if _cannot_return(said, now.get(key))}
    restored = {key: said for key, said in owned(then, "plant").items() if key not in lost}
    kept = {key: said for key, said in owned(after, "plant").items() if key not in lost}
    assert without_secrets(kept) == without_secrets(restored)
    assert all(after[key].get("secrets") == now[key].get("secrets") for key in after if key in now)
    assert planned(store, revision, "plant").plan.changes == ()


def _cannot_return(then: dict[str, Any], now: dict[str, Any] | None) -> bool:
    """An identity whose proof is gone, or is another."""
    if "sign_mode" not in then:
        return False
    external = then["sign_mode"] == SignMode.EXTERNAL
    return not external if now is None else external is not (now["sign_mode"] == SignMode.EXTERNAL)
