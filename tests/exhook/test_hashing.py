"""Slow password verification: bounded, shed in time, remembered for a moment, and never a way around a change."""

import asyncio
import contextlib
import hashlib
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from argon2 import PasswordHasher
from server_under_test import HOST, PATIENCE, Server
from worker_under_test import MESSAGES, Serve, Served, Store, identity, instance, permission, secret

from exhook import decider, hashing
from exhook.hashing import HashingPool, Overloaded
from store.credentials import hash_password, verify
from store.decision import Challenge, Reason
from store.records import BlacklistEntry, Identity, Secret, SecretForm, SignMode

AUTHENTICATE = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Slow by its kind, so that it goes through the pool, and done in no time."""


def hash_of(name: str, password: bytes) -> Secret:
    value = CHEAP.hash(password).encode()
    return Secret(
        id=name, value=value, form=SecretForm.HASH, fingerprint=hashlib.sha256(value).hexdigest()[:16], expires_at=None
    )


def hashed(username: str, password: bytes = b"right", **more: Any) -> Identity:
    """An identity that proves itself by a hashed password."""
    return identity(username, mode=SignMode.HASHED, **({"secrets": (hash_of("default", password),)} | more))


@dataclass
class Gate:
    """Stands in for `verify` in the pool's threads: holds each verification until it is let through."""

    calls: int = 0
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    passing: threading.Event = field(default_factory=threading.Event)

    def __call__(self, _: SignMode, secrets: Sequence[Secret], __: str, password: bytes) -> str | None:
        self.calls += 1
        self.begun.release()
        assert self.passing.wait(PATIENCE)
        return secrets[0].id if password == b"right" else None

    def open(self) -> None:
        self.passing.set()

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE)


@dataclass
class Counting:
    """Stands around `verify`: counts."""

    calls: int = 0

    def __call__(self, mode: SignMode, secrets: Sequence[Secret], client_id: str, password: bytes) -> str | None:
        self.calls += 1
        return verify(mode, secrets, client_id, password)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(hashing, "verify", made)
    yield made
    made.open()


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(hashing, "verify", made)
    return made


@asynccontextmanager
async def pool(**sizes: Any) -> AsyncIterator[HashingPool]:
    made = HashingPool(**({"threads": 1, "queue": 2, "remember_seconds": 60} | sizes))
    try:
        yield made
    finally:
        made.close()


def challenge(value: bytes = b"a hash", *, client_id: str = "c", name: str = "default") -> Challenge:
    return Challenge(SignMode.HASHED, (secret(name, value, SecretForm.HASH),), client_id, Reason.ALLOWED, 1)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - what happens in threads sets no event of a loop
            await asyncio.sleep(0.005)


class TestBounds:
    async def test_one_more_than_threads_and_queue_is_refused_at_once(self, gate: Gate) -> None:
        async with pool(threads=2, queue=3) as hasher:
            tasks = [asyncio.create_task(hasher.verify(challenge(), b"right", None)) for _ in range(5)]
            await gate.until_begun()
            await until(lambda: hasher.waiting == 5)
            for _ in range(20):
                with pytest.raises(Overloaded):
                    # Without a deadline nothing but the full queue refuses, and nothing is waited for.
                    await asyncio.wait_for(hasher.verify(challenge(), b"right", None), 1)
            assert hasher.waiting == 5
            gate.open()
            assert await asyncio.gather(*tasks) == ["default"] * 5
            assert hasher.waiting == 0
            assert gate.calls == 5
            assert await hasher.verify(challenge(), b"wrong", None) is None

    async def test_no_queue_means_only_what_the_threads_do(self, gate: Gate) -> None:
        async with pool(threads=1, queue=0) as hasher:
            task = asyncio.create_task(hasher.verify(challenge(), b"right", None))
            await gate.until_begun()
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", None)
            gate.open()
            assert await task == "default"

    async def test_a_caller_that_hangs_up_frees_its_place_when_its_thread_is_free(self, gate: Gate) -> None:
        async with pool(threads=1, queue=2) as hasher:
            tasks = [asyncio.create_task(hasher.verify(challenge(), b"right", None)) for _ in range(3)]
            await gate.until_begun()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert hasher.waiting == 3
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", None)
            gate.open()
            await until(lambda: hasher.waiting == 0)
            assert await hasher.verify(challenge(), b"right", None) == "default"
            assert hasher.waiting == 0

    async def test_what_a_caller_left_behind_is_remembered_for_its_next_try(self, gate: Gate) -> None:
        async with pool() as hasher:
            task = asyncio.create_task(hasher.verify(challenge(), b"right", None))
            await gate.until_begun()
            task.cancel()
            await asyncio.wait([task])
            assert hasher.remembered(challenge(), b"right") is None
            gate.open()
            await until(lambda: hasher.waiting == 0)
            assert hasher.remembered(challenge(), b"right") == "default"

    async def test_an_error_while_hashing_frees_its_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(hashing, "verify", fail)
        async with pool(queue=0) as hasher:
            for _ in range(3):
                with pytest.raises(MemoryError):
                    await hasher.verify(challenge(), b"right", None)
                assert hasher.waiting == 0

    async def test_a_closed_pool_counts_nothing(self) -> None:
        hasher = HashingPool(threads=1, queue=1, remember_seconds=60)
        hasher.close()
        with pytest.raises(RuntimeError):
            await hasher.verify(challenge(), b"right", None)
        assert hasher.waiting == 0


