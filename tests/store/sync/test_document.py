import io
import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_files_under_test import CANARY, FIXTURES, error_of, errors, fixture, unhurried, write
from ruamel.yaml import YAML

from store.names import InvalidRecord
from store.records import (
    Action,
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Grantee,
    Group,
    IdentityType,
    Instance,
    NoMatch,
    Permission,
    Secret,
    SignMode,
)
from store.sync.document import InvalidPolicy, Policy, PolicyError, SyncRules, load_policy
from store.sync.schema import PolicyFile

# Every fixture says itself what is expected: all errors, or all warnings, in order.


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_fixture(path: Path) -> None:
    found: Sequence[object]
    try:
        found = load_policy([path]).warnings
        word = "warn"
    except InvalidPolicy as wrong:
        found = wrong.errors
        word = "expect"
    expected = re.findall(r"^# (?:expect|warn): (.*)$", path.read_text(), re.MULTILINE)
    heads = re.findall(r"^# (expect|warn): ", path.read_text(), re.MULTILINE)
    shown = [str(one).replace(f"{FIXTURES}/", "").removeprefix(f"{path.name}:") for one in found]
    assert len(shown) == len(expected), shown
    for says, expects in zip(shown, expected, strict=True):
        # Sentences of other modules are given by their beginnings.
        assert says == expects or (expects.endswith("…") and says.startswith(expects[:-1]))
    assert set(heads) <= {word}
    assert path.stem.startswith("invalid") == (word == "expect")
    assert CANARY not in "".join(shown)


def test_the_smallest_policy() -> None:
    policy = fixture("smallest")
    [identity] = policy.identities
    [permission] = policy.permissions
    [secret] = identity.secrets
    assert policy.source == "policy"
    assert policy.default_instance == "mqtt-default"
    assert [instance.name for instance in policy.instances] == ["mqtt-default"]
    assert policy.implicit_instances == {"mqtt-default"}
    assert policy.sync == SyncRules()
    assert policy.warnings == ()
    assert not policy.empty
    assert identity.key == ("mqtt-default", "USER", "dashboard", "")
    assert (secret.id, secret.kind, secret.value, secret.expires_at) == (
        "default",
        "env",
        "EXHOOK_SECRET_DASHBOARD",
        None,
    )
    assert secret.origin == f"{FIXTURES}/smallest.yaml:4:35"
    assert permission.key == ("mqtt-default", "USER", "dashboard", "plant/#", "ALLOW", "policy")


def test_an_empty_policy_is_a_policy() -> None:
    policy = fixture("empty")
    assert policy.empty
    assert policy.instances == ()


@pytest.fixture(scope="module")
def whole() -> Policy:
    return fixture("whole-format")


@pytest.fixture(scope="module")
def origins() -> dict[str, str]:
    """The origin of each line, by its text."""
    path = FIXTURES / "whole-format.yaml"
    return {line.strip(): f"{path}:{number}" for number, line in enumerate(path.read_text().splitlines(), 1)}


def test_rules_of_the_whole_format(whole: Policy) -> None:
    assert whole.source == "plant"
    assert whole.default_instance == "mqtt-prod"
    assert whole.sync == SyncRules(
        environment="prod", prune=True, removals_percent=30, clients_losing_access=1000, adopt=("api",)
    )


def test_instances_of_the_whole_format(whole: Policy, origins: dict[str, str]) -> None:
    declared, implicit = whole.instances
    assert declared == Instance(
        name="mqtt-prod",
        record_quota=100_000,
        client_id_rule=ClientIdRule.GROUP,
        pin_client_ids=False,
        no_match=NoMatch.PASS,
        parent_topics=("billing", "gateways", "plant"),
        source="plant",
        note="the hall",
        protect=True,
        origin=origins["mqtt-prod:"],
    )
    assert (implicit.name, implicit.record_quota, implicit.source) == ("mqtt-two", None, "plant")
    assert whole.implicit_instances == {"mqtt-two"}


def test_groups_of_the_whole_format(whole: Policy, origins: dict[str, str]) -> None:
    origin = next(origin for line, origin in origins.items() if line.startswith("groups:"))
    assert whole.groups == (
        Group(instance="mqtt-prod", name="GID_Sensors", source="plant", origin=origin),
        Group(
            instance="mqtt-two",
            name="GID_Gateways",
            source="plant",
            origin=origin,
            expires_at=1_798_761_600_000,
        ),
    )


