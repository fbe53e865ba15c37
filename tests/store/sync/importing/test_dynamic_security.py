import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from imports_under_test import PUB, SUB, Installed, dynsec, entries, losses, permissions, told, written

from store.sync.findings import InvalidPolicy
from store.sync.importing.dynamic_security import import_dynamic_security
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Sort
from store.sync.importing.original import Original

DATA = Path(__file__).parent / "data"
SALT = base64.b64encode(b"twelve bytes").decode()
USUAL = {"publishClientSend": False, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}


def hashed(password: str, iterations: int = 101) -> dict[str, Any]:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), b"twelve bytes", iterations, 64)
    return {"password": base64.b64encode(digest).decode(), "salt": SALT, "iterations": iterations}


def client(name: str, *roles: str, **more: Any) -> dict[str, Any]:
    return {"username": name, **hashed(f"{name}'s"), "roles": [{"rolename": role} for role in roles], **more}


def acl(kind: str, topic: str, priority: int = 0, *, allow: bool = True) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "priority": priority, "allow": allow}


def send(topic: str, priority: int = 0, *, allow: bool = True) -> dict[str, Any]:
    return acl("publishClientSend", topic, priority, allow=allow)


def receive(topic: str, priority: int = 0, *, allow: bool = True) -> dict[str, Any]:
    return acl("publishClientReceive", topic, priority, allow=allow)


def pattern(topic: str, priority: int = 0, *, allow: bool = True) -> dict[str, Any]:
    return acl("subscribePattern", topic, priority, allow=allow)


def literal(topic: str, *, allow: bool = True) -> dict[str, Any]:
    return acl("subscribeLiteral", topic, allow=allow)


def made_of(
    clients: list[dict[str, Any]],
    roles: dict[str, list[dict[str, Any]]],
    groups: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Imported:
    said = [{"rolename": name, "acls": acls} for name, acls in roles.items()]
    config = {"clients": clients, "groups": groups or [], "roles": said, "defaultACLAccess": USUAL, **more}
    return dynsec(json.dumps(config, indent=1))


def one(*acls: dict[str, Any], **more: Any) -> Imported:
    """The file of one client with one role."""
    return made_of([client("anna", "r")], {"r": list(acls)}, **more)


def test_what_mosquitto_ctrl_wrote(tmp_path: Path) -> None:
    """The file was made by `mosquitto_ctrl dynsec init` of 2.0.11."""
    made = import_dynamic_security(Original.read(DATA / "dynamic-security.json"))
    assert losses(made) == []
    assert permissions(made) == [
        {"username": "admin", "subscribe": ["$SYS/#", "#"], "both": ["$CONTROL/dynamic-security/#"]}
    ]
    assert "  # roles admin; " in written(made)
    with Installed(tmp_path, written(made), emqx=False) as store:
        assert store.connects("admin", "c1", b"adminpw")
        assert not store.connects("admin", "c1", b"admin")
        assert store.may("admin", "c1", SUB, "a/#")
        assert not store.may("admin", "c1", PUB, "a")


def test_roles_are_written_out_client_by_client(tmp_path: Path) -> None:
    made = made_of(
        [client("anna", "viewer"), client("bob", "viewer", "sender"), client("eve")],
        {"viewer": [pattern("plant/#")], "sender": [send("plant/up")], "unused": [send("#")]},
        [{"groupname": "staff", "roles": [{"rolename": "sender"}], "clients": [{"username": "anna"}]}],
    )
    assert permissions(made) == [
        {"username": "anna", "publish": ["plant/up"], "subscribe": ["plant/#"]},
        {"username": "bob", "publish": ["plant/up"], "subscribe": ["plant/#"]},
    ]
    assert [line.split(": ", 2)[2] for line in told(made, Sort.NOTE)] == ["role unused: nobody has it"]
    text = written(made)
    assert "  # roles viewer; groups staff; dynsec.json:" in text
    with Installed(tmp_path, text, emqx=False) as store:
        assert store.connects("bob", "c1", b"bob's")
        assert store.may("bob", "c1", SUB, "plant/+")
        assert not store.may("eve", "c1", SUB, "plant/+")


def test_a_disabled_client_is_blacklisted(tmp_path: Path) -> None:
    made = made_of([client("anna", disabled=True), client("bob", disabled=False)], {})
    assert entries(written(made))["blacklist"] == [{"username": "anna", "reason": "disabled in dynamic security"}]
    with Installed(tmp_path, written(made), emqx=False) as store:
        assert not store.connects("anna", "c1", b"anna's")
        assert store.connects("bob", "c1", b"bob's")


def test_a_client_id_and_the_texts(tmp_path: Path) -> None:
    made = made_of([client("anna", clientid="c1", textname="Anna", textdescription="two\nlines\x1b")], {})
    (identity,) = entries(written(made))["identities"]
    assert (identity["client_id"], identity["note"]) == ("c1", "Anna; two\\nlines\\x1b")
    with Installed(tmp_path, written(made), emqx=False) as store:
        assert store.connects("anna", "c1", b"anna's")
        assert not store.connects("anna", "c2", b"anna's")


def test_passwords_of_version_2_1() -> None:
    encoded = f"$7$101${SALT}${hashed('x')['password']}"
    made = made_of([{"username": "anna", "encoded_password": encoded}], {})
    assert [identity.hash for identity in made.identities] == [encoded]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "it has no password"),
        ({"password": "Canary-4711"}, "of no known scheme"),
        ({"password": "Canary-4711", "salt": SALT, "iterations": 101}, "of no known scheme"),
        ({**hashed("x"), "iterations": 0}, "iterations 0"),
        ({**hashed("x"), "iterations": "many"}, "iterations 0"),
        ({"encoded_password": "Canary-4711"}, "of no known scheme"),
    ],
)
def test_a_client_without_a_usable_hash_is_left_out(said: dict[str, Any], why: str) -> None:
    made = made_of([{"username": "anna", "roles": [{"rolename": "r"}], **said}], {"r": [send("a")]})
    assert made.identities == []
    assert permissions(made) == [{"username": "anna", "publish": ["a"]}]
    (lost,) = losses(made)
    assert why in lost
    assert "Canary-4711" not in lost


