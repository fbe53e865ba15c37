"""The management API on a port: replays, limits, faults of the store, hostile peers."""

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_tea_openapi.exceptions import ThrottlingException
from api_under_test import INSTANCE, SECRET, Said, Sdk, Signed, access_key, make_store, send
from server_under_test import PATIENCE
from worker_under_test import Store

from exhook.api import http as api_http
from exhook.api import identities
from exhook.api.protocol import HEAD_BYTES, BoundedProtocol
from exhook.api.rate import Rate
from exhook.api.serving import ApiServer
from exhook.faults import CannotStart
from exhook.logs import configure
from exhook.settings import Settings
from store.clock import now_ms
from store.database import Database
from store.runtime import Runtime
from store.tables import BLACKLIST

Serve = Callable[..., AbstractAsyncContextManager["Served"]]


class Served:
    def __init__(self, server: ApiServer, port: int) -> None:
        self.server = server
        self.port = port

    async def send(self, call: Signed, way: str = "v3", **more: Any) -> Said:
        return await asyncio.to_thread(send, self.port, getattr(call, way)(), **more)

    async def add(self, client_id: str, **more: Any) -> Said:
        return await self.send(black(client_id, **more))

    async def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def black(client_id: str, action: str = "AddCustomAuthConnectBlack", **more: Any) -> Signed:
    return Signed(action, "POST", {}, {"InstanceId": INSTANCE, "ClientId": client_id}, **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "exhook.db")


@pytest.fixture
def serve(store: Store) -> Serve:
    @asynccontextmanager
    async def serving(*, patience: float = 5.0, **settings: Any) -> AsyncIterator[Served]:
        given: dict[str, Any] = {
            "api": "127.0.0.1:0",
            "api_rate": 0.0,
            "drain_seconds": 1.0,
            "log_format": "json",
        } | settings
        chosen = Settings(db=store.path, **given)
        configure(chosen)
        server = ApiServer(chosen, store.keys, patience=patience)
        try:
            yield Served(server, await server.start())
        finally:
            await server.stop()

    return serving


@pytest.mark.parametrize("way", ["v3", "v2"])
async def test_a_call_is_let_in_once_also_by_another_process_and_after_a_restart(serve: Serve, way: str) -> None:
    call, other = Signed(), Signed()
    async with serve() as one, serve() as two:
        assert (await one.send(call, way)).status == 200
        for served in (one, two):
            again = await served.send(call, way)
            assert (again.status, again.code) == (400, "SignatureNonceUsed")
        assert (await two.send(other, way)).status == 200
    async with serve() as restarted:
        for call_ in (call, other):
            assert (await restarted.send(call_, way)).code == "SignatureNonceUsed"
        assert (await restarted.send(Signed(), way)).status == 200


async def test_a_nonce_counts_for_its_key_and_is_spent_by_a_good_signature_alone(serve: Serve) -> None:
    nonce = "n" * 32
    async with serve() as served:
        assert (await served.send(Signed(nonce=nonce, secret="wrong"))).code == "SignatureDoesNotMatch"
        assert (await served.send(Signed(nonce=nonce))).status == 200
        assert (await served.send(Signed(nonce=nonce, key="AKtwo", secret="new"))).status == 200
        assert (await served.send(Signed(nonce=nonce))).code == "SignatureNonceUsed"


async def test_one_call_sent_many_times_at_once_is_let_in_once(serve: Serve) -> None:
    call = Signed()
    async with serve() as served:
        answers = await asyncio.gather(*(served.send(call) for _ in range(8)))
    assert sorted(answer.code for answer in answers) == [""] + ["SignatureNonceUsed"] * 7


async def test_a_call_that_comes_again_when_its_nonce_is_forgotten_is_too_old(serve: Serve) -> None:
    late = Signed(at_ms=now_ms() - 16 * 60_000)
    async with serve() as served:
        assert (await served.send(late)).code == "InvalidTimeStamp.Expired"