def test_identities_of_the_whole_format(whole: Policy, origins: dict[str, str]) -> None:
    sensors, dashboard, legacy, meters, plain, certified = whole.identities
    assert (sensors.id, sensors.username, sensors.sign_mode) == ("sensors", "sensors", SignMode.SIGNED)
    assert (sensors.identity_type, sensors.client_ids_group) == (IdentityType.USER, "GID_Sensors")
    assert [(secret.id, secret.kind, secret.expires_at) for secret in sensors.secrets] == [
        ("2026-08", "env", None),
        ("2026-02", "env", 1_796_083_200_000),
    ]
    assert sensors.origin == origins["- id: sensors"]
    assert sensors.source == "plant"
    assert (dashboard.identity_type, dashboard.client_id) == (IdentityType.CLIENT, "dash-01")
    assert (dashboard.sign_mode, dashboard.secrets[0].kind) == (SignMode.HASHED, "hash")
    assert (dashboard.note, dashboard.protect, dashboard.expires_at) == ("in the hall", True, 1_801_353_600_000)
    assert (legacy.instance, legacy.sign_mode) == ("mqtt-two", SignMode.ORIGIN)
    assert (legacy.secrets[0].kind, legacy.secrets[0].value) == ("file", "legacy.txt")
    assert (meters.sign_mode, meters.client_ids_prefix) == (SignMode.SIGNED_SHA256, "meter-")
    assert (plain.sign_mode, plain.secrets[0].kind) == (SignMode.HASHED, "env")
    assert (certified.sign_mode, certified.secrets) == (SignMode.EXTERNAL, ())


def test_permissions_of_the_whole_format(whole: Policy, origins: dict[str, str]) -> None:
    rows = [(row.id, row.identity_type, row.identity, row.topic, row.action, row.effect) for row in whole.permissions]
    assert rows == [
        ("sensor-own-topics", Grantee.USER, "sensors", "plant/${clientid}/up", Action.PUB, Effect.ALLOW),
        ("sensor-own-topics", Grantee.USER, "sensors", "plant/state", Action.PUB_SUB, Effect.ALLOW),
        ("sensor-own-topics", Grantee.USER, "sensors", "plant/${clientid}/down/#", Action.SUB, Effect.ALLOW),
        ("dashboard-read", Grantee.CLIENT, "dash-01", "plant/#", Action.SUB, Effect.ALLOW),
        ("dashboard-read", Grantee.CLIENT, "dash-01", "plant/#", Action.PUB, Effect.DENY),
        ("dashboard-read", Grantee.CLIENT, "dash-01", "plant/secret/#", Action.SUB, Effect.DENY),
        ("gateways", Grantee.GROUP, "GID_Sensors", "gateways/${device}/#", Action.PUB_SUB, Effect.ALLOW),
        ("", Grantee.ALL, "", "announce/#", Action.SUB, Effect.ALLOW),
        ("", Grantee.ACCESS_KEY, "LTAI0001", "billing/#", Action.PUB_SUB, Effect.DENY),
    ]
    assert whole.permissions[3].origin == origins['- "plant/#"']
    assert whole.permissions[6].expires_at == 1_814_392_800_000
    assert whole.permissions[7].instance == "mqtt-two"
    assert {row.source for row in whole.permissions} == {"plant"}


def test_blacklist_of_the_whole_format(whole: Policy, origins: dict[str, str]) -> None:
    assert whole.blacklist == (
        BlacklistEntry(
            instance="mqtt-prod",
            client_id="GID_Sensors@@@0007",
            reason="reported stolen",
            source="plant",
            origin=origins["- client_id: GID_Sensors@@@0007"],
        ),
        BlacklistEntry(
            instance="mqtt-prod",
            username="guest",
            id="no-guests",
            source="plant",
            origin=origins["- username: guest"],
        ),
    )


def test_no_repr_of_a_policy_shows_a_secret(whole: Policy) -> None:
    assert "$argon2id$" not in repr(whole)


