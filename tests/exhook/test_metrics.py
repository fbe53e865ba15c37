"""Metrics of all processes of a server, summed; their labels are closed sets, and nobody is named in them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from signal import SIGKILL
from typing import Final

import grpc
import pytest
from grpc_health.v1 import health_pb2
from server_under_test import HOST, PATIENCE, Asker, Server, failed, one_of_each, samples, until
from worker_under_test import INSTANCE, Store, identity, instance, permission, secret

from exhook import metrics
from exhook.transport.call import Status
from exhook.transport.limits import Breach
from store.decision import Reason

CANARIES: Final = ("canary-user", "canary-client", "canary-password", "canary-topic", "canary-cn", "203.0.113.77")
LABELS: Final = {
    "hook": {"authenticate", "authorize", "publish", "subscribe"},
    "result": {"allow", "deny", "pass", "good", "broken", "hit", "miss"},
    "reason": {reason.value for reason in Reason},
    "worker": {"0", "1"},
    "instance": {INSTANCE},
    "identity": {"fleet"},
    "secret": {"new", "old"},
    "kind": {*(breach.value for breach in Breach), "refused", "no_message"},
    "what": {"worker"},
    "why": {"sampled", "unwritable"},
    "le": {"0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "+Inf"},
}
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("metrics") / "exhook.db")
    rotating = (secret("new", b"right"), secret("old", b"wrong"))
    made.put(
        instance(),
        identity("alice", b"right"),
        permission("alice", "a/#"),
        identity("bob", id="fleet", secrets=rotating),
        identity("carol", secrets=rotating),
        identity("dave", b"right", id="dave"),
    )
    return made


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Server]:
    with Server(store.path.parent, "--workers", "2", "--metrics", f"{HOST}:0", "--decisions", "all") as served:
        yield served


def decided(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """By how much each count of decisions grew."""
    grown = {name: after[name] - before.get(name, 0) for name in after if name.startswith("exhook_decisions_total")}
    return {name: count for name, count in grown.items() if count}


def sample(hook: str, result: str, reason: str) -> str:
    return f'exhook_decisions_total{{hook="{hook}",reason="{reason}",result="{result}"}}'


def ask(broker: Asker) -> None:
    broker.connects("c", "alice", b"right")
    broker.connects("c", "alice", b"wrong")
    broker.publishes("c", "alice", "a/b")
    broker.subscribes("c", "alice", "b/#")


ONCE = {
    sample("authenticate", "allow", "allowed"),
    sample("authenticate", "deny", "wrong_password"),
    sample("publish", "allow", "allowed"),
    sample("subscribe", "deny", "no_match"),
}


def test_counters_sum_over_workers_and_outlive_them(server: Server) -> None:
    with one_of_each(server) as brokers:
        before = server.metrics()
        for broker in brokers.values():
            ask(broker)
        assert decided(before, server.metrics()) == dict.fromkeys(ONCE, len(brokers))
    workers = server.workers()
    os.kill(workers["0"], SIGKILL)
    until(lambda: server.workers().get("0", workers["0"]) != workers["0"], what="another worker 0")
    after = server.metrics()
    assert decided(before, after) == dict.fromkeys(ONCE, len(brokers))
    assert after['exhook_process_deaths_total{what="worker"}'] == 1
    assert not list(server.folder.glob(f"exhook-metrics-*/*_{workers['0']}.db"))


def test_each_answer_is_timed(server: Server) -> None:
    with Asker(server.port) as broker:
        before = server.metrics()
        ask(broker)
        after = server.metrics()
    for hook, count in (("authenticate", 2), ("publish", 1), ("subscribe", 1)):
        name = f'exhook_decision_seconds_count{{hook="{hook}"}}'
        assert after[name] - before.get(name, 0) == count
        assert 0 < after[f'exhook_decision_seconds_sum{{hook="{hook}"}}'] < PATIENCE


def test_the_revision_is_that_of_each_worker(server: Server, store: Store) -> None:
    def revisions() -> dict[str, float]:
        return {name: value for name, value in server.metrics().items() if name.startswith("exhook_store_revision")}

    for topic in ("r/1", "r/2"):
        revision = float(store.put(permission("alice", topic)))
        wanted = {f'exhook_store_revision{{worker="{name}"}}': revision for name in server.workers()}
        until(partial(_same, revisions, wanted), what=revisions)


def _same(found: Callable[[], object], wanted: object) -> bool:
    return found() == wanted


def test_labels_are_closed_sets_and_nobody_is_named(server: Server) -> None:
    user, client, password, topic, cn, address = CANARIES
    with Asker(server.port) as broker:
        broker.connects(client, user, password.encode(), cn=cn.encode(), peerhost=address)
        broker.connects("c", "alice", password.encode())
        broker.publishes(client, user, topic)
        broker.publishes("c", "alice", topic)
        broker.subscribes(client, "alice", f"{topic}/#", cn=cn.encode())
        broker.publishes("c", "alice", f"\0{topic}")
        for name in ("bob", "carol", "dave"):
            broker.connects(client, name, b"right")
            broker.connects(client, name, b"wrong")
            broker.connects(client, name, password.encode())
    text = server.metrics_text()
    assert not [word for word in (*CANARIES, "alice", "bob", "carol", "dave") if word in text]
    found = {(name, value) for name in samples(text) for name, value in _LABEL.findall(name)}
    assert {name for name, _ in found} == set(LABELS)
    assert not {(name, value) for name, value in found if value not in LABELS[name]}


def last_used(server: Server, name: str) -> float:
    labels = f'identity="fleet",instance="{INSTANCE}",secret="{name}"'
    return server.metrics().get(f"exhook_secret_last_used_timestamp_seconds{{{labels}}}", 0)


def test_the_last_use_of_a_secret_is_that_of_any_worker(server: Server) -> None:
    with one_of_each(server) as brokers:
        for broker in brokers.values():
            before = time.time()
            unused = last_used(server, "old")
            assert broker.connects("c", "bob", b"right")
            assert not broker.connects("c", "bob", b"no password")
            assert before <= last_used(server, "new") <= time.time()
            assert last_used(server, "old") == unused
        assert brokers["0"].connects("c", "bob", b"wrong")
        assert last_used(server, "old") >= before
    workers, then = server.workers(), last_used(server, "old")
    os.kill(workers["0"], SIGKILL)
    until(lambda: server.workers().get("0", workers["0"]) != workers["0"], what="another worker 0")
    assert last_used(server, "old") == then


def test_the_secrets_that_are_told_of_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_USED", {})
    monkeypatch.setattr(metrics, "MAX_SECRETS", 3)
    for number in range(5):
        metrics.used(identity("u", b"k", id=f"u{number}"), "default", 1.0)
    assert [name for _, name, _ in metrics._USED] == ["u0", "u1", "u2"]
    metrics.used(identity("u", b"k", id="u0"), "default", 2.0)
    told = [sample.value for family in metrics.SECRET_USED.collect() for sample in family.samples]
    assert told == [2.0, 1.0, 1.0]
    metrics.SECRET_USED.clear()


def test_calls_that_were_not_answered_are_counted(server: Server) -> None:
    name = 'exhook_carrier_errors_total{kind="refused"}'
    before = server.metrics().get(name, 0)
    with Asker(server.port) as broker, pytest.raises(grpc.RpcError) as refused:
        broker.call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="none").SerializeToString())
    assert failed(refused.value) is Status.NOT_FOUND
    assert server.metrics()[name] == before + 1


def test_errors_of_ours_are_none(server: Server) -> None:
    found = server.metrics()
    assert found["exhook_hook_errors_total"] == 0
    assert found["exhook_shed_total"] == 0
    assert found["exhook_half_open_calls_total"] == 0


def test_what_is_written_at_once_is_what_the_library_would_have_observed() -> None:
    """In a process of its own, since metrics are global."""
    program = """
