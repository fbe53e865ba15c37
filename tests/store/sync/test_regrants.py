"""What a rollback would allow again."""

from pathlib import Path

import pytest
from rollbacks_under_test import FREELY, ONE, back, planned, refused
from stores_under_test import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_is_allowed_again_needs_a_flag(store: Store) -> None:
    store.apply("permissions: [{username: u, publish: [a]}]\n")
    store.apply(
        "sync: {prune: true}\npermissions: [{username: u, deny: {subscribe: [d]}}]\nblacklist: [{client_id: c}]\n"
    )
    [(rule, sentence)] = refused(store, 1, allow_regrant=False)
    assert rule == "regrant"
    assert sentence == (
        "3 records would allow something again: user u may publish a (mqtt-default): is granted again, "
        "client c may not connect (mqtt-default): is let back in, "
        "user u may not subscribe d (mqtt-default): is denied no longer; if it shall be so, say --allow-regrant"
    )
    back(store, 1)


def test_what_only_takes_away_needs_none(store: Store) -> None:
    store.apply("permissions: [{username: u, publish: [a], deny: {publish: [d]}}]\n")
    store.apply("permissions: [{username: u, publish: [a, b], deny: {publish: [d]}}]\n")
    back(store, 1, allow_regrant=False)


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        ("username: u, publish: [a], expires: 2030-01-01", "username: u, publish: [a], expires: 2029-01-01", 1),
        ("username: u, publish: [a]", "username: u, publish: [a], expires: 2029-01-01", 1),
        ("username: u, publish: [a], expires: 2029-01-01", "username: u, publish: [a]", 0),
        ("username: u, both: [a]", "username: u, publish: [a]", 1),
        ("username: u, publish: [a]", "username: u, both: [a]", 0),
        ("username: u, deny: {publish: [a]}", "username: u, deny: {both: [a]}", 1),
        ("username: u, deny: {both: [a]}", "username: u, deny: {publish: [a]}", 0),
        ("username: u, deny: {both: [a]}, expires: 2029-01-01", "username: u, deny: {both: [a]}", 1),
        ("username: u, deny: {both: [a]}", "username: u, deny: {both: [a]}, expires: 2029-01-01", 0),
        ("username: u, deny: {both: [a]}, expires: 2020-01-01", "username: u, deny: {both: [a]}", 1),
        ("username: u, publish: [a], expires: 2020-01-01", "username: u, publish: [a], note: n", 0),
    ],
)
def test_which_permissions_allow_more(store: Store, then: str, now: str, why: int) -> None:
    store.apply(f"permissions: [{{{then}}}]\n")
    store.apply(f"permissions: [{{{now}}}]\n")
    assert len(planned(store, 1).regrants) == why


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        ("", "client_id: c, ", "its client id is free for others again"),
        ("client_ids: {prefix: m}, ", "client_ids: {prefix: me}, ", "more client ids may use it"),
        ("client_ids: {prefix: me}, ", "client_ids: {prefix: m}, ", ""),
        ("", "client_ids: {group: GID_Sensors}, ", "more client ids may use it"),
        ("client_ids: {prefix: GID_Sensors@@@1}, ", "client_ids: {group: GID_Sensors}, ", ""),
        ("expires: 2030-01-01, ", "expires: 2029-01-01, ", "may connect for longer"),
        ("", "expires: 2020-01-01, ", "may connect again"),
        ("expires: 2020-01-01, ", "", ""),
    ],
)
def test_which_identities_allow_more(store: Store, then: str, now: str, why: str) -> None:
    def text(more: str) -> str:
        other = "groups: [GID_Sensors]\nsync: {prune: true}\n"
        return other + ONE.replace("}]", f"}}, {{{more}username: v, sign_mode: external}}]")

    store.apply(text(then), **FREELY)
    store.apply(text(now), **FREELY)
    said = {one.why for one in planned(store, 1).regrants}
    assert said - {"may connect again"} == {why} - {"", "may connect again"}
    assert (why == "may connect again") <= ("may connect again" in said)


def test_another_proof_counts(store: Store) -> None:
    store.apply(ONE.replace("origin", "signed"))
    store.apply(ONE)
    assert [one.why for one in planned(store, 1).regrants] == ["may connect by another proof"]


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        ("no_match: pass", "no_match: deny", "what nothing matches is left to the broker again"),
        ("client_id_rule: any", "client_id_rule: group", "client ids need not follow the group rule"),
        ("pin_client_ids: false", "pin_client_ids: true", "client ids are not pinned"),
        ("parent_topics: [a, b]", "parent_topics: [b]", "more parent topics may be used"),
        ("note: without", "parent_topics: [b]", "more parent topics may be used"),
    ],
)
def test_which_instances_allow_more(store: Store, then: str, now: str, why: str) -> None:
    store.apply(f"{ONE}instances: {{mqtt-default: {{{then}}}}}\n")
    store.apply(f"{ONE}instances: {{mqtt-default: {{{now}}}}}\n")
    assert [one.why for one in planned(store, 1).regrants] == [why]
    store.apply(f"{ONE}instances: {{mqtt-default: {{{then}}}}}\n")
    assert planned(store, 2).regrants == ()


def test_a_group_that_comes_back_counts(store: Store) -> None:
    store.apply(f"{ONE}groups: [GID_Sensors]\n")
    store.apply(f"sync: {{prune: true}}\n{ONE}")
    assert [one.why for one in planned(store, 1).regrants] == ["its client ids are admitted again"]
