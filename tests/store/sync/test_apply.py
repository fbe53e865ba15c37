import tempfile
from pathlib import Path
from typing import Any

import pytest
from documents_under_test import documents
from hypothesis import HealthCheck, given, settings
from stores_under_test import HASH, Store, described, identity, instance

from store.changes import changes_of, revisions
from store.sync import apply as applying
from store.sync.apply import ChecksumDiffers, Declined, apply_policy
from store.sync.document import InvalidPolicy
from store.sync.plan import Plan
from store.sync.thresholds import Refused

ONE = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"
TWO = "identities: [{username: u, sign_mode: origin, secret: {literal: two}}]\n"
HASHED = "identities: [{username: u, sign_mode: hashed, secret: {literal: one}}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_an_apply_makes_one_revision_with_its_audit_row(store: Store) -> None:
    done = store.apply(f"source: plant\n{ONE}permissions: [{{username: u, publish: [t]}}]\n")
    assert (done.revision, done.changed) == (1, True)
    with store.open() as database:
        [row] = revisions(database.connection)
        changed = list(changes_of(database.connection, 1))
    assert (row.source, row.checksum, row.added, row.at) == ("plant", done.plan.checksum, 3, store.now)
    assert row.actor.endswith(" exhook-sync")
    assert [change.kind for change in changed] == ["instance", "identity", "permission"]


def test_a_second_apply_makes_none(store: Store) -> None:
    store.apply(HASHED)
    before = store.path.read_bytes()
    done = store.apply(HASHED)
    assert (done.revision, done.changed) == (1, False)
    assert store.path.read_bytes() == before


@given(documents(), documents())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_store_says_what_the_last_policy_says(first: str, last: str) -> None:
    """A, then B with prune, is the same as B alone."""
    freely: dict[str, Any] = {
        "prune": True,
        "allow_empty": True,
        "max_removals": 1000,
        "allow_protected": _Everything(),
    }
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        after, alone = Store(Path(one)), Store(Path(two))
        after.apply(first, allow_empty=True)
        after.apply(last, **freely)
        alone.apply(last, allow_empty=True)
        assert after.contents().keys() == alone.contents().keys()
        assert without_fingerprints(after) == without_fingerprints(alone)
        assert after.plan(last, prune=True).changes == ()


class _Everything(frozenset[str]):
    """Every id."""

    def __contains__(self, _: object) -> bool:
        return True


def without_fingerprints(store: Store) -> list[str]:
    """What a store says; fingerprints are under a key of each store."""
    for said in (found := store.contents()).values():
        for secret in said.get("secrets", ()):
            secret.pop("fingerprint")
    return sorted(map(str, found.items()))


