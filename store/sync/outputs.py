"""The forms in which a plan is written out."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import typer

from store.sync import rendering
from store.sync.console import show
from store.sync.exit_codes import Usage
from store.sync.gitlab_report import gitlab_report
from store.sync.markdown import markdown
from store.sync.plan import Plan
from store.sync.thresholds import Refusal

Form = Callable[[Plan, Sequence[Refusal], bool], str]
"""Writes a plan, and why it would be refused, out; the last argument lifts the limits on length."""


def _text(plan: Plan, refused: Sequence[Refusal], everything: bool) -> str:
    return "\n".join(line.plain for line in rendering.text(plan, refused, everything=everything))


FORMS: Final[Mapping[str, Form]] = {
    "text": _text,
    "json": lambda plan, refused, _: rendering.as_json(plan, refused),
    "markdown": lambda plan, refused, everything: markdown(plan, refused, everything=everything).rstrip("\n"),
    "gitlab": lambda plan, _refused, _everything: gitlab_report(plan),
}


def render(
    made: Plan, refused: Sequence[Refusal], form: str, file: Path | None, *, everything: bool, quiet: bool
) -> None:
    """Write a plan out in one form, to a file or to standard output."""
    if file is not None:
        with written(file) as stream:
            stream.write(FORMS[form](made, refused, everything) + "\n")
    elif form != "text":
        typer.echo(FORMS[form](made, refused, everything))
    elif not quiet:
        show(rendering.text(made, refused, everything=everything, fingerprints=sys.stdout.isatty()))


@contextmanager
def written(file: Path) -> Iterator[TextIO]:
    """A file to write to.

    Raises:
        Usage: it cannot be written.
    """
    try:
        with file.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise Usage(f"{file}: cannot be written ({error.strerror}); name a file in a folder that exists") from None
