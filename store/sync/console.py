"""What a command prints and how it ends: every exception becomes sentences on standard error and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import typer

from store.sync.exit_codes import ExitCode, exit_code_of
from store.sync.printable import printable

if TYPE_CHECKING:
    from rich.text import Text


def report(error: Exception, *, verbose: bool) -> int:
    """Say on standard error what went wrong; the exit code for it. No line holds a secret."""
    if isinstance(error, typer.Abort):
        complain(["interrupted; nothing was written"])
        return ExitCode.INTERRUPTED
    if usage := _usage(error):
        complain(usage)
        return ExitCode.USAGE
    code = exit_code_of(error)
    if code is not ExitCode.INTERNAL:
        complain(str(error).splitlines())
        return code
    more = "the trace is above" if verbose else "run it again with -v to see where"
    if verbose:
        complain(_trace(error))
    complain([f"internal error ({type(error).__name__}); {more}, and report it"])
    return code


def complain(lines: Iterable[str]) -> None:
    """Lines on standard error; a stranger's text in them cannot steer the terminal."""
    for line in lines:
        print(printable(line), file=sys.stderr)  # noqa: T201 - this is what the command says


def show(lines: "Iterable[Text]", *, to_stderr: bool = False) -> None:
    """Lines on standard output, in colour where that is a terminal and NO_COLOR does not forbid it."""
    from rich.console import Console  # noqa: PLC0415 - what many commands never show

    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(highlight=False, soft_wrap=True, color_system=colours, stderr=to_stderr)
    for line in lines:
        console.print(line)


def say(line: str) -> None:
    """One line on standard output, as it is."""
    typer.echo(printable(line))


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def examples(*lines: str) -> str:
    """The examples at the end of a help page, a line each."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _usage(error: Exception) -> list[str]:
    """The sentences for a command line that cannot be read; none for any other error."""
    # Typer brings its own Click, or uses the installed one: its errors are told by what they can do.
    if not (hasattr(error, "format_message") and hasattr(error, "ctx")):
        return []
    context = error.ctx
    path = context.command_path if context else "exhook-sync"
    return [f"{path}: {str(error.format_message()).rstrip('.')}; see {path} --help"]


def _trace(error: BaseException) -> list[str]:
    """Where it happened: files, lines and kinds of exceptions. Their messages stay out, they may quote anything."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines += [line for block in traceback.format_tb(cause.__traceback__) for line in block.rstrip().splitlines()]
        lines.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return lines
