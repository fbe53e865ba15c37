"""Earlier states that can be told from the change log, and those that cannot."""

from pathlib import Path

import pytest
from rollbacks_under_test import ONE, TWO, back
from stores_under_test import Store, described, identity

from store.sync.past import NotRestorable, UnknownRevision


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class TestThePast:
    @pytest.mark.parametrize(("to", "said"), [(3, "its revisions go from 0, which is empty, to 2"), (10**30, "no rev")])
    def test_a_revision_that_never_was(self, store: Store, to: int, said: str) -> None:
        store.apply(ONE)
        store.apply(TWO)
        with pytest.raises(UnknownRevision, match=f"there is {said}" if said == "no rev" else said):
            back(store, to)

    def test_a_store_without_revisions(self, store: Store) -> None:
        with store.open():
            pass
        with pytest.raises(UnknownRevision, match="it has none yet"):
            back(store, 1)

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            ("DELETE FROM changes WHERE revision = 2", "some changes of revision 2 are no longer in the change log"),
            (
                "DELETE FROM changes WHERE revision = 2; DELETE FROM revisions WHERE revision = 2",
                "some revisions between 1 and 3 are no longer in the change log",
            ),
            (
                "UPDATE changes SET before = json_set(before, '$.note', 'x') WHERE revision = 3",
                "the change log of revision 3 does not go on from what was logged before",
            ),
            (
                "UPDATE identities SET note = 'x'",
                "a record was written past the change log (identity mqtt-default USER",
            ),
            ("DELETE FROM identity_secrets; DELETE FROM identities", "was written past the change log"),
            (
                "UPDATE changes SET before = json_set(before, '$.later', 1) WHERE revision = 2",
                "the change log holds what cannot be read (the field 'later'",
            ),
            (
                "UPDATE changes SET before = json_set(before, '$.sign_mode', 'NEW') WHERE revision = 2",
                "the change log holds what cannot be read ('NEW' is nothing that the field 'sign_mode' can hold)",
            ),
        ],
    )
    def test_a_gap_in_it_is_refused(self, store: Store, damage: str, said: str) -> None:
        store.apply(ONE)
        store.apply(TWO.replace("u,", "u, note: n,"))
        store.apply(TWO)
        with store.open() as database:
            for statement in damage.split(";"):
                database.connection.execute(statement)
        before = store.contents()
        with pytest.raises(NotRestorable) as caught:
            back(store, 1)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert store.contents() == before

    def test_what_lies_before_does_not_matter(self, store: Store) -> None:
        for number in range(4):
            store.apply(f"permissions: [{{username: u, publish: [t{number}]}}]\n")
        with store.open() as database:
            database.connection.execute("DELETE FROM changes WHERE revision = 1")
            database.connection.execute("DELETE FROM revisions WHERE revision = 1")
        assert described(back(store, 3).rollback.plan) == ["remove permission u t3 ALLOW policy"]

    def test_gaps_of_others_do_not_matter_where_every_row_is_there(self, store: Store) -> None:
        store.apply(f"source: plant\n{ONE}")
        store.put(identity("o"))
        store.apply(f"source: plant\n{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        with store.open() as database:
            database.connection.execute("UPDATE identities SET note = 'x' WHERE username = 'o'")
        back(store, 1, "plant")