async def test_the_rate_is_bounded_key_by_key_and_the_client_is_told_when_to_come_again(serve: Serve) -> None:
    async with serve(api_rate=2.0) as served:
        answers = [await served.send(Signed()) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        codes = []
        for _ in range(6):  # the machine may be slow, and the bucket fill meanwhile
            codes.append(answer := await served.send(Signed()))
            if answer.status == 400:
                break
        assert answer.code == "Throttling.User"
        assert 1 <= int(answer.headers["x-acs-retry-after"]) <= 500
        assert (await served.send(Signed(key="AKtwo", secret="old"))).status == 200
        served.server.reload(served.server.settings.model_copy(update={"api_rate": 0.0}))
        assert (await served.send(Signed())).status == 200


async def test_a_call_that_is_sent_again_uses_up_nothing_of_the_rate(serve: Serve) -> None:
    async with serve() as served:
        assert served.server._api
        served.server._api._rate = Rate(2.0, lambda: 0.0)
        caught = Signed().v3()
        assert (await asyncio.to_thread(send, served.port, caught)).status == 200
        for _ in range(5):
            assert (await asyncio.to_thread(send, served.port, caught)).code == "SignatureNonceUsed"
        assert (await served.send(Signed())).status == 200
        assert (await served.send(Signed())).code == "Throttling.User"


async def test_the_vendors_client_reads_the_time_to_wait(serve: Serve) -> None:
    async with serve(api_rate=0.1) as served:
        sdk = Sdk(served.port)
        await asyncio.to_thread(sdk, "QueryCustomAuthIdentity", Size=1)
        error = await asyncio.to_thread(sdk.refused, "QueryCustomAuthIdentity", Size=1)
    assert isinstance(error, ThrottlingException)
    assert 1 <= error.retry_after <= 10_000


async def test_the_quota_holds_also_for_calls_that_come_at_once(serve: Serve, store: Store) -> None:
    store.path.unlink()
    make_store(store.path, record_quota=4)  # one permission stands there
    async with serve() as served:
        answers = await asyncio.gather(*(served.add(f"c{number}") for number in range(8)))
        codes = sorted(answer.code for answer in answers)
        assert codes == [""] * 3 + ["Customauth.over.capacity"] * 5
        (kept,) = {answer.status for answer in answers if answer.code}
        assert kept == 400
        with Database.open(store.path, store.keys) as database:
            there = [entry.client_id for entry in database.records(BLACKLIST)]
        assert len(there) == 3
        assert (await served.add(there[0])).status == 200  # an overwrite takes no room
        assert (await served.send(black(there[0], "DeleteCustomAuthConnectBlack"))).status == 200
        assert (await served.add("another")).status == 200


async def test_calls_that_come_at_once_share_revisions_and_fail_alone(serve: Serve, store: Store) -> None:
    with Database.open(store.path, store.keys) as database:
        before = database.revision
    good, bad = [f"c{number}" for number in range(20)], ["\0", "x" * 70_000]
    async with serve() as served:
        with Database.open(store.path, store.keys) as database, database.transaction():
            # Another writer holds the store: all calls wait for it, and then go in together.
            asking = [asyncio.create_task(served.add(client_id)) for client_id in (*good, *bad)]
            await asyncio.sleep(0.3)
        answers = await asyncio.gather(*asking)
    assert [answer.code for answer in answers] == [""] * 20 + ["InvalidParameter.ClientId"] * 2
    with Database.open(store.path, store.keys) as database:
        assert {entry.client_id for entry in database.records(BLACKLIST)} == set(good)
        assert 1 <= database.revision - before < 20


async def test_a_write_that_a_worker_does_not_follow_is_no_success(serve: Serve, store: Store) -> None:
    with Runtime.open(store.path) as runtime:
        runtime.report("stuck", os.getpid(), 0, now_ms())
        async with serve(patience=0.1) as served:
            answer = await served.add("c")
            assert (answer.status, answer.code) == (503, "ServiceUnavailable")
            with Database.open(store.path, store.keys) as database:
                assert [entry.client_id for entry in database.records(BLACKLIST)] == ["c"]
                revision = database.revision
            # Nothing changes now, but the first call's revision is not in force yet.
            assert (await served.add("c")).status == 503
            runtime.report("stuck", os.getpid(), revision, now_ms())
            assert (await served.add("c")).status == 200


async def test_a_worker_that_is_long_gone_holds_nobody_up(serve: Serve, store: Store) -> None:
    """A server that was killed forgets no worker, and another process may have come to have its number."""
    with Runtime.open(store.path) as runtime:
        runtime.report("gone", os.getpid(), 0, now_ms() - 31_000)
    async with serve(patience=0.1) as served:
        assert (await served.add("c")).status == 200


async def test_a_store_that_cannot_be_used_is_said_so_and_used_again_when_it_can(serve: Serve, store: Store) -> None:
    copy, noise = store.path.with_name("copy"), store.path.with_name("noise")
    with Database.open(store.path, store.keys) as database:
        database.connection.execute("VACUUM INTO ?", (str(copy),))
    noise.write_bytes(b"no store" * 1000)
    async with serve() as served:
        assert (await served.add("c")).status == 200
        noise.replace(store.path)
        await asyncio.sleep(0.02)
        for call in (black("d"), Signed()):
            answer = await served.send(call)
            assert (answer.status, answer.code) == (503, "ServiceUnavailable")
            assert str(store.path) not in json.dumps(answer.body)
        assert (await asyncio.to_thread(get, served.port, "/ready"))[0] == 503
        assert (await asyncio.to_thread(get, served.port, "/health"))[0] == 200
        copy.replace(store.path)
        await asyncio.sleep(0.02)
        assert (await served.add("d")).status == 200
        assert (await asyncio.to_thread(get, served.port, "/ready"))[0] == 200
    with Database.open(store.path, store.keys) as database:
        assert [entry.client_id for entry in database.records(BLACKLIST)] == ["d"]


async def test_a_key_that_is_switched_off_signs_nothing_more(serve: Serve, store: Store) -> None:
    async with serve() as served:
        assert (await served.send(Signed())).status == 200
        with (
            Database.open(store.path, store.keys) as database,
            database.writing(actor="test", source="api", now_ms=now_ms()) as write,
        ):
            write.put(access_key(database, active=False))
        await asyncio.sleep(0.02)
        assert (await served.send(Signed())).code == "InvalidAccessKeyId.Inactive"


async def test_what_nobody_foresaw_is_named_in_the_log_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary-of-an-error")

    monkeypatch.setattr(identities, "page", broken)
    async with serve() as served:
        answer = await served.send(Signed())
    assert (answer.status, answer.code) == (500, "InternalError")
    said = capsys.readouterr().err
    assert "RuntimeError at test_api_serving" in said
    assert "canary-of-an-error" not in said + json.dumps(answer.body)


def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/health/", 404), ("GET", "//", 404), ("POST", "/mqtt", 404),
        ("PUT", "/", 404), ("DELETE", "/", 404), ("OPTIONS", "/", 404), ("POST", "/health", 404),
        ("GET", "/%2e%2e/etc", 404),
    ],
)  # fmt: skip
async def test_other_paths_and_methods_are_json_and_never_a_redirect(
    serve: Serve, method: str, path: str, status: int
) -> None:
    async with serve() as served:
        found, body, headers = await asyncio.to_thread(get, served.port, path, method)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert "location" not in headers
    assert json.loads(body)["Code"] == "InvalidApi.NotFound"


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (Signed("MakeCoffee"), 404, "InvalidApi.NotFound"),
        (Signed("SendMessage"), 404, "ApiNotSupport"),
        (Signed("AddCustomAuthConnectBlack", "GET"), 404, "InvalidApi.NotFound"),
        (Signed("QueryToken", "GET", {"InstanceId": INSTANCE, "Token": "x"}), 200, ""),
        (Signed("QueryCustomAuthIdentity", "POST", {}, {"InstanceId": INSTANCE, "Size": "1"}), 200, ""),
        (Signed("AddCustomAuthConnectBlack", "POST", {"ClientId": "c"}, {"InstanceId": INSTANCE}), 200, ""),
        (Signed("AddCustomAuthConnectBlack", "POST", {"InstanceId": INSTANCE, "ClientId": "c"}), 200, ""),
        (Signed("AddCustomAuthConnectBlack", "POST", {"ClientId": "c"}, {"InstanceId": INSTANCE, "ClientId": "c"}),
         400, "InvalidParameter.ClientId"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["v3", "v2"])