class TestDeadlines:
    @pytest.mark.parametrize("left", [-1.0, 0.0])
    async def test_a_deadline_that_has_come_is_not_hashed_for(self, gate: Gate, left: float) -> None:
        async with pool() as hasher:
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", time.monotonic() + left)
            assert (gate.calls, hasher.waiting) == (0, 0)

    async def test_it_does_not_wait_longer_than_the_caller(self, gate: Gate) -> None:
        async with pool() as hasher:
            deadline = time.monotonic() + 0.3
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", deadline)
            assert time.monotonic() < deadline
            assert hasher.waiting == 1  # the thread is not free yet
            gate.open()
            await until(lambda: hasher.waiting == 0)

    async def test_what_would_come_too_late_is_refused_at_once(self, gate: Gate) -> None:
        async with pool(threads=1, queue=100) as hasher:
            hasher._expected = 1.0
            tasks = [asyncio.create_task(hasher.verify(challenge(), b"right", None)) for _ in range(3)]
            await gate.until_begun()
            began = time.monotonic()
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", began + 4.0)  # its turn comes after three, takes one
            assert time.monotonic() - began < 1.0
            assert hasher.waiting == 3
            in_time = asyncio.create_task(hasher.verify(challenge(), b"right", began + 60.0))
            await until(lambda: hasher.waiting == 4)
            gate.open()
            assert await asyncio.gather(*tasks, in_time) == ["default"] * 4

    async def test_nobody_is_hashed_for_who_has_stopped_waiting(self, gate: Gate) -> None:
        async with pool(threads=1, queue=100) as hasher:
            hasher._expected = 0.001
            first = asyncio.create_task(hasher.verify(challenge(), b"right", None))
            await gate.until_begun()
            with pytest.raises(Overloaded):
                await hasher.verify(challenge(), b"right", time.monotonic() + 0.2)
            await asyncio.sleep(0.1)  # past the deadline itself
            gate.open()
            await first
            await until(lambda: hasher.waiting == 0)
            assert gate.calls == 1

    async def test_one_slow_verification_is_not_the_last(self, gate: Gate) -> None:
        """A machine that stood still for a while makes hashing look slow; that has to pass by itself."""
        gate.open()
        async with pool() as hasher:
            hasher._expected = 60.0
            for _ in range(40):
                assert await hasher.verify(challenge(), b"right", time.monotonic() + 5) == "default"
            assert hasher._expected < 1.0

    async def test_the_expected_time_follows_what_is_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow(*_: object) -> None:
            time.sleep(0.2)

        monkeypatch.setattr(hashing, "verify", slow)
        async with pool() as hasher:
            before = hasher._expected
            for _ in range(3):
                with contextlib.suppress(Overloaded):
                    await hasher.verify(challenge(), b"wrong", time.monotonic() + 0.1)  # given up, and measured
                await until(lambda: hasher.waiting == 0)
            assert before < 0.1 < hasher._expected


