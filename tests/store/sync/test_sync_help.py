"""Every command helps by examples, and shells complete what is typed."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sync_commands_under_test import COMMAND, run

from store.sync.cli import app
from store.sync.late import whole


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*words, name))


COMMANDS: Final = dict(walk(whole(app)))
SHELLS: Final = ("bash", "zsh", "fish")
LATER: Final = {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"}


def words_of(example: str) -> list[str]:
    """The words of the `exhook-sync` within an example."""
    words = shlex.split(example)
    ours = words[words.index("exhook-sync") + 1 :]
    ends = [ours.index(end) for end in ("|", "<", ">") if end in ours]
    return ours[: min(ends, default=len(ours))]


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples(words: tuple[str, ...]) -> None:
    pages = {run(*words, flag).stdout for flag in ("-h", "--help")}
    (page,) = pages
    assert run(*words, "--help").exit_code == 0
    written = re.split(r"\n +Examples:\n", page)
    assert len(written) == 2
    lines = written[1].splitlines()
    assert all(" ".join(("exhook-sync", *words)) in line for line in lines)
    for line in lines:
        named = words_of(line)
        command = COMMANDS[()]
        while named and (below := getattr(command, "commands", {}).get(named[0])):
            command, named = below, named[1:]
        used = {word.partition("=")[0] for word in named if word.startswith("-") and word != "-"}
        assert used <= options(command), line


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(words: tuple[str, ...]) -> None:
    parameters = [one for one in COMMANDS[words].params if one.param_type_name == "option"]
    assert [one.name for one in parameters if not one.help] == []
    if words:
        assert COMMANDS[words].help


def complete(shell: str, typed: str) -> str:
    """What the command answers to the script of a shell."""
    asked = {
        "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")),
        "_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    return _run([str(COMMAND)], _EXHOOK_SYNC_COMPLETE=f"complete_{shell}", **asked)


@pytest.mark.parametrize(
    ("shell", "typed", "meant"),
    [
        ("bash", "exhook-sync apply --max-", ["--max-clients-losing", "--max-removals"]),
        ("zsh", "exhook-sync user a", ["add"]),
        ("fish", "exhook-sync ro", ["rollback"]),
    ],
)
def test_what_is_typed_is_completed(shell: str, typed: str, meant: list[str]) -> None:
    """As the command answers, whether that shell is here or not."""
    said = complete(shell, typed)
    found = {
        "bash": said.split(),
        "zsh": re.findall(r'"([^":]+)":"', said) or re.findall(r'"([^"]+)"', said),
        "fish": [line.split("\t")[0] for line in said.splitlines()],
    }[shell]
    assert sorted(found) == meant


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_shown_to_the_shell_that_asks(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    shown = _run([shell, "-c", "exhook-sync --show-completion; true"])
    assert shown.strip() == _run([str(COMMAND)], _EXHOOK_SYNC_COMPLETE=f"source_{shell}").strip()
    _run([shell, "-n", "-c", shown] if shell != "fish" else [shell, "--no-execute", "-c", shown])


def test_bash_completes() -> None:
    script = (
        'eval "$(_EXHOOK_SYNC_COMPLETE=source_bash exhook-sync)"; COMP_WORDS=(exhook-sync rol) COMP_CWORD=1; '
        '_exhook_sync_completion exhook-sync; echo "${COMPREPLY[@]}"; complete -p exhook-sync'
    )
    assert _run(["bash", "-c", script]) == ("rollback\ncomplete -o default -F _exhook_sync_completion exhook-sync\n")


def test_fish_completes() -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    said = _run(["fish", "-c", 'exhook-sync --show-completion | source; complete -C "exhook-sync rol"'])
    assert said.split("\t")[0] == "rollback"


def _run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | LATER | environment, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout
