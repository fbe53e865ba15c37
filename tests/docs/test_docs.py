"""The documentation does what it says: its commands are run, its policies are loaded, its links lead somewhere."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from pages import PAGES, ROOT, Block, Command, all_commands, anchors, blocks, commands, prose, spans, steps

from exhook.brokers.mosquitto.build import compiler
from exhook.cli import app as exhook_app
from exhook.settings import Settings, load_settings
from store.sync.cli import app as sync_app
from store.sync.document import load_policy
from store.sync.late import whole

BIN: Final = Path(sys.executable).parent
OURS: Final = {"exhook": whole(exhook_app), "exhook-sync": whole(sync_app)}
NOT_RUN: Final = {
    "make": "it would run this test",
    "docker": "it needs Docker and images",
    "pipx": "it needs a package index",
    "systemctl": "it needs systemd and root",
    "install": "it needs root",
    "apt": "it needs root, and a package index",
    "exhook mosquitto config | sudo": "it needs root",
    "exhook demo --against": "it needs an EMQX cluster",
}
"""Commands that are not run, by how they begin, and why."""

GIT: Final = "git"
"""Run, too, for policies are kept in it."""

BROKERS: Final = ("mosquitto_pub", "mosquitto_sub")
"""Commands of Mosquitto's, which the pages use to show what a client sees."""

SERVE: Final = "exhook serve"
START_SECONDS: Final = 30
PORTS: Final = ("1883", "9000")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    variables: dict[str, str] = {}
    if page.name == "mosquitto.md" and not _has_mosquitto():
        pytest.skip("needs Mosquitto, its clients and a C compiler")
    with ExitStack() as free:
        ports = {port: free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for port in PORTS}
    for step in steps(page):
        if isinstance(step, Block) and step.file:
            (tmp_path / step.file).write_text(step.text, encoding="utf-8")
        for command in [step] if isinstance(step, Command) else commands(step):
            if command.line.startswith("export "):
                variables |= dict(word.split("=", 1) for word in shlex.split(command.line)[1:])
            elif not _why_not_run(command):
                moved = (
                    command if page.name != "mosquitto.md" or "/usr/local" in command.line else _moved(command, ports)
                )
                _run(moved, tmp_path, variables)


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_not_run_says_why(start: str) -> None:
    found = [str(command) for page in PAGES for command in all_commands(page) if _begins(command.line, start)]
    assert found, f"no page holds a command that begins with {start!r}: take it off the list"
    pytest.skip(f"not run, since {NOT_RUN[start]}: {'; '.join(found)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_written_exists(page: Path) -> None:
    lines = [command.line for command in all_commands(page)] + [re.sub(r"\s+", " ", span) for span in spans(page)]
    for line in lines:
        for part in re.split(r"[|;&]", line):
            words = [word for word in _words(part) if "=" not in word or word.startswith("-")]
            if words and words[0] in OURS:
                _check_options(words, f"{page.name}: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_policies_load(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        if block.not_loaded:
            continue
        head = "" if "format: exhook/v1" in block.text else "format: exhook/v1\n"
        file = tmp_path / "policy.yaml"
        file.write_text(head + block.text, encoding="utf-8")
        assert load_policy([file]).source, str(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_files_load(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        file = tmp_path / "exhook.toml"
        file.write_text(block.text, encoding="utf-8")
        loaded = load_settings({}, {}, file)
        assert loaded != Settings(), f"{block}: says nothing"
        assert tomllib.loads(block.text).keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\[[^\]]+\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


def test_readme_links_to_every_page() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    missing = [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in readme]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_lines_are_short_and_end_cleanly(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    long = [line for line in prose(page).splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long
    assert text.endswith("\n")
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("ok: …",), "ok: 2 identities\n", True),
        (("ok: …",), "not ok: 2 identities\n", False),
        (("first", "…", "last"), "first\nsecond\nthird\nlast\n", True),
        (("first", "…", "last"), "first\nlast\n", True),
        (("first", "last"), "first\nsecond\nlast\n", False),
        ((), "something\n", False),
    ],
)
def test_the_dots_of_shown_output(shown: tuple[str, ...], printed: str, same: bool) -> None:
    assert _prints(shown, printed) is same


def _has_mosquitto() -> bool:
    path = f"{os.environ['PATH']}:/usr/sbin"
    return all(shutil.which(name, path=path) for name in ("mosquitto", *BROKERS)) and compiler() is not None


def _moved(command: Command, ports: Mapping[str, int]) -> Command:
    """The command with free ports in place of those that another server here may have."""
    line = command.line
    for port, free in ports.items():
        line = re.sub(rf"\b{port}\b", str(free), line)
    return replace(command, line=line)


def _why_not_run(command: Command) -> str:
    return next((why for start, why in NOT_RUN.items() if _begins(command.line, start)), "")


def _begins(line: str, start: str) -> bool:
    return f"{line} ".removeprefix("sudo ").startswith(f"{start} ")


def _run(command: Command, folder: Path, variables: Mapping[str, str]) -> None:
    if command.line.startswith(SERVE):
        _serve(command, folder, variables)
        return
    ours = command.hidden or any(word in OURS or word == GIT or word in BROKERS for word in _words(command.line))
    assert ours, f"{command}: not ours, and not on the list NOT_RUN"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.line],
        cwd=folder,
        env=_environment(folder, variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    printed = done.stdout.decode()
    assert done.returncode == command.exit_code, f"{command}\n{printed}"
    if command.output is not None:
        shown = "\n".join(command.output)
        assert _prints(command.output, printed), f"{command}\nshown:\n{shown}\n\nprinted:\n{printed}"


def _serve(command: Command, folder: Path, variables: Mapping[str, str]) -> None:
    """Serve, on free ports, until it says that it does; then end it."""
    flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-format", "json"]
    flags += ["--with-broker", "0"] if "--with-broker" in command.line else []
    flags += ["--api", "127.0.0.1:0"] if "--api" in command.line else []
    line = re.sub(r" --with-broker(?! \d)", "", command.line)
    with subprocess.Popen(
        [*shlex.split(line), *flags],
        cwd=folder,
        env=_environment(folder, variables),
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr
        said = []
        try:
            for entry in server.stderr:
                said.append(entry)
                if '"event": "serving"' in entry:
                    break
            else:
                pytest.fail(f"{command}: did not come to serve\n{''.join(said)}")
        finally:
            server.send_signal(signal.SIGTERM)
        server.stderr.read()
        assert server.wait(START_SECONDS) == 0, str(command)


def _environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(folder / "bin"), str(BIN), os.environ["PATH"]])
    ours = {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "120", "TERM": "dumb"}
    return {**ours, **variables}


def _prints(shown: tuple[str, ...], printed: str) -> bool:
    """Whether what is printed is what is shown, dots standing for anything."""
    pattern = "".join("(?:.*\n)*?" if line == "…" else _pattern(line) + "\n" for line in shown)
    return re.fullmatch(pattern, printed) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("…")))


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def _check_options(words: list[str], where: str) -> None:
    """See that the commands and options of one command line exist."""
    command: Any = OURS[words[0]]
    if len(words) > 1 and not words[1].startswith("-"):
        assert words[1] in command.commands, f"{where}: there is no command {words[1]}"
    known = _options(command)
    for word in words[1:]:
        if below := getattr(command, "commands", {}).get(word):
            command = below
            known |= _options(command)
        elif word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"{where}: there is no option {word}"


def _options(command: Any) -> set[str]:
    return {"--help", "-h"} | {
        name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
    }
