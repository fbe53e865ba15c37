"""The command `exhook` in this very process: what it says, and how it ends."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from exhook import cli


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


class Exhook:
    """`exhook ARGUMENTS`, with nothing in the environment but what a test sets."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("EXHOOK_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Said:
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environment.items():
                patch.setenv(name, value)
            code = cli.run(list(arguments))
        captured = self._capsys.readouterr()
        return Said(code, captured.out, captured.err)


def words(text: str) -> Iterator[str]:
    """The words of a page that may be wrapped anywhere."""
    yield from text.split()
