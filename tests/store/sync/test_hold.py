"""A hold: set by a rollback, in the way of every apply, over once git agrees or somebody says so."""

from pathlib import Path

import pytest
from rollbacks_under_test import ONE, TWO, back
from stores_under_test import Store, identity

from exhook.policy import PolicyFiles
from exhook.settings import Settings
from store.sync import apply as applying
from store.sync.hold import Hold, end_hold, holds_of, release, set_hold
from store.sync.thresholds import Refused

GRANT = "permissions: [{username: u, publish: [t]}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def held(store: Store) -> Store:
    """Rolled back from revision 2, which has a grant more, to 1."""
    store.apply(ONE)
    store.apply(ONE + GRANT)
    back(store, 1, actor="ana@host", reason="line 3\nstood still")
    return store


def holds(store: Store) -> list[str]:
    with store.open() as database:
        return list(holds_of(database))


def refusal(store: Store, text: str) -> tuple[str, str]:
    before = store.contents()
    with pytest.raises(Refused) as caught:
        store.apply(text)
    assert store.contents() == before
    [one] = caught.value.refusals
    return one.rule, one.sentence


def test_it_says_who_since_when_why_and_what_to_do(held: Store) -> None:
    rule, sentence = refusal(held, ONE + GRANT)
    assert rule == "held"
    assert sentence == (
        "policy is held since 2027-01-15T08:00:00Z by ana@host, who rolled it back from revision 2 to 1 "
        r"(line 3\nstood still); let the files say what the store says (an apply that finds nothing to change ends "
        "the hold), or say exhook-sync release --source policy"
    )


def test_no_change_gets_by(held: Store) -> None:
    for text in (TWO, ONE.replace("u,", "u, note: n,"), f"{ONE}{GRANT}blacklist: [{{client_id: c}}]\n"):
        assert refusal(held, text)[0] == "held"


def test_an_empty_plan_ends_it(held: Store) -> None:
    """Git agrees: the revert was merged."""
    done = held.apply(ONE)
    assert (done.changed, done.released and done.released.to) == (False, 1)
    assert (holds(held), held.revision) == ([], 3)
    held.apply(ONE + GRANT)


def test_an_empty_plan_that_moves_lines_does_too(held: Store) -> None:
    done = held.apply(f"\n\n{ONE}")
    assert (len(done.plan.moved) > 0, done.released is not None, holds(held)) == (True, True, [])


def test_an_apply_without_a_hold_releases_nothing(store: Store) -> None:
    assert store.apply(ONE).released is None
    assert store.apply(ONE).released is None


def test_release_ends_it(held: Store) -> None:
    with held.open() as database:
        ended = release(database, "policy")
        assert ended is not None
        assert (ended.actor, ended.since, ended.to) == ("ana@host", 2, 1)
        assert release(database, "policy") is None
    held.apply(ONE + GRANT)


def test_other_sources_go_on(held: Store) -> None:
    held.apply(f"source: office\n{GRANT}")
    assert holds(held) == ["policy"]


def test_no_other_source_may_take_over_what_is_held(held: Store) -> None:
    with pytest.raises(Refused, match="policy is held"):
        held.apply(f"source: office\n{ONE}", adopt=frozenset({"policy"}))


def test_a_second_rollback_goes_on_and_replaces_it(held: Store) -> None:
    back(held, 2)
    with held.open() as database:
        hold = holds_of(database)["policy"]
    assert (hold.since, hold.to) == (3, 2)


def test_a_hold_that_comes_while_an_apply_is_under_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at within the transaction, too."""
    store.apply(ONE)
    store.apply(ONE + GRANT)

    def hash_password(_: bytes) -> str:
        back(Store(store.folder), 1)
        raise_once.append(1)
        return "$6$AAAAAAAAAAAAAAAA$" + "A" * 86 + "=="

    raise_once: list[int] = []
    monkeypatch.setattr(applying, "hash_password", hash_password)
    hashed = "identities: [{username: u, sign_mode: hashed, secret: {literal: one}}]\n"
    with pytest.raises(Refused, match="policy is held"):
        store.apply(hashed)
    assert (raise_once, store.revision) == ([1], 3)


def test_it_is_in_no_ones_way_who_writes_otherwise(held: Store) -> None:
    held.put(identity("other"))


def test_names_of_sources_do_not_meet(store: Store) -> None:
    names = ["a", "a:b", "A", "é", "hold:", "z" * 100]
    with store.open() as database:
        with database.transaction():
            for name in names:
                set_hold(database, Hold(source=name, actor="x", at=0, since=2, to=1))
        assert sorted(holds_of(database)) == sorted(names)
        with database.transaction():
            end_hold(database, "a")
        assert sorted(holds_of(database)) == sorted(names[1:])


async def test_a_server_that_watches_the_files_keeps_the_last_good_state(held: Store) -> None:
    document = held.write(ONE + GRANT)
    before = held.contents()
    await PolicyFiles(Settings(db=held.path, policy=document), held.keys).apply()
    assert held.contents() == before