@dataclass
class Ticking:
    """A clock that stands until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class TestMemory:
    async def test_a_password_is_remembered_as_long_as_set_and_no_longer_by_being_used(self, gate: Gate) -> None:
        gate.open()
        clock = Ticking()
        async with pool(remember_seconds=10.0, monotonic=clock) as hasher:
            assert await hasher.verify(challenge(), b"right", None) == "default"
            for _ in range(9):
                clock.now += 1.0
                assert hasher.remembered(challenge(), b"right") == "default"
            clock.now += 0.999
            assert hasher.remembered(challenge(), b"right") == "default"
            clock.now += 0.001
            assert hasher.remembered(challenge(), b"right") is None
            assert await hasher.verify(challenge(), b"right", None) == "default"
            assert hasher.remembered(challenge(), b"right") == "default"
            assert gate.calls == 2

    async def test_zero_seconds_means_never(self, gate: Gate) -> None:
        gate.open()
        async with pool(remember_seconds=0.0) as hasher:
            assert await hasher.verify(challenge(), b"right", None) == "default"
            assert hasher.remembered(challenge(), b"right") is None

    async def test_a_wrong_password_is_never_remembered(self, gate: Gate) -> None:
        gate.open()
        async with pool() as hasher:
            for number in range(10):
                wrong = b"wrong-%d" % number
                assert await hasher.verify(challenge(), wrong, None) is None
                assert hasher.remembered(challenge(), wrong) is None
            assert not hasher._remembered

    async def test_it_stands_for_this_client_secret_and_password_alone(self, gate: Gate) -> None:
        gate.open()
        async with pool() as hasher:
            await hasher.verify(challenge(b"ab", client_id="cd"), b"right", None)
            assert hasher.remembered(challenge(b"ab", client_id="cd"), b"right") == "default"
            two = Challenge(SignMode.HASHED, (secret("default", b"ab"), secret("more", b"x")), "cd", Reason.ALLOWED, 1)
            for other, password in (
                (challenge(b"ab", client_id="cd"), b"righ"),
                (challenge(b"ab", client_id="c"), b"dright"),
                (challenge(b"ab", client_id="cdr"), b"ight"),
                (challenge(b"abc", client_id="d"), b"right"),
                (challenge(b"ab", client_id="cd", name="other"), b"right"),
                (challenge(b"tab", client_id="cd", name="defaul"), b"right"),
                (two, b"right"),
            ):
                assert hasher.remembered(other, password) is None, (other, password)

    async def test_it_is_bounded_and_forgets_the_oldest(self, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        gate.open()
        monkeypatch.setattr(hashing, "MAX_REMEMBERED", 5)
        async with pool() as hasher:
            for number in range(12):
                await hasher.verify(challenge(client_id=str(number)), b"right", None)
                assert len(hasher._remembered) <= 5
            known = [n for n in range(12) if hasher.remembered(challenge(client_id=str(n)), b"right")]
            assert known == [7, 8, 9, 10, 11]

    async def test_what_is_kept_is_neither_password_nor_secret(self, gate: Gate) -> None:
        gate.open()
        async with pool() as first, pool() as second:
            for hasher in (first, second):
                await hasher.verify(challenge(b"canary-hash"), b"right", None)
                assert b"right" not in b"".join(hasher._remembered)
                assert "canary" not in repr(hasher._remembered)
            assert set(first._remembered).isdisjoint(second._remembered)  # a key of its own in each process


class TestThroughTheServer:
    async def test_a_remembered_password_is_not_hashed_again(
        self, serve: Serve, store: Store, counting: Counting
    ) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            for _ in range(5):
                assert await served.authenticate("c", "alice", b"right")
            assert counting.calls == 1
            for _ in range(3):
                assert not await served.authenticate("c", "alice", b"wrong")
            assert counting.calls == 4
            assert await served.authenticate("d", "alice", b"right")
            assert counting.calls == 5

    async def test_a_new_revision_that_leaves_the_identity_alone_keeps_the_memory(
        self, serve: Serve, store: Store, counting: Counting
    ) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            store.put(identity("bob", b"x"), permission("alice", "a/#"))
            served.worker.reader.poll()
            assert await served.authenticate("c", "alice", b"right")
            assert counting.calls == 1

    async def test_a_changed_secret_is_asked_for_at_once(self, serve: Serve, store: Store, counting: Counting) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            store.put(hashed("alice", b"new"))
            served.worker.reader.poll()
            assert not await served.authenticate("c", "alice", b"right")
            assert await served.authenticate("c", "alice", b"new")
            assert counting.calls == 3

    async def test_a_removed_secret_is_forgotten_while_the_other_stays(
        self, serve: Serve, store: Store, counting: Counting
    ) -> None:
        old, new = (hash_of(name, name.encode()) for name in ("old", "new"))
        store.put(hashed("alice", secrets=(old, new)))
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"old")
            assert await served.authenticate("c", "alice", b"new")
            store.put(hashed("alice", secrets=(new,)))
            served.worker.reader.poll()
            assert not await served.authenticate("c", "alice", b"old")
            assert await served.authenticate("c", "alice", b"new")
            assert counting.calls == 4

    async def test_a_removed_identity_is_forgotten(self, serve: Serve, store: Store) -> None:
        alice = hashed("alice")
        store.put(alice)
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            store.remove(alice)
            served.worker.reader.poll()
            assert not await served.authenticate("c", "alice", b"right")

    async def test_an_identity_or_secret_that_expires_is_not_saved_by_the_memory(
        self, serve: Serve, store: Store
    ) -> None:
        now = 1_900_000_000_000
        dated = replace(hash_of("dated", b"right"), expires_at=now + 1000)
        lasting = hash_of("lasting", b"other")
        store.put(
            hashed("whole", expires_at=now + 1000),
            hashed("half", secrets=(dated, lasting)),
        )
        clock = {"now": now}
        async with serve(clock=lambda: clock["now"]) as served:
            for expected in (True, True, False):
                for username in ("whole", "half"):
                    assert await served.authenticate("c", username, b"right") is expected, (clock, username)
                clock["now"] += 999 if clock["now"] == now else 1
            assert await served.authenticate("c", "half", b"other")

    async def test_a_blacklisted_client_is_not_saved_by_the_memory(self, serve: Serve, store: Store) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            store.put(BlacklistEntry(instance="mqtt-test", client_id="c", source="policy"))
            served.worker.reader.poll()
            assert not await served.authenticate("c", "alice", b"right")

    async def test_a_full_queue_is_denied_at_once_and_the_rest_is_answered(
        self, serve: Serve, store: Store, gate: Gate
    ) -> None:
        store.put(hashed("alice"), permission("alice", "a/#"))
        async with serve(hash_threads=1, hash_queue=2) as served:
            tasks = [asyncio.create_task(served.authenticate(f"c{n}", "alice", b"right")) for n in range(3)]
            await gate.until_begun()
            await until(lambda: served.worker.hashing.waiting == 3)
            assert not await served.authenticate("c9", "alice", b"right")
            assert await served.authorize("c9", "alice", "PUBLISH", "a/b")
            assert not any(task.done() for task in tasks)
            gate.open()
            assert await asyncio.gather(*tasks) == [True] * 3

    async def test_a_call_that_is_cancelled_leaves_nothing_behind(self, serve: Serve, store: Store, gate: Gate) -> None:
        store.put(hashed("alice"))
        async with serve(hash_threads=1, hash_queue=50) as served:
            tasks = [asyncio.create_task(served.authenticate(f"c{n}", "alice", b"right")) for n in range(20)]
            await gate.until_begun()
            await until(lambda: served.worker.hashing.waiting == 20)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            gate.open()
            await until(lambda: served.worker.hashing.waiting == 0)
            assert await served.authenticate("c", "alice", b"right")


class TestChangesMeanwhile:
    """The store moves on while a hash is being verified: what is answered is what holds then."""

    async def test_who_is_removed_meanwhile_is_denied(self, serve: Serve, store: Store, gate: Gate) -> None:
        alice = hashed("alice")
        store.put(alice)
        async with serve() as served:
            answer = asyncio.create_task(served.authenticate("c", "alice", b"right"))
            await gate.until_begun()
            store.remove(alice)
            served.worker.reader.poll()
            gate.open()
            assert await answer is False

    async def test_who_expires_meanwhile_is_denied(self, serve: Serve, store: Store, gate: Gate) -> None:
        now = 1_900_000_000_000
        clock = {"now": now}
        store.put(hashed("alice", expires_at=now + 1))
        async with serve(clock=lambda: clock["now"]) as served:
            answer = asyncio.create_task(served.authenticate("c", "alice", b"right"))
            await gate.until_begun()
            clock["now"] += 1
            gate.open()
            assert await answer is False

    async def test_a_secret_changed_meanwhile_is_tried_anew(
        self, serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            changing = _Changing(store, served, [b"other", b"right"])
            monkeypatch.setattr(hashing, "verify", changing)
            assert await served.authenticate("c", "alice", b"right")
            assert changing.calls == 3
            changing.passwords = [b"other"]
            assert not await served.authenticate("d", "alice", b"right")

    async def test_who_changes_at_every_try_is_denied_in_the_end(
        self, serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(hashed("alice"))
        async with serve() as served:
            changing = _Changing(store, served, [b"right"] * 100)
            monkeypatch.setattr(hashing, "verify", changing)
            assert not await served.authenticate("c", "alice", b"right")
            assert changing.calls == decider.MAX_ROUNDS


class _Changing:
    """Stands around `verify`: while one runs, the identity's secret changes in the store, and the worker sees it."""

    def __init__(self, store: Store, served: Served, passwords: list[bytes]) -> None:
        self.passwords = passwords
        self.calls = 0
        self._store = store
        self._served = served

    def __call__(self, mode: SignMode, secrets: Sequence[Secret], client_id: str, password: bytes) -> str | None:
        self.calls += 1
        if self.passwords:
            revision = self._store.put(hashed("alice", self.passwords.pop(0)))
            deadline = time.monotonic() + PATIENCE
            while self._served.worker.reader.revision < revision:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        return verify(mode, secrets, client_id, password)