from prometheus_client import CollectorRegistry, Histogram
from exhook import metrics
from store.decision import Decision, Reason
seen = [0.0, 0.00005, 0.0001, 0.00010001, 0.003, 0.05, 0.7, 5.0, 5.1, 1000.0] * 3
registry = CollectorRegistry()
other = Histogram("exhook_decision_seconds", "", ["hook"], buckets=metrics._BOUNDS, registry=registry).labels("publish")
for round in range(2):
    for seconds in seen:
        other.observe(seconds)
        metrics.count("publish", Decision(True, Reason.ALLOWED, revision=1), seconds)
    metrics.write()
    metrics.write()
    (ours,) = metrics.SECONDS.collect()
    (theirs,) = next(iter(registry.collect())),
    wanted = {(one.name, tuple(one.labels.items())): one.value for one in theirs.samples if "created" not in one.name}
    found = {(one.name, tuple(one.labels.items())): one.value for one in ours.samples if "created" not in one.name}
    assert found.keys() == wanted.keys(), (found, wanted)
    assert all(abs(found[name] - wanted[name]) < 1e-6 for name in wanted), (found, wanted)
    counted = [one.value for one in next(iter(metrics.DECISIONS.collect())).samples if one.name.endswith("_total")]
    assert counted == [len(seen) * (round + 1)], counted
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)
