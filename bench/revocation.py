"""From a revocation to the end of the session: `python bench/revocation.py [--quick]` prints a table.

A real server with two workers, which a Mosquitto with the plugin and an EMQX cluster ask and obey. The Mosquitto is a
real one, with an MQTT client on it that loses its right: its end is the DISCONNECT at the client's socket. EMQX's is
the DELETE call at its API, answered as EMQX does in this process. Three beginnings: the COMMIT of a blacklist entry,
the start of the command `exhook-sync apply`, and the end of writing a file that `exhook serve --policy` watches.
"""

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from mosquitto_brokers import HOST, Way, broker
from tables import Table, percentile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "exhook"))

from emqx_api_under_test import EmqxApiUnderTest, Session

from exhook.brokers.mosquitto.build import FILE, build
from exhook.brokers.mosquitto.configuration import PluginOptions, configuration
from exhook.brokers.mosquitto.running import why_not
from exhook.settings import PREFIX
from store.clock import now_ms
from store.database import Database
from store.records import BlacklistEntry
from store.revocations import Revocations
from store.runtime import Runtime, path_beside
from store.seal import SealKeys

INSTANCE: Final = "mqtt-bench"
USERNAME: Final = "u"
PASSWORD: Final = "secret"
GIVE_UP_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.0005
DISCONNECT: Final = 0xE0
APPLIED: Final = "policy.yaml"
WATCHED: Final = "watched.yaml"
_HEAD: Final = "format: exhook/v1\nsource: {source}\ndefaults: {{instance: mqtt-bench}}\n"
_USER: Final = "identities:\n  - {username: u, sign_mode: origin, secret: {env: EXHOOK_SECRET_U}}\n"


@dataclass
class Rig:
    """All that runs."""

    folder: Path
    api: EmqxApiUnderTest
    mqtt_port: int | None
    """Mosquitto's; None where it cannot run here."""


@dataclass(frozen=True)
class Took:
    """Seconds from the beginning to the end of the session, at each broker, of one revocation."""

    emqx: float
    mosquitto: float | None


def run(commits: int, applies: int, edits: int) -> Table:
    """Revoke one client after the other, and see when its session is ended."""
    table = Table(
        "From a revocation to the end of the session, 2 workers",
        ("from", "to", "n", "p50 ms", "p99 ms", "max ms"),
        "One client each, blacklisted. EMQX's API answers in this very process.",
    )
    with rig() as made:
        if made.mqtt_port is None:
            table.note += f" Without Mosquitto: {why_not()}."
        _add(table, "COMMIT of a write", [_commit(made, number) for number in range(commits)])
        _add(table, "start of `exhook-sync apply`", [_apply_one(made, number) for number in range(applies)])
        _add(table, "edit of a watched policy", [_edit(made, number) for number in range(edits)])
        right = [f"commit-{n}" for n in range(commits)] + [f"apply-{n}" for n in range(applies)]
        table.check(made.api.disconnected, right + [f"edit-{n}" for n in range(edits)])
    return table


@contextmanager
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="exhook-bench-")))
        api = stack.enter_context(EmqxApiUnderTest())
        _write(folder, APPLIED, [])
        _write(folder, WATCHED, [])
        assert _command(folder).wait() == 0
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        server = _start(folder, api, port)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        _until(lambda: _is_ready(folder))
        if why_not():
            yield Rig(folder, api, None)
            return
        way = Way("exhook", lambda _, __: _lines(folder, port))
        yield Rig(folder, api, stack.enter_context(broker(way, folder / "mosquitto")))


def _lines(folder: Path, port: int) -> str:
    build(folder / FILE)
    printed = configuration(folder / FILE, PluginOptions(address=f"{HOST}:{port}", deadline_ms=5000))
    return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith("listener "))


def _add(table: Table, beginning: str, took: list[Took]) -> None:
    on_mosquitto = [one.mosquitto for one in took if one.mosquitto is not None]
    if on_mosquitto:
        table.add(beginning, "DISCONNECT at the client of Mosquitto", len(on_mosquitto), *_spread(on_mosquitto))
    table.add(beginning, "DELETE at EMQX's API", len(took), *_spread([one.emqx for one in took]))


def _commit(made: Rig, number: int) -> Took:
    client_id = f"commit-{number}"
    with _connected(made, client_id) as client:
        entry = BlacklistEntry(instance=INSTANCE, client_id=client_id, source="bench-commits")
        with Database.open(made.folder / "exhook.db", SealKeys()) as database:
            with database.writing(actor="bench", source="bench", now_ms=now_ms()) as write:
                write.put(entry)
            return _ended(made, client_id, client, time.perf_counter())


