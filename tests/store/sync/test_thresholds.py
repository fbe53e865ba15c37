import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stores_under_test import Store, identity, instance
from sync_commands_under_test import run

from store.records import Action, Effect, Grantee, Permission
from store.sync.apply import apply_policy
from store.sync.thresholds import Consent, Refused
from store.writing import OverQuota

ONE = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class Undone(Exception):
    """What was written is not to stay."""


def grants(count: int, more: str = "") -> str:
    """That many records, their instance counted."""
    topics = ", ".join(f"t/{number}" for number in range(count - 1))
    return f"permissions: [{{username: u, publish: [{topics}]{more}}}]\n"


def refused(store: Store, text: str, **consent: Any) -> list[tuple[str, str]]:
    """The rules that refuse, each with its sentence; nothing was written."""
    before = store.contents()
    with pytest.raises(Refused) as caught:
        store.apply(text, **consent)
    assert store.contents() == before
    assert str(caught.value) == "\n".join(refusal.sentence for refusal in caught.value.refusals)
    return [(refusal.rule, refusal.sentence) for refusal in caught.value.refusals]


class TestRemovals:
    @pytest.mark.parametrize(
        ("before", "after", "passes"),
        [(9, 2, True), (10, 7, True), (10, 6, False), (100, 70, True), (100, 69, False)],
    )
    def test_thirty_per_cent_from_ten_records_on(self, store: Store, before: int, after: int, *, passes: bool) -> None:
        store.apply(grants(before))
        text = f"sync: {{prune: true}}\n{grants(after)}"
        if passes:
            assert len(store.apply(text).plan.removals) == before - after
        else:
            [(rule, sentence)] = refused(store, text)
            assert rule == "removals"
            gone = before - after
            assert sentence == (
                f"{gone} records of {before} would be removed, and the limit is 30 %; "
                f"if they shall go, say --max-removals {gone}"
            )
            store.apply(text, max_removals=gone)

    @pytest.mark.parametrize(
        ("limit", "gone", "passes"),
        [("50%", 5, True), ("50%", 6, False), ("0%", 1, False), ("100%", 8, True), ("2", 2, True), ("2", 3, False)],
    )
    def test_the_policy_may_set_the_limit(self, store: Store, limit: str, gone: int, *, passes: bool) -> None:
        store.apply(grants(10))
        text = f"sync: {{prune: true, limits: {{removals: {limit}}}}}\n{grants(10 - gone)}"
        if passes:
            store.apply(text)
        else:
            [(rule, sentence)] = refused(store, text)
            assert rule == "removals"
            assert f"sync.limits allows {limit.replace('%', ' %')};" in sentence

    def test_a_count_holds_for_few_records_too(self, store: Store) -> None:
        store.apply(grants(3))
        refused(store, f"sync: {{prune: true, limits: {{removals: 0}}}}\n{grants(2)}")

    def test_the_flag_is_a_limit_of_its_own(self, store: Store) -> None:
        store.apply(grants(100))
        [(_, sentence)] = refused(store, f"sync: {{prune: true}}\n{grants(99)}", max_removals=0)
        assert "and --max-removals allows 0; if they shall go, say --max-removals 1" in sentence

    def test_records_of_others_do_not_count(self, store: Store) -> None:
        store.apply(f"source: many\n{grants(100)}")
        store.apply(f"source: few\n{grants(4)}")
        store.apply(f"source: few\nsync: {{prune: true}}\n{ONE}")


