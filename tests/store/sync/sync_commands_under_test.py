"""`exhook-sync` as a test runs it: in this process, or on a terminal of its own."""

import errno
import os
import pty
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from select import select

import pytest
from stores_under_test import Store
from typer.testing import CliRunner, Result

from store.sync.cli import app

COMMAND = Path(sys.executable).with_name("exhook-sync")
ONE = "identities: [{username: u, sign_mode: origin, secret: {env: EXHOOK_SECRET_U}}]\n"
GRANTS = "permissions: [{username: u, publish: [a, b, c]}]\n"
_OURS = ("EXHOOK_DB", "EXHOOK_SEAL_KEY", "EXHOOK_SEAL_KEY_FILE", "EXHOOK_SECRETS_DIR", "NO_COLOR", "FORCE_COLOR")


def workplace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The folder as the current one, with nothing in the environment but one secret."""
    monkeypatch.chdir(folder)
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXHOOK_SECRET_U", "one")
    return Store(Path())


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=given, prog_name="exhook-sync")


def on_a_terminal(
    arguments: Sequence[str],
    dialogue: Sequence[tuple[bytes, bytes]],
    *,
    command: Sequence[str] = (str(COMMAND),),
    **environment: str,
) -> tuple[int, bytes]:
    """Exit code and output of the command on a terminal; each answer follows its question."""
    child, terminal = pty.fork()
    if child == 0:
        # Where the tests run in the background of a shell, Ctrl-C is ignored, and would be by the command.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execve(command[0], [*command, *arguments], {**os.environ, "TERM": "xterm-256color", **environment})  # noqa: S606
    out = b""
    asked = iter(dialogue)
    question, answer = next(asked, (None, b""))
    since = 0
    while True:
        assert select([terminal], [], [], 30)[0], out
        try:
            read = os.read(terminal, 4096)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux says so at the end
                raise
            break
        if not read:
            break
        out += read
        if question is not None and question in out[since:]:
            since = len(out)
            # Ctrl-C between a prompt and the read behind it is lost, in every program that reads a line so.
            time.sleep(0.2)
            os.write(terminal, answer)
            question, answer = next(asked, (None, b""))
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), out
