"""The whole server as a process: starts, drains, refuses to start, reloads, survives its workers, dies whole."""

import asyncio
import errno
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import argon2
import pytest
import structlog
from server_under_test import HOST, PATIENCE, Asker, Line, Server, becomes, port_of, until
from worker_under_test import CARRIERS, INSTANCE, Serve, Store, identity, permission

from exhook import processes
from exhook import worker as worker_module
from exhook.demo.clients import MqttClient
from exhook.demo.script import Login
from exhook.forking import Forked, Zygote
from exhook.processes import WorkerProcess
from exhook.server import Supervisor
from exhook.settings import Settings
from store.database import Database
from store.records import SignMode
from store.runtime import Runtime
from store.seal import SealKeys

POLICY = f"""\
format: exhook/v1
defaults: {{instance: {INSTANCE}}}
identities:
  - {{username: alice, sign_mode: origin, secret: {{env: EXHOOK_SECRET_ALICE}}}}
permissions:
  - {{username: alice, publish: ["a/#"]}}
"""
ALICE = {"EXHOOK_SECRET_ALICE": "right"}

BROKEN = f"""\
format: exhook/v1
defaults: {{instance: {INSTANCE}}}
identities:
  - {{username: alice, sign_mode: rot13, secret: {{env: EXHOOK_SECRET_ALICE}}}}
permissions:
  - {{username: alice, publish: ["a/#/b"]}}
colour: red
"""


@pytest.fixture
def filled(store: Store) -> Store:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    return store