class TestClientsLosing:
    TEXT = "sync: {limits: {clients_losing_access: 1}}\n"
    DENY = "permissions: [{username: u, deny: {both: [t]}}, {username: v, deny: {both: [t]}}]\n"

    def test_there_is_no_limit_by_itself(self, store: Store) -> None:
        store.apply(grants(2))
        assert store.apply(self.DENY).plan.clients_losing == 2

    def test_the_policy_sets_one(self, store: Store) -> None:
        store.apply(grants(2))
        [(rule, sentence)] = refused(store, self.TEXT + self.DENY)
        assert rule == "clients_losing"
        assert sentence == (
            "2 clients would lose something, and sync.limits allows 1: user u (mqtt-default), user v (mqtt-default); "
            "if they shall, say --max-clients-losing 2"
        )
        store.apply(self.TEXT + self.DENY, max_clients_losing=2)

    def test_the_flag_sets_one_too(self, store: Store) -> None:
        store.apply(grants(2))
        [(_, sentence)] = refused(store, self.DENY, max_clients_losing=0)
        assert "--max-clients-losing allows 0" in sentence


class TestEmpty:
    @pytest.mark.parametrize("text", ["", "groups: [GID_Sensors]\n", "instances: {mqtt-default: {}}\n"])
    def test_a_policy_that_lets_nobody_in_needs_a_flag(self, store: Store, text: str) -> None:
        [(rule, sentence)] = refused(store, f"source: s\n{text}")
        assert (rule, "--allow-empty" in sentence) == ("empty", True)
        store.apply(f"source: s\n{text}", allow_empty=True)


class TestProtected:
    TEXT = "permissions: [{username: u, publish: [t], id: the-id, protect: true}, {username: v, publish: [t]}]\n"

    def test_a_protected_record_is_removed_by_name_alone(self, store: Store) -> None:
        store.apply(self.TEXT)
        gone = f"sync: {{prune: true}}\n{ONE}"
        [(rule, sentence)] = refused(store, gone, allow_protected=frozenset({"another"}), max_removals=9)
        assert (rule, sentence) == (
            "protected",
            "1 protected record would be removed; let each go by its name: --allow-protected the-id",
        )
        store.apply(gone, allow_protected=frozenset({"the-id"}))

    def test_it_may_be_changed(self, store: Store) -> None:
        store.apply(self.TEXT)
        store.apply(self.TEXT.replace("protect: true", "note: n"))


def in_store(store: Store, mine: int, others: int, quota: int | None) -> None:
    """So many permissions of the policy and of the API, and a quota that may be lower."""
    if mine:
        store.apply(f"permissions: [{{username: u, publish: [{', '.join(f'm{one}' for one in range(mine))}]}}]\n")
    grants = [
        Permission(
            instance="mqtt-default", identity_type=Grantee.USER, identity="u", topic=f"o{one}",
            action=Action.PUB, effect=Effect.ALLOW, source="api",
        )
        for one in range(others)
    ]  # fmt: skip
    store.put(replace(instance(), source="policy", record_quota=quota), *grants)