def test_texts_stay_texts() -> None:
    policy = fixture("texts-stay-texts")
    assert policy.default_instance == "1e3"
    assert [(one.username, one.client_id, one.id, one.note) for one in policy.identities] == [
        ("no", "0123", "1_000", "2026-01-01"),
        ("1e3", "true", ".inf", "0x1F"),
        ("2026-01-01", "null", "7", "12:30:45"),
    ]
    assert [row.topic for row in policy.permissions] == ["no", "1e3", "0123", "0o17", "yes/on", "~"]
    assert [type(row.topic) for row in policy.permissions] == [str] * 6
    assert (policy.blacklist[0].client_id, policy.blacklist[0].reason) == ("0x10", "no")


def test_aliases_make_records_of_their_own() -> None:
    policy = fixture("aliases")
    assert [identity.secrets[0].value for identity in policy.identities] == ["EXHOOK_SECRET_SHARED"] * 2
    assert [(row.identity, row.topic) for row in policy.permissions] == [
        ("one", "a/b"),
        ("one", "a/c"),
        ("two", "a/b"),
        ("two", "a/c"),
    ]


def test_an_identity_takes_its_secrets_later() -> None:
    [spec] = fixture("smallest").identities
    identity = spec.identity((Secret(id="default", value=b"x", fingerprint="f"),))
    assert identity.key == spec.key
    assert (identity.source, identity.origin, identity.sign_mode) == (spec.source, spec.origin, spec.sign_mode)
    with pytest.raises(InvalidRecord):
        spec.identity(())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1970-01-01", 0),
        ("2026-12-01", 1_796_083_200_000),
        ('"2026-12-01"', 1_796_083_200_000),
        ("2026-12-01T00:00:00Z", 1_796_083_200_000),
        ("2026-12-01t00:00:00z", 1_796_083_200_000),
        ("2026-12-01T01:30:00+01:30", 1_796_083_200_000),
        ("2026-11-30T23:59:59.999-00:00", 1_796_083_199_999),
        ("2026-11-30T23:59:59.9999999Z", None),
        ("2024-02-29", 1_709_164_800_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_expiry_is_in_milliseconds_since_the_epoch(tmp_path: Path, written: str, expected: int | None) -> None:
    folder = write(tmp_path / "p", one=f"blacklist: [{{client_id: a, expires: {written}}}]\n")
    if expected is None:
        assert "is wanted" in errors(folder)[0]
    else:
        assert load_policy([folder]).blacklist[0].expires_at == expected


@pytest.mark.parametrize(
    ("written", "percent", "count"),
    [("30%", 30, None), ("0%", 0, None), ("100%", 100, None), ("0", None, 0), ("12", None, 12)],
)
def test_removals_are_a_share_or_a_count(tmp_path: Path, written: str, percent: int | None, count: int | None) -> None:
    sync = load_policy([write(tmp_path / "p", one=f"sync: {{limits: {{removals: {written}}}}}\n")]).sync
    assert (sync.removals_percent, sync.removals) == (percent, count)


def test_the_commit_goes_into_origins(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        one="identities: [{username: a, sign_mode: external}]\npermissions: [{username: a, publish: [b]}]\n",
    )
    policy = load_policy([folder / "one.yaml"], commit="0a1b2c3")
    assert policy.identities[0].origin == f"{folder}/one.yaml:2@0a1b2c3"
    assert policy.permissions[0].origin == f"{folder}/one.yaml:3@0a1b2c3"
    assert policy.instances[0].origin == f"{folder}/one.yaml:2@0a1b2c3"


def test_paths_are_named_as_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "policies", one="groups: [GID_Sensors]\n")
    monkeypatch.chdir(tmp_path)
    assert load_policy([Path("policies")]).groups[0].origin == "policies/one.yaml:2"
    assert load_policy([Path("policies/one.yaml")]).groups[0].origin == "policies/one.yaml:2"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"format: exhook/v1\ngroups: [GID_Sensors, {}]\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert errors(Path("-"))[0].startswith("<stdin>:2:23: `id` is missing")


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        b="groups: [GID_b01]\n",
        a="groups: [GID_a01]\n",
        c="groups: [GID_c01]\n",
        _d="groups: [GID_d01]\n",
    )
    (folder / "c.yaml").rename(folder / "c.yml")
    (folder / ".hidden.yaml").write_text("no policy")
    (folder / "notes.txt").write_text("no policy")
    (folder / "env").mkdir()
    (folder / "env" / "prod.yaml").write_text("no policy")
    assert [group.name for group in load_policy([folder]).groups] == ["GID_d01", "GID_a01", "GID_b01", "GID_c01"]


