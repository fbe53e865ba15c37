from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores_under_test import NOW, Store, described, identity, instance

from store.changes import Operation
from store.records import Action, Effect, Grantee, Group, Permission, Record
from store.sync.plan import plan
from store.sync.wording import describe
from store.tables import INSTANCES, Table


def permission(topic: str, **fields: Any) -> Permission:
    """One of the API's."""
    said = {"instance": "mqtt-default", "identity_type": Grantee.USER, "action": Action.PUB, "effect": Effect.ALLOW}
    return Permission(**{**said, "identity": "u", "topic": topic, **fields})


USER = "  - {username: sensors, sign_mode: origin, secret: {literal: one}}\n"
IDENTITIES = f"identities:\n{USER}"
BOTH_USERS = IDENTITIES + "  - {username: gateway, sign_mode: origin, secret: {literal: two}}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_new_policy_is_added_in_the_order_in_which_records_refer_to_each_other(store: Store) -> None:
    made = store.plan(
        "blacklist: [{client_id: b}]\n"
        "permissions: [{username: u, publish: [t/2, t/1]}]\n"
        f"{IDENTITIES}"
        "groups: [GID_Sensors]\n"
        "instances: {mqtt-default: {record_quota: 9}}\n"
    )
    assert described(made) == [
        "add instance mqtt-default",
        "add group mqtt-default GID_Sensors",
        "add identity mqtt-default USER sensors",
        "add permission u t/1 ALLOW policy",
        "add permission u t/2 ALLOW policy",
        "add blacklist mqtt-default b policy",
    ]
    assert [change.kind for change in made.changes if change.origin == "policy.yaml"] == []
    assert made.changes[-1].origin.endswith("policy.yaml:2")


def test_removals_go_the_other_way_round(store: Store) -> None:
    everything = f"groups: [GID_Sensors]\npermissions: [{{username: u, publish: [t]}}]\n{IDENTITIES}"
    store.apply(everything)
    kinds = [change.kind for change in store.plan("permissions: []", prune=True).changes]
    assert kinds == ["permission", "identity", "group", "instance"]


def test_the_plan_after_an_apply_is_empty(store: Store) -> None:
    text = f"groups: [GID_Sensors]\npermissions: [{{username: u, publish: [t]}}]\n{BOTH_USERS}"
    store.apply(text)
    made = store.plan(text, prune=True)
    assert (made.changes, made.kept, made.moved, made.owned) == ((), (), (), 5)


def test_what_left_the_policy_is_kept_and_named_without_prune(store: Store) -> None:
    store.apply(BOTH_USERS)
    made = store.plan(IDENTITIES)
    assert made.changes == ()
    assert [describe(record) for record in made.kept] == ["user gateway (mqtt-default)"]


@pytest.mark.parametrize("how", ["flag", "policy"])
def test_what_left_the_policy_is_removed_with_prune(store: Store, how: str) -> None:
    store.apply(BOTH_USERS)
    sync = "sync: {prune: true}\n" if how == "policy" else ""
    made = store.plan(sync + IDENTITIES, prune=True if how == "flag" else None)
    assert described(made) == ["remove identity mqtt-default USER gateway"]
    assert made.kept == ()


def test_the_flag_overrules_the_policy_both_ways(store: Store) -> None:
    store.apply(BOTH_USERS)
    assert store.plan(f"sync: {{prune: true}}\n{IDENTITIES}", prune=False).changes == ()


def test_prune_touches_no_records_of_other_sources(store: Store) -> None:
    store.apply(f"source: plant\n{BOTH_USERS}")
    store.apply("source: office\npermissions: [{username: u, publish: [t]}]\n")
    assert described(store.plan("source: office\n", prune=True)) == ["remove permission u t ALLOW office"]


