from pathlib import Path

import pytest
from stores_under_test import HASH, NOW, Store, described, identity, instance

from store.changes import Operation
from store.records import Action, Effect, Grantee, Group, Permission
from store.seal import SealKeys, new_key
from store.sync.plan import UnresolvedSecrets
from store.sync.wording import describe, describe_subject, moment
from store.tables import INSTANCES

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


class TestSecrets:
    def test_a_password_that_is_hashed_in_the_store_shows_no_change(self, store: Store) -> None:
        store.environ["EXHOOK_SECRET_A"] = "pass word"
        text = "identities: [{username: a, sign_mode: hashed, secret: {env: EXHOOK_SECRET_A}}]\n"
        store.apply(text)
        first = store.secrets("a")
        assert first[0].value.startswith(b"$argon2id$")
        assert store.plan(text).changes == ()
        store.environ["EXHOOK_SECRET_A"] = "another"
        assert described(store.plan(text)) == ["change identity mqtt-default USER a"]

    def test_a_second_secret_leaves_the_first_as_it_is(self, store: Store) -> None:
        one = "identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}]}]\n"
        two = "identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}, {id: y, literal: b}]}]\n"
        store.apply(one)
        before = store.secrets("a")
        store.apply(two)
        assert [secret.value for secret in store.secrets("a")][0] == before[0].value
        assert store.plan(two).changes == ()

    def test_the_same_password_under_another_name_is_hashed_anew(self, store: Store) -> None:
        store.apply("identities: [{username: a, sign_mode: hashed, secrets: [{id: x, literal: one}]}]\n")
        before = store.secrets("a")
        store.apply("identities: [{username: a, sign_mode: hashed, secrets: [{id: y, literal: one}]}]\n")
        (after,) = store.secrets("a")
        assert after.fingerprint == before[0].fingerprint
        assert after.value != before[0].value

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("sign_mode: origin, secret: {literal: one}", "sign_mode: signed, secret: {literal: one}"),
            ("sign_mode: origin, secret: {literal: one}", "sign_mode: hashed, secret: {literal: one}"),
            (f"secret: {{hash: '{HASH}'}}", "sign_mode: hashed, secret: {literal: one}"),
        ],
    )
    def test_another_sign_mode_is_a_change(self, store: Store, before: str, after: str) -> None:
        store.apply(f"identities: [{{username: a, {before}}}]\n")
        text = f"identities: [{{username: a, {after}}}]\n"
        assert described(store.plan(text)) == ["change identity mqtt-default USER a"]
        store.apply(text)
        assert store.plan(text).changes == ()

    def test_an_expiry_alone_is_a_change_and_keeps_the_value(self, store: Store) -> None:
        store.apply("identities: [{username: a, sign_mode: hashed, secret: {literal: one}}]\n")
        before = store.secrets("a")
        store.apply("identities: [{username: a, sign_mode: hashed, secret: {literal: one, expires: 2030-01-01}}]\n")
        (after,) = store.secrets("a")
        assert (after.value, after.expires_at) == (before[0].value, 1_893_456_000_000)

    def test_a_stored_secret_stays_as_it_is(self, store: Store) -> None:
        store.apply(IDENTITIES)
        stored = IDENTITIES.replace("literal: one", "stored: true")
        assert store.plan(stored).changes == ()
        store.apply(stored.replace("sensors,", "sensors, note: x,"))
        assert [secret.value for secret in store.secrets("sensors")] == [b"one"]

    def test_a_stored_secret_that_the_store_does_not_have_is_told(self, store: Store) -> None:
        with pytest.raises(UnresolvedSecrets, match=r"policy\.yaml:3: the store has no secret 'default' of user sen"):
            store.plan(IDENTITIES.replace("literal: one", "stored: true"))

    def test_a_stored_key_is_no_hash(self, store: Store) -> None:
        store.apply(IDENTITIES)
        with pytest.raises(UnresolvedSecrets, match="is a key, which does not go with sign_mode hashed"):
            store.plan(IDENTITIES.replace("literal: one", "stored: true").replace("origin", "hashed"))

    def test_a_stored_hash_is_no_key(self, store: Store) -> None:
        store.apply(f"identities: [{{username: sensors, secret: {{hash: '{HASH}'}}}}]\n")
        with pytest.raises(UnresolvedSecrets, match="is a hash, which does not go with sign_mode origin"):
            store.plan(IDENTITIES.replace("literal: one", "stored: true"))

    def test_all_that_cannot_be_had_is_told_at_once(self, store: Store) -> None:
        with pytest.raises(UnresolvedSecrets) as caught:
            store.plan(
                "identities:\n"
                "  - {username: a, sign_mode: origin, secret: {env: EXHOOK_SECRET_A}}\n"
                "  - {username: b, sign_mode: origin, secret: {file: nowhere}}\n"
            )
        first, second = caught.value.errors
        assert first.startswith(f"{store.folder}/policy.yaml:3: the variable EXHOOK_SECRET_A is not set")
        assert second.startswith(f"{store.folder}/policy.yaml:4: there is no file 'nowhere'")

    def test_a_plan_unseals_nothing(self, tmp_path: Path) -> None:
        """A value that was altered, so that it cannot be unsealed, is no matter to a plan."""
        store = Store(tmp_path, SealKeys.from_text(new_key(), "test"))
        store.apply(IDENTITIES)
        with store.open() as database:
            database.connection.execute("UPDATE identity_secrets SET sealed = X'00'")
        assert store.plan(IDENTITIES, prune=True).changes == ()


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