def test_what_cannot_be_read_is_an_error_among_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", bad="groupz: []\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    absent, loop, empty = tmp_path / "absent.yaml", tmp_path / "loop.yaml", tmp_path / "empty"
    piped = write(tmp_path / "piped", a="groups: []\n")
    os.mkfifo(piped / "b.yaml")
    assert errors(absent, folder, empty, loop, piped) == [
        f"{absent}: cannot be read (No such file or directory); name a policy file or a folder of them",
        f"{folder}/bad.yaml:2:1: unknown key `groupz`; did you mean `groups`?",
        f"{empty}: a folder without policy files; name one that holds *.yaml",
        f"{loop}: cannot be read (a loop of links); name a policy file or a folder of them",
        f"{piped}: cannot be read (b.yaml in it is no regular file); name a policy file or a folder of them",
    ]
    assert "no policy file; name files or folders" in errors()[0]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    # Root lists whatever it likes, so that permissions cannot be taken away for real.
    monkeypatch.setattr(Path, "iterdir", denied)
    assert errors(tmp_path) == [
        f"{tmp_path}: cannot be read (Permission denied); name a policy file or a folder of them"
    ]
    assert "cannot be read (File name too long)" in errors(tmp_path / ("x" * 300))[0]


def test_a_file_named_twice_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", one="groups: [GID_Sensors]\n")
    assert errors(folder, folder / "one.yaml") == [f"{folder}/one.yaml: the file is named twice; name it once"]


def test_files_share_what_one_of_them_says(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="groups: [GID_Sensors]\nsync: {limits: {removals: 3}}\n",
        b="source: plant\ndefaults: {instance: mqtt-prod}\nsync: {prune: true}\n",
        c="source: plant\nsync: {prune: true, environment: prod}\n",
    )
    policy = load_policy([folder])
    assert policy.groups[0].key == ("mqtt-prod", "GID_Sensors")
    assert policy.groups[0].source == "plant"
    assert policy.sync == SyncRules(prune=True, environment="prod", removals=3)


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="source: plant\ndefaults: {instance: one}\nsync: {prune: true, adopt: [api]}\n",
        b="source: hall\ndefaults: {instance: two}\nsync: {prune: false, adopt: []}\n",
    )
    assert [error.removeprefix(f"{folder}/") for error in errors(folder)] == [
        f"b.yaml:{place}: `{name}` differs from that at {folder}/a.yaml:{line}; one policy has one, let one file say it"
        f"{mend}"
        for place, name, line, mend in [
            ("2:9", "source", 2, ""),
            ("3:22", "defaults.instance", 3, ", or say `override: true` under `defaults`"),
            ("4:15", "sync.prune", 4, ", or say `override: true` under `sync`"),
            ("4:29", "sync.adopt", 4, ", or say `override: true` under `sync`"),
        ]
    ]


def test_duplicates_across_files_name_both_places(tmp_path: Path) -> None:
    text = (
        "instances: {mqtt-prod: {}}\n"
        "groups: [GID_Sensors]\n"
        "identities: [{id: x, username: a, sign_mode: external}]\n"
        "permissions: [{username: a, publish: [b]}]\n"
        "blacklist: [{client_id: c}]\n"
    )
    folder = write(tmp_path / "p", a=text, b=text)
    found = errors(folder)
    assert [error.split(" ")[0] for error in found] == [
        f"{folder}/b.yaml:{place}:" for place in ("2:13", "3:10", "4:14", "4:19", "5:39", "6:13")
    ]
    for error, line in zip(found, (2, 3, 4, 4, 5, 6), strict=True):
        assert f"at {folder}/a.yaml:{line}; " in error


def test_all_mistakes_of_all_files_come_in_order_of_place(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        a="permissions: [{username: a, publish: ['#/a']}]\ngroups: [x]\nsourze: y\n",
        b="a: [\n",
        c="groups: [x]\n",
    )
    places = [error.split(" ")[0] for error in errors(folder / "c.yaml", folder / "a.yaml", folder / "b.yaml")]
    assert places == [
        f"{folder}/{place}:" for place in ("c.yaml:2:10", "a.yaml:2:39", "a.yaml:3:10", "a.yaml:4:1", "b.yaml:3:1")
    ]