class TestQuota:
    @pytest.mark.parametrize("asked", ["absent", None, 2, 4])
    @pytest.mark.parametrize(("mine", "others", "quota"), [(0, 0, None), (0, 2, 2), (3, 0, 2), (1, 3, None), (2, 2, 4)])
    def test_a_plan_says_what_the_write_would(
        self, store: Store, mine: int, others: int, quota: int | None, asked: str | int | None
    ) -> None:
        in_store(store, mine, others, quota)
        head = (
            ""
            if asked == "absent"
            else f"instances: {{mqtt-default: {{{f'record_quota: {asked}' if asked else ''}}}}}\n"
        )
        for wanted in (1, 2, 3, 4):
            topics = ", ".join(f"m{one}" for one in range(1, wanted + 1))
            made = store.plan(f"{head}permissions: [{{username: u, subscribe: [{topics}]}}]\n", prune=True)
            said = [str(one) for one in made.overfull]
            raised = []
            with store.open() as database, contextlib.suppress(Undone):
                try:
                    with database.writing(actor="a", source="policy", now_ms=store.now) as write:
                        for change in made.changes:
                            if change.new is not None:
                                write.put(change.new)
                            elif change.old is not None:
                                write.remove(change.old)
                        write.finish()
                        raise Undone
                except OverQuota as over:
                    raised.append(str(over))
            assert said == raised

    def test_the_plan_tells_of_it(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(store.folder)
        store.write("instances: {mqtt-default: {record_quota: 1}}\npermissions: [{username: u, publish: [a, b]}]\n")
        said = json.loads(run("plan", "policy.yaml", "--output", "json").stdout)
        assert said["refusals"] == [
            {
                "rule": "quota",
                "message": "instance mqtt-default would hold 2 identities, permissions and blacklist entries; "
                "its record_quota is 1; remove some, or raise the quota",
            }
        ]


class TestEnvironment:
    PROD = f"sync: {{environment: prod}}\n{ONE}"

    def test_a_store_without_a_label_says_how_to_get_one(self, store: Store) -> None:
        [(rule, sentence)] = refused(store, self.PROD)
        assert (rule, "exhook-sync apply --label prod" in sentence) == ("environment", True)
        store.apply(self.PROD, label="prod")
        with store.open() as database:
            assert database.environment == "prod"
        assert store.apply(self.PROD.replace("literal: one", "literal: two")).changed

    def test_another_label_is_the_wrong_store(self, store: Store) -> None:
        store.apply(ONE, label="test")
        [(rule, sentence)] = refused(store, self.PROD)
        assert rule == "environment"
        assert "for the environment prod, and the store is labelled test" in sentence

    def test_a_label_is_given_once(self, store: Store) -> None:
        store.apply(ONE, label="test")
        [(_, sentence)] = refused(store, ONE, label="prod")
        assert sentence.startswith("the store is labelled test already")
        store.apply(ONE, label="test")

    def test_a_refused_apply_sets_no_label(self, store: Store) -> None:
        refused(store, "source: s\n", label="prod")
        with store.open() as database:
            assert database.environment == ""

    def test_nor_does_one_that_fails_while_it_writes(self, store: Store) -> None:
        """Whoever puts it right, and drops the label, would find the store labelled for good."""

        def broken(what: str, _done: int, _total: int) -> None:
            if what == "write":
                raise OverQuota("mqtt-default", 2, 1)

        with pytest.raises(OverQuota):
            apply_policy(
                store.path,
                store.keys,
                [store.write(self.PROD)],
                store.sources,
                consent=Consent(label="prod"),
                progress=broken,
            )
        with store.open() as database:
            assert (database.environment, database.revision) == ("", 0)

    def test_a_label_alone_makes_no_revision(self, store: Store) -> None:
        store.apply(ONE)
        assert not store.apply(ONE, label="test").changed
        assert store.revision == 1
        with store.open() as database:
            assert database.environment == "test"


def test_a_foreign_record_names_its_owner_and_the_way_to_take_it_over(store: Store) -> None:
    store.put(instance(), identity("u"))
    [(rule, sentence)] = refused(store, ONE)
    assert (rule, sentence) == (
        "foreign",
        (
            "api owns user u (mqtt-default) as u; take them over by --adopt api, or one by --adopt and its name, "
            "or leave them out of the policy"
        ),
    )
    store.apply(ONE, adopt=frozenset({"api"}))


def test_an_instance_that_others_use_is_not_removed(store: Store) -> None:
    store.apply("instances: {mqtt-default: {}}\n", allow_empty=True)
    store.put(identity("other"))
    [(rule, sentence)] = refused(store, "sync: {prune: true}\nidentities: []\n", allow_empty=True)
    assert (rule, sentence) == (
        "in_use",
        (
            "the instance mqtt-default left the policy, and holds 1 record of api; remove those first, "
            "or name the instance under `instances`"
        ),
    )


def test_all_reasons_are_told_at_once(store: Store) -> None:
    store.apply(grants(20, ", id: kept, protect: true"))
    store.put(identity("u"))
    found = refused(store, "sync: {prune: true, environment: prod}\ngroups: [GID_Sensors]\n", max_clients_losing=0)
    assert [rule for rule, _ in found] == ["environment", "empty", "protected", "removals", "clients_losing"]
