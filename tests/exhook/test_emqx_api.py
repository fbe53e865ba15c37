"""The client of EMQX's management API, against a real HTTP server that answers as EMQX does."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from emqx_api_under_test import KEY, SECRET, EmqxApiUnderTest, Session
from pydantic import ValidationError

from exhook.brokers import emqx
from exhook.brokers.emqx import CallRefused, EmqxApi, KeyRefused, LiveClient, Unavailable, _retry_after
from exhook.brokers.emqx_cluster import EmqxCluster, NoApiKey
from exhook.brokers.pace import BackOff, Pace


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


def api_of(broker: EmqxApiUnderTest, **more: object) -> EmqxApi:
    return EmqxApi(broker.cluster(**more), broker.environ)


async def test_one_client_and_its_subscriptions(broker: EmqxApiUnderTest) -> None:
    broker.join(Session("c/1 %", "alice", {"m/a", "$share/g/m/b"}, mountpoint="m/"))
    async with api_of(broker) as api:
        found = await api.client("c/1 %")
        assert found is not None
        assert replace(found, connected_at=None) == LiveClient("c/1 %", "alice", "m/", "tcp:default", 2)
        at = Session("c").connected_at.timestamp() * 1000
        assert found.connected_at is not None
        assert abs(found.connected_at - at) < 5_000
        assert sorted(await api.subscriptions("c/1 %")) == ["$share/g/m/b", "m/a"]
        assert await api.client("nobody") is None
        assert await api.subscriptions("nobody") == []


async def test_listings_go_on_to_the_last_page(broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emqx, "PAGE", 10)
    broker.join(*(Session(f"c{number}", "alice", {"t"}) for number in range(25)), Session("other", "bob"))
    async with api_of(broker) as api:
        found = [one.client_id async for one in api.clients(username="alice")]
        assert sorted(found) == sorted(f"c{number}" for number in range(25))
        assert len([one async for one in api.all_subscriptions()]) == 25
    assert broker.counted("GET", "/api/v5/clients") == 3


async def test_disconnects_one_and_many(broker: EmqxApiUnderTest) -> None:
    broker.join(*(Session(name) for name in ("a", "b/c", "d")))
    async with api_of(broker) as api:
        await api.disconnect(["b/c"])
        await api.disconnect(["gone"])
        await api.disconnect(["a", "d", "gone"])
    assert broker.disconnected == ["b/c", "a", "d"]
    assert broker.counted("POST", "/api/v5/clients/kickout/bulk") == 1


async def test_disconnects_one_by_one_where_there_is_no_bulk(broker: EmqxApiUnderTest) -> None:
    broker.has_bulk = False
    broker.join(*(Session(name) for name in "abcd"))
    async with api_of(broker) as api:
        await api.disconnect(["a", "b"])
        await api.disconnect(["c", "d"])
        with pytest.raises(CallRefused, match="upgrade EMQX"):
            await api.disconnect([".."])
    assert broker.disconnected == ["a", "b", "c", "d"]


@pytest.mark.parametrize("client_id", [".", ".."])
async def test_a_client_id_that_no_path_can_name(broker: EmqxApiUnderTest, client_id: str) -> None:
    """A path of dots leads elsewhere, and its 404 would read as *gone*."""
    broker.join(Session(client_id, "alice", {"t"}))
    async with api_of(broker) as api:
        found = await api.client(client_id)
        assert found is not None
        assert found.client_id == client_id
        assert await api.subscriptions(client_id) == ["t"]
        await api.clear_cache(client_id)
        await api.disconnect([client_id])
    assert broker.cleared == [None]
    assert broker.disconnected == [client_id]


async def test_unsubscribes_and_empties_caches(broker: EmqxApiUnderTest) -> None:
    broker.join(Session("c", "alice", {"m/a", "m/b"}, mountpoint="m/"))
    async with api_of(broker) as api:
        await api.unsubscribe("c", "a")
        await api.unsubscribe("gone", "a")
        await api.clear_cache("c")
        await api.clear_cache("gone")
        await api.clear_cache()
    assert broker.sessions["c"].topics == {"m/b"}
    assert broker.cleared == ["c", None]


async def test_a_404_of_a_path_is_no_client_that_left(broker: EmqxApiUnderTest) -> None:
    broker.fail = lambda _, __: (404, {"code": "API_NOT_EXIST"})
    async with api_of(broker) as api:
        for call in (api.client("c"), api.disconnect(["c"]), api.clear_cache("c"), api.subscriptions("c")):
            with pytest.raises(CallRefused, match="no such call"):
                await call


@pytest.mark.parametrize(("status", "kind"), [
    (400, CallRefused), (401, KeyRefused), (403, KeyRefused), (429, Unavailable), (500, Unavailable),
    (503, Unavailable), (302, CallRefused),
])  # fmt: skip
async def test_what_an_error_means(broker: EmqxApiUnderTest, status: int, kind: type[Exception]) -> None:
    broker.fail = lambda _, __: (status, {"code": "A_CODE", "message": f"quotes {SECRET}"})
    async with api_of(broker) as api:
        with pytest.raises(kind, match=rf"EMQX 'under-test' .*{status} A_CODE") as raised:
            await api.client("c")
        assert SECRET not in str(raised.value)
        if isinstance(raised.value, Unavailable):
            assert raised.value.retry_after == (1.0 if status == 429 else None)


@pytest.mark.parametrize(
    ("wanted", "kept"), [("7", 7.0), ("86400", 30.0), ("9" * 400, 30.0), ("-1", None), ("soon", None)]
)
def test_no_longer_than_our_own_longest_pause(wanted: str, kept: float | None) -> None:
    assert _retry_after(httpx.Response(503, headers={"retry-after": wanted})) == kept


async def test_down_slow_or_something_else(broker: EmqxApiUnderTest) -> None:
    async with api_of(broker, timeout_seconds=0.05) as api:
        broker.delay = 0.2
        with pytest.raises(Unavailable, match=r"no answer in 0\.05 s"):
            await api.client("c")
        broker.delay = 0
        broker.fail = lambda _, __: (200, "<html>")
        with pytest.raises(Unavailable, match="no JSON"):
            await api.client("c")
        broker.down()
        with pytest.raises(Unavailable, match="cannot be reached"):
            await api.client("c")


async def test_a_rotated_key_is_read_after_it_was_refused(broker: EmqxApiUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}:old\n", encoding="utf-8")
    broker.join(Session("c"))
    async with api_of(broker, api_key_file=file) as api:
        with pytest.raises(KeyRefused) as raised:
            await api.client("c")
        assert KEY not in str(raised.value)
        file.write_text(f"{KEY}:{SECRET}\n", encoding="utf-8")
        assert await api.client("c")


async def test_who_calls_while_the_client_is_closed_gets_a_new_one(
    broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, closed = asyncio.Event(), asyncio.Event()
    close = httpx.AsyncClient.aclose

    async def close_late(self: httpx.AsyncClient) -> None:
        await close(self)
        closing.set()
        await closed.wait()

    async with api_of(broker) as api:
        await api.get("/nodes")
        with monkeypatch.context() as patched:
            patched.setattr(httpx.AsyncClient, "aclose", close_late)
            task = asyncio.create_task(api.close())
            await closing.wait()
            assert await api.get("/nodes")
            closed.set()
            await task


async def test_the_key_shows_nowhere(broker: EmqxApiUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = broker.cluster().api_key(broker.environ)
    async with api_of(broker) as api:
        await api.client("c")
        assert SECRET not in caplog.text + repr(key) + repr(api.cluster) + repr(api)


async def test_how_far_its_clock_is_ahead(broker: EmqxApiUnderTest) -> None:
    broker.clock_ahead_seconds = 100.0
    async with api_of(broker) as api:
        await api.client("c")
        assert api.offset_ms is not None
        assert abs(api.offset_ms - 100_000) < 5_000


async def test_ports_and_name(broker: EmqxApiUnderTest) -> None:
    broker.listeners.append({"id": "ssl:default", "bind": "8883"})
    async with api_of(broker) as api:
        assert await api.listener_ports() == {"tcp:default": 1883, "ssl:default": 8883}
        assert await api.cluster_name() == "emqxcl"
        assert await api.find("/no/such/path") is None


@pytest.mark.parametrize(
    ("date", "told"),
    [("Sun, 22 Nov 2026 06:34:49 -0000", True), ("Sun, 22 Nov 2026 06:34:49 +99999999999999", False), ("now", False)],
)
def test_dates_of_all_kinds(broker: EmqxApiUnderTest, date: str, told: bool) -> None:
    api = EmqxApi(broker.cluster(), broker.environ)
    api._note_clock(httpx.Response(200, headers={"date": date}))
    assert (api.offset_ms is not None) is told


@pytest.mark.parametrize(("url", "why"), [
    ("emqx:18083", "no address"), ("ftp://127.0.0.1", "no address"), ("http://k:s@127.0.0.1", "api_key_file"),
    ("http://emqx.example:18083", "in the clear"), ("http://127.0.0.1:99999", "no port"),
    ("http://127.0.0.1:abc", "no port"), ("http://127.0.0.1:0", "no port"),
])  # fmt: skip
def test_addresses_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EmqxCluster(name="a", url=url)


def test_addresses_that_are_taken() -> None:
    assert EmqxCluster(name="a", url="http://localhost:18083/api/v5/").url == "http://localhost:18083"
    assert EmqxCluster(name="a", url="http://emqx.example", insecure=True).insecure


@pytest.mark.parametrize("text", ["", "key", "key:", ":secret", "key:secret\nother:secret"])
def test_a_key_that_is_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(NoApiKey, match="KEY:SECRET") as raised:
        EmqxCluster(name="a", url="http://127.0.0.1", api_key_file=file).api_key({})
    assert "secret" not in str(raised.value).replace("SECRET", "")


def test_no_key_at_all() -> None:
    with pytest.raises(NoApiKey, match="EXHOOK_EMQX_API_KEY"):
        EmqxCluster(name="a", url="http://127.0.0.1").api_key({})


async def test_the_pace_is_kept() -> None:
    moments = [0.0]
    pace = Pace(10.0, lambda: moments[0])
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        for _ in range(6):
            await pace.turn()
        assert waits == [0.1, 0.2, 0.3, 0.4, 0.5]
        moments[0] = 100.0
        waits.clear()
        for _ in range(5):
            await pace.turn()
        # What was not used is made up for by a quarter of a second's worth, no more.
        assert waits == [0.05, 0.15]


def test_pauses_grow_and_end() -> None:
    pause = BackOff(first=1.0, longest=8.0)
    found = [pause.failed() for _ in range(6)]
    assert all(
        0.75 * wanted <= seconds <= 1.25 * wanted for seconds, wanted in zip(found, [1, 2, 4, 8, 8, 8], strict=True)
    )
    assert pause.failed(100.0) == 100.0
    pause.succeeded()
    assert pause.failed() <= 1.25
