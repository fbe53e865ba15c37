"""A policy is applied while a server decides: by the old revision, then by the new one, and never by something between.

Real processes on both sides: `exhook serve` with two workers asked over gRPC, and `exhook-sync apply`.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count, groupby
from pathlib import Path
from typing import Any, Self

import pytest
from server_under_test import PATIENCE, Asker, Server, one_of_each
from worker_under_test import INSTANCE

from store.clock import now_ms
from store.connection import connect
from store.runtime import Runtime

COMMAND = Path(sys.executable).with_name("exhook-sync")
CLIENTS = 250
FLIPS = 2
RIGHT = b"right"


def flipped(side: str) -> Iterator[dict[str, Any]]:
    """Permissions that say the same in two ways, spread over what a worker caches apart: its user and its client.

    Of each client, one grant and one denial change hands. Who mixes the two sides finds a client without its grant,
    or without its denial.
    """
    yield {"everyone": True, "publish": ["d/#", f"at/{side}"]}
    for number in range(CLIENTS):
        user, client = {"username": f"u{number}"}, {"client_id": f"c{number}"}
        granted, denied = (user, client) if side == "A" else (client, user)
        yield {**granted, "publish": [f"t/{number}"]}
        yield {**denied, "deny": {"publish": [f"d/{number}"]}}


def policy(folder: Path, permissions: Iterator[dict[str, Any]], users: int, source: str = "plant") -> Path:
    folder.mkdir()
    (folder / "permissions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in permissions))
    entry = {"sign_mode": "origin", "secret": {"literal": RIGHT.decode()}}
    named = (json.dumps({"username": f"u{number}", **entry}) for number in range(users))
    (folder / "identities.jsonl").write_text("".join(f"{one}\n" for one in named))
    path = folder / "policy.yaml"
    included = "".join(f"  - {name}: {name}.jsonl\n" for name in (["identities"] if users else []) + ["permissions"])
    path.write_text(
        f"format: exhook/v1\nsource: {source}\ndefaults: {{instance: {INSTANCE}}}\nsync: {{prune: true}}\n"
        f"include:\n{included}"
    )
    return path


def applying(db: Path, document: Path, *more: str, stdout: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    command = [str(COMMAND), "apply", str(document), "--db", str(db), "--max-removals", "9999", *more]
    others = {name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, env=others)


def applied(db: Path, document: Path) -> dict[str, int]:
    """Apply it; how much was added, changed, removed."""
    process = applying(db, document, "--json", stdout=subprocess.PIPE)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    summary: dict[str, int] = json.loads(said)["summary"]
    return summary


class Watching:
    """Asks one worker until it is told to stop; what it was answered that it should not have been."""

    def __init__(self, broker: Asker, seed: int) -> None:
        self.wrong: list[str] = []
        self.sides: list[str] = []
        """By which side it answered, answer by answer."""
        self._broker = broker
        self._random = random.Random(seed)  # noqa: S311 - reproducible, no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            number = self._random.randrange(CLIENTS)
            client, user = f"c{number}", f"u{number}"
            if not self._broker.publishes(client, user, f"t/{number}"):
                self.wrong.append(f"{client} has no grant")
            if self._broker.publishes(client, user, f"d/{number}"):
                self.wrong.append(f"{client} has no denial")
            self.sides.append("A" if self._broker.publishes(client, user, "at/A") else "B")
            self.sides.append("B" if self._broker.publishes(client, user, "at/B") else "A")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def watched(brokers: Mapping[str, Asker]) -> Iterator[list[Watching]]:
    watching = [Watching(broker, seed) for seed, broker in enumerate(brokers.values())]
    with watching[0], watching[1]:
        yield watching


@pytest.mark.timeout(240)
def test_a_plan_of_a_thousand_changes_is_in_force_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    db = tmp_path / "exhook.db"
    documents = {side: policy(tmp_path / side, flipped(side), CLIENTS) for side in "AB"}
    applied(db, documents["A"])
    with (
        Server(tmp_path, "--workers", "2", "--decisions", "all") as server,
        one_of_each(server) as brokers,
        watched(brokers) as watching,
    ):
        for side in ["B", "A"] * (FLIPS // 2):
            summary = applied(db, documents[side])
            assert summary["add"] + summary["change"] + summary["remove"] >= 1_000
        seen = [len(one.sides) for one in watching]
        # The last side arrives, too.
        while any(len(one.sides) < already + 20 for one, already in zip(watching, seen, strict=True)):
            assert server.process.poll() is None
            threading.Event().wait(0.01)
    for one in watching:
        assert one.wrong == []
        assert [side for side, _ in groupby(one.sides)] == ["A", *(["B", "A"] * (FLIPS // 2))]
    for worker in brokers:
        revisions = [line["revision"] for line in server.events("decision", worker=worker)]
        assert revisions == sorted(revisions)
        assert set(revisions) == set(range(1, FLIPS + 2))


def locked(other: sqlite3.Connection) -> bool:
    """Whether somebody holds a write transaction now."""
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    other.execute("ROLLBACK")
    return False


@pytest.mark.timeout(240)
def test_clients_connect_while_a_long_apply_holds_the_store(tmp_path: Path) -> None:
    db = tmp_path / "exhook.db"
    applied(db, policy(tmp_path / "small", flipped("A"), CLIENTS))
    many = ({"username": f"v{number}", "publish": [f"v/{number}"]} for number in range(8_000))
    large = policy(tmp_path / "large", many, 0, source="other")
    meanwhile = 0
    with (
        Server(tmp_path, "--workers", "2", "--decisions", "all") as server,
        one_of_each(server) as brokers,
        closing(connect(db, create=False, busy_ms=0)) as other,
        Runtime.open(db) as runtime,
        applying(db, large) as process,
    ):
        for number in count():
            if process.poll() is not None:
                break
            held = locked(other)
            for broker in brokers.values():
                # A client not seen before, and a user seldom seen: both are read from the file.
                assert broker.connects(f"new-{number}", f"u{number % CLIENTS}", RIGHT)
                assert not broker.connects(f"new-{number}", f"u{number % CLIENTS}", b"wrong")
            runtime.report("test", os.getpid(), 1, now_ms())
            meanwhile += held and locked(other)
        assert process.wait(PATIENCE) == 0
        # Both workers follow: they were neither starved nor did they starve the writer.
        for broker in brokers.values():
            deadline = now_ms() + PATIENCE * 1000
            while not broker.publishes("c", "u1", "at/A") and now_ms() < deadline:
                pass
        assert server.process.poll() is None
    assert meanwhile > 3
