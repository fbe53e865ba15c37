"""Failures of the command `exhook`: a sentence for people, an exit code for scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import typer

from store.sync.exit_codes import EXIT_CODES, ExitCode, exit_code_of

CANNOT_SAY: Final = 2
"""`explain` knows neither allow (0) nor deny (1)."""

_CODES: Final[Mapping[str, int]] = {
    **EXIT_CODES,
    "exhook.brokers.mosquitto.build.CannotBuild": ExitCode.USAGE,
    "exhook.brokers.mosquitto.configuration.InvalidOption": ExitCode.USAGE,
    "exhook.explaining.CannotSay": CANNOT_SAY,
    "exhook.faults.CannotStart": ExitCode.USAGE,
    "exhook.settings.InvalidSettings": ExitCode.USAGE,
}
"""By the full name of the exception, as there."""


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
        code = exit_code_of(error, _CODES)
        if code == ExitCode.INTERNAL:
            from exhook.logs import error_place  # noqa: PLC0415 - what no command needs that ends well

            return cls(f"an internal error, which is a bug of exhook: {error_place(error)}", code)
        return cls(f"cannot say: {error}" if code == CANNOT_SAY else str(error), code)


def _usage(error: BaseException) -> str:
    """The sentence for a command line that cannot be read; nothing for any other error."""
    # Typer brings its own Click, or uses the installed one: its errors are told by what they can do.
    if not (hasattr(error, "format_message") and hasattr(error, "ctx")):
        return ""
    path = error.ctx.command_path if error.ctx else "exhook"
    return f"{path}: {str(error.format_message()).rstrip('.')}; see {path} --help"