class TestOrder:
    def test_of_priorities_in_a_role(self) -> None:
        made = one(send("a/b", 1, allow=False), send("a/#", 2), send("c/#", 0), send("c/d", 1, allow=False))
        assert permissions(made) == [{"username": "anna", "publish": ["a/#", "c/#"], "deny": {"publish": ["c/d"]}}]
        assert losses(made) == []

    def test_of_roles(self) -> None:
        held = [{"rolename": "low", "priority": 1}, {"rolename": "high", "priority": 2}]
        made = made_of([client("anna", roles=held)], {"low": [send("a/#")], "high": [send("a/b", allow=False)]})
        assert permissions(made) == [{"username": "anna", "publish": ["a/#"], "deny": {"publish": ["a/b"]}}]

    def test_of_a_clients_roles_before_those_of_its_groups(self) -> None:
        groups = [
            {
                "groupname": name,
                "roles": [{"rolename": name}],
                "clients": [{"username": "anna", "priority": priority}],
            }
            for name, priority in (("late", 1), ("early", 5))
        ]
        made = made_of(
            [client("anna", "own")],
            {"own": [send("a/b", allow=False)], "early": [send("a/#")], "late": [send("a/c", allow=False)]},
            groups,
        )
        # The denial of `late` comes after the grant of `early`, and is not needed.
        assert permissions(made) == [{"username": "anna", "publish": ["a/#"], "deny": {"publish": ["a/b"]}}]
        assert "groups early, late" in written(made)

    def test_of_literals_before_patterns(self) -> None:
        made = one(pattern("a/#", 9), literal("a/b", allow=False))
        assert permissions(made) == [{"username": "anna", "subscribe": ["a/#"], "deny": {"subscribe": ["a/b"]}}]
        assert losses(made)[0].count("a subscription that touches a/b") == 1

    def test_of_two_literals_alike_the_stricter_one_counts(self) -> None:
        made = one(literal("a"), literal("a", allow=False), literal("b"))
        assert permissions(made) == [{"username": "anna", "subscribe": ["b"], "deny": {"subscribe": ["a"]}}]

    def test_of_a_grant_above_a_denial_that_the_default_needs(self) -> None:
        made = one(send("a/b", 2), send("a/#", 1, allow=False), defaultACLAccess={**USUAL, "publishClientSend": True})
        assert permissions(made) == [{"username": "anna", "publish": ["#"], "deny": {"publish": ["a/#"]}}]
        assert "denies all of it, and a denial wins here" in " ".join(losses(made))
        assert "publishClientSend: true (for anna): granted as #, without the topics that begin with $" in " ".join(
            losses(made)
        )