def user(more: str = "", secret: str = "literal: one") -> str:
    return f"identities: [{{username: u, sign_mode: origin, secret: {{{secret}}}{more}}}]\n"


def grant(more: str) -> str:
    return f"permissions: [{{username: u, {more}}}]\n"


PAST, FUTURE = "2020-01-01", "2030-01-01"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (user(), "", {"user u (mqtt-default)": ["its identity goes"]}),
        (user(f", expires: {PAST}"), "", {}),
        (user(), user(secret="literal: two"), {"user u (mqtt-default)": ["a secret goes"]}),
        (user(), user(f", expires: {PAST}"), {"user u (mqtt-default)": ["its identity has expired"]}),
        (user(), user(f", expires: {FUTURE}"), {}),
        (user(), user(secret=f"literal: one, expires: {PAST}"), {"user u (mqtt-default)": ["a secret goes"]}),
        (user(), user().replace("origin", "signed"), {"user u (mqtt-default)": ["its sign mode changes"]}),
        (user(), user(", client_ids: {prefix: a}"), {"user u (mqtt-default)": ["fewer client ids may use it"]}),
        (user(", client_ids: {prefix: ab}"), user(", client_ids: {prefix: a}"), {}),
        (user(", client_ids: {group: GID_abc}"), user(", client_ids: {prefix: GID_}"), {}),
        (user(), user(", client_ids: {group: GID_abc}"), {"user u (mqtt-default)": ["fewer client ids may use it"]}),
        (user(), user(", note: n"), {}),
        (grant("publish: [t]"), "", {"user u (mqtt-default)": ["a grant goes"]}),
        (grant("both: [t]"), grant("publish: [t]"), {"user u (mqtt-default)": ["a grant goes"]}),
        (grant("publish: [t]"), grant("both: [t]"), {}),
        (grant("publish: [t]"), grant(f"publish: [t], expires: {PAST}"), {"user u (mqtt-default)": ["a grant goes"]}),
        (user(), user() + grant("deny: {publish: [t]}"), {"user u (mqtt-default)": ["a denial comes"]}),
        (user(), user() + grant(f"deny: {{publish: [t]}}, expires: {PAST}"), {}),
        (grant("deny: {publish: [t]}"), grant("deny: {both: [t]}"), {"user u (mqtt-default)": ["a denial comes"]}),
        (grant("deny: {publish: [t]}"), "", {}),
        ("", user() + grant("deny: {publish: [t]}"), {}),
        (user(), user() + "blacklist: [{client_id: c}]\n", {"client c (mqtt-default)": ["is blacklisted"]}),
        ("groups: [GID_abc]\n", "", {"group GID_abc (mqtt-default)": ["its group goes"]}),
        (
            user(),
            user() + "permissions: [{everyone: true, deny: {both: ['#']}}]\n",
            {"everyone in mqtt-default": ["a denial comes"]},
        ),
        (
            user(),
            user() + "instances: {mqtt-default: {client_id_rule: group}}\n",
            {"every client of mqtt-default": ["client ids must follow the group rule"]},
        ),
        (
            user() + "instances: {mqtt-default: {no_match: pass, pin_client_ids: false}}\n",
            user(),
            {"every client of mqtt-default": ["client ids are pinned", "what nothing matches is denied"]},
        ),
    ],
)
def test_who_loses_something(store: Store, before: str, after: str, expected: dict[str, list[str]]) -> None:
    keep = "groups: [GID_kept]\n" if "groups" not in before + after else ""
    store.apply(keep + before, allow_empty=True)
    made = store.plan(keep + after, prune=True)
    found = {describe_subject(one.subject): list(one.why) for one in made.losing}
    assert found == expected