def test_publish_and_subscribe_of_one_topic_are_one_permission(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", one="permissions: [{id: x, username: a, subscribe: [t, u], publish: [v, t]}]\n")
    rows = load_policy([folder]).permissions
    assert [(row.topic, row.action, row.id) for row in rows] == [
        ("v", Action.PUB, "x"),
        ("t", Action.PUB_SUB, "x"),
        ("u", Action.SUB, "x"),
    ]


def test_warnings_are_no_errors() -> None:
    [warning] = fixture("warning-literal-secret").warnings
    assert (warning.line, warning.column) == (4, 49)
    assert CANARY not in str(warning)
    assert CANARY not in repr(fixture("warning-literal-secret"))


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("invalid-*.yaml")), ids=lambda path: path.stem)
def test_no_secret_reaches_an_exception(path: Path) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        load_policy([path])
    wrong: BaseException | None = caught.value
    while wrong is not None:
        assert CANARY not in f"{wrong} {wrong!r}"
        wrong = wrong.__cause__ or wrong.__context__


SECRET_LINES = (
    "secret: {literal: QZXJVK}",
    "secret: {literal: QZXJVK, expires: 2026-12-01}",
    "secrets: [{id: a, literal: QZXJVK}]",
    "secrets:\n      - id: a\n        literal: 'QZXJVK'",
    'secret:\n      literal: "QZXJVK"',
)


@given(st.sampled_from(SECRET_LINES), st.data())
def test_a_slip_of_the_pen_near_a_secret_does_not_show_it(
    tmp_path_factory: pytest.TempPathFactory, line: str, data: st.DataObject
) -> None:
    """One character put in or left out anywhere in the lines of a secret."""
    at = data.draw(st.integers(0, len(line)))
    put = data.draw(st.sampled_from(["", *" \t\n:,-?{}[]#&*!|>'\"%@`\\x"]))
    slip = line[:at] + put + line[at + (put == "") :]
    path = tmp_path_factory.getbasetemp() / "slip.yaml"
    path.write_text(f"format: exhook/v1\nidentities:\n  - username: one\n    sign_mode: origin\n    {slip}\n")
    try:
        said = "\n".join(str(warning) for warning in load_policy([path]).warnings)
    except InvalidPolicy as wrong:
        said = str(wrong)
    assert "QZX" not in said
    assert "JVK" not in said


KEYS = sorted(
    {key for model in PolicyFile.model_json_schema()["$defs"].values() for key in model["properties"]}
    | set(PolicyFile.model_fields)
)
SCALARS = st.one_of(
    st.sampled_from(
        ["true", "a/#", "30%", "7", "GID_Sensors", "2026-12-01", "external", "origin", "api", "exhook/v1", ""]
    ),
    st.text(string.printable, max_size=6),
    st.text(max_size=6),
    st.none(),
    st.integers(),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=20,
)
SECTIONS = st.fixed_dictionaries(
    {"format": st.just("exhook/v1")}, optional={key: TREES for key in PolicyFile.model_fields if key != "format"}
)
LIKELY = st.fixed_dictionaries(
    {"format": st.just("exhook/v1")},
    optional={
        key: st.lists(st.dictionaries(st.sampled_from(KEYS), TREES, max_size=6), max_size=4)
        for key in ("groups", "identities", "permissions", "blacklist")
    },
)


@given(st.one_of(SECTIONS, LIKELY))
@unhurried()
def test_any_tree_is_a_policy_or_invalid(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(tree, stream)
    try:
        found: Sequence[object] = load_policy([path]).permissions
    except InvalidPolicy as wrong:
        found = wrong.errors
        said = str(wrong)
    else:
        said = "one line"
    assert all(isinstance(one, (Permission, PolicyError)) for one in found)
    assert all(line.isprintable() for line in said.split("\n"))


def test_a_missing_value_says_what_to_write(tmp_path: Path) -> None:
    assert error_of(tmp_path / "p", "identities: [{sign_mode: external}]\n").startswith(
        "2:14: `username` is missing; write "
    )