class TestStarting:
    def test_without_store_and_policy_it_denies_all_and_says_so(self, tmp_path: Path) -> None:
        with Server(tmp_path) as server, Asker(server.port) as broker:
            assert not broker.connects("c", "alice", b"right")
            assert not broker.publishes("c", "alice", "a/b")
            assert not broker.subscribes("c", "", "#")
            server.line("decision", result="deny")
            assert "every client is denied" in server.said
        assert Database.open(tmp_path / "exhook.db", SealKeys(), create=False).revision == 0

    @pytest.mark.usefixtures("filled")
    def test_a_taken_port_is_one_sentence(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            server = Server(tmp_path, listen=f"{HOST}:{port}")
            assert server.ended() == 64
        assert not server.alive()
        assert re.fullmatch(
            rf"{HOST}:{port}: cannot listen there \(Address already in use.*\); choose another --listen\n",
            server.said.splitlines(keepends=True)[-1],
        )

    @pytest.mark.usefixtures("filled")
    def test_where_there_is_no_uvloop_it_serves_on_asyncio(self, tmp_path: Path) -> None:
        (tmp_path / "uvloop.py").write_text("raise ImportError\n")
        with (
            Server(tmp_path, "--carrier", "h2", PYTHONPATH=str(tmp_path)) as server,
            Asker(server.port) as broker,
        ):
            assert broker.connects("c", "alice", b"right")

    def test_an_address_that_others_reach_wants_insecure(self, tmp_path: Path) -> None:
        server = Server(tmp_path, listen="0.0.0.0:0")
        assert server.ended() == 64
        assert "--insecure" in server.said
        assert server.said.count("\n") == 1
        assert not server.db.exists()

    def test_a_damaged_store_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "exhook.db").write_bytes(b"no SQLite file\n" * 1000)
        server = Server(tmp_path)
        assert server.ended() == 8
        assert server.said == (f"{server.db}: is no store: not an SQLite file; name another file, or restore a copy\n")

    def test_a_broken_policy_stops_a_new_server_with_all_mistakes(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy.yaml"
        policy.write_text(BROKEN)
        server = Server(tmp_path, "--policy", str(policy), **ALICE)
        assert server.ended() == 3
        for place in ("4:34", "6:33", "7:1"):
            assert f"{policy}:{place}: " in server.said
        with Database.open(server.db, SealKeys()) as database:
            assert database.revision == 0
            assert not database.connection.execute("SELECT 1 FROM identities UNION SELECT 1 FROM instances").fetchall()
        policy.write_text(POLICY)
        with Server(tmp_path, "--policy", str(policy), **ALICE) as mended, Asker(mended.port) as broker:
            assert broker.connects("c", "alice", b"right")

    def test_metrics_on_a_taken_port_are_one_sentence_and_leave_no_process(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as taken:
            address = f"{HOST}:{taken.getsockname()[1]}"
            server = Server(tmp_path, "--metrics", address)
            assert server.ended() == 64
        assert (
            f"{address}: cannot serve metrics there (Address already in use); choose another --metrics\n" in server.said
        )
        assert not server.alive()


class TestStopping:
    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_sigterm_lets_a_call_under_way_end(self, store: Store, tmp_path: Path, carrier: str) -> None:
        slow = argon2.PasswordHasher(time_cost=10, memory_cost=65_536, parallelism=1).hash(b"right")
        store.put(identity("alice", slow.encode(), mode=SignMode.HASHED))
        with (
            Server(tmp_path, "--decisions", "all", "--carrier", carrier) as server,
            Asker(server.port) as broker,
            ThreadPoolExecutor(1) as thread,
        ):
            assert not broker.connects("c", "nobody", b"")  # connected, and quick
            asked = thread.submit(broker.connects, "c", "alice", b"right")
            time.sleep(0.1)  # the verification takes half a second
            assert not asked.done()
            server.tell(SIGTERM)
            assert asked.result() is True
            assert server.ended() == 0
            events = [line.get("event") for line in server.lines]
            assert events.index("draining") < len(events) - 1 - events[::-1].index("decision") < events.index("stopped")
            assert not server.alive()

    @pytest.mark.usefixtures("filled")
    @pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=["Ctrl-C", "systemctl stop"])
    def test_a_signal_to_all_processes_is_no_failure_of_any(self, tmp_path: Path, number: Signals) -> None:
        with Server(tmp_path, "--workers", "2", "--with-broker", "0") as server:
            assert len(server.alive()) == 5  # supervisor, zygote, workers, broker
            os.killpg(server.pid, number)
            assert server.ended() == 0
            assert not server.alive()
            assert "Traceback" not in server.said
            assert not [line for line in server.lines if line.get("level") == "error"]
            assert not list(tmp_path.glob("exhook-metrics-*"))


@pytest.mark.usefixtures("filled")
class TestWorkers:
    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_they_share_the_port_and_are_replaced_and_die_with_the_server(self, tmp_path: Path, carrier: str) -> None:
        arguments = ("--workers", "3", "--decisions", "all", "--metrics", f"{HOST}:0", "--carrier", carrier)
        with Server(tmp_path, *arguments) as server:
            assert set(server.workers()) == {"0", "1", "2"}
            self._all_answer(server)
            self._runtime_file_lists_them(server)
            self._a_second_server_is_refused(server)
            self._a_killed_one_is_replaced(server)
            server.kill()
            until(lambda: not server.alive(), seconds=15, what="the end of all processes")

    def _all_answer(self, server: Server) -> None:
        """However connections are spread, enough of them reach each worker."""
        deadline = time.monotonic() + PATIENCE
        while {line["worker"] for line in server.events("decision")} != {"0", "1", "2"}:
            assert time.monotonic() < deadline
            with Asker(server.port) as broker:
                assert broker.connects("c", "alice", b"right")

    def _runtime_file_lists_them(self, server: Server) -> None:
        runtime = Runtime.open(server.db)

        def listed() -> dict[str, int]:
            return {worker.worker: worker.pid for worker in runtime.workers()}

        until(lambda: listed() == server.workers(), what=listed)
        assert {worker.revision for worker in runtime.workers()} == {2}
        assert runtime.in_force(2)
        assert not runtime.in_force(3)
        runtime.close()

    def _a_second_server_is_refused(self, server: Server) -> None:
        second = Server(server.folder, listen=f"{HOST}:{server.port}")
        assert second.ended() == 64
        assert f"{HOST}:{server.port}: cannot listen there" in second.said

    def _a_killed_one_is_replaced(self, server: Server) -> None:
        before = server.workers()
        os.kill(before["1"], SIGKILL)
        server.line("worker died; another takes its place", worker="1", exit_code=-SIGKILL)
        until(lambda: server.workers().get("1", before["1"]) != before["1"], seconds=15, what="another worker 1")
        since = len(server.lines)

        def answered_by_it() -> list[Line]:
            with Asker(server.port) as broker:
                assert broker.connects("c", "alice", b"right")
            return server.events("decision", since, worker="1")

        until(answered_by_it, seconds=30, what="an answer of the new worker")
        after = server.workers()
        assert {name: after[name] for name in "02"} == {name: before[name] for name in "02"}


OTHER = "mqtt-other"
TENANT = '[[listeners]]\nname = "{0}"\ncluster = "mqtt-{0}"\ninstance = "mqtt-{0}"\n'


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOMEM, "Cannot allocate memory"), KeyError(7)], ids=["foreseen", "unforeseen"]
)
async def test_a_worker_is_tried_again_until_it_starts(
    filled: Store, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """What took the last one may keep the next one from starting: that must not be the end of it."""
    zygote = Zygote()
    worker, fork = WorkerProcess("0", Settings(db=filled.path, listen=f"{HOST}:0", carrier="h2"), zygote), zygote.fork
    failures: list[str] = []

    async def fails_twice(name: str, sockets: socket.socket | None = None) -> Forked:
        if len(failures) < 2:
            failures.append(name)
            raise failure
        return await fork(name, sockets)

    def out_of_descriptors(_: int) -> None:
        raise failure

    await worker.start()
    first = worker.pid
    assert first is not None
    keeping = asyncio.create_task(worker.keep())
    monkeypatch.setattr(zygote, "fork", fails_twice)
    monkeypatch.setattr(processes, "retire", out_of_descriptors)
    os.kill(first, SIGKILL)
    try:
        await becomes(lambda: worker.pid != first)
        assert len(failures) == 2
    finally:
        keeping.cancel()
        await worker.stop(0)
        await zygote.stop()


async def test_a_server_that_cannot_replace_its_processes_any_more_ends(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever started it starts another; one that went on would be there without workers some day."""

    async def fail(_: WorkerProcess) -> None:
        raise KeyError(7)

    monkeypatch.setattr(WorkerProcess, "keep", fail)
    settings = Settings(db=filled.path, listen=f"{HOST}:0", workers=1, drain_seconds=0.1)
    with structlog.testing.capture_logs() as lines, pytest.raises(KeyError):
        await Supervisor(settings, lambda: settings).run()
    assert [line["error"] for line in lines if line["event"] == "a part of the server ended"]


class TestReload:
    def test_sighup_takes_on_settings_and_policy_without_a_restart(self, tmp_path: Path) -> None:
        policy, settings = tmp_path / "elsewhere" / "policy.yaml", tmp_path / "exhook.toml"
        policy.parent.mkdir()
        policy.write_text(POLICY)
        settings.write_text('decisions = "none"\n')
        arguments = ("--config", str(settings), "--policy", str(policy), "--workers", "2")
        with Server(tmp_path, *arguments, **ALICE) as server, Asker(server.port) as broker:
            workers = server.workers()
            assert broker.connects("c", "alice", b"right")
            assert not broker.connects("c", "alice", b"wrong")
            self._decisions_are_logged(server, broker, settings)
            self._listeners_and_instance_change(server, broker, settings)
            self._broken_settings_change_nothing(server, broker, settings)
            self._the_level_rises(server, broker, settings)
            assert server.workers() == workers

    def test_settings_of_any_length_are_taken_on(self, tmp_path: Path) -> None:
        """Of one line that tells them, nothing is too long: neither for those who serve, nor for who comes later."""
        settings = tmp_path / "exhook.toml"
        settings.write_text("workers = 1\n")
        with Server(tmp_path, "--config", str(settings), "--api", f"{HOST}:0") as server:
            workers = server.workers()
            settings.write_text("".join(TENANT.format(f"tenant-{number:05d}") for number in range(1200)))
            server.tell(SIGHUP)
            for event in ("settings reloaded", "API settings reloaded"):
                server.line(event)
            assert server.workers() == workers
            os.kill(workers["0"], SIGKILL)
            until(lambda: server.workers().get("0", workers["0"]) != workers["0"], what="another worker")
            with Asker(server.port) as broker:
                assert not broker.connects("c", "nobody", b"")
            assert not server.events("worker did not start")

    async def test_a_line_that_cannot_be_taken_on_is_not_the_last(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "configure", lambda *_, **__: None)  # which would end the capture of lines
        async with serve(decisions="none") as served:
            good = served.worker.settings.model_copy(update={"decisions": "all", "log_level": "error"})

            async def told() -> AsyncIterator[str]:
                for line in ("{", '{"colour": "red"}', good.model_dump_json()):
                    yield line

            with structlog.testing.capture_logs() as lines:
                await worker_module._listen(told(), served.worker)
            assert served.worker.settings == good
        broken = "settings not reloaded; the last good ones stay in force"
        assert [line["event"] for line in lines] == [broken, broken, "settings reloaded"]

    def _reload(self, server: Server, settings: Path, text: str) -> None:
        since = len(server.lines)
        settings.write_text(text)
        server.tell(SIGHUP)
        for worker in server.workers():
            server.line("settings reloaded", since, worker=worker)
        server.line("policy in force", since)

    def _decisions_are_logged(self, server: Server, broker: Asker, settings: Path) -> None:
        assert not server.events("decision")
        self._reload(server, settings, 'decisions = "all"\ndecision_level = "warning"\n')
        assert broker.connects("c", "alice", b"right")
        assert server.line("decision", result="allow")["level"] == "warning"

    def _listeners_and_instance_change(self, server: Server, broker: Asker, settings: Path) -> None:
        rule = f'[[listeners]]\nname = "by-port"\nport = 8883\ninstance = "{INSTANCE}"\n'
        self._reload(server, settings, f'decisions = "all"\ninstance = "{OTHER}"\n{rule}')
        since = len(server.lines)
        assert not broker.connects("c", "alice", b"right")
        server.line("decision", since, reason="wrong_instance", listener="default")
        assert broker.connects("c", "alice", b"right", sockport=8883)
        server.line("decision", since, reason="allowed", listener="by-port")

    def _broken_settings_change_nothing(self, server: Server, broker: Asker, settings: Path) -> None:
        since = len(server.lines)
        for broken in ("decisions = [", 'decisions = "some"\n', "colour = 1\n"):
            before = len(server.lines)
            settings.write_text(broken)
            server.tell(SIGHUP)
            line = server.line("settings not reloaded; the last good ones stay in force", before)
            assert str(settings) in line["why"]
            server.line("policy in force", before)
        assert broker.connects("c", "alice", b"right", sockport=8883)
        assert server.line("decision", since)["listener"] == "by-port"
        assert not server.events("settings reloaded", since)

    def _the_level_rises(self, server: Server, broker: Asker, settings: Path) -> None:
        settings.write_text('log_level = "error"\ndecisions = "all"\n')
        server.tell(SIGHUP)
        # Quiet from now on; what shows is that the other instance is gone again.
        until(lambda: broker.connects("c", "alice", b"right"), what="the new settings")
        since = len(server.lines)
        assert broker.connects("c", "alice", b"right")
        time.sleep(0.1)
        assert not server.lines[since:]

    @pytest.mark.parametrize("before", [True, False], ids=["another", "none before"])
    def test_sighup_moves_the_watch_to_another_policy(self, tmp_path: Path, *, before: bool) -> None:
        first, second = tmp_path / "first.yaml", tmp_path / "second" / "policy.yaml"
        second.parent.mkdir()
        first.write_text(POLICY)
        second.write_text(POLICY.replace("a/#", "b/#"))
        settings = tmp_path / "exhook.toml"
        settings.write_text(f'policy = "{first}"\n' if before else "")
        with Server(tmp_path, "--config", str(settings), **ALICE) as server, Asker(server.port) as broker:
            assert not broker.publishes("c", "alice", "b/c")
            settings.write_text(f'policy = "{second}"\n')
            server.tell(SIGHUP)
            until(lambda: broker.publishes("c", "alice", "b/c"), what="the other policy")
            second.write_text(POLICY.replace("a/#", "c/#"))
            until(lambda: broker.publishes("c", "alice", "c/c"), what="its change")


@pytest.mark.usefixtures("filled")
class TestBroker:
    def test_real_clients_are_let_in_and_refused_and_it_dies_with_the_server(self, tmp_path: Path) -> None:
        with Server(tmp_path, "--with-broker", "0") as server:
            port = port_of(server.line("embedded broker, for trying: MQTT 3.1.1 alone"))
            with MqttClient(_login(b"right"), port) as client:
                assert client.connect()
                assert client.subscribe("a/b/#")
                assert not client.subscribe("b/#")
                client.publish("a/b/c")
                assert client.messages.get(timeout=PATIENCE) == "a/b/c"
            with MqttClient(_login(b"wrong"), port) as client:
                assert not client.connect()
            server.kill()
            until(lambda: not server.alive(), seconds=15, what="the end of all processes")
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((HOST, port), timeout=1)


def _login(password: bytes) -> Login:
    return Login("alice", "c", password)
