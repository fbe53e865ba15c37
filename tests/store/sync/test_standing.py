"""What is wanted beside what stands: the same, however many are looked up at once."""

from pathlib import Path

import pytest
from stores_under_test import Store, described

from store.sync import standing

GROUPS = "groups: [GID_Sensors, GID_Others]\n"
USERS = """identities:
  - {username: a, sign_mode: origin, secret: {literal: one}}
  - {username: b, sign_mode: origin, secrets: [{id: "1", literal: one}, {id: "2", literal: two, expires: 2030-01-01}]}
  - {username: "O'Brien, \\"ü\\" €", client_id: "[1]", sign_mode: external}
"""
GRANTS = "permissions: [{username: a, publish: [t/1, t/2, t/3, t/4, t/5]}, {everyone: true, subscribe: [n/#]}]\n"
BLOCKED = "blacklist: [{client_id: x}, {username: y}]\n"


@pytest.fixture(params=[1, 2, 3, 1000])
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    monkeypatch.setattr(standing, "TOGETHER", request.param)
    return Store(tmp_path)


def test_nothing_changes_where_all_stands(store: Store) -> None:
    text = GROUPS + USERS + GRANTS + BLOCKED
    store.apply(text)
    made = store.plan(text, prune=True)
    assert (made.changes, made.kept, made.moved, made.foreign, made.owned) == ((), (), (), (), 14)


def test_what_differs_by_one_word_is_found(store: Store) -> None:
    store.apply(GROUPS + USERS + GRANTS + BLOCKED)
    changed = USERS.replace("2030-01-01", "2030-01-02") + GRANTS.replace("publish: [", "note: n, publish: [")
    made = store.plan(changed + BLOCKED.replace("x}", "x, reason: r}"), prune=True)
    assert described(made) == [
        "change identity mqtt-default USER b",
        *(f"change permission a t/{number} ALLOW policy" for number in range(1, 6)),
        "change blacklist mqtt-default x policy",
        "remove group mqtt-default GID_Others",
        "remove group mqtt-default GID_Sensors",
    ]


def test_what_is_new_stands_beside_what_was_there(store: Store) -> None:
    store.apply(USERS + GRANTS.replace("t/2, ", "").replace("t/5", "t/6"))
    made = store.plan(USERS + GRANTS)
    assert described(made) == ["add permission a t/2 ALLOW policy", "add permission a t/5 ALLOW policy"]
    assert [record.topic for record in made.kept if hasattr(record, "topic")] == ["t/6"]


def test_what_stands_in_other_lines_is_noted_all_together(store: Store) -> None:
    text = USERS + GRANTS
    store.apply(text)
    moved = f"# one\n# two\n{text}"
    assert len(store.plan(moved).moved) == 9
    assert store.apply(moved).changed is False
    assert store.plan(moved).moved == ()
    with store.open() as database:
        origins = {row[0].rpartition(":")[2] for row in database.connection.execute("SELECT origin FROM permissions")}
    assert origins == {"8"}
