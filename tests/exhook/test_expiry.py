"""What expires stops working, or lets in again, at its very millisecond, in every worker, with no commit."""

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import argon2
import pytest
from server_under_test import Asker, Server, one_of_each, until
from worker_under_test import INSTANCE, Serve, Served, Store, identity, instance, permission, secret

from store.changes import Operation
from store.clock import now_ms
from store.database import Database
from store.records import (
    BlacklistEntry,
    ClientIdRule,
    Effect,
    Grantee,
    Group,
    Record,
    SecretForm,
    SignMode,
)
from store.seal import SealKeys

END = 2_000_000_000_000
"""When it expires, by the injected clock; long after the real one's time, so that nothing but that clock counts."""

QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

Ask = Callable[[Served], Awaitable[bool]]


def connects(password: bytes = b"right", *, client_id: str = "c") -> Ask:
    return lambda served: served.authenticate(client_id, "alice", password)


def publishes(topic: str, *, client_id: str = "c") -> Ask:
    return lambda served: served.authorize(client_id, "alice", "PUBLISH", topic)


def subscribes(topic: str) -> Ask:
    return lambda served: served.authorize("c", "alice", "SUBSCRIBE", topic)


@dataclass(frozen=True)
class Case:
    name: str
    records: Iterable[Record]
    until_then: tuple[Ask, ...] = ()
    """Allowed before the end, refused from then on."""
    from_then: tuple[Ask, ...] = ()
    """The other way round."""
    always: tuple[Ask, ...] = ()


ALICE = identity("alice", b"right")
EVERYTHING = permission("alice", "#")


def hashed(password: bytes) -> bytes:
    return QUICK.hash(password).encode()


