"""`exhook mosquitto build-plugin` and `exhook mosquitto config`."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from commands_under_test import Exhook
from mosquitto_under_test import Broker, Deciding, RawMqtt, needs_compiler, needs_mosquitto, user
from server_under_test import HOST
from worker_under_test import Store, instance

from exhook.brokers.mosquitto import build
from store.sync.exit_codes import ExitCode


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@needs_compiler
def test_the_plugin_is_built_and_put_in_place(exhook: Exhook, tmp_path: Path) -> None:
    said = exhook("mosquitto", "build-plugin")
    assert (said.code, said.err) == (0, "")
    made = tmp_path / "mosquitto_exhook.so"
    assert said.out.startswith("the plugin is mosquitto_exhook.so")
    # Readable for the broker, which is another user.
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert [one.name for one in tmp_path.iterdir()] == ["mosquitto_exhook.so"]
    build.check(made)
    # In a process of its own: here a plugin of this name is loaded.
    named = [line.split()[-1] for line in _symbols(made)]
    assert {name for name in named if not name.startswith("_")} == {
        "exhook_plugin_version",
        "mosquitto_plugin_version",
        "mosquitto_plugin_init",
        "mosquitto_plugin_cleanup",
    }


def _symbols(made: Path) -> list[str]:
    found = subprocess.run(["nm", "-D", "--defined-only", made], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_without_a_compiler_one_sentence_says_what_to_install(exhook: Exhook, tmp_path: Path) -> None:
    said = exhook("mosquitto", "build-plugin", PATH=str(tmp_path))
    assert said.code == ExitCode.USAGE
    assert "there is no C compiler here" in said.err
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_leaves_the_old_plugin(exhook: Exhook, tmp_path: Path) -> None:
    compiler = tmp_path / "bad-cc"
    compiler.write_text("#!/bin/sh\necho 'bad-cc: on fire' >&2\nexit 1\n")
    compiler.chmod(0o755)
    old = tmp_path / "mosquitto_exhook.so"
    old.write_bytes(b"old")
    said = exhook("mosquitto", "build-plugin", CC=str(compiler))
    assert said.code == ExitCode.USAGE
    assert "bad-cc: on fire" in said.err
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("made", ["", "not a library"], ids=["nothing", "garbage"])
def test_what_does_not_load_is_not_put_in_place(exhook: Exhook, tmp_path: Path, made: str) -> None:
    compiler = tmp_path / "bad-cc"
    into = 'while [ "$1" != -o ]; do shift; done; '
    compiler.write_text(f"#!/bin/sh\n{into}printf '{made}' > \"$2\"\n")
    compiler.chmod(0o755)
    said = exhook("mosquitto", "build-plugin", "-o", "out.so", CC=str(compiler))
    assert said.code == ExitCode.USAGE
    assert "does not load" in said.err
    assert not (tmp_path / "out.so").exists()


@needs_compiler
def test_a_place_that_cannot_be_written_to(exhook: Exhook) -> None:
    said = exhook("mosquitto", "build-plugin", "-o", "/nonesuch/plugin.so")
    assert said.code == ExitCode.USAGE
    assert said.err == ("/nonesuch/plugin.so: cannot be written (No such file or directory); name another file by -o\n")


def test_the_least_configuration(exhook: Exhook) -> None:
    lines = [line for line in exhook("mosquitto", "config").out.splitlines() if not line.startswith("#")]
    assert lines == [
        "listener 1883 127.0.0.1",
        "allow_anonymous false",
        "plugin /usr/local/lib/mosquitto_exhook.so",
        "plugin_opt_address 127.0.0.1:9000",
    ]


def test_every_option_becomes_a_line(exhook: Exhook) -> None:
    flags = {
        "address": "[::1]:9000", "instance": "mqtt-b", "node": "edge", "auth": "certificate", "read-check": "on",
        "cache-size": "5", "cache-seconds": "7", "deadline-ms": "500",
    }  # fmt: skip
    out = exhook("mosquitto", "config", *(part for name, value in flags.items() for part in (f"--{name}", value))).out
    for name, value in flags.items():
        assert f"plugin_opt_{name.replace('-', '_')} {value}\n" in out
    assert "require_certificate true\n" in out


@pytest.mark.parametrize("flag", ["--instance", "--address", "--listener", "--plugin"])
def test_a_line_is_one_line(exhook: Exhook, flag: str) -> None:
    said = exhook("mosquitto", "config", flag, "x\nallow_anonymous true")
    assert said.code == ExitCode.USAGE
    assert said.out == ""
    assert "give one line of text" in said.err


@needs_mosquitto
def test_the_configuration_works_as_it_is_printed(exhook: Exhook, tmp_path: Path, mosquitto_plugin: Path) -> None:
    store = Store(tmp_path / "exhook.db")
    store.put(instance(), *user("alice", "both a/#"))
    with Deciding(store, tmp_path) as server:
        flags = ("--plugin", str(mosquitto_plugin), "--address", f"{HOST}:{server.port}", "--cache-size", "9")
        printed = exhook("mosquitto", "config", "--listener", f"1999 {HOST}", *flags).out
        with Broker(tmp_path, printed.replace("1999", "{port}")) as broker, RawMqtt(broker.port) as client:
            assert client.connect("c1", "alice", b"pw-alice") == bytes.fromhex("20020000")


def test_the_source_is_in_the_wheel() -> None:
    """Everything that is compiled stands in the package."""
    folder = Path(build.__file__).parent / build.SOURCE
    assert {"plugin.c", "abi.h"} <= {one.name for one in folder.iterdir()}
    assert not [one for one in folder.iterdir() if one.suffix not in (".c", ".h")]
    assert sys.platform != "linux" or os.access(folder, os.R_OK)
