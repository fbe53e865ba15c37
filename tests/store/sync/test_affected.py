"""Who loses something by a plan, and who is let back in."""

from pathlib import Path

import pytest
from stores_under_test import Store

from store.sync.affected import Losing
from store.sync.phrases import moment
from store.sync.wording import describe_subject
from store.tables import Subject

USER = "  - {username: sensors, sign_mode: origin, secret: {literal: one}}\n"
IDENTITIES = f"identities:\n{USER}"
BOTH_USERS = IDENTITIES + "  - {username: gateway, sign_mode: origin, secret: {literal: two}}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


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
            user(),
            user() + "instances: {mqtt-default: {parent_topics: [a]}}\n",
            {"every client of mqtt-default": ["fewer parent topics are registered"]},
        ),
        (
            user() + "instances: {mqtt-default: {parent_topics: [a, b]}}\n",
            user() + "instances: {mqtt-default: {parent_topics: [c, b]}}\n",
            {"every client of mqtt-default": ["fewer parent topics are registered"]},
        ),
        (
            user() + "instances: {mqtt-default: {parent_topics: [b]}}\n",
            user() + "instances: {mqtt-default: {parent_topics: [c, b]}}\n",
            {},
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
        (
            grant("deny: {publish: [t]}"),
            grant(f"deny: {{publish: [t]}}, expires: {PAST}"),
            [("user u (mqtt-default)", None)],
        ),
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


@pytest.mark.parametrize(
    ("why", "felt"),
    [
        (["its identity goes", "a grant goes"], "disconnected"),
        (["is blacklisted"], "disconnected"),
        (["a secret goes"], "whoever connected by it is disconnected"),
        (["a secret goes", "a grant goes"], "whoever connected by it is disconnected"),
        (["a secret goes", "its sign mode changes"], "disconnected"),
        (["a grant goes", "a denial comes"], "subscriptions that are no longer allowed end"),
        (["may sign fewer API calls"], ""),
        (["may sign fewer API calls", "its key goes"], "disconnected"),
    ],
    ids=", ".join,
)
def test_what_befalls_live_sessions(why: list[str], felt: str) -> None:
    assert Losing(Subject("mqtt-a", "USER", "u"), tuple(why), 1).felt == felt