async def test_calls_and_where_their_parameters_stand(
    serve: Serve, call: Signed, status: int, code: str, way: str
) -> None:
    async with serve() as served:
        answer = await served.send(Signed(**{**vars(call), "nonce": f"{way}{call.action}{id(call)}"}), way)
    assert (answer.status, answer.code) == (status, code)


async def test_whatever_id_a_client_may_have_can_be_named_and_paged_by(serve: Serve) -> None:
    """MQTT's 65,535 bytes; a query goes by POST where its page ended at an id that no request line could hold."""
    longest = ["\1" * 65_535, "é" * 32_767 + "x"]

    async def call(action: str, **form: str) -> Said:
        return await served.send(Signed(action, "POST", {}, {"InstanceId": INSTANCE, **form}))

    async with serve() as served:
        for client_id in longest:
            assert (await call("AddCustomAuthConnectBlack", ClientId=client_id)).code == ""
            named = {"Identity": client_id, "IdentityType": "CLIENT", "Topic": "a/" + "t" * 4_000}
            allowed = await call("AddCustomAuthPermission", **named, PermitAction="PUB", Effect="ALLOW")
            assert allowed.code == ""
        for client_id in ("x" * 65_536, "é" * 32_768):
            refused = await call("AddCustomAuthConnectBlack", ClientId=client_id)
            assert (refused.status, refused.code) == (400, "InvalidParameter.ClientId")
        for action, name, more in (
            ("QueryCustomAuthConnectBlack", "ClientId", {}),
            ("QueryCustomAuthPermission", "Identity", {"IdentityType": "CLIENT"}),
        ):
            found: list[str] = []
            token = ""
            while len(found) < len(longest):
                data = (await call(action, Size="1", NextToken=token, **more)).body["Data"]
                found += [one[name] for one in data["Results"]]
                token = data["NextToken"]
            assert (found, token) == (longest, "")
        assert (await call("DeleteCustomAuthConnectBlack", ClientId=longest[0])).code == ""
        left = await call("QueryCustomAuthConnectBlack", Size="1", ClientId=longest[0])
        assert left.body["Data"]["Results"] == []


