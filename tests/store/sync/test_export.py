import io
import tempfile
from pathlib import Path

import pytest
from documents_under_test import documents
from hypothesis import HealthCheck, given, settings
from stores_under_test import Store, described, identity, instance

from store.records import Action, Effect, Grantee, Group, Permission
from store.sync.export import export, sources_of
from store.sync.formatting import formatted


def exported(store: Store, source: str = "policy") -> str:
    stream = io.StringIO()
    with store.open() as database:
        export(database, source, stream)
    return stream.getvalue()


@given(documents())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_plan_of_an_export_is_empty(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.apply(text, allow_empty=True)
        before = store.contents()
        assert formatted(exported(store).encode()) == exported(store)
        made = store.plan(exported(store), prune=True)
        assert (described(made), made.kept, made.foreign) == ([], (), ())
        store.apply(exported(store), allow_empty=True)
        assert store.contents() == before


def test_an_export_reads_like_a_policy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(
        "defaults: {instance: mqtt-prod}\n"
        "groups: [GID_Sensors]\n"
        "identities:\n"
        "  - {id: s, username: sensors, sign_mode: signed, client_ids: {group: GID_Sensors}, secrets: "
        "[{id: '2026-08', literal: one}, {id: '2026-02', literal: two, expires: 2026-12-01}]}\n"
        "permissions:\n"
        "  - {username: sensors, publish: ['a/${clientid}'], deny: {subscribe: ['#']}}\n"
        "  - {everyone: true, subscribe: [announce/#], instance: mqtt-test}\n"
        "blacklist: [{client_id: GID_Sensors@@@0007, reason: reported stolen}]\n"
    )
    text = exported(store)
    assert (
        text[text.index("format:") :]
        == """\
format: exhook/v1
source: policy

defaults:
  instance: mqtt-prod

instances:
  mqtt-prod: {}
  mqtt-test: {}

groups:
  - GID_Sensors

identities:
  - id: s
    username: sensors
    sign_mode: signed
    client_ids:
      group: GID_Sensors
    secrets:
      - id: "2026-02"
        stored: true
        expires: 2026-12-01T00:00:00Z
      - id: "2026-08"
        stored: true

permissions:
  - username: sensors
    publish:
      - a/${clientid}
    deny:
      subscribe:
        - "#"
  - everyone: true
    subscribe:
      - announce/#
    instance: mqtt-test

blacklist:
  - client_id: GID_Sensors@@@0007
    reason: "reported stolen"
"""
    )


def test_the_label_of_the_store_comes_along(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply("blacklist: [{client_id: c}]\n", label="prod")
    assert "sync:\n  environment: prod\n" in exported(store)
    assert store.plan(exported(store)).changes == ()


def test_what_the_api_wrote_comes_out_as_a_policy_that_adopts_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    permission = Permission(
        instance="mqtt-default",
        identity_type=Grantee.USER,
        identity="u",
        topic="t",
        action=Action.PUB,
        effect=Effect.ALLOW,
    )
    store.put(instance(), Group(instance="mqtt-default", name="GID_Sensors"), identity("u"), permission)
    text = exported(store, "api")
    assert "source: policy" in text
    store.apply(text)
    assert {key[0]: said.get("source", "api") for key, said in store.contents().items()} == {
        "instance": "policy",
        "group": "policy",
        "identity": "policy",
        "permission": "policy",
    }
    assert [secret.value for secret in store.secrets("u")] == [b"key"]
    assert store.plan(text).changes == ()


def test_an_id_that_stands_twice_is_given_once(tmp_path: Path) -> None:
    """Left over without prune: the old grantee of a block, and the new one, under one id."""
    store = Store(tmp_path)
    store.apply("permissions: [{id: x, username: u, publish: [t]}]\n")
    store.apply("permissions: [{id: x, username: v, publish: [t]}]\n")
    assert described(store.plan(exported(store))) == ["change permission v t ALLOW policy"]


def test_each_source_is_exported_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply("source: plant\nblacklist: [{client_id: c}]\n")
    store.apply("source: office\nblacklist: [{client_id: d}]\n")
    with store.open() as database:
        assert sources_of(database) == ("office", "plant")
    text = exported(store, "office")
    assert ("client_id: d" in text, "client_id: c" in text) == (True, False)
    assert "instances" not in text


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_many_records_are_written_in_batches(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    text = "blacklist:\n" + "".join(f"  - {{client_id: c{number}}}\n" for number in range(count))
    store.apply(text)
    made = exported(store)
    assert made.count("blacklist:") == 1
    assert store.plan(made, prune=True).changes == ()
