"""What a command prints and how it ends: every exception becomes sentences on standard error and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from store.sync.exit_codes import ExitCode, exit_code_of
from store.sync.wording import printable

_VERBOSE: Final = frozenset({"-v", "--verbose"})


class Commands(TyperGroup):
    """A group of commands whose failures all end in one place."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and exit; `standalone_mode` changes nothing."""
        del standalone_mode
        written = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the output has seen enough; what Python flushes at exit must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitCode.DONE)
        except Exception as error:  # noqa: BLE001 - the one place where failures end
            sys.exit(report(error, verbose=not _VERBOSE.isdisjoint(written)))
        sys.exit(code or ExitCode.DONE)


def report(error: Exception, *, verbose: bool) -> ExitCode:
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


def show(lines: Iterable[Text], *, to_stderr: bool = False) -> None:
    """Lines on standard output, in colour where that is a terminal and NO_COLOR does not forbid it."""
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(highlight=False, soft_wrap=True, color_system=colours, stderr=to_stderr)
    for line in lines:
        console.print(line)


def say(line: str) -> None:
    """One line on standard output, as it is."""
    show([Text(printable(line))])


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