class TestPasswords:
    def test_only_new_ones_are_hashed(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        hashed: list[bytes] = []

        def hash_password(password: bytes) -> str:
            hashed.append(password)
            return HASH

        monkeypatch.setattr(applying, "hash_password", hash_password)
        store.apply(HASHED)
        store.apply(HASHED.replace("u,", "u, note: n,"))
        store.apply(HASHED.replace("}]", "}, {username: v, sign_mode: hashed, secret: {literal: two}}]"))
        assert hashed == [b"one", b"two"]

    def test_two_users_of_one_password_have_two_hashes(self, store: Store) -> None:
        store.apply(HASHED.replace("}]", "}, {username: v, sign_mode: hashed, secret: {literal: one}}]"))
        [one], [two] = store.secrets("u"), store.secrets("v")
        assert one.fingerprint == two.fingerprint
        assert one.value != two.value

    def test_they_are_hashed_before_the_store_is_locked(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another writer gets through while a password is hashed; the apply plans anew and goes on."""
        store.apply("blacklist: [{client_id: c}]\n")

        def hash_password(_: bytes) -> str:
            Store(store.folder).put(identity("late"))
            return HASH

        monkeypatch.setattr(applying, "hash_password", hash_password)
        done = store.apply(HASHED)
        assert (done.revision, store.revision) == (3, 3)
        with store.open() as database:
            assert revisions(database.connection)[0].checksum == done.plan.checksum

    def test_one_that_went_missing_meanwhile_is_hashed_after_all(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.apply(HASHED)
        hashed: list[bytes] = []

        def hash_password(password: bytes) -> str:
            hashed.append(password)
            if len(hashed) == 1:
                Store(store.folder).apply("sync: {prune: true}\nblacklist: [{client_id: c}]\n")
            return HASH

        monkeypatch.setattr(applying, "hash_password", hash_password)
        store.apply(HASHED.replace("}]", "}, {username: v, sign_mode: hashed, secret: {literal: two}}]"))
        assert hashed == [b"two", b"one"]
        assert [secret.value for secret in store.secrets("u")] == [HASH.encode()]


class TestConfirming:
    def test_nobody_is_asked_where_nothing_is_removed(self, store: Store) -> None:
        store.apply(ONE, confirm=lambda _: pytest.fail("asked"))

    def test_a_no_changes_nothing(self, store: Store) -> None:
        store.apply(ONE)
        with pytest.raises(Declined):
            store.apply("sync: {prune: true}\nblacklist: [{client_id: c}]\n", confirm=lambda _: False)
        assert store.revision == 1

    def test_what_was_shown_is_what_is_done(self, store: Store) -> None:
        store.apply(ONE)
        shown: list[Plan] = []

        def confirm(made: Plan) -> bool:
            shown.append(made)
            return True

        done = store.apply("sync: {prune: true}\nblacklist: [{client_id: c}]\n", confirm=confirm)
        assert [described(made) for made in shown] == [described(done.plan)]

    def test_what_changed_while_asking_is_not_done(self, store: Store) -> None:
        store.apply(ONE)

        def confirm(_: Plan) -> bool:
            Store(store.folder).apply(TWO)
            return True

        with pytest.raises(ChecksumDiffers):
            store.apply("sync: {prune: true}\nblacklist: [{client_id: c}]\n", confirm=confirm)
        assert store.revision == 2

    def test_nothing_is_locked_while_asking(self, store: Store) -> None:
        store.apply(ONE)

        def confirm(_: Plan) -> bool:
            Store(store.folder).put(identity("other"))
            return True

        store.apply("sync: {prune: true}\nblacklist: [{client_id: c}]\n", confirm=confirm)
        assert store.revision == 3


class TestChecksum:
    def test_the_reviewed_plan_is_applied(self, store: Store) -> None:
        store.put(instance())
        store.apply(ONE, checksum=store.plan(ONE).checksum.upper())
        assert store.revision == 2

    def test_an_edited_document_is_not(self, store: Store) -> None:
        store.put(instance())
        reviewed = store.plan(ONE).checksum
        with pytest.raises(ChecksumDiffers, match=f"not {reviewed}; .* plan again"):
            store.apply(TWO, checksum=reviewed)
        assert store.revision == 1

    def test_no_plan_has_an_empty_one(self, store: Store) -> None:
        store.put(instance())
        with pytest.raises(ChecksumDiffers, match="not an empty one"):
            store.apply(ONE, checksum="")
        assert store.revision == 1

    def test_another_flag_is_not(self, store: Store) -> None:
        store.put(instance())
        with pytest.raises(ChecksumDiffers):
            store.apply(ONE, checksum=store.plan(ONE).checksum, prune=True)

    def test_an_unrelated_write_does_not_matter(self, store: Store) -> None:
        store.put(instance())
        reviewed = store.plan(ONE).checksum
        store.put(identity("other"))
        store.apply(ONE, checksum=reviewed)


def test_an_invalid_policy_makes_no_store(store: Store) -> None:
    with pytest.raises(InvalidPolicy):
        store.apply("identities: [{username: u}]\n")
    assert not store.path.exists()


class TestQuota:
    TEXT = "instances: {mqtt-default: {record_quota: 2}}\n"

    def test_too_many_records_are_refused_as_a_whole(self, store: Store) -> None:
        with pytest.raises(Refused, match="record_quota is 2"):
            store.apply(f"{self.TEXT}permissions: [{{username: u, publish: [a, b, c]}}]\n")
        assert store.contents() == {}

    def test_the_final_state_counts(self, store: Store) -> None:
        store.apply(f"{self.TEXT}permissions: [{{username: u, publish: [a, b]}}]\n")
        store.apply(f"sync: {{prune: true}}\n{self.TEXT}permissions: [{{username: u, publish: [c, d]}}]\n")
        assert store.revision == 2


def test_progress_is_told(store: Store) -> None:
    told: list[tuple[str, int, int]] = []
    apply_policy(store.path, store.keys, [store.write(HASHED)], store.sources, progress=lambda *said: told.append(said))
    assert told == [("hash", 1, 1), ("write", 1, 2), ("write", 2, 2)]


def test_warnings_are_told_before_anything_is_done(store: Store) -> None:
    told: list[int] = []
    with pytest.raises(Refused):
        apply_policy(
            store.path,
            store.keys,
            [store.write(f"sync: {{environment: prod}}\n{ONE}")],
            store.sources,
            warn=lambda policy: told.append(len(policy.warnings)),
        )
    assert told == [1]


def test_an_exception_in_the_middle_leaves_the_old_revision(store: Store) -> None:
    store.apply(ONE)

    def stop(what: str, done: int, _: int) -> None:
        if (what, done) == ("write", 3):
            raise KeyboardInterrupt

    text = "permissions: [{username: u, publish: [a, b, c, d, e]}]\n"
    with pytest.raises(KeyboardInterrupt):
        apply_policy(store.path, store.keys, [store.write(text)], store.sources, progress=stop)
    assert store.revision == 1
    assert not any(key[0] == "permission" for key in store.contents())