class TestOwners:
    def test_an_identity_of_another_source_is_foreign(self, store: Store) -> None:
        store.put(instance(), identity("sensors"))
        made = store.plan(IDENTITIES)
        assert [(one.owner, one.handle) for one in made.foreign] == [("api", "sensors")]
        assert made.changes == ()

    @pytest.mark.parametrize("named", ["api", "sensors", "the-id"])
    def test_adopting_names_the_owner_or_the_record(self, store: Store, named: str) -> None:
        store.put(instance(), identity("sensors"))
        text = IDENTITIES.replace("username", "id: the-id, username") if named == "the-id" else IDENTITIES
        made = store.plan(text, adopt=[named])
        assert made.foreign == ()
        (change,) = made.changes
        assert change.operation is Operation.CHANGE
        assert change.before is not None
        assert change.after is not None
        assert (change.before["instance"], change.after["source"]) == ("mqtt-default", "policy")

    def test_a_policy_may_adopt_by_itself(self, store: Store) -> None:
        store.apply(f"source: plant\n{IDENTITIES}")
        text = f"source: office\nsync: {{adopt: [plant]}}\n{IDENTITIES}"
        store.apply(text)
        assert {said["source"] for said in store.contents().values()} == {"plant", "office"}
        assert store.plan(text).changes == ()
        assert store.plan(f"source: plant\n{IDENTITIES}", prune=True).foreign[0].owner == "office"

    def test_permissions_of_several_sources_stand_side_by_side(self, store: Store) -> None:
        store.apply("source: plant\npermissions: [{username: u, publish: [t]}]\n")
        made = store.plan("source: office\npermissions: [{username: u, publish: [t]}]\n")
        assert described(made) == ["add permission u t ALLOW office"]

    @pytest.mark.parametrize(("adopted", "by"), [("t", "api"), ("u", "the-id")])
    def test_adopted_permissions_do_not_stay_with_their_old_owner(self, store: Store, adopted: str, by: str) -> None:
        mine = [permission("t"), permission("u", id="the-id")]
        store.put(instance(), *mine[: 1 if by == "api" else 2])
        text = f"permissions: [{{username: u, publish: [{adopted}]}}]\n"
        made = store.plan(text, adopt=[by])
        assert described(made) == [f"change permission u {adopted} ALLOW policy"]
        assert (made.losing, made.removals) == ((), ())
        store.apply(text, adopt=frozenset({by}))
        owners = {key[-3]: key[-1] for key in store.contents() if key[0] == "permission"}
        assert owners == ({"t": "policy"} if by == "api" else {"t": "api", "u": "policy"})

    def test_twins_of_what_is_owned_already_go(self, store: Store) -> None:
        text = "permissions: [{username: u, publish: [t]}]\n"
        store.apply(text)
        store.put(permission("t"), permission("other"))
        store.apply(text.replace("permissions", "source: plant\npermissions"))
        made = store.plan(text, adopt=["api", "plant"])
        assert described(made) == ["remove permission u t ALLOW api", "remove permission u t ALLOW plant"]
        assert (made.losing, made.removals) == ((), ())
        assert described(
            store.plan(text.replace("permissions", "source: new\npermissions"), adopt=["api", "plant"])
        ) == [
            "change permission u t ALLOW new",
            "remove permission u t ALLOW plant",
        ]

    def test_groups_and_declared_instances_have_owners(self, store: Store) -> None:
        store.put(instance(), Group(instance="mqtt-default", name="GID_Sensors"))
        made = store.plan("groups: [GID_Sensors]\ninstances: {mqtt-default: {record_quota: 3}}\n")
        assert [one.handle for one in made.foreign] == ["mqtt-default", "GID_Sensors"]


