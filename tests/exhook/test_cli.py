"""The command line itself: help, usage, exit codes, and failures that nobody foresaw."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from commands_under_test import Exhook
from typer import Context, Typer
from typer.main import get_group

from exhook import signing
from exhook.cli import app
from exhook.commands_explain import explain_app
from exhook.commands_mosquitto import mosquitto_app
from exhook.commands_seal_key import seal_key_app
from store.sync.exit_codes import ExitCode

COMMANDS = (
    (), ("serve",), ("api",), ("demo",), ("sign",), ("settings",), ("explain",), ("explain", "connect"),
    ("explain", "publish"), ("explain", "subscribe"), ("seal-key",), ("seal-key", "new"), ("seal-key", "rotate"),
    ("access-key",), ("token",), ("token-key",), ("why",), ("status",), ("doctor",), ("revocations",), ("tail",),
    ("mosquitto",), ("mosquitto", "build-plugin"), ("mosquitto", "config"),
)  # fmt: skip


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def run(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command as a process of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")}
    return subprocess.run(
        [sys.executable, "-m", "exhook", *arguments],
        cwd=cwd,
        env=others | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_has_help_with_an_example(self, exhook: Exhook, command: tuple[str, ...]) -> None:
        pages = {exhook(*command, flag).out for flag in ("-h", "--help")}
        (page,) = pages
        assert exhook(*command, "-h").code == 0
        assert page.startswith("Usage: exhook" if not command else f"Usage: exhook {command[0]}")
        example = " ".join(page.partition("Example: ")[2].split())
        assert example.startswith(f"exhook {' '.join(command[:1])}".strip())

    def test_every_command_is_in_this_list(self) -> None:
        top = {(), *((name,) for name in _names(app))}
        explain = {("explain", name) for name in _names(explain_app)}
        keys = {("seal-key", name) for name in _names(seal_key_app)}
        assert top | explain | keys | {("mosquitto", name) for name in _names(mosquitto_app)} == set(COMMANDS)

    def test_help_needs_nothing_else_to_be_right(self, exhook: Exhook) -> None:
        for command in COMMANDS:
            said = exhook(*command, "-h", EXHOOK_WORKERS="none", EXHOOK_CONFIG="absent.toml")
            assert (said.code, said.err) == (0, "")

    def test_the_version(self, exhook: Exhook) -> None:
        said = exhook("--version")
        assert (said.code, said.out, said.err) == (0, f"exhook {version('exhook')}\n", "")


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "where", "culprit"),
        [
            (("frobnicate",), "exhook", "frobnicate"),
            (("--frobnicate",), "exhook", "--frobnicate"),
            (("serve", "--frobnicate"), "exhook serve", "--frobnicate"),
            (("serve", "surplus"), "exhook serve", "surplus"),
            (("serve", "--workers"), "exhook", "--workers"),
            (("serve", "--workers", "x"), "exhook serve", "--workers"),
            (("sign",), "exhook sign", "--username"),
            (("seal-key",), "exhook seal-key", "Missing command"),
            (("seal-key", "new"), "exhook seal-key new", "file"),
            (("seal-key", "old"), "exhook seal-key", "old"),
            (("explain",), "exhook explain", "Missing command"),
        ],
    )
    def test_one_sentence_with_the_way_to_help(
        self, exhook: Exhook, arguments: tuple[str, ...], where: str, culprit: str
    ) -> None:
        said = exhook(*arguments)
        assert (said.code, said.out) == (ExitCode.USAGE, "")
        assert said.err.count("\n") == 1
        assert said.err.startswith(f"{where}: ")
        assert said.err.endswith(f"; see {where} --help\n")
        assert culprit in said.err

    def test_alone_it_shows_its_help(self, exhook: Exhook) -> None:
        said = exhook()
        assert (said.code, said.err) == (ExitCode.USAGE, "")
        assert said.out.startswith("Usage: exhook [OPTIONS] COMMAND")

    def test_settings_that_cannot_be_are_usage(self, exhook: Exhook) -> None:
        said = exhook("serve", "--workers", "0", "--listen", "0.0.0.0:1")
        assert (said.code, said.out) == (ExitCode.USAGE, "")
        assert sorted(line.split(":")[0] for line in said.err.splitlines()) == ["--listen", "--workers"]

    @pytest.mark.parametrize(
        ("arguments", "port"),
        [
            (["serve", "--with-broker"], 1883),
            (["serve", "--with-broker", "--workers", "2"], 1883),
            (["serve", "--with-broker", "1884"], 1884),
            (["serve", "--with-broker", "0", "--workers", "2"], 0),
            (["serve", "--with-broker=1885"], 1885),
            (["serve"], None),
        ],
    )
    def test_the_brokers_port_may_be_left_out(
        self, exhook: Exhook, monkeypatch: pytest.MonkeyPatch, arguments: list[str], port: int | None
    ) -> None:
        ports = []
        monkeypatch.setattr("exhook.serving.serve", lambda load: ports.append(load().with_broker))
        assert exhook(*arguments).code == 0
        assert ports == [port]


class TestSettings:
    def test_it_shows_what_is_in_force(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "exhook.toml").write_text('decisions = "all"\nworkers = 3\n')
        said = exhook("settings", "--config", "exhook.toml", EXHOOK_WORKERS="5", EXHOOK_SECRET_X="canary-1")
        assert said.code == 0
        assert '"decisions": "all"' in said.out
        assert '"workers": 5' in said.out
        assert "canary" not in said.out

    def test_the_reference(self, exhook: Exhook) -> None:
        said = exhook("settings", "--markdown")
        assert said.out.startswith("# Settings\n")
        assert said.out.endswith("|\n")


class TestInternalErrors:
    @pytest.fixture(autouse=True)
    def _failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> str:
            secret = "canary-4242"
            raise RuntimeError(f"it broke over {secret}")

        monkeypatch.setattr(signing, "password_for", fail)

    def test_one_sentence_without_trace_or_secret(self, exhook: Exhook) -> None:
        said = exhook("sign", "--username", "u", "--client-id", "c")
        assert (said.code, said.out) == (ExitCode.INTERNAL, "")
        assert re.fullmatch(r"an internal error, which is a bug of exhook: RuntimeError at test_cli:\d+\n", said.err)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
    def test_whatever_it_is(self, exhook: Exhook, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
        def fail(*_: object) -> str:
            raise error("canary")

        monkeypatch.setattr(signing, "password_for", fail)
        said = exhook("sign", "--username", "u", "--client-id", "c")
        assert said.code == (ExitCode.INTERRUPTED if error is KeyboardInterrupt else ExitCode.INTERNAL)
        assert said.err.count("\n") == (error is MemoryError)
        assert "canary" not in said.err


class TestProcess:
    """What only a process of its own shows."""

    def test_exit_codes_reach_the_shell(self, tmp_path: Path) -> None:
        for arguments, code in (
            (["--version"], 0),
            (["frobnicate"], 64),
            (["explain", "--client-id", "c", "connect"], 2),
        ):
            done = run(*arguments, cwd=tmp_path)
            assert done.returncode == code, done
            assert "Traceback" not in done.stderr

    def test_without_the_extra_the_demo_says_what_to_install(self, tmp_path: Path) -> None:
        """Run in a process that cannot import the packages, as on a machine that has not got them."""
        code = """
import sys
hidden = set()
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from exhook.cli import run
for hidden in ({"amqtt"}, {"paho"}, {"amqtt", "paho"}):
    assert run(["demo", "--broker", "embedded"]) == 64
"""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, ""), done
        assert done.stderr.splitlines() == [
            f"exhook demo needs {named}: pip install 'exhook[broker]'"
            for named in ("amqtt", "paho-mqtt", "amqtt and paho-mqtt")
        ]

    def test_what_needs_no_broker_runs_without_the_extra(self, tmp_path: Path) -> None:
        code = """
import sys
sys.modules["amqtt"] = sys.modules["paho"] = None
from exhook.cli import run
sys.exit(run(["settings"]))
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done


def _names(commands: Typer) -> set[str]:
    group = get_group(commands)
    return set(group.list_commands(Context(group)))
