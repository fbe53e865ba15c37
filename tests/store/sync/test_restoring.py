"""What comes back by a rollback, and what cannot."""

from pathlib import Path

import pytest
from rollbacks_under_test import FREELY, NOBODY, ONE, TWO, back, left_out, owned
from stores_under_test import Store, described, identity, instance

from store.changes import revisions
from store.tables import BLACKLIST, INSTANCES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class TestWhatComesBack:
    def test_records_do(self, store: Store) -> None:
        first = "permissions: [{id: p, username: u, publish: [a, b], note: n}]\ngroups: [GID_Sensors]\n"
        store.apply(first)
        before = store.contents()
        store.apply(
            "sync: {prune: true}\npermissions: [{id: p, username: u, both: [a], publish: [c]}]\n"
            "blacklist: [{username: w}]\n"
        )
        done = back(store, 1)
        assert described(done.rollback.plan) == [
            "add group mqtt-default GID_Sensors",
            "change permission u a ALLOW policy",
            "add permission u b ALLOW policy",
            "remove blacklist mqtt-default w policy",
            "remove permission u c ALLOW policy",
        ]
        assert store.contents() == before
        assert (done.revision, store.revision) == (3, 3)

    def test_it_is_one_revision_with_its_audit_row(self, store: Store) -> None:
        store.apply(ONE)
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        done = back(store, 1, actor="ana")
        with store.open() as database:
            row = revisions(database.connection)[0]
        assert (row.revision, row.actor, row.source) == (3, "ana rollback to revision 1", "policy")
        assert (row.checksum, row.removed, row.at) == (done.rollback.plan.checksum, 1, store.now)

    def test_an_instance_comes_back_with_what_it_held(self, store: Store) -> None:
        store.apply(
            "instances: {mqtt-a: {no_match: pass}}\npermissions: [{instance: mqtt-a, everyone: true, publish: [t]}]\n"
        )
        before = store.contents()
        store.apply(NOBODY, **FREELY)
        back(store, 1)
        assert store.contents() == before

    def test_an_instance_that_somebody_wrote_down_stays_so(self, store: Store) -> None:
        store.apply(f"{ONE}instances: {{mqtt-default: {{}}}}\n")
        store.apply(f"{ONE}instances: {{mqtt-default: {{no_match: pass}}}}\n")
        back(store, 1)
        with store.open() as database:
            assert [one.origin.endswith("policy.yaml:3") for one in database.records(INSTANCES)] == [True]

    def test_many_revisions_at_once(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [a]}]\n")
        before = store.contents()
        for topics in ("a, b", "b", "c", "a, c, d"):
            store.apply(f"sync: {{prune: true}}\npermissions: [{{username: u, publish: [{topics}]}}]\n")
        back(store, 1)
        assert store.contents() == before

    def test_and_forth_again(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [a]}]\n")
        store.apply("sync: {prune: true}\npermissions: [{username: u, publish: [b]}]\n")
        after = store.contents()
        back(store, 1)
        back(store, 2)
        assert store.contents() == after

    def test_nothing_to_do_is_no_revision_and_no_hold(self, store: Store) -> None:
        store.apply(ONE)
        done = back(store, 1)
        assert (done.revision, done.hold, done.rollback.plan.changes) == (1, None, ())
        store.apply(TWO)

    def test_expired_records_are_as_they_were(self, store: Store) -> None:
        store.apply("blacklist: [{client_id: c, expires: 2027-01-15T08:00:01Z}]\n")
        with store.open() as database, database.writing(actor="s", source="sweeper", now_ms=store.now + 2000) as write:
            for record in database.find(BLACKLIST, "TRUE", ()):
                write.expire(record)
        store.apply(f"{ONE}blacklist: [{{client_id: c, expires: 2027-01-15T08:00:01Z}}]\n")
        assert described(back(store, 1).rollback.plan) == ["remove identity mqtt-default USER u"]

    def test_the_empty_store(self, store: Store) -> None:
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        back(store, 0)
        assert store.contents() == {}


