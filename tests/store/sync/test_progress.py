"""A bar where somebody watches and it takes long; nothing else, and nothing left of it."""

import io
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console
from stores_under_test import Store
from sync_commands_under_test import on_a_terminal, run, workplace

from store.sync.progress import Bars

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
MANY = 4
FLEET = "\n".join(f"  - {{username: u{at}, sign_mode: hashed, secret: {{literal: p{at}}}}}" for at in range(MANY))


AT_ONCE = (
    sys.executable,
    "-c",
    (
        "import functools as f, store.sync.commands_store as c; c.Bars = f.partial(c.Bars, patience=0); "
        "from store.sync.cli import main; main()"
    ),
)
"""The command, showing how far it is from the first moment on."""


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def until(console: Console, text: str) -> None:
    ends = time.monotonic() + 20
    while text not in written(console):
        assert time.monotonic() < ends, written(console)
        time.sleep(0.01)


class TestBars:
    def test_they_say_what_is_done_and_go(self) -> None:
        console = terminal()
        with Bars(quiet=False, console=console, patience=0) as bars:
            until(console, "reading and planning")
            bars("hash", 1, 2)
            until(console, "hashing passwords")
            until(console, "1/2")
            bars("write", 700, 1000)
            until(console, "writing records")
            until(console, " 700/1000")
        assert written(console).count(HIDE_CURSOR) == written(console).count(SHOW_CURSOR) == 1
        assert written(console).endswith("\x1b[1A\x1b[2K")  # up, and the line emptied

    def test_what_is_quick_shows_nothing(self) -> None:
        console = terminal()
        with Bars(quiet=False, console=console, patience=60) as bars:
            bars("write", 1, 1)
        assert written(console) == ""

    @pytest.mark.parametrize("quiet", [False, True])
    def test_nothing_where_nobody_watches(self, monkeypatch: pytest.MonkeyPatch, *, quiet: bool) -> None:
        console = terminal() if quiet else Console(file=io.StringIO(), force_terminal=False)
        with Bars(quiet=quiet, console=console, patience=0) as bars:
            bars("write", 1, 2)
            time.sleep(0.05)
        monkeypatch.setenv("TERM", "dumb")
        with Bars(quiet=False, console=terminal(), patience=0) as bars:
            assert not bars._wanted
        assert written(console) == ""

    def test_colours_that_are_forced_make_no_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert not Bars(quiet=False)._wanted

    def test_the_terminal_is_left_to_a_question(self) -> None:
        console = terminal()
        with Bars(quiet=False, console=console, patience=0) as bars:
            until(console, "reading")
            bars.pause()
            before = written(console)
            assert before.endswith("\x1b[1A\x1b[2K")
            bars("write", 1, 2)
            assert written(console) == before
            bars.resume()
            until(console, "writing records")

    def test_a_failure_leaves_the_terminal_as_it_was(self) -> None:
        console = terminal()
        with suppress(KeyboardInterrupt), Bars(quiet=False, console=console, patience=0):
            until(console, "reading")
            raise KeyboardInterrupt
        assert written(console).count(HIDE_CURSOR) == written(console).count(SHOW_CURSOR) == 1

    def test_a_million_records_are_some_hundred_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = []
        bars = Bars(quiet=False, console=terminal())
        monkeypatch.setattr(bars, "_show", lambda: shown.append(bars._done))
        for done in range(1, 100_001):
            bars("write", done, 100_000)
        assert len(shown) <= 501
        assert shown[-1] == 100_000


class TestApply:
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        store = workplace(tmp_path, monkeypatch)
        store.write(f"identities:\n{FLEET}\n")
        return store

    def test_on_a_terminal_it_shows_how_far_it_is(self, store: Store) -> None:
        code, out = on_a_terminal(["apply", "policy.yaml"], [], command=AT_ONCE)
        assert (code, len(store.contents())) == (0, MANY + 1)
        assert f"{MANY + 1}/{MANY + 1}".encode() in out
        assert out.count(HIDE_CURSOR.encode()) == out.count(SHOW_CURSOR.encode()) == 1

    @pytest.mark.usefixtures("store")
    def test_quietly_it_does_not(self) -> None:
        code, out = on_a_terminal(["apply", "policy.yaml", "-q"], [], command=AT_ONCE)
        assert (code, out) == (0, b"")

    @pytest.mark.usefixtures("store")
    def test_elsewhere_it_does_not(self) -> None:
        done = run("apply", "policy.yaml")
        assert (done.exit_code, "\x1b" in done.output, "hashing" in done.output) == (0, False, False)
