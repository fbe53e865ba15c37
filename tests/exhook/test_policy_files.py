"""`exhook serve --policy`: what is written to the files is in force a moment later; what is broken changes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping, MutableSequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from server_under_test import HOST, Asker, Server, becomes, until
from worker_under_test import INSTANCE

from exhook import policy as policy_module
from exhook.policy import PolicyFiles
from exhook.settings import Settings
from store.connection import connect
from store.database import Database
from store.records import Permission
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.references import SecretSources
from store.tables import PERMISSIONS

SOON = 30.0
"""It takes half a second; the machine is shared."""

ALICE = {"EXHOOK_SECRET_ALICE": "right"}
BROKEN = "format: exhook/v1\npermissions:\n  - {username: alice, publish: [unclosed\n"
NOT_APPLIED = "policy not applied; the last good state stays in force"


def policy(topic: str, username: str = "alice") -> str:
    return f"""\
format: exhook/v1
source: plant
defaults: {{instance: {INSTANCE}}}
sync: {{prune: true}}
identities:
  - {{username: {username}, sign_mode: origin, secret: {{env: EXHOOK_SECRET_ALICE}}}}
permissions:
  - {{username: {username}, publish: ["{topic}"]}}
"""


def more(topic: str, username: str) -> str:
    """A further file of the same policy."""
    _, _, records = policy(topic, username).partition("sync: {prune: true}\n")
    return f"format: exhook/v1\n{records}"


def apply(db: Path, file: Path) -> None:
    apply_policy(db, SealKeys(), [file], SecretSources(ALICE, None))


def replace(file: Path, text: str) -> None:
    """As editors and git do it."""
    other = file.with_name(f"{file.name}.new")
    other.write_text(text)
    other.replace(file)


def test_a_file_is_applied_whenever_it_changes_and_is_not_broken(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(policy("a/#"))
    apply(tmp_path / "exhook.db", file)
    file.write_text(BROKEN)
    with (
        Server(tmp_path, "--policy", str(file), "--metrics", f"{HOST}:0", **ALICE) as server,
        Asker(server.port) as broker,
    ):
        _the_last_good_state_stands(server, broker, "a/b", why=f"{file}:3:")
        file.write_text(policy("b/#"))  # in place
        until(lambda: broker.publishes("c", "alice", "b/b"), seconds=SOON, what="the mended policy")
        _all_is_well(server, broker, "b/b", not_any_more="a/b")
        since = len(server.lines)
        replace(file, BROKEN)
        _the_last_good_state_stands(server, broker, "b/b", why=f"{file}:3:", since=since)
        replace(file, policy("c/#"))
        until(lambda: broker.publishes("c", "alice", "c/b"), seconds=SOON, what="the policy in its place")
        _all_is_well(server, broker, "c/b", not_any_more="b/b")
        since = len(server.lines)
        file.unlink()
        _the_last_good_state_stands(server, broker, "c/b", why=f"{file}: cannot be read", since=since)
        _nothing_is_said_while_nothing_changes(server)


def _the_last_good_state_stands(server: Server, broker: Asker, topic: str, *, why: str, since: int = 0) -> None:
    said = server.line(NOT_APPLIED, since, seconds=SOON)
    assert said["level"] == "error"
    assert said["why"].startswith(why)
    assert server.metrics()["exhook_policy_broken"] == 1
    assert broker.connects("c", "alice", b"right")
    assert broker.publishes("c", "alice", topic)
    assert not broker.publishes("c", "alice", "unclosed")


def _all_is_well(server: Server, broker: Asker, topic: str, *, not_any_more: str) -> None:
    assert broker.publishes("c", "alice", topic)
    assert not broker.publishes("c", "alice", not_any_more)
    until(lambda: server.metrics()["exhook_policy_broken"] == 0, seconds=SOON, what="the gauge")
    assert abs(server.metrics()["exhook_policy_last_good_timestamp_seconds"] - time.time()) < SOON


def _nothing_is_said_while_nothing_changes(server: Server) -> None:
    """The store lies beside the policy, and is written to all the time."""
    lines, reloads = len(server.lines), _reloads(server)
    time.sleep(1.2)
    assert not server.lines[lines:]
    assert _reloads(server) == reloads


def _reloads(server: Server) -> dict[str, float]:
    return {name: value for name, value in server.metrics().items() if name.startswith("exhook_policy_reloads_total")}


def test_a_folder_is_one_policy_whatever_comes_goes_or_takes_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "10-alice.yaml").write_text(policy("a/#"))
    with Server(tmp_path, "--policy", str(folder), **ALICE) as server, Asker(server.port) as broker:
        since = len(server.lines)
        (folder / "20-bob.yml").write_text(more("b/#", "bob"))
        until(lambda: broker.connects("c", "bob", b"right"), seconds=SOON, what="a file that came")
        assert broker.publishes("c", "bob", "b/b")
        assert server.line("policy in force", since)["added"] == 2
        _what_is_no_policy_is_not_read(server, folder)
        (folder / "20-bob.yml").unlink()
        until(lambda: not broker.connects("c", "bob", b"right"), seconds=SOON, what="a file that went")
        assert broker.connects("c", "alice", b"right")
        _another_folder_takes_its_place(broker, folder)
        _a_config_map_is_swapped(broker, folder)


def _what_is_no_policy_is_not_read(server: Server, folder: Path) -> None:
    lines = len(server.lines)
    (folder / "notes.txt").write_text("no policy")
    (folder / ".30-carol.yaml.swp").write_text("no policy")
    time.sleep(0.8)
    assert not server.lines[lines:]


def _another_folder_takes_its_place(broker: Asker, folder: Path) -> None:
    other = folder.with_name("other")
    other.mkdir()
    (other / "10-alice.yaml").write_text(policy("other/#"))
    folder.rename(folder.with_name("old"))
    other.rename(folder)
    until(lambda: broker.publishes("c", "alice", "other/b"), seconds=SOON, what="the folder in its place")


def _a_config_map_is_swapped(broker: Asker, folder: Path) -> None:
    """As Kubernetes does it: the files are links through a link, which alone is replaced."""
    for version in ("v1", "v2"):
        (folder / f"..{version}").mkdir()
        (folder / f"..{version}" / "10-alice.yaml").write_text(policy(f"{version}/#"))
    (folder / "..data").symlink_to("..v1")
    (folder / "10-alice.yaml").unlink()
    (folder / "10-alice.yaml").symlink_to("..data/10-alice.yaml")
    until(lambda: broker.publishes("c", "alice", "v1/b"), seconds=SOON, what="the linked file")
    (folder / "..new").symlink_to("..v2")
    (folder / "..new").replace(folder / "..data")
    until(lambda: broker.publishes("c", "alice", "v2/b"), seconds=SOON, what="the link's other target")


class TestWatch:
    """The watch alone, in this process: what is hard to time from outside."""

    lines: MutableSequence[MutableMapping[str, Any]]
    """What is logged meanwhile."""

    @asynccontextmanager
    async def _watching(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
        monkeypatch.setenv("EXHOOK_SECRET_ALICE", "right")
        monkeypatch.setattr(policy_module, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(policy_module, "RETRY_SECONDS", 0.2)
        file = folder / "policy" / "policy.yaml"
        file.parent.mkdir()
        file.write_text(policy("a/#"))
        files = PolicyFiles(Settings(db=folder / "exhook.db", policy=file), SealKeys())
        await files.apply_first()
        with structlog.testing.capture_logs() as self.lines:
            file.write_text(policy("early/#"))  # while the rest of the server starts
            watching = asyncio.create_task(files.watch())
            await self._granted(folder, "early/#")
            yield file
            assert not watching.done()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _granted(self, folder: Path, *topics: str) -> None:
        await becomes(lambda: [permission.topic for permission in granted(folder)] == list(topics))

    async def test_a_change_during_the_start_is_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with self._watching(tmp_path, monkeypatch):
            pass

    async def test_a_folder_that_goes_and_comes_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with self._watching(tmp_path, monkeypatch) as file:
            file.parent.rename(tmp_path / "away")
            await self._said("cannot be read")
            (tmp_path / "away" / file.name).write_text(policy("back/#"))
            (tmp_path / "away").rename(file.parent)
            await self._granted(tmp_path, "back/#")

    async def test_a_locked_store_is_tried_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policy_module, "apply_policy", _impatient)
        async with self._watching(tmp_path, monkeypatch) as file:
            with closing(connect(tmp_path / "exhook.db", create=False, busy_ms=0)) as other:
                other.execute("BEGIN IMMEDIATE")
                file.write_text(policy("late/#"))
                await self._said("is locked by another writer")
                other.execute("ROLLBACK")
            await self._granted(tmp_path, "late/#")

    async def test_no_error_ends_the_watch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with self._watching(tmp_path, monkeypatch) as file:
            with monkeypatch.context() as patched:
                patched.setattr(policy_module, "apply_policy", _fail)
                file.write_text(policy("b/#"))
                await self._said("bug of exhook: RuntimeError at")
            assert "canary" not in repr(self.lines)
            file.write_bytes(b"\xff\xfe\0")
            await self._said("policy.yaml:1:1")
            file.unlink()
            file.mkdir()
            await self._said("a folder without policy files")
            file.rmdir()
            file.write_text(policy("c/#"))
            await self._granted(tmp_path, "c/#")

    async def _said(self, words: str) -> None:
        await becomes(lambda: any(words in line.get("why", "") for line in self.lines if line["event"] == NOT_APPLIED))


def granted(folder: Path) -> list[Permission]:
    with Database.open(folder / "exhook.db", SealKeys()) as database:
        return list(database.records(PERMISSIONS))


def _impatient(*arguments: Any, **more: Any) -> Any:
    return apply_policy(*arguments, busy_ms=1, **more)


def _fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("canary")