class TestReceiving:
    def test_what_may_not_be_received_may_not_be_subscribed_to(self) -> None:
        made = one(pattern("a/#"), receive("a/secret", allow=False))
        assert permissions(made) == [{"username": "anna", "subscribe": ["a/#"], "deny": {"subscribe": ["a/secret"]}}]
        assert "a subscription that touches a/secret is refused as a whole: it may not be received" in losses(made)[0]

    def test_a_grant_of_which_nothing_may_be_received_is_left_out(self) -> None:
        made = one(pattern("a/b"), receive("a/#", allow=False))
        assert permissions(made) == [{"username": "anna", "deny": {"subscribe": ["a/#"]}}]
        assert "nothing of it may be received" in losses(made)[0]

    def test_where_the_default_denies_only_the_common_part_is_granted(self) -> None:
        made = one(
            pattern("a/#"), receive("+/x"), receive("a/y/#"), defaultACLAccess={**USUAL, "publishClientReceive": False}
        )
        assert permissions(made) == [{"username": "anna", "subscribe": ["a/x", "a/y/#"]}]
        assert "granted as a/x, a/y/#, for no more may be received" in losses(made)[0]

    def test_where_the_default_denies_and_nothing_is_common(self) -> None:
        made = one(pattern("a/#"), receive("b"), defaultACLAccess={})
        assert permissions(made) == []
        assert "nothing of it may be received (publishClientReceive)" in losses(made)[0]

    def test_topics_with_dollar_are_beyond_a_wildcard(self) -> None:
        made = one(pattern("$SYS/#"), pattern("a"), receive("#", allow=False))
        assert permissions(made) == [{"username": "anna", "subscribe": ["$SYS/#"], "deny": {"subscribe": ["#"]}}]
        assert [line.split(": ")[2] for line in losses(made)] == ["allow subscribePattern a (for anna)"]

    def test_a_denial_by_name_of_topics_with_dollar(self) -> None:
        made = one(pattern("$SYS/#"), pattern("$x"), receive("$SYS/a/%c", allow=False))
        assert permissions(made) == [
            {"username": "anna", "subscribe": ["$SYS/#", "$x"], "deny": {"subscribe": ["$SYS/a/#"]}}
        ]

    def test_control_topics_are_received_by_name_alone(self) -> None:
        made = one(pattern("$CONTROL/x/#"), pattern("$SYS/#"))
        assert permissions(made) == [{"username": "anna", "subscribe": ["$SYS/#"]}]
        assert len(losses(made)) == 1


