"""Random files of Mosquitto: what was imported never allows more than Mosquitto did, and no less than what is told.

Mosquitto decides deliveries, and a SUBSCRIBE is decided here. So a client may subscribe to a filter only if all that
the filter names was delivered.
"""

import json
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from imports_under_test import PUB, SUB, Asked, Installed, Loaded, dynsec, losses, mosquitto, written
from mosquitto_reference import READ, WRITE, AclLine, acl_allows, dynsec_allows, matches

from store.sync.importing.imported import Imported

USERS = ("u", "v", "$S")
CLIENTS = ("c", "a", "a/b", "$S")
UNSAFE = frozenset("/$")
USUAL = ("#", "a/#", "+/#", "+", "a", "a/b", "+/b", "a/+", "$S/#", "$S/a", "b/#", "u/#", "a/b/#", "a/+/#")
TEMPLATES = ("%c", "a/%c", "%u/#", "%c/#", "%u/%c", "x%c/#", "$S/%c")

LEVELS = ("a", "b", "c", "u", "", "$S", "z")
TOPICS = [*filter(None, ("/".join(levels) for size in (1, 2) for levels in product(LEVELS, repeat=size)))]
TOPICS += ["a/b/z", "a/c/z", "u/c/z", "a//z", "$S/a/z", "a/b/$S", "xc/a/z"]
FILTERS = [
    "#",
    "+",
    "+/+",
    "+/#",
    "a/#",
    "a/+",
    "a/+/#",
    "+/b",
    "/#",
    "$S/#",
    "$S/+",
    "c/#",
    "u/+",
    "u/#",
    "a/b/#",
    "+/c",
]
NAMED = {filter_: [topic for topic in TOPICS if matches(filter_, topic)] for filter_ in [*TOPICS, *FILTERS]}


@st.composite
def acl_lines(draw: st.DrawFn) -> AclLine:
    user = draw(st.sampled_from(["", "", "u", "u", "v", "$S"]))
    topics = USUAL if user else (*USUAL, *TEMPLATES, *TEMPLATES)
    return AclLine(user, draw(st.sampled_from(["read", "write", "readwrite", "deny"])), draw(st.sampled_from(topics)))


@given(st.lists(acl_lines(), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_acl_file(lines: list[AclLine]) -> None:
    made = mosquitto("\n".join(map(str, lines)))
    event("something is left out" if losses(made) else "all is carried over")
    with tempfile.TemporaryDirectory() as folder:
        check_acl_file(lines, made, Loaded(Path(folder), written(made), USERS, emqx=False))


@given(st.lists(acl_lines(), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_acl_file_in_a_real_store(lines: list[AclLine]) -> None:
    made = mosquitto("\n".join(map(str, lines)))
    with (
        tempfile.TemporaryDirectory() as folder,
        Installed(Path(folder), written(made), users=USERS, emqx=False) as store,
    ):
        check_acl_file(lines, made, store)


def check_acl_file(lines: list[AclLine], made: Imported, store: Asked) -> None:
    for user, client in product(USERS, CLIENTS):
        check(
            store,
            user,
            client,
            publishes=lambda topic, user=user, client=client: acl_allows(lines, user, client, WRITE, topic),  # type: ignore[misc]
            receives=lambda topic, user=user, client=client: acl_allows(lines, user, client, READ, topic),  # type: ignore[misc]
            subscribes=lambda _: True,
            exact=not losses(made),
        )


KINDS = ("publishClientSend", "publishClientReceive", "subscribeLiteral", "subscribePattern")
ACLS = st.fixed_dictionaries(
    {
        "acltype": st.sampled_from(KINDS),
        "topic": st.sampled_from(USUAL),
        "priority": st.integers(-1, 2),
        "allow": st.sampled_from([True, True, False]),
    }
)
HELD = st.lists(st.sampled_from(["r", "s"]), unique=True).flatmap(
    lambda names: st.lists(st.integers(-1, 2), min_size=len(names), max_size=len(names)).map(
        lambda numbers: [{"rolename": name, "priority": number} for name, number in zip(names, numbers, strict=True)]
    )
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    roles = [
        {
            "rolename": name,
            "acls": draw(st.lists(ACLS, max_size=4, unique_by=lambda acl: (acl["acltype"], acl["topic"]))),
        }
        for name in ("r", "s")
    ]
    clients = [{"username": name, "roles": draw(HELD)} for name in ("u", "v")]
    members = [{"username": "u", "priority": draw(st.integers(-1, 1))}]
    groups = [{"groupname": name, "roles": draw(HELD), "clients": members} for name in ("g", "h")]
    defaults = {
        "publishClientSend": draw(st.integers(0, 9)) == 0,
        "publishClientReceive": draw(st.integers(0, 3)) > 0,
        "subscribe": draw(st.integers(0, 9)) == 0,
        "unsubscribe": True,
    }
    return {"clients": clients, "groups": groups, "roles": roles, "defaultACLAccess": defaults}


@given(configs())
@settings(max_examples=60, deadline=None)
def test_dynamic_security(config: dict[str, Any]) -> None:
    made = dynsec(json.dumps(config))
    event("something is left out" if losses_of_rules(made) else "all is carried over")
    with tempfile.TemporaryDirectory() as folder:
        check_dynamic_security(config, made, Loaded(Path(folder), written(made), USERS, emqx=False))


@given(configs())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_dynamic_security_in_a_real_store(config: dict[str, Any]) -> None:
    made = dynsec(json.dumps(config))
    with (
        tempfile.TemporaryDirectory() as folder,
        Installed(Path(folder), written(made), users=USERS, emqx=False) as store,
    ):
        check_dynamic_security(config, made, store)


def losses_of_rules(made: Imported) -> list[str]:
    """Without that the clients have no passwords."""
    return [line for line in losses(made) if "it has no password" not in line]


def check_dynamic_security(config: dict[str, Any], made: Imported, store: Asked) -> None:
    for user in ("u", "v"):
        check(
            store,
            user,
            "c",
            publishes=lambda topic, user=user: dynsec_allows(config, user, KINDS[0], topic),  # type: ignore[misc]
            receives=lambda topic, user=user: dynsec_allows(config, user, KINDS[1], topic),  # type: ignore[misc]
            subscribes=lambda topic, user=user: dynsec_allows(config, user, "subscribe", topic),  # type: ignore[misc]
            exact=not losses_of_rules(made),
        )


def check(
    store: Asked,
    user: str,
    client: str,
    *,
    publishes: Callable[[str], bool],
    receives: Callable[[str], bool],
    subscribes: Callable[[str], bool],
    exact: bool,
) -> None:
    """Hold what the store allows against what Mosquitto allowed."""
    for topic in TOPICS:
        now = store.may(user, client, PUB, topic)
        assert not now or publishes(topic), (user, client, topic)
    for filter_, topics in NAMED.items():
        if store.may(user, client, SUB, filter_):
            assert subscribes(filter_), (user, client, filter_)
            assert all(map(receives, topics)), (user, client, filter_)
    if not exact or UNSAFE & set(user + client):
        return
    for topic in TOPICS:
        assert store.may(user, client, PUB, topic) == publishes(topic), (user, client, topic)
        # `#` subscribes to topics with $ in version 2.0, and is told not to here.
        if not topic.startswith("$"):
            assert store.may(user, client, SUB, topic) == (subscribes(topic) and receives(topic)), (user, client, topic)
