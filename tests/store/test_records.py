"""Records are refused where they are made, with the field that is wrong, and never show a secret."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.names import InvalidRecord, check_group, check_instance, check_text, follows_group_rule, group_of
from store.records import (
    Action,
    BlacklistEntry,
    Effect,
    Grantee,
    Group,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Record,
    Secret,
    SecretForm,
    SignMode,
)
from store.topics import MAX_BYTES

CANARY = b"canary-5f1c"


def secret(name: str = "main", value: bytes = CANARY, **changed: Any) -> Secret:
    return Secret(id=name, value=value, fingerprint="fp", **changed)


def identity(**changed: Any) -> Identity:
    fields: dict[str, Any] = {
        "instance": "mqtt-prod",
        "identity_type": IdentityType.USER,
        "username": "press7",
        "sign_mode": SignMode.ORIGIN,
        "secrets": (secret(),),
    }
    return Identity(**(fields | changed))


def permission(**changed: Any) -> Permission:
    fields: dict[str, Any] = {
        "instance": "mqtt-prod",
        "identity_type": Grantee.USER,
        "identity": "press7",
        "topic": "plant/#",
        "action": Action.PUB,
        "effect": Effect.ALLOW,
    }
    return Permission(**(fields | changed))


NO_TEXT = [("", "an empty"), ("a\0b", "NUL"), ("\ud800", "not UTF-8"), ("\u00e9" * 32_768, "65536 bytes")]

NO_INSTANCE = ["", "a b", "a/b", "a|b", "a\n", "mqtt-prod\n", "m\u00fcnchen", "a" * 65, "\0", "a:b", "${clientid}"]

NO_GROUP = [
    "",
    "GID_ab",
    "GID-ab",
    "GID_",
    "GID",
    "GIDabcdefg",
    "gid_abcd",
    "GID_ab c",
    "GID_abc\n",
    "GID_a@@@b",
    "GID_\u00e9t\u00e9s",
    "GID_" + "a" * 61,
    "XGID_abc",
    "GID.abcd",
]

GROUPS = ["GID_abc", "GID-abc", "GID_" + "a" * 60, "GID_A-b_9", "GID____", "GID--__"]


@pytest.mark.parametrize("name", ["mqtt-prod", "a", "9", "a" * 64, "A_b-c.D", "."])
def test_an_instance_id(name: str) -> None:
    check_instance(name)
    assert Instance(name=name).key == (name,)


@pytest.mark.parametrize("name", NO_INSTANCE)
def test_no_record_stands_in_an_illegal_instance(name: str) -> None:
    def refused(make: Any, **fields: Any) -> None:
        with pytest.raises(InvalidRecord, match="no instance id") as refusal:
            make(**fields)
        assert refusal.value.field == "instance"
        assert repr(name) in str(refusal.value)

    refused(Instance, name=name)
    refused(Group, instance=name, name="GID_abc")
    refused(identity, instance=name)
    refused(permission, instance=name)
    refused(BlacklistEntry, instance=name, client_id="c")


@pytest.mark.parametrize("quota", [None, 0, 1, 10_000])
def test_a_record_quota_is_a_count_or_none(quota: int | None) -> None:
    assert Instance(name="i", record_quota=quota).record_quota == quota


def test_a_record_quota_is_not_negative() -> None:
    with pytest.raises(InvalidRecord, match="-1") as refusal:
        Instance(name="i", record_quota=-1)
    assert refusal.value.field == "record_quota"


@pytest.mark.parametrize("topics", [(), ("a",), ("plant-a", "0123", "a b", "h\u00e9")])
def test_parent_topics_are_levels_in_any_order(topics: tuple[str, ...]) -> None:
    made = Instance(name="i", parent_topics=topics)
    assert made == Instance(name="i", parent_topics=topics[::-1])
    for level in (*topics, "other", "", "a\0"):
        assert made.registers((level, "x")) is (not topics or level in topics)
    for level in ("+", "#", "$SYS"):
        assert made.registers((level,))


@pytest.mark.parametrize("topics", [("",), ("a/b",), ("+",), ("#",), ("a#",), ("$SYS",), ("a\0",), ("a", "a")])
def test_what_is_no_registry_of_parent_topics(topics: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        Instance(name="i", parent_topics=topics)
    assert refusal.value.field == "parent_topics"


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_id(name: str) -> None:
    check_group(name)
    assert Group(instance="i", name=name).key == ("i", name)
    assert permission(identity_type=Grantee.GROUP, identity=name).identity == name


@pytest.mark.parametrize("name", NO_GROUP)
def test_an_illegal_group_id_is_refused(name: str) -> None:
    with pytest.raises(InvalidRecord, match="no group id") as refusal:
        Group(instance="i", name=name)
    assert refusal.value.field == "group"
    assert repr(name) in str(refusal.value)


@pytest.mark.parametrize(
    ("client_id", "follows"),
    [
        ("GID_abc@@@d", True),
        ("GID-abc@@@0001", True),
        ("GID_Test@@@0001", True),
        ("GID_abc@@@d@@@e", True),
        ("GID_abc@@@@d", True),
        ("GID_abc@@@" + "d" * 54, True),
        ("GID_abc@@@" + "d" * 55, False),
        ("GID_" + "a" * 56 + "@@@d", True),
        ("GID_" + "a" * 57 + "@@@d", False),
        ("GID_abc@@@", False),
        ("GID_abc@@d", False),
        ("GID_abc", False),
        ("GID_ab@@@d", False),
        ("@@@d", False),
        ("@@@", False),
        ("gid_abc@@@d", False),
        ("x@@@GID_abc@@@d", False),
        (" GID_abc@@@d", False),
        ("GID_abc\n@@@d", False),
        ("", False),
    ],
)
def test_the_group_rule(client_id: str, follows: bool) -> None:
    assert follows_group_rule(client_id) is follows


@given(group=st.sampled_from(GROUPS) | st.text(max_size=8), device=st.text(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_the_group_of_a_client_id_is_what_stands_before_the_first_separator(group: str, device: str) -> None:
    client_id = f"{group}@@@{device}"
    assert group_of(client_id) == client_id.split("@@@", maxsplit=1)[0]
    if follows_group_rule(client_id):
        check_group(group_of(client_id))


def test_a_client_id_without_separator_has_no_group() -> None:
    assert group_of("GID_abc") == ""
    assert group_of("GID_abc@@d") == ""
    assert group_of("") == ""


@pytest.mark.parametrize(("text", "why"), NO_TEXT)
def test_names_are_what_mqtt_can_carry(text: str, why: str) -> None:
    def refused(field: str, make: Any, **fields: Any) -> None:
        with pytest.raises(InvalidRecord, match=why) as refusal:
            make(**fields)
        assert refusal.value.field == field

    refused("username", identity, username=text)
    refused("client_id", identity, identity_type=IdentityType.CLIENT, client_id=text)
    refused("identity", permission, identity=text)
    refused("identity", permission, identity_type=Grantee.CLIENT, identity=text)
    refused("identity", permission, identity_type=Grantee.ACCESS_KEY, identity=text)
    if text:
        refused("client_id", BlacklistEntry, instance="i", client_id=text)
        refused("username", BlacklistEntry, instance="i", username=text)


@pytest.mark.parametrize(
    "text", ["a", " ", "a b", "\u00e9", "a" * MAX_BYTES, "\u00e9" * 32_767, "|", "#", "../x", "\n"]
)
def test_any_text_of_at_most_65535_bytes_is_a_name(text: str) -> None:
    check_text("username", text)
    assert identity(username=text).username == text


@pytest.mark.parametrize(
    "username",
    [
        "Signature|key|mqtt-prod",
        "Token|key|mqtt-prod",
        "DeviceCredential|key|mqtt-prod",
        "Signature|",
        "Token|a",
        "Signature|a|b|c",
        "Signature||",
    ],
)
def test_no_identity_stands_under_an_account_mode(username: str) -> None:
    for identity_type, client_id in ((IdentityType.USER, ""), (IdentityType.CLIENT, "c")):
        with pytest.raises(InvalidRecord, match="account mode") as refusal:
            identity(username=username, identity_type=identity_type, client_id=client_id)
        assert refusal.value.field == "username"
        assert repr(username) in str(refusal.value)


@pytest.mark.parametrize(
    "username", ["Signature", "Token", "signature|a|b", "a|Signature|b", "Signatures|a|b", "|Token"]
)
def test_what_only_looks_like_an_account_mode_is_a_name(username: str) -> None:
    assert identity(username=username).username == username


@pytest.mark.parametrize(
    ("field", "why", "changed"),
    [
        ("client_id", "has no client id", {"client_id": "c"}),
        ("client_id", "an empty client_id", {"identity_type": IdentityType.CLIENT}),
        (
            "client_ids",
            "has a client_id",
            {"identity_type": IdentityType.CLIENT, "client_id": "c", "client_ids_prefix": "p"},
        ),
        (
            "client_ids",
            "has a client_id",
            {"identity_type": IdentityType.CLIENT, "client_id": "c", "client_ids_group": "GID_abc"},
        ),
        ("client_ids", "not both", {"client_ids_prefix": "p", "client_ids_group": "GID_abc"}),
        ("secrets", "has no secret", {"sign_mode": SignMode.EXTERNAL}),
        ("secrets", "0 secrets", {"secrets": ()}),
        ("secrets", "3 secrets", {"secrets": (secret("a"), secret("b"), secret("c"))}),
        ("secrets", "two secrets named 'a'", {"secrets": (secret("a"), secret("a", b"other"))}),
        ("secrets", "an empty secret", {"secrets": (secret(value=b""),)}),
        ("secrets", "an empty secret", {"secrets": (secret("a"), secret("b", b""))}),
    ],
)
def test_an_identity_that_contradicts_itself_is_refused(field: str, why: str, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord, match=why) as refusal:
        identity(**changed)
    assert refusal.value.field == field
    assert CANARY.decode() not in str(refusal.value)


@pytest.mark.parametrize("mode", [mode for mode in SignMode if mode is not SignMode.EXTERNAL])
def test_a_proven_identity_has_one_secret_or_two(mode: SignMode) -> None:
    assert len(identity(sign_mode=mode).secrets) == 1
    assert len(identity(sign_mode=mode, secrets=(secret("old"), secret("new"))).secrets) == 2


def test_an_external_identity_has_no_secret() -> None:
    assert identity(sign_mode=SignMode.EXTERNAL, secrets=()).secrets == ()


@pytest.mark.parametrize(
    ("bounds", "client_id", "admitted"),
    [
        ({}, "anything", True),
        ({}, "", True),
        ({"client_ids_prefix": "press-"}, "press-7", True),
        ({"client_ids_prefix": "press-"}, "press-", True),
        ({"client_ids_prefix": "press-"}, "press", False),
        ({"client_ids_prefix": "press-"}, "Press-7", False),
        ({"client_ids_prefix": "press-"}, "x-press-7", False),
        ({"client_ids_group": "GID_abc"}, "GID_abc@@@7", True),
        ({"client_ids_group": "GID_abc"}, "GID_abc@@@", True),
        ({"client_ids_group": "GID_abc"}, "GID_abcd@@@7", False),
        ({"client_ids_group": "GID_abc"}, "GID_abc", False),
        ({"client_ids_group": "GID_abc"}, "x@@@GID_abc@@@7", False),
        ({"client_ids_group": "GID_abc"}, "", False),
    ],
)
def test_client_ids_bounds_who_may_use_an_identity(bounds: dict[str, str], client_id: str, admitted: bool) -> None:
    assert identity(**bounds).admits(client_id) is admitted


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("", "empty"),
        ("a/#/b", "'#'"),
        ("a+", r"'\+'"),
        ("a\0", "NUL"),
        ("$share/g/a", r"begins with \$share"),
        ("$queue/a", r"begins with \$queue"),
        ("$delayed/1/a", r"begins with \$delayed"),
        ("$exhook/x", r"begins with \$exhook"),
        ("dev/${nobody}", "no placeholder"),
    ],
)
def test_a_permission_needs_a_legal_topic(topic: str, why: str) -> None:
    with pytest.raises(InvalidRecord, match=why) as refusal:
        permission(topic=topic)
    assert refusal.value.field == "topic"


def test_a_permission_of_everyone_names_nobody() -> None:
    assert permission(identity_type=Grantee.ALL, identity="").identity == ""
    with pytest.raises(InvalidRecord, match="names nobody") as refusal:
        permission(identity_type=Grantee.ALL)
    assert "'press7'" in str(refusal.value)
    assert refusal.value.field == "identity"


def test_a_permission_of_a_group_names_a_group_id() -> None:
    with pytest.raises(InvalidRecord, match="no group id"):
        permission(identity_type=Grantee.GROUP, identity="press7")


@pytest.mark.parametrize("fields", [{}, {"client_id": "c", "username": "u"}, {"reason": "stolen"}])
def test_a_blacklist_entry_names_exactly_one(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord, match="exactly one") as refusal:
        BlacklistEntry(instance="i", **fields)
    assert refusal.value.field == "client_id"


@pytest.mark.parametrize(
    ("permitted", "asked", "included"),
    [
        (Action.PUB, Action.PUB, True),
        (Action.PUB, Action.SUB, False),
        (Action.SUB, Action.SUB, True),
        (Action.SUB, Action.PUB, False),
        (Action.PUB_SUB, Action.PUB, True),
        (Action.PUB_SUB, Action.SUB, True),
    ],
)
def test_what_an_action_includes(permitted: Action, asked: Action, included: bool) -> None:
    assert permitted.includes(asked) is included


@pytest.mark.parametrize(("now_ms", "in_force"), [(0, True), (999, True), (1000, False), (1001, False)])
def test_a_record_holds_until_its_expiry_and_not_at_it(now_ms: int, in_force: bool) -> None:
    assert permission(expires_at=1000).in_force(now_ms) is in_force
    assert secret(expires_at=1000).in_force(now_ms) is in_force
    assert permission().in_force(now_ms)
    assert secret().in_force(now_ms)


def test_an_expiry_of_zero_has_passed() -> None:
    assert not permission(expires_at=0).in_force(0)
    assert not secret(expires_at=0).in_force(0)


def test_a_secret_never_shows() -> None:
    for form in SecretForm:
        shown = identity(secrets=(secret(form=form), secret("next", b"canary-2")), note="n")
        for text in (repr(shown), str(shown), f"{shown}", f"{shown!r:>10}", repr(shown.secrets), str(shown.secrets[0])):
            assert "canary" not in text
            assert "fp" not in text
        assert "main" in repr(shown)
        assert "press7" in repr(shown)


def test_a_refused_identity_does_not_show_its_secret() -> None:
    for changed in ({"username": ""}, {"username": "Token|a|b"}, {"client_id": "c"}, {"sign_mode": SignMode.EXTERNAL}):
        with pytest.raises(InvalidRecord) as refusal:
            identity(**changed)
        assert "canary" not in repr(refusal.value)


KEYS = [
    (identity(), ("mqtt-prod", "USER", "press7", "")),
    (identity(identity_type=IdentityType.CLIENT, client_id="c"), ("mqtt-prod", "CLIENT", "press7", "c")),
    (permission(), ("mqtt-prod", "USER", "press7", "plant/#", "ALLOW", "api")),
    (permission(source="shop", effect=Effect.DENY), ("mqtt-prod", "USER", "press7", "plant/#", "DENY", "shop")),
    (BlacklistEntry(instance="i", client_id="c"), ("i", "c", "", "api")),
    (BlacklistEntry(instance="i", username="u", source="shop"), ("i", "", "u", "shop")),
    (Group(instance="i", name="GID_abc"), ("i", "GID_abc")),
    (Instance(name="i"), ("i",)),
]


@pytest.mark.parametrize(("record", "key"), KEYS)
def test_the_key_of_a_record(record: Record, key: tuple[str, ...]) -> None:
    assert record.key == key


def test_the_key_does_not_hold_what_may_change() -> None:
    assert permission(action=Action.SUB, expires_at=5, note="n", revision=9).key == permission().key
    assert identity(sign_mode=SignMode.HASHED, secrets=(secret("b"),), source="shop").key == identity().key


def test_every_kind_has_its_own_name() -> None:
    kinds = [kind.kind for kind in (Instance, Group, Identity, Permission, BlacklistEntry)]
    assert kinds == ["instance", "group", "identity", "permission", "blacklist"]


def test_a_bare_record_has_no_key() -> None:
    with pytest.raises(AssertionError, match="Record has no key"):
        _ = Record().key


@pytest.mark.parametrize(("record", "_key"), KEYS)
def test_records_are_frozen_and_hold_nothing_else(record: Record, _key: tuple[str, ...]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, "note", "changed")  # noqa: B010 - by its name, since mypy refuses it, too
    assert not hasattr(record, "__dict__")
    assert hash(record) == hash(dataclasses.replace(record))


def test_a_changed_copy_is_checked_like_a_new_record() -> None:
    with pytest.raises(InvalidRecord):
        dataclasses.replace(permission(), topic="a/#/b")
    with pytest.raises(InvalidRecord):
        dataclasses.replace(identity(), username="Signature|a|b")
