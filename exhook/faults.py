"""Failures of the command `exhook`: a sentence for people, an exit code for scripts."""

from dataclasses import dataclass
from typing import Final, Self

import typer

from exhook.brokers.mosquitto.build import CannotBuild
from exhook.brokers.mosquitto.configuration import InvalidOption
from exhook.explaining import CannotSay
from exhook.logs import error_place
from exhook.settings import InvalidSettings
from store.sync.exit_codes import ExitCode, exit_code_of

CANNOT_SAY: Final = 2
"""`explain` knows neither allow (0) nor deny (1)."""


class CannotStart(Exception):
    """The server, or something beside it, did not come up; the message is its own sentence."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a failure means outside the program."""

    sentence: str
    code: int

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Sentence and code of an exception. One that nobody foresaw is named by kind and place, not quoted."""
        if isinstance(error, typer.Abort | KeyboardInterrupt):
            return cls("interrupted", ExitCode.INTERRUPTED)
        if usage := _usage(error):
            return cls(usage, ExitCode.USAGE)
        if isinstance(error, CannotSay):
            return cls(f"cannot say: {error}", CANNOT_SAY)
        if isinstance(error, InvalidSettings | CannotStart | CannotBuild | InvalidOption):
            return cls(str(error), ExitCode.USAGE)
        code = exit_code_of(error)
        if code is ExitCode.INTERNAL:
            return cls(f"an internal error, which is a bug of exhook: {error_place(error)}", code)
        return cls(str(error), code)


def _usage(error: BaseException) -> str:
    """The sentence for a command line that cannot be read; nothing for any other error."""
    # Typer brings its own Click, or uses the installed one: its errors are told by what they can do.
    if not (hasattr(error, "format_message") and hasattr(error, "ctx")):
        return ""
    path = error.ctx.command_path if error.ctx else "exhook"
    return f"{path}: {str(error.format_message()).rstrip('.')}; see {path} --help"