class TestSecrets:
    def test_an_identity_keeps_those_that_it_has(self, store: Store) -> None:
        store.apply(ONE.replace("u,", "u, note: then,"))
        store.apply(TWO)
        done = back(store, 1)
        assert described(done.rollback.plan) == ["change identity mqtt-default USER u"]
        assert [secret.value for secret in store.secrets("u")] == [b"two"]
        assert next(said["note"] for key, said in store.contents().items() if key[0] == "identity") == "then"

    def test_a_rotation_alone_is_nothing_to_roll_back(self, store: Store) -> None:
        store.apply(ONE)
        store.apply(TWO)
        assert back(store, 1).rollback.plan.changes == ()

    def test_an_identity_that_went_is_left_out_and_told(self, store: Store) -> None:
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        store.apply(NOBODY, **FREELY)
        done = back(store, 1)
        assert described(done.rollback.plan) == [
            "add permission u t ALLOW policy",
            "remove blacklist mqtt-default nobody policy",
        ]
        assert left_out(done.rollback) == [
            "user u (mqtt-default): its secrets went with it, and are not in the change log; an apply brings it back"
        ]

    def test_one_that_needs_no_secret_comes_back(self, store: Store) -> None:
        store.apply("identities: [{username: u, sign_mode: external}]\n")
        before = store.contents()
        store.apply(NOBODY, **FREELY)
        back(store, 1)
        assert store.contents() == before

    @pytest.mark.parametrize(
        ("then", "now"),
        [("hashed", "origin"), ("origin", "hashed"), ("external", "signed"), ("signed", "external")],
    )
    def test_a_hash_never_becomes_a_password(self, store: Store, then: str, now: str) -> None:
        """Nor is a secret thrown away that could not be had again."""

        def text(mode: str) -> str:
            return ONE.replace("sign_mode: origin", f"sign_mode: {mode}").replace(
                ", secret: {literal: one}" if mode == "external" else "nothing", ""
            )

        store.apply(text(then))
        store.apply(text(now))
        before = store.contents()
        done = back(store, 1)
        assert left_out(done.rollback) == [
            f"user u (mqtt-default): the secrets that it has now do not go with the sign mode {then}"
        ]
        assert store.contents() == before

    def test_a_key_may_be_used_as_before(self, store: Store) -> None:
        store.apply(ONE.replace("origin", "signed"))
        store.apply(ONE)
        back(store, 1)
        assert [said["sign_mode"] for said in store.contents().values() if "sign_mode" in said] == ["SIGNED"]

    def test_none_is_needed_to_go_back(self, store: Store) -> None:
        """The secret of an identity that does not change is not even unsealed."""
        store.apply(ONE)
        store.apply(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        with store.open() as database:
            database.connection.execute("UPDATE identity_secrets SET sealed = x'02'")
        back(store, 1)
        assert len(store.contents()) == 2


class TestOwners:
    def test_other_sources_stay_as_they_are(self, store: Store) -> None:
        store.apply(f"source: plant\n{ONE}")
        store.apply("source: office\npermissions: [{username: u, publish: [o]}]\n")
        store.apply(f"source: plant\n{ONE}permissions: [{{username: u, publish: [p]}}]\n")
        before = owned(store.contents(), "office")
        done = back(store, 1, "plant")
        assert described(done.rollback.plan) == ["remove permission u p ALLOW plant"]
        assert owned(store.contents(), "office") == before != {}

    def test_what_another_took_over_stays_with_it(self, store: Store) -> None:
        store.apply(f"source: plant\n{ONE}")
        store.apply(f"source: office\n{ONE}", adopt=frozenset({"plant"}))
        done = back(store, 1, "plant")
        assert left_out(done.rollback) == ["user u (mqtt-default): office owns it now"]
        assert done.rollback.plan.changes == ()

    def test_what_it_took_over_stays_with_it(self, store: Store) -> None:
        store.apply("source: office\nidentities: [{username: o, sign_mode: external}]\n")
        store.put(identity("u"))
        store.apply(f"source: plant\n{ONE}", adopt=frozenset({"api"}))
        before = store.contents()
        done = back(store, 2, "plant")
        assert left_out(done.rollback) == ["user u (mqtt-default): it was taken over from api since, and stays"]
        assert store.contents() == before

    def test_a_grant_that_it_took_over_stays_in_force(self, store: Store) -> None:
        """The one that it took the place of is gone, and is not this source's to bring back."""
        text = "permissions: [{username: u, publish: [t]}]\n"
        store.apply(f"source: office\n{text}")
        store.apply(f"source: plant\n{text}", adopt=frozenset({"office"}))
        before = store.contents()
        assert described(store.plan(f"source: plant\n{text}")) == []
        done = back(store, 1, "plant")
        assert left_out(done.rollback) == [
            "user u may publish t (mqtt-default): it was taken over from office since, and stays"
        ]
        assert store.contents() == before

    def test_an_instance_that_others_use_stays(self, store: Store) -> None:
        store.apply("source: office\ninstances: {mqtt-o: {}}\n", allow_empty=True)
        store.apply("source: plant\ninstances: {mqtt-default: {}}\n", allow_empty=True)
        store.put(identity("u"))
        done = back(store, 1, "plant")
        assert left_out(done.rollback) == ["instance mqtt-default: 1 record in it would be left"]
        assert done.rollback.plan.changes == ()

    def test_what_has_no_instance_any_more_is_left_out(self, store: Store) -> None:
        store.put(instance())
        text = "source: plant\npermissions: [{username: u, publish: [t]}]\n"
        store.apply(text)
        store.apply("source: plant\nsync: {prune: true}\npermissions: []\n", **FREELY)
        with store.open() as database, database.writing(actor="a", source="api", now_ms=store.now) as write:
            write.remove(instance())
        done = back(store, 2, "plant")
        assert left_out(done.rollback) == [
            "user u may publish t (mqtt-default): there is no instance mqtt-default any more"
        ]

    def test_the_api_is_rolled_back_without_a_hold(self, store: Store) -> None:
        store.put(instance(), identity("u"))
        store.put(identity("v"))
        done = back(store, 1, "api")
        assert described(done.rollback.plan) == ["remove identity mqtt-default USER v"]
        assert done.hold is None
