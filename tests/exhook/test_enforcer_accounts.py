"""Revocation in the account modes: keys, devices and tokens that end take their live sessions, and no others."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from emqx_api_under_test import EmqxApiUnderTest, Session
from enforcer_under_test import after, make_haste
from worker_under_test import INSTANCE, Serve, Store, identity, permission, secret

from store.account_records import AccessKey, DeviceCredential, TokenActions
from store.clock import now_ms
from store.credentials import sign
from store.database import Database
from store.records import Grantee
from store.sweeper import sweep
from store.tables import TOKEN_KEYS
from store.tokens import issue, revoke

KEY = AccessKey(
    access_key_id="YYYYY", secrets=(secret("1", b"XXXXX"),), instances=(INSTANCE,), connect=True, all_topics=True
)
DEVICE = DeviceCredential(
    instance=INSTANCE, client_id="dev", device_access_key_id="DC.1", secrets=(secret("1", b"device"),)
)
TOKEN = f"Token|YYYYY|{INSTANCE}"
SIGNATURE = f"Signature|YYYYY|{INSTANCE}"
CREDENTIAL = f"DeviceCredential|DC.1|{INSTANCE}"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    make_haste(monkeypatch)


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


def issued(store: Store, resource: str, *, ends_in_ms: int = 600_000) -> str:
    now = now_ms()
    with Database.open(store.path, store.keys) as database:
        return issue(
            database, "YYYYY", instance=INSTANCE, actions=TokenActions.RW, resources=[resource],
            expires_at=now + ends_in_ms, now_ms=now, actor="test",
        ).text  # fmt: skip


@pytest.fixture
async def connected(store: Store, serve: Serve, broker: EmqxApiUnderTest) -> dict[str, str]:
    """Sessions of all modes, let in by a real worker; the tokens of two of them."""
    store.put(KEY, replace(KEY, access_key_id="OTHER"), DEVICE, identity("alice", b"right"), permission("alice", "a/#"))
    store.put(permission("dev", "d/#", to=Grantee.CLIENT))
    tokens = {name: issued(store, f"{name}/#") for name in ("t1", "t2")}
    async with serve() as served:
        for name, text in tokens.items():
            assert await served.authenticate(name, TOKEN, f"RW|{text}".encode())
        assert await served.authenticate("s1", SIGNATURE, sign(b"XXXXX", "s1"))
        assert await served.authenticate("dev", CREDENTIAL, sign(b"device", "dev"))
    broker.join(
        Session("t1", TOKEN, {"t1/x"}),
        Session("t2", TOKEN, {"t2/x"}),
        Session("s1", SIGNATURE, {"any/x"}),
        Session("other", f"Signature|OTHER|{INSTANCE}", {"any/x"}),
        Session("dev", CREDENTIAL, {"d/x"}),
        Session("c1", "alice", {"a/x"}),
    )
    return tokens


async def test_all_of_them_may_stay(store: Store, broker: EmqxApiUnderTest, connected: Any) -> None:
    assert connected
    await after(store, broker, lambda: store.put(permission("alice", "b/#")))
    assert not broker.disconnected
    assert not broker.unsubscribed


async def test_a_disabled_key(store: Store, broker: EmqxApiUnderTest, connected: Any) -> None:
    assert connected
    await after(store, broker, lambda: store.put(replace(KEY, active=False)))
    assert sorted(broker.disconnected) == ["s1", "t1", "t2"]


async def test_a_rotated_key_ends_what_its_secret_let_in(
    store: Store, broker: EmqxApiUnderTest, connected: Any
) -> None:
    assert connected
    await after(store, broker, lambda: store.put(replace(KEY, secrets=(secret("2", b"ZZZZZ"),))))
    assert broker.disconnected == ["s1"]


async def test_a_revoked_token(store: Store, broker: EmqxApiUnderTest, connected: dict[str, str]) -> None:
    def end() -> None:
        with Database.open(store.path, store.keys) as database:
            assert revoke(database, connected["t1"].split(".")[2], now_ms=now_ms(), actor="test")

    await after(store, broker, end)
    assert broker.disconnected == ["t1"]
    assert not broker.unsubscribed


async def test_an_expired_token_may_be_renewed(
    store: Store, broker: EmqxApiUnderTest, connected: dict[str, str]
) -> None:
    """Its client loses its subscriptions, and keeps the connection."""
    assert connected

    def expire() -> None:
        with Database.open(store.path, store.keys) as database:
            assert sweep(database, now_ms() + 700_000)

    await after(store, broker, expire, clock=lambda: now_ms() + 700_000)
    assert not broker.disconnected
    assert sorted(broker.unsubscribed) == [("t1", "t1/x"), ("t2", "t2/x")]


async def test_a_device_s_new_secret(store: Store, broker: EmqxApiUnderTest, connected: Any) -> None:
    assert connected
    await after(store, broker, lambda: store.put(replace(DEVICE, secrets=(secret("1", b"new"),))))
    assert broker.disconnected == ["dev"]


async def test_what_its_key_no_longer_covers(store: Store, broker: EmqxApiUnderTest, connected: Any) -> None:
    assert connected

    def narrow() -> None:
        store.put(replace(KEY, all_topics=False), permission("YYYYY", "t1/#", to=Grantee.ACCESS_KEY))

    await after(store, broker, narrow)
    assert not broker.disconnected
    assert sorted(broker.unsubscribed) == [("s1", "any/x"), ("t2", "t2/x")]


async def test_a_token_key_that_is_retired(store: Store, broker: EmqxApiUnderTest, connected: Any) -> None:
    assert connected

    def retire() -> None:
        with Database.open(store.path, store.keys) as database:
            (key,) = database.records(TOKEN_KEYS)
            with database.writing(actor="test", source="api", now_ms=now_ms()) as write:
                write.remove(key)

    await after(store, broker, retire)
    assert sorted(broker.disconnected) == ["t1", "t2"]