def _apply_one(made: Rig, number: int) -> Took:
    client_id = f"apply-{number}"
    with _connected(made, client_id) as client:
        _write(made.folder, APPLIED, [f"apply-{n}" for n in range(number + 1)])
        began = time.perf_counter()
        command = _command(made.folder)
        took = _ended(made, client_id, client, began)
        assert command.wait() == 0
        return took


def _edit(made: Rig, number: int) -> Took:
    client_id = f"edit-{number}"
    with _connected(made, client_id) as client:
        # At any moment between two looks at the file.
        time.sleep(0.2 * (number * 0.618 % 1))
        _write(made.folder, WATCHED, [f"edit-{n}" for n in range(number + 1)])
        return _ended(made, client_id, client, time.perf_counter())


@contextmanager
def _connected(made: Rig, client_id: str) -> Iterator[socket.socket | None]:
    """A session at both brokers."""
    made.api.join(Session(client_id, USERNAME))
    if made.mqtt_port is None:
        yield None
        return
    with socket.create_connection((HOST, made.mqtt_port), GIVE_UP_SECONDS) as client:
        texts = b"".join(len(one).to_bytes(2) + one.encode() for one in (client_id, USERNAME, PASSWORD))
        body = b"\x00\x04MQTT\x05\xc2\x00\x00\x00" + texts
        client.sendall(bytes([0x10, len(body)]) + body)
        connack = client.recv(1024)
        assert connack[0] == 0x20, connack
        assert connack[3] == 0, connack
        yield client


def _ended(made: Rig, client_id: str, client: socket.socket | None, began: float) -> Took:
    """Wait until both sessions are ended."""
    on_emqx: float | None = None
    on_mosquitto: float | None = None
    while on_emqx is None or (client is not None and on_mosquitto is None):
        if on_emqx is None and client_id in made.api.disconnected:
            on_emqx = time.perf_counter() - began
        if client is None or on_mosquitto is not None:
            time.sleep(LOOK_SECONDS)
        elif select.select([client], [], [], LOOK_SECONDS)[0]:
            on_mosquitto = time.perf_counter() - began
            assert client.recv(1024)[:1] == bytes([DISCONNECT])
        if time.perf_counter() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"{client_id} is still connected: {on_emqx=}, {on_mosquitto=}")
    return Took(on_emqx, on_mosquitto)


def _write(folder: Path, name: str, barred: list[str]) -> None:
    """A policy file, in place; the one that is applied has the user, too."""
    entries = "".join(f"  - {{client_id: {one}}}\n" for one in [f"nobody-{name}", *barred])
    user = _USER if name == APPLIED else ""
    text = f"{_HEAD.format(source=name.removesuffix('.yaml'))}{user}blacklist:\n{entries}"
    (folder / name).write_text(text, encoding="utf-8")


def _command(folder: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / "exhook-sync"
    return subprocess.Popen(
        [program, "apply", APPLIED, "--quiet"], cwd=folder, env=_environment(EXHOOK_SECRET_U=PASSWORD)
    )


def _start(folder: Path, api: EmqxApiUnderTest, port: int) -> subprocess.Popen[bytes]:
    config = folder / "exhook.toml"
    config.write_text(
        f'workers = 2\nlisten = "{HOST}:{port}"\n[[emqx]]\nname = "bench"\nurl = "{api.url}"\n'
        "calls_per_second = 1000\ndisconnects_per_second = 1000\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "exhook", "serve", "--config", "exhook.toml", "--policy", WATCHED]
    return subprocess.Popen([*command, "--log-level", "error"], cwd=folder, env=_environment(**api.environ))


def _is_ready(folder: Path) -> bool:
    if not path_beside(folder / "exhook.db").exists():
        return False
    with Runtime.open(folder / "exhook.db") as runtime:
        counts = Revocations(runtime).counts()
        return (
            len(runtime.workers()) == 2
            and "bench" in counts
            and not any(number for state, number in counts["bench"].items() if state != "done")
        )


def _environment(**more: str) -> dict[str, str]:
    unwanted = "PYTHONDONTWRITEBYTECODE"  # a command that compiles all of itself each time is not what is measured
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name != unwanted}
    return ours | more


def _until(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not held():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {GIVE_UP_SECONDS} s")
        time.sleep(LOOK_SECONDS)


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    return median(seconds) * 1e3, percentile(seconds, 0.99) * 1e3, max(seconds) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    chosen = parser.parse_args()
    table = run(5, 2, 2) if chosen.quick else run(200, 100, 100)
    print(table.markdown())
    if chosen.json:
        chosen.json.write_text(json.dumps(table.as_json(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
