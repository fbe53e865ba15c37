"""What the Mosquitto plugin asks beside ExHook: revision and losses, in any worker."""

from typing import Any

import grpc
import pytest
from server_under_test import becomes
from worker_under_test import INSTANCE, Serve, Served, Store, identity, permission

from exhook.bridge import CHANGES, MAX_LOSSES
from protos import exhook_bridge_v1_pb2 as wire
from store.clock import now_ms
from store.database import Database
from store.records import Effect, Grantee, Instance, Record
from store.runtime import Runtime

Losses = set[tuple[str, str]]


async def ask(served: Served, **request: Any) -> wire.ChangesResponse:
    return wire.ChangesResponse.FromString(
        await served.call(CHANGES, wire.ChangesRequest(**request).SerializeToString())
    )


def said(answer: wire.ChangesResponse) -> Losses:
    return {(wire.Loss.Kind.Name(loss.kind), loss.name) for loss in answer.losses}


async def since(served: Served, store: Store, *records: Record, **request: Any) -> wire.ChangesResponse:
    """What is answered about a commit."""
    served.worker.reader.poll()
    served.worker._report()
    known = await ask(served, **request)
    revision = store.put(*records)
    served.worker.reader.poll()
    served.worker._report()
    answer = await ask(served, store=known.store, since=known.revision, **request)
    assert answer.revision == revision
    return answer


async def test_the_first_answer_is_a_place_to_count_from(serve: Serve, store: Store) -> None:
    store.put(identity("alice", b"one"))
    async with serve() as served:
        answer = await ask(served)
        assert answer.store.endswith(f"/{INSTANCE}")
        assert (answer.revision, answer.everyone, len(answer.losses)) == (served.worker.reader.revision, False, 0)
        again = await ask(served, store=answer.store, since=answer.revision)
        assert (again.revision, again.everyone, len(again.losses)) == (answer.revision, False, 0)


async def test_who_lost_something(serve: Serve, store: Store) -> None:
    store.put(identity("alice", b"one"), identity("bob", b"one"))
    async with serve() as served:
        answer = await since(served, store, identity("alice", b"two"), permission("bob", "a"))
        assert (said(answer), answer.everyone) == ({("USER", "alice")}, False)
        group = permission("GID_Abc", "a", to=Grantee.GROUP, effect=Effect.DENY)
        key = permission("key-1", "a", to=Grantee.ACCESS_KEY, effect=Effect.DENY)
        client = permission("c1", "a", to=Grantee.CLIENT, effect=Effect.DENY)
        answer = await since(served, store, group, key, client)
        assert said(answer) == {("GROUP", "GID_Abc"), ("ACCESS_KEY", "key-1"), ("CLIENT", "c1")}


async def test_what_expired_and_was_removed_before_a_sweep(serve: Serve, store: Store) -> None:
    ended = now_ms() - 1
    lapsed = permission("alice", "a", expires_at=ended), identity("bob", b"one", expires_at=ended)
    with (
        Database.open(store.path, store.keys) as database,
        database.writing(actor="t", source="policy", now_ms=ended - 1_000) as write,
    ):
        for record in lapsed:
            write.put(record)
    async with serve() as served:
        served.worker._report()
        known = await ask(served)
        store.remove(*lapsed)
        served.worker.reader.poll()
        served.worker._report()
        answer = await ask(served, store=known.store, since=known.revision)
        assert (said(answer), answer.everyone) == ({("USER", "alice"), ("USER", "bob")}, False)


async def test_everyone(serve: Serve, store: Store) -> None:
    async with serve() as served:
        answer = await since(served, store, permission("", "a", to=Grantee.ALL, effect=Effect.DENY))
        assert answer.everyone
        many = [permission(f"u{number}", "a", effect=Effect.DENY) for number in range(MAX_LOSSES + 1)]
        assert (await since(served, store, *many)).everyone
        here = await ask(served)
        assert (await ask(served, store="another", since=here.revision)).everyone
        assert (await ask(served, store=here.store, since=here.revision + 1)).everyone


