"""The gRPC health service, asked as an orchestrator's probe asks it."""

import threading
from collections.abc import Iterator

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_under_test import PATIENCE, Asker, Server, becomes, failed, until
from worker_under_test import CARRIERS, Serve, Served, Store, identity, instance

from exhook import metrics
from exhook.transport.call import Status
from store.runtime import Runtime

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("", *(f"emqx.exhook.v{version}.HookProvider" for version in (1, 2, 3)))


@pytest.fixture(scope="module", params=CARRIERS)
def carried(request: pytest.FixtureRequest) -> str:
    """What carries the calls."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory, carried: str) -> Store:
    made = Store(tmp_path_factory.mktemp(f"health-{carried}") / "exhook.db")
    made.put(instance(), identity("alice", b"right"))
    return made


@pytest.fixture(scope="module")
def server(probed: Store, carried: str) -> Iterator[Server]:
    with Server(probed.path.parent, "--decisions", "none", "--carrier", carried) as served:
        yield served


@pytest.fixture
def broker(server: Server) -> Iterator[Asker]:
    with Asker(server.port) as asker:
        yield asker


def check(broker: Asker, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(broker.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE, wait_for_ready=True)
    return int(answer.status)


@pytest.mark.parametrize("service", SERVICES)
def test_the_server_and_each_of_its_services_serve(broker: Asker, service: str) -> None:
    assert check(broker, service) == SERVING


@pytest.mark.parametrize("service", ["emqx.exhook.v4.HookProvider", "grpc.health.v1.Health", "x" * 10_000])
def test_an_unknown_service_is_not_found(broker: Asker, service: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(broker, service)
    assert failed(caught.value) is Status.NOT_FOUND


def test_garbage_is_an_invalid_argument(broker: Asker) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        broker.call("/grpc.health.v1.Health/Check", b"\x0a\xff\xff")
    assert failed(caught.value) is Status.INVALID_ARGUMENT


def test_watch_is_unimplemented_so_that_clients_go_over_to_check(broker: Asker) -> None:
    stub = health_pb2_grpc.HealthStub(broker.channel)
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE))
    assert failed(caught.value) is Status.UNIMPLEMENTED


def test_it_serves_only_while_the_store_can_be_read(probed: Store, server: Server, broker: Asker) -> None:
    damaged = probed.path.with_name("damaged")
    damaged.write_bytes(b"no SQLite file\n" * 1000)
    damaged.replace(probed.path)
    until(lambda: check(broker) == NOT_SERVING, what="the damage noticed")
    assert {check(broker, service) for service in SERVICES} == {NOT_SERVING}
    (line,) = server.events("store unavailable")
    assert "not an SQLite file" in line["why"]
    assert broker.connects("c", "alice", b"right")  # by the last good state
    restored = Store(probed.path.with_name("restored.db"))
    restored.put(instance(), identity("bob", b"right"))
    restored.path.replace(probed.path)
    until(lambda: check(broker) == SERVING, what="the store restored")
    assert broker.connects("c", "bob", b"right")
    assert not broker.connects("c", "alice", b"right")
    server.line("store available again")


async def test_an_error_that_nobody_foresaw_does_not_end_the_watch_for_commits(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word, decisions would go on by old records for ever."""
    async with serve(decisions="none") as served:
        stub = health_pb2_grpc.HealthStub(served.channel)

        async def is_now(status: int) -> bool:
            return bool((await stub.Check(health_pb2.HealthCheckRequest())).status == status)

        def fail() -> bool:
            raise RuntimeError("canary")

        await becomes(lambda: is_now(SERVING))
        with structlog.testing.capture_logs() as lines:
            monkeypatch.setattr(served.worker.reader, "poll", fail)
            await becomes(lambda: is_now(NOT_SERVING))
            monkeypatch.undo()
            await becomes(lambda: is_now(SERVING))
        assert [line["event"] for line in lines] == ["store unavailable", "store available again"]
        assert "canary" not in repr(lines)
        store.put(identity("alice", b"right"))
        await becomes(lambda: served.authenticate("c", "alice", b"right"))


async def test_what_goes_with_the_watch_for_commits_does_not_end_it(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is revoked must end, whatever else this process cannot do."""
    store.put(identity("alice", b"right"))
    async with serve(decisions="none") as served:
        stub = health_pb2_grpc.HealthStub(served.channel)

        async def is_now(status: int) -> bool:
            return bool((await stub.Check(health_pb2.HealthCheckRequest())).status == status)

        def fail() -> None:
            raise RuntimeError("canary")

        assert await served.authenticate("c", "alice", b"right")
        with structlog.testing.capture_logs() as lines, monkeypatch.context() as broken:
            broken.setattr(served.worker, "_count", fail)
            broken.setattr(served.worker.tails, "look", fail)
            broken.setattr(metrics, "write", fail)
            await becomes(lambda: is_now(NOT_SERVING))
            store.remove(identity("alice", b"right"))
            await becomes(lambda: not_let_in(served))
            with Runtime.open(store.path) as runtime:
                revision = served.worker.reader.revision
                await becomes(lambda: [one.revision for one in runtime.workers()] == [revision])
        await becomes(lambda: is_now(SERVING))
        assert [line["event"] for line in lines] == ["error while commits are followed"]
        assert "canary" not in repr(lines)


async def test_denials_that_no_thread_is_there_for_cost_no_more_than_themselves(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = threading.Thread.start, iter("1")

    def none_is_there(thread: threading.Thread) -> None:
        if thread.name.startswith("denials") and next(failures, None):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_is_there)
    store.put(identity("alice", b"right"))
    before = metrics.DENIALS_DROPPED._value.get()
    async with serve(decisions="none") as served:
        with structlog.testing.capture_logs() as lines:
            assert not await served.authenticate("c", "alice", b"wrong")
            await becomes(lambda: [line["event"] for line in lines] == ["denials not kept for `exhook why`"])
            store.remove(identity("alice", b"right"))
            await becomes(lambda: not_let_in(served))
        assert served.worker.healthy
    assert metrics.DENIALS_DROPPED._value.get() == before + 1
    with Runtime.open(store.path) as runtime:
        assert {one.reason for one in runtime.denials_of("c")} == {"unknown_identity"}


async def not_let_in(served: Served) -> bool:
    return not await served.authenticate("c", "alice", b"right")