def test_nobody_loses_anything_in_an_empty_store(store: Store) -> None:
    made = store.plan("blacklist: [{client_id: c}]\npermissions: [{everyone: true, deny: {both: ['#']}}]\n")
    assert made.losing == ()


def test_what_concerns_everyone_counts_the_identities_of_the_instance(store: Store) -> None:
    store.apply(BOTH_USERS)
    made = store.plan(f"{BOTH_USERS}permissions: [{{everyone: true, deny: {{both: [a, b]}}}}]\n")
    assert made.clients_losing == 2


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "blacklist: [{client_id: c, expires: 2030-01-01}]\n", [("client c (mqtt-default)", FUTURE)]),
        ("", "blacklist: [{client_id: c}]\n", []),
        ("blacklist: [{client_id: c}]\n", "", [("client c (mqtt-default)", None)]),
        (f"blacklist: [{{client_id: c, expires: {PAST}}}]\n", "", []),
        ("", grant("deny: {publish: [t]}, expires: 2030-01-01"), [("user u (mqtt-default)", FUTURE)]),
        (grant("deny: {publish: [t]}"), grant(f"deny: {{publish: [t]}}, expires: {PAST}"), [("user u (mqtt-default)", None)]),
        (grant("deny: {publish: [t]}"), "", [("user u (mqtt-default)", None)]),
        (grant("publish: [t]"), "", []),
        ("", grant("publish: [t], expires: 2030-01-01"), []),
    ],
)
def test_who_is_let_back_in(store: Store, before: str, after: str, expected: list[tuple[str, str | None]]) -> None:
    store.apply(IDENTITIES + before)
    made = store.plan(IDENTITIES + after, prune=True)
    found = [(describe_subject(one.subject), one.at and moment(one.at)[:10]) for one in made.readmitted]
    assert found == expected


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
        from store.sync import plan as planning

        seen = database.contents

        def contents(table, source=None):  # noqa: ANN001, ANN202
            yield from seen(table, source)
            if table is INSTANCES and source:
                other.put(
                    Permission(
                        instance="mqtt-default", identity_type=Grantee.USER, identity="late", topic="t",
                        action=Action.PUB, effect=Effect.ALLOW, source="policy",
                    )
                )

        database.contents = contents  # type: ignore[method-assign]
        made = planning.plan(database, policy, store.sources, prune=True, now_ms=NOW)
    assert made.owned == 0