@dataclass
class Burst:
    """Logins that a fleet sends at once, each with 300 ms to be answered."""

    channel: grpc.aio.Channel
    answers: list[bool] = field(default_factory=list)
    late: int = 0

    async def login(self, number: int) -> None:
        info = {"clientid": b"c%d" % number, "username": b"u%d" % (number % 8), "password": b"right"}
        body = MESSAGES["v3"].ClientAuthenticateRequest(clientinfo=info).SerializeToString()
        call = self.channel.unary_unary(AUTHENTICATE, None, None)(body, timeout=0.3)
        if await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            self.late += 1
        else:
            self.answers.append(Served.verdict(await call))


async def test_a_fleet_that_reconnects_is_answered_within_its_deadline(tmp_path: Path) -> None:
    """Argon2 at full cost, far more logins than can be hashed: allow or deny in time, and authorize goes on."""
    hashed = hash_password(b"right").encode()
    Store(tmp_path / "exhook.db").put(
        instance(),
        *(identity(f"u{number}", hashed, mode=SignMode.HASHED) for number in range(8)),
        permission("u0", "a/#"),
    )
    with Server(tmp_path, EXHOOK_HASH_THREADS="1") as server:
        async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
            served = Served(None, server.port, channel)  # type: ignore[arg-type] # the worker is another process
            assert await served.authorize("c", "u0", "PUBLISH", "a/b")
            bursts, took = [Burst(channel) for _ in range(6)], list[float]()
            for burst in bursts:
                # Client ids of its own: what was remembered does not help.
                logins = asyncio.gather(*(burst.login(id(burst) + number) for number in range(40)))
                while not logins.done():
                    began = time.monotonic()
                    assert await served.authorize("c", "u0", "PUBLISH", "a/b")
                    took.append(time.monotonic() - began)
                    await asyncio.sleep(0.01)
                await logins
                assert len(burst.answers) + burst.late == 40
        # A shared machine may stand still for a while; who sheds too late is late each time.
        assert sum(burst.late == 0 for burst in bursts) >= 4, [burst.late for burst in bursts]
        assert {True, False} == {answer for burst in bursts for answer in burst.answers}
        reasons = {line["reason"] for line in server.events("decision", hook="authenticate")}
        assert reasons == {"overloaded"}
        assert statistics.median(took) < 0.1