async def test_unsigned_requests_are_refused(serve: Serve) -> None:
    async with serve() as served:
        for path in ("/", "/?Action=QueryCustomAuthIdentity&InstanceId=mqtt-a&Size=1"):
            status, body, _ = await asyncio.to_thread(get, served.port, path)
            assert (status, json.loads(body)["Code"]) == (400, "InvalidSignatureMethod")


async def test_large_bodies_are_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_http, "BODY_BYTES", 1000)
    body = b"x" * 2000
    async with serve() as served:
        for rest in (
            b"content-length: 1000000\r\n\r\n" + body,
            b"transfer-encoding: chunked\r\n\r\n7d0\r\n" + body + b"\r\n",
        ):
            said = await served.raw(b"POST / HTTP/1.1\r\nhost: h\r\n" + rest)
            assert said.startswith(b"HTTP/1.1 400")
            assert b"InvalidParameter.Body" in said


async def test_large_heads_are_refused_before_they_have_come(serve: Serve) -> None:
    async with serve() as served:
        for start in (b"GET /?", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000):
            said = await served.raw(start + b"y" * HEAD_BYTES)
            assert said == b"" or said.startswith(b"HTTP/1.1 431")
        assert (await served.send(Signed())).status == 200


NOISE = (
    b"\x16\x03\x01\x02\0", b"GET\r\n\r\n", b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip


@pytest.mark.parametrize("noise", NOISE, ids=["TLS", "a torn line", "NUL", "HTTP 9", "HTTP 2"])
async def test_noise_is_answered_in_json_and_harms_nobody(serve: Serve, noise: bytes) -> None:
    async with serve() as served:
        said = await served.raw(noise)
        assert said.startswith(b"HTTP/1.1 400")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["Code"].startswith("InvalidParameter.")
        assert (await served.send(Signed())).status == 200


async def test_who_is_slow_or_silent_is_let_go(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.05)
    monkeypatch.setattr(api_http, "BODY_SECONDS", 0.05)
    async with serve() as served:
        assert await served.raw(b"") == b""
        assert await served.raw(b"GET / HTTP/1.1\r\nhost:") == b""
        said = await served.raw(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc")
        assert b"InvalidParameter.Body" in said


async def test_connections_over_the_limit_are_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "most_connections", 2)
    async with serve() as served:
        held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await served.raw(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(get, served.port, "/health"))[0] == 200


async def test_pipelined_calls_are_answered_in_turn(serve: Serve) -> None:
    one = b"GET /health HTTP/1.1\r\nhost: h\r\n"
    async with serve() as served:
        said = await served.raw(one + b"\r\n" + one + b"connection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 200") == 2


async def test_calls_under_way_are_answered_at_the_end(serve: Serve, store: Store) -> None:
    async with serve(drain_seconds=5.0) as served:
        with Database.open(store.path, store.keys) as database, database.transaction():
            asking = asyncio.create_task(served.add("late"))
            await asyncio.sleep(0.2)
            stopping = asyncio.create_task(served.server.stop())
            await asyncio.sleep(0.2)
        assert (await asking).status == 200
        await stopping


async def test_an_address_that_is_taken_is_named(serve: Serve) -> None:
    async with serve() as served:
        with pytest.raises(CannotStart, match=rf"127\.0\.0\.1:{served.port}: the API cannot listen there"):
            async with serve(api=f"127.0.0.1:{served.port}"):
                pass


async def test_no_secret_is_logged_or_answered_whatever_goes_wrong(
    serve: Serve, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    canary = "canary-api-5e1d"
    form = {"InstanceId": INSTANCE, "Username": "u", "IdentityType": "USER", "SignMode": "ORIGIN", "Secret": canary}
    said = []
    async with serve(log_level="debug") as served:
        for change in (
            {}, {"Username": canary * 10}, {"IdentityType": "x"}, {"SignMode": "x"}, {"InstanceId": "x"},
            {"Username": "Token|a|b"}, {"Secret": canary * 1000},
        ):  # fmt: skip
            for action in ("AddCustomAuthIdentity", "UpdateCustomAuthIdentity", "MakeCoffee"):
                for way in ("v3", "v2"):
                    given = form | {name: value for name, value in change.items() if name != "Username" or "|" in value}
                    answer = await served.send(Signed(action, "POST", {}, given), way)
                    said.append(json.dumps(answer.body) + json.dumps(answer.headers))
                    wrong = await served.send(Signed(action, "POST", given, {}, secret="wrong"), way)
                    said.append(json.dumps(wrong.body))
    logged = capsys.readouterr()
    runtime = b"".join(file.read_bytes() for file in store.path.parent.glob("*.runtime.db*")).decode("latin-1")
    for place in (*said, logged.err, logged.out, runtime):
        assert canary not in place
        assert SECRET not in place