CASES = (
    Case(
        "identity of a user", [identity("alice", b"right", expires_at=END), EVERYTHING],
        until_then=(connects(), publishes("a"), subscribes("#")),
    ),
    Case(
        "identity of a client, without falling through", [
            ALICE, identity("alice", b"own", client_id="c", expires_at=END), EVERYTHING,
        ],
        until_then=(connects(b"own"), publishes("a")),
        always=(connects(client_id="other"), publishes("a", client_id="other")),
    ),
    Case(
        "verified password, though remembered",
        [identity("alice", hashed(b"right"), mode=SignMode.HASHED, expires_at=END)],
        until_then=(connects(),),
    ),
    Case(
        "one of two secrets",
        [identity("alice", secrets=(secret("old", b"old", expires_at=END), secret("new", b"new")))],
        until_then=(connects(b"old"),), always=(connects(b"new"),),
    ),
    Case(
        "one of two hashes, though remembered",
        [identity("alice", mode=SignMode.HASHED, secrets=(
            secret("old", hashed(b"old"), SecretForm.HASH, expires_at=END),
            secret("new", hashed(b"new"), SecretForm.HASH),
        ))],
        until_then=(connects(b"old"),), always=(connects(b"new"),),
    ),
    Case(
        "permissions of each grantee", [
            ALICE,
            permission("alice", "user/+", expires_at=END),
            permission("c", "client/+", to=Grantee.CLIENT, expires_at=END),
            permission("", "all/+", to=Grantee.ALL, expires_at=END),
            permission("alice", "of/${clientid}", expires_at=END),
            permission("alice", "stays/+"),
        ],
        until_then=tuple(map(publishes, ("user/x", "client/x", "all/x", "of/c"))), always=(publishes("stays/x"),),
    ),
    Case(
        "denial", [ALICE, EVERYTHING, permission("alice", "a/b", effect=Effect.DENY, expires_at=END)],
        from_then=(publishes("a/b"), subscribes("a/#")), always=(publishes("a/c"),),
    ),
    Case(
        "blacklisted client", [ALICE, EVERYTHING, BlacklistEntry(instance=INSTANCE, client_id="c", expires_at=END)],
        from_then=(connects(), publishes("a")), always=(connects(client_id="other"),),
    ),
    Case(
        "blacklisted user", [ALICE, EVERYTHING, BlacklistEntry(instance=INSTANCE, username="alice", expires_at=END)],
        from_then=(connects(), publishes("a")),
    ),
    Case(
        "group", [
            instance(client_id_rule=ClientIdRule.GROUP), ALICE, EVERYTHING,
            Group(instance=INSTANCE, name="GID_Fleet", expires_at=END), Group(instance=INSTANCE, name="GID_Stays"),
        ],
        until_then=(connects(client_id="GID_Fleet@@@1"), publishes("a", client_id="GID_Fleet@@@1")),
        always=(connects(client_id="GID_Stays@@@1"),),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_it_ends_at_its_millisecond_in_every_worker(store: Store, serve: Serve, case: Case) -> None:
    now = [END - 10_000]
    revision = store.put(*case.records)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(serve(clock=lambda: now[0], name=name)) for name in "01"]
        for moment in (END - 10_000, END - 1, END, END + 10_000):
            now[0] = moment
            for served in workers:
                for asks, allowed in (
                    (case.until_then, moment < END), (case.from_then, moment >= END), (case.always, True),
                ):  # fmt: skip
                    assert [await ask(served) for ask in asks] == [allowed] * len(asks), moment
                assert served.worker.reader.revision == revision
    with Database.open(store.path, store.keys) as database:
        assert database.revision == revision


def test_it_ends_in_every_process_and_is_swept_once(store: Store, tmp_path: Path) -> None:
    store.put(ALICE)
    with Server(tmp_path, "--workers", "2", "--decisions", "all") as server, one_of_each(server) as reached:
        brokers = list(reached.values())
        end = now_ms() + 2500
        lent = [permission("alice", topic, expires_at=end) for topic in ("a/#", "b/#")]
        revision = store.put(*lent, BlacklistEntry(instance=INSTANCE, client_id="c2", expires_at=end))
        until(lambda: all(broker.publishes("c", "alice", "a/b") for broker in brokers), what="the commit")
        while now_ms() < end + 100:
            for broker in brokers:
                _asked_about(broker, end)
        until(lambda: _expired(store.path), what="the sweep")
        swept = [(revision + 1, kind) for kind in ("permission", "permission", "blacklist")]
        assert _expired(store.path) == swept
        assert server.line("expired")["records"] == 3
        time.sleep(1.2)
        assert _expired(store.path) == swept
        with Database.open(store.path, store.keys) as database:
            assert database.revision == revision + 1
        _another_store_is_swept_as_well(server, store)


def _asked_about(broker: Asker, end: int) -> None:
    """The answer was made at some moment between these two, by the same clock as ours."""
    for ask, allowed_before in (
        (partial(broker.publishes, "c", "alice", "a/b"), True),
        (partial(broker.connects, "c2", "alice", b"right"), False),
    ):
        before = now_ms()
        allowed = ask()
        if now_ms() < end:
            assert allowed is allowed_before
        elif before >= end:
            assert allowed is not allowed_before


def _another_store_is_swept_as_well(server: Server, store: Store) -> None:
    other = Store(store.path.with_name("other.db"))
    other.put(instance(), ALICE, permission("alice", "c/#", expires_at=now_ms() + 1000))
    since = len(server.lines)
    other.path.replace(store.path)
    # Not opened before the server has: SQLite would take the old store's log for the new one's.
    assert server.line("expired", since)["records"] == 1
    assert [kind for _, kind in _expired(store.path)] == ["permission"]
    assert not server.events("sweep put off")


def _expired(path: Path) -> list[tuple[int, str]]:
    """Revision and kind of each change of that operation."""
    with Database.open(path, SealKeys()) as database:
        rows = database.connection.execute(
            "SELECT revision, kind FROM changes WHERE operation = ?", (Operation.EXPIRE.value,)
        )
        return [(revision, kind) for revision, kind in rows]
