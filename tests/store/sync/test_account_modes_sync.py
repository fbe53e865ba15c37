"""Access keys and device credentials in policy files: planned, applied, exported, rolled back, told of."""

import io
import json
from pathlib import Path

import pytest
from stores_under_test import Store, described
from test_export import exported

from store.account_records import AccessKey, DeviceCredential, Token, TokenActions
from store.credentials import sign
from store.records import Record
from store.sync.document import InvalidPolicy, load_policy
from store.sync.rehearsal import rehearsal
from store.sync.rendering import text as rendered
from store.sync.restoring import plan_rollback
from store.sync.rollback import roll_back
from store.sync.snapshot import snapshot_store, write_snapshot
from store.sync.stand_ins import without_secrets
from store.sync.thresholds import Refused
from store.tables import ACCESS_KEYS, DEVICE_CREDENTIALS
from store.view import Client, Listener

BOTH = """\
source: plant
defaults: {instance: mqtt-prod}
access_keys:
  - {id: app, secret: {literal: XXXXX}, connect: true, calls: [ApplyToken]}
device_credentials:
  - {id: meter, client_id: c1, device_access_key_id: DC.1, secret: {literal: device}}
permissions:
  - {access_key: app, both: ["a/#"]}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def shown(store: Store, text: str, *, prune: bool = True) -> str:
    return "\n".join(line.plain for line in rendered(store.plan(text, prune=prune)))


def test_what_is_applied_stands_and_an_unchanged_policy_plans_nothing(store: Store) -> None:
    store.apply(BOTH)
    with store.open() as database:
        key = database.get(ACCESS_KEYS, ("app",))
        device = database.get(DEVICE_CREDENTIALS, ("mqtt-prod", "c1"))
    assert key is not None
    assert (key.secrets[0].value, key.instances, key.connect, key.calls) == (
        b"XXXXX",
        ("mqtt-prod",),
        True,
        ("ApplyToken",),
    )
    assert device is not None
    assert sign(device.secrets[0].value, "c1") == sign(b"device", "c1")
    assert device.origin.endswith("policy.yaml:7")
    assert described(store.plan(BOTH)) == []


def test_a_policy_of_keys_alone_is_not_empty(store: Store) -> None:
    store.apply("access_keys: [{id: app, secret: {literal: x}}]\n")
    with store.open() as database:
        assert database.get(ACCESS_KEYS, ("app",))


def test_the_plan_says_what_becomes_of_them(store: Store) -> None:
    store.apply(BOTH)
    changed = BOTH.replace("connect: true, calls: [ApplyToken]", "calls: [ApplyToken, QueryToken], active: false")
    said = shown(store, changed.replace("XXXXX", "YYYYY"))
    assert "access keys\n  ~ access key app" in said
    assert "active: true → false" in said
    assert "calls: ApplyToken → ApplyToken, QueryToken" in said
    assert "secret default: another value" in said
    assert "access key app: its key holds no longer" in said
    assert "YYYYY" not in said


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ("connect: false, calls: [ApplyToken]", "clients may not connect by it"),
        ("connect: true", "may sign fewer API calls"),
        ("connect: true, calls: [ApplyToken], instances: [mqtt-two]", "counts in fewer instances"),
    ],
)
def test_who_loses_what(store: Store, changed: str, why: str) -> None:
    store.apply(BOTH)
    (losing,) = store.plan(BOTH.replace("connect: true, calls: [ApplyToken]", changed)).losing
    assert (losing.subject.name, losing.why) == ("app", (why,))


def test_the_plan_of_an_export_is_empty(store: Store) -> None:
    fixture = (Path(__file__).parents[2] / "data" / "policies" / "account-modes.yaml").read_text()
    store.environ = {f"EXHOOK_SECRET_{name}": name for name in ("APP", "NEW", "OLD", "METER")}
    store.apply(fixture)
    before = store.contents()
    text = exported(store, "plant")
    assert "stored: true" in text
    assert not [name for name in store.environ.values() if f" {name}" in text]
    assert described(store.plan(text, prune=True)) == []
    store.apply(text)
    assert store.contents() == before


def test_what_another_source_owns_is_not_taken(store: Store) -> None:
    store.apply(BOTH)
    with pytest.raises(Refused, match="plant owns access key app as app"):
        store.apply("source: other\naccess_keys: [{id: app, secret: {literal: x}}]\n")


def test_an_instance_with_tokens_stays(store: Store) -> None:
    store.apply(BOTH.replace("access_keys:", "instances: {mqtt-prod: {}}\naccess_keys:"))
    token = Token(
        token_id="t",
        instance="mqtt-prod",
        access_key_id="app",
        actions=TokenActions.R,
        resources=("a",),
        expires_at=store.now + 1,
    )
    store.put(token)
    with pytest.raises(Refused, match="holds 1 record of api"):
        store.apply("source: plant\npermissions: [{everyone: true, both: [x]}]\n", prune=True)


def test_a_rollback_keeps_the_secrets_of_now_and_brings_the_rest_back(store: Store) -> None:
    store.apply(BOTH)
    store.apply(BOTH.replace("connect: true", "connect: false").replace("XXXXX", "YYYYY"))
    with store.open() as database:
        rollback = plan_rollback(database, "plant", 1, now_ms=store.now)
        (change,) = rollback.plan.changes
    assert isinstance(change.new, AccessKey)
    assert change.new.connect
    assert [str(one) for one in rollback.regrants] == ["access key app: clients may connect by it again"]


def test_what_went_with_its_secrets_is_left_out_of_a_rollback(store: Store) -> None:
    store.apply(BOTH)
    store.apply(
        "source: plant\ndefaults: {instance: mqtt-prod}\npermissions: [{everyone: true, both: [x]}]\n", prune=True
    )
    with store.open() as database:
        rollback = plan_rollback(database, "plant", 1, now_ms=store.now)
    left: list[type[Record]] = [type(one.record) for one in rollback.left_out]
    assert left == [AccessKey, DeviceCredential]
    assert all("an apply brings it back" in one.why for one in rollback.left_out)


def test_a_snapshot_says_them_without_secrets(store: Store, tmp_path: Path) -> None:
    store.apply(BOTH)
    stream = io.StringIO()
    with store.open() as database:
        write_snapshot(database, stream)
    path = tmp_path / "store.snapshot"
    path.write_text(stream.getvalue())
    assert "XXXXX" not in stream.getvalue()
    with snapshot_store(path) as copy:
        ((_, key),) = copy.contents(ACCESS_KEYS)
        ((_, device),) = copy.contents(DEVICE_CREDENTIALS)
    assert isinstance(key, AccessKey)
    assert isinstance(device, DeviceCredential)
    assert (key.access_key_id, key.calls, device.device_access_key_id) == ("app", ("ApplyToken",), "DC.1")


def test_an_id_of_a_device_s_key_is_one_device_s_alone(store: Store) -> None:
    with pytest.raises(InvalidPolicy, match=r"the device key 'DC\.1' is taken"):
        store.load(
            "device_credentials:\n"
            "  - {client_id: c1, device_access_key_id: DC.1, secret: {literal: x}}\n"
            "  - {client_id: c2, device_access_key_id: DC.1, secret: {literal: x}}\n"
        )


def devices(**ids: str) -> str:
    lines = (
        f"  - {{client_id: {client}, device_access_key_id: {name}, secret: {{literal: s-{client}}}}}\n"
        for client, name in ids.items()
    )
    return "device_credentials:\n" + "".join(lines)


def device_keys(store: Store) -> dict[str, tuple[str, bytes]]:
    with store.open() as database:
        return {
            one.client_id: (one.device_access_key_id, one.secrets[0].value)
            for one in database.records(DEVICE_CREDENTIALS)
        }


class TestDeviceKeys:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({"c1": "A", "c2": "B"}, {"c1": "B", "c2": "A"}),
            ({"c1": "A", "c2": "B", "c3": "C"}, {"c1": "B", "c2": "C", "c3": "A"}),
            ({"c1": "A", "c2": "B"}, {"c1": "B", "c2": "C"}),
            ({"c1": "A", "c2": "B"}, {"c1": "C", "c2": "A"}),
            ({"c1": "A"}, {"c2": "A"}),
            ({"c2": "A", "c3": "B"}, {"c1": "A", "c3": "B"}),
            ({"c2": "A", "c1": "B"}, {"c3": "B", "c1": "A"}),
        ],
    )
    def test_they_change_hands_in_one_apply_and_back(
        self, store: Store, before: dict[str, str], after: dict[str, str]
    ) -> None:
        store.apply(devices(**before))
        store.apply(devices(**after), prune=True)
        assert device_keys(store) == {client: (name, f"s-{client}".encode()) for client, name in after.items()}
        with store.open() as database:
            logged = [
                json.loads(row[0])["device_access_key_id"]
                for row in database.connection.execute(
                    "SELECT before FROM changes WHERE kind = 'device_credential' AND before IS NOT NULL"
                )
            ]
        assert set(logged) <= set(before.values())
        if before.keys() == after.keys():
            roll_back(store.path, store.keys, "policy", 1, allow_regrant=True)
            assert {client: name for client, (name, _) in device_keys(store).items()} == before

    def test_one_that_another_source_has_is_refused_by_its_owner_s_name(self, store: Store) -> None:
        store.apply("source: plant\n" + devices(c1="A", c2="B"))
        with pytest.raises(Refused) as refused:
            store.apply("source: office\n" + devices(c9="A"))
        assert str(refused.value) == (
            "the device key 'A' of the device credential of client c9 (mqtt-default) is that of the device credential "
            "of client c1 (mqtt-default), which plant owns; remove that first, or choose another"
        )
        assert [one.rule for one in refused.value.refusals] == ["device_key"]
        assert sorted(device_keys(store)) == ["c1", "c2"]

    def test_one_that_this_source_keeps_is_refused_until_it_is_pruned(self, store: Store) -> None:
        store.apply(devices(c1="A", c2="B"))
        with pytest.raises(Refused, match="which this plan keeps; prune it first, or choose another"):
            store.apply(devices(c3="A", c2="B"))
        store.apply(devices(c3="A", c2="B"), prune=True)
        assert sorted(device_keys(store)) == ["c2", "c3"]

    def test_a_way_back_to_one_that_another_source_has_now_is_refused(self, store: Store) -> None:
        store.apply("source: plant\n" + devices(c1="A"))
        store.apply("source: plant\n" + devices(c1="B"))
        store.apply("source: office\n" + devices(c2="A"))
        with pytest.raises(Refused, match="which office owns"):
            roll_back(store.path, store.keys, "plant", 1, allow_regrant=True)


def test_a_later_file_may_replace_a_key(store: Store) -> None:
    first = store.write("access_keys: [{id: app, secret: {literal: x}, connect: true}]\n", "a.yaml")
    second = store.write("access_keys: [{id: app, secret: {literal: x}, override: true}]\n", "b.yaml")

    (spec,) = load_policy([first, second]).access_keys
    assert isinstance(spec.asked, AccessKey)
    assert not spec.asked.connect


def test_policy_tests_see_them(store: Store) -> None:
    policy = store.load(BOTH)
    with rehearsal(policy, [("Signature|app|mqtt-prod", "c1")], without_secrets) as reader:
        asker = Client("Signature|app|mqtt-prod", "c2", Listener("test", "mqtt-prod"))
        view = reader.view("mqtt-prod", asker)
    assert view.account is not None
    assert view.account.key is not None
    assert view.account.key.connect