class TestInstances:
    def test_one_that_is_only_used_is_added(self, store: Store) -> None:
        assert described(store.plan(IDENTITIES))[0] == "add instance mqtt-default"

    def test_one_that_is_only_used_may_belong_to_anybody(self, store: Store) -> None:
        store.put(instance())
        assert described(store.plan(IDENTITIES)) == ["add identity mqtt-default USER sensors"]

    def test_one_that_is_only_used_keeps_its_settings_without_prune(self, store: Store) -> None:
        store.apply(f"instances: {{mqtt-default: {{record_quota: 5}}}}\n{IDENTITIES}")
        assert store.plan(IDENTITIES).changes == ()
        assert described(store.plan(IDENTITIES, prune=True)) == ["change instance mqtt-default"]

    def test_one_that_was_only_used_goes_when_nobody_uses_it(self, store: Store) -> None:
        store.apply(IDENTITIES)
        gone = [change.kind for change in store.plan("identities: []", prune=True).changes]
        assert gone == ["identity", "instance"]

    def test_one_that_was_only_used_stays_while_others_use_it(self, store: Store) -> None:
        store.apply(IDENTITIES)
        store.put(identity("other"))
        made = store.plan("identities: []", prune=True)
        assert (described(made), made.in_use) == (["remove identity mqtt-default USER sensors"], ())

    def test_one_that_was_declared_does_not_go_while_others_use_it(self, store: Store) -> None:
        store.apply("instances: {mqtt-default: {}}\n", allow_empty=True)
        store.put(identity("other"), identity("more"))
        (found,) = store.plan("identities: []", prune=True).in_use
        assert (found.instance.name, dict(found.others)) == ("mqtt-default", {"api": 2})
        assert store.plan("identities: []").in_use == ()


def test_a_record_that_only_moved_to_another_line_is_no_change(store: Store) -> None:
    store.apply(IDENTITIES)
    moved = f"# a line more\n{IDENTITIES}"
    made = store.plan(moved)
    assert made.changes == ()
    assert [record.origin.rpartition(":")[2] for record in made.moved] == ["4"]
    before = store.revision
    store.apply(moved)
    assert store.revision == before
    assert store.plan(moved).moved == ()


class TestChecksum:
    TEXT = f"permissions: [{{username: u, publish: [a]}}, {{username: v, publish: [b]}}]\n{IDENTITIES}"

    def test_order_lines_and_unrelated_writes_do_not_matter(self, store: Store) -> None:
        store.put(instance())
        before = store.plan(self.TEXT).checksum
        other = f"# moved\n{IDENTITIES}permissions: [{{username: v, publish: [b]}}, {{username: u, publish: [a]}}]\n"
        assert store.plan(other).checksum == before
        store.put(identity("unrelated"))
        store.now += 1
        assert store.plan(self.TEXT).checksum == before

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.replace("literal: one", "literal: two"),
            TEXT.replace("[a]", "[c]"),
            TEXT.replace("u, publish: [a]", "u, subscribe: [a]"),
            TEXT.replace("u, publish", "u, note: n, publish"),
            f"source: another\n{TEXT}",
            f"sync: {{prune: true}}\n{TEXT}",
            IDENTITIES,
        ],
    )
    def test_everything_that_is_done_matters(self, store: Store, text: str) -> None:
        store.put(instance())
        assert store.plan(text).checksum != store.plan(self.TEXT).checksum

    def test_what_was_there_before_matters(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [a], expires: 2030-01-01}]\n")
        before = store.plan(self.TEXT).checksum
        store.apply("permissions: [{username: u, publish: [a], expires: 2031-01-01}]\n")
        assert store.plan(self.TEXT).checksum != before


def test_a_plan_writes_nothing(store: Store) -> None:
    store.apply(IDENTITIES)
    before = store.path.read_bytes()
    store.plan(BOTH_USERS)
    assert store.path.read_bytes() == before


def test_a_plan_sees_one_revision(store: Store) -> None:
    """A commit in the middle of a plan does not show in its second half."""
    store.put(instance())
    policy = store.load(f"{IDENTITIES}permissions: [{{username: u, publish: [t]}}]\n")
    other = Store(store.folder)
    with store.open() as database:
        seen = database.contents

        def contents(table: Table[Any], source: str | None = None) -> Iterator[tuple[str, Record]]:
            yield from seen(table, source)
            if table is INSTANCES and source:
                other.put(
                    Permission(
                        instance="mqtt-default",
                        identity_type=Grantee.USER,
                        identity="late",
                        topic="t",
                        action=Action.PUB,
                        effect=Effect.ALLOW,
                        source="policy",
                    )
                )

        database.contents = contents  # type: ignore[method-assign]
        made = plan(database, policy, store.sources, prune=True, now_ms=NOW)
    assert made.owned == 0