async def test_what_happens_in_another_instance_is_not_told(serve: Serve, store: Store) -> None:
    store.put(Instance(name="mqtt-b", source="policy"))
    async with serve(instance=INSTANCE) as served:
        there = permission("", "a", to=Grantee.ALL, effect=Effect.DENY, instance="mqtt-b")
        answer = await since(served, store, there)
        assert (answer.everyone, said(answer)) == (False, set())
        store.remove(there)
        assert (await since(served, store, there, instance="mqtt-b")).everyone


async def test_another_default_instance_is_another_place(serve: Serve, store: Store) -> None:
    """A second instance leaves a listener without one: whoever was let in there may lose everything."""
    async with serve() as served:
        assert (await since(served, store, Instance(name="mqtt-b", source="policy"))).everyone


async def test_it_tells_of_what_every_worker_decides_by(serve: Serve, store: Store) -> None:
    """Whoever is ended comes back at once, maybe to a worker that has not seen the change yet."""
    store.put(identity("alice", b"one"))
    async with serve() as served:
        known = await ask(served)
        with Runtime.open(store.path) as runtime:
            runtime.report("slow", 1, known.revision, now_ms())
            store.remove(identity("alice", b"one"))
            served.worker.reader.poll()
            served.worker._report()
            waiting = await ask(served, store=known.store, since=known.revision)
            assert (waiting.revision, said(waiting)) == (known.revision, set())
            runtime.report("slow", 1, known.revision + 1, now_ms())
            told = await ask(served, store=known.store, since=known.revision)
            assert (told.revision, said(told)) == (known.revision + 1, {("USER", "alice")})
            # One that has been silent for long is not waited for.
            runtime.report("slow", 1, known.revision, now_ms() - 60_000)
            assert said(await ask(served, store=known.store, since=known.revision)) == {("USER", "alice")}


async def test_a_worker_that_was_held_up_looks_before_it_says_everyone(serve: Serve, store: Store) -> None:
    """Another has told of a revision that this one has not seen: no other store, and nobody is to be ended for it."""
    store.put(identity("alice", b"one"), identity("bob", b"one"))
    async with serve(poll_ms=1000, name="slow") as served:
        known = await ask(served)
        store.remove(identity("alice", b"one"))
        with Runtime.open(store.path) as runtime:
            runtime.report("slow", 1, known.revision, now_ms() - 60_000)
            runtime.report("quick", 2, known.revision + 1, now_ms())
        assert served.worker.reader.revision == known.revision
        here = await ask(served, store=known.store, since=known.revision + 1)
        assert (here.revision, here.everyone, said(here)) == (known.revision + 1, False, set())
        assert served.worker.reader.revision == known.revision + 1
        with Runtime.open(store.path) as runtime:
            await becomes(lambda: [one.revision for one in runtime.workers()] == [known.revision + 1] * 2)


async def test_it_does_not_tell_of_what_it_does_not_decide_by_itself(serve: Serve, store: Store) -> None:
    """Whoever is ended may come back to the very worker that was asked."""
    store.put(identity("alice", b"one"))
    async with serve(poll_ms=1000, name="slow") as served:
        known = await ask(served)
        store.put(identity("bob", b"one"))
        served.worker.reader.poll()
        store.remove(identity("alice", b"one"))
        with Runtime.open(store.path) as runtime:
            runtime.report("slow", 1, known.revision, now_ms() - 60_000)
            runtime.report("quick", 2, known.revision + 2, now_ms())
        waiting = await ask(served, store=known.store, since=known.revision)
        assert (waiting.revision, said(waiting)) == (known.revision + 1, set())


async def test_garbage_is_refused(serve: Serve) -> None:
    async with serve() as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.call(CHANGES, b"\x0a\x05x")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