class TestWhatCannotBeSaid:
    def test_a_literal_with_wildcards(self) -> None:
        made = one(literal("a/#"), literal("b"))
        assert permissions(made) == [{"username": "anna", "subscribe": ["b"]}]
        assert 'if that may be, subscribe: ["a/#"]' in losses(made)[0]

    def test_a_literal_denial_with_wildcards_cuts_the_grants_below(self) -> None:
        made = one(literal("a/#", allow=False), pattern("a/#"))
        assert permissions(made) == [{"username": "anna", "subscribe": ["a", "a/+/#"]}]
        assert losses(made) == []

    def test_shared_subscriptions(self) -> None:
        made = one(pattern("$share/g/a"), pattern("b/#", 0), pattern("$share/g/b/c", 1, allow=False))
        assert permissions(made) == [{"username": "anna", "subscribe": ["b/#"], "deny": {"subscribe": ["b/c"]}}]
        assert "a shared subscription is decided here by the filter behind" in losses(made)[0]
        assert len(losses(made)) == 3

    def test_a_denial_of_all_shared_subscriptions_leaves_nothing(self) -> None:
        made = one(pattern("$share/#", 1, allow=False), pattern("a/#"))
        assert permissions(made) == []
        assert len(losses(made)) == 1

    @pytest.mark.parametrize("topic", ["a/%c/x", "a/%u"])
    def test_placeholders_that_depend_on_the_version(self, topic: str) -> None:
        assert "is a placeholder to some versions" in losses(one(send(topic)))[0]
        made = one(send(topic, 1, allow=False), send("a/#"), send("b"))
        assert permissions(made) == [{"username": "anna", "publish": ["b"]}]
        assert len(losses(made)) == 1

    def test_roles_that_forbid_wildcards(self) -> None:
        roles = [
            {"rolename": "r", "allowwildcardsubs": False, "acls": [pattern("a/#"), pattern("b")]},
            {"rolename": "s", "acls": [pattern("c/+")]},
        ]
        made = dynsec(json.dumps({"clients": [client("anna", "r", "s")], "roles": roles, "defaultACLAccess": USUAL}))
        assert permissions(made) == [{"username": "anna", "subscribe": ["b"]}]
        assert [line.split(": ")[2] for line in losses(made)] == [
            "allow subscribePattern a/# (for anna)",
            "allow subscribePattern c/+ (for anna)",
        ]

    def test_a_default_that_allows_subscriptions(self) -> None:
        made = one(defaultACLAccess={**USUAL, "subscribe": True})
        assert permissions(made) == [{"username": "anna", "subscribe": ["#"]}]
        assert "granted as #, without the topics that begin with $" in losses(made)[0]

    def test_clients_without_a_user_name(self) -> None:
        made = one(send("a"), anonymousGroup="guests")
        assert "anonymousGroup guests: clients without a user name" in losses(made)[0]

    def test_an_acltype_that_is_not_known(self) -> None:
        assert "an acltype that is not known here" in losses(one(acl("publish", "a")))[0]

    @pytest.mark.parametrize(
        "entry",
        [send("a/#/b"), send("$share/g/a"), pattern("$queue/a"), {"acltype": "publishClientSend", "allow": True}],
    )
    def test_entries_that_never_match(self, entry: dict[str, Any]) -> None:
        made = one({**entry, "allow": False}, send("b"))
        assert permissions(made) == [{"username": "anna", "publish": ["b"]}]
        assert (losses(made), len(told(made))) == ([], 1)

    def test_unsubscribing(self) -> None:
        made = one(acl("unsubscribePattern", "#", allow=False), defaultACLAccess={**USUAL, "unsubscribe": False})
        assert len(told(made, Sort.NOTE)) == 2
        assert losses(made) == []

    def test_what_refers_to_nothing(self) -> None:
        made = made_of(
            [client("anna", "missing"), {}], {"": []}, [{"groupname": "empty"}, {"groupname": "g", "clients": [{}]}]
        )
        assert [line.split("note: ")[1] for line in told(made)] == [
            "role missing: there is no such role",
            "a client without a user name: Mosquitto passes over it, too",
            "group empty: nobody is in it",
            "a role without a name: Mosquitto passes over it, too",
        ]


def test_one_line_tells_of_all_whom_it_concerns() -> None:
    names = [f"user-{number}" for number in range(8)]
    made = made_of([client(name, "r") for name in names], {"r": [literal("a/#")]})
    (lost,) = losses(made)
    assert "(for user-0, user-1, user-2, user-3, user-4 and 3 more)" in lost


def test_keys_are_read_whatever_their_case() -> None:
    text = '{"CLIENTS": [{"userName": "anna", "Roles": [{"RoleName": "r"}]}], "Roles": [{"rolename": "r", "ACLs": []}]}'
    assert losses(dynsec(text)) == ["dynsec.json:1: left out: client 'anna': it has no password; " + NEW]


NEW = "give the user a new password: `exhook-sync hash` makes its line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "1:1: no file of dynamic security"),
        ('{"a": 1}', "1:1: no file of dynamic security"),
        ("{", "1:2: a key in double quotes"),
        (
            '{"clients": [{"username": "a"},\n {"username": "a"}]}',
            "2:2: the client 'a' is given twice, first at dynsec.json:1",
        ),
    ],
)
def test_another_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        dynsec(text)
    assert str(raised.value).startswith(f"dynsec.json:{message}")
