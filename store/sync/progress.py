"""How far a long command is: a bar on the terminal, gone when it is done. Nothing where nobody watches."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PATIENCE_SECONDS: Final = 1.0
"""What is done before shows nothing."""

_READING: Final = "reading and planning"
_WORDS: Final = {"hash": "hashing passwords", "write": "writing records"}
_STEPS: Final = 500
"""How often a bar moves at most: a call of Rich for each of a million records would take longer than the records."""


class Bars:
    """A context in which work tells how far it is; calling it is the `Progress` of `store.sync.apply`."""

    def __init__(self, *, quiet: bool, console: "Console | None" = None, patience: float = PATIENCE_SECONDS) -> None:
        self._console = console
        # FORCE_COLOR alone makes no terminal of a file.
        self._wanted = not quiet and (console is not None or sys.stderr.isatty()) and self._can_move()
        self._patience = patience
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._progress: Progress | None = None
        self._words = _READING
        self._done = 0
        self._total: int | None = None

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell that `done` of `total` are done, of a kind of work."""
        words = _WORDS.get(what, what)
        if words == self._words and done < total and done * _STEPS // total == self._done * _STEPS // total:
            return
        with self._lock:
            self._words, self._done, self._total = words, done, total
            self._show()

    def pause(self) -> None:
        """Leave the terminal to somebody else."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def resume(self) -> None:
        """Go on, once what follows takes long."""
        if self._wanted and self._timer is None:
            self._timer = threading.Timer(self._patience, self._begin)
            self._timer.daemon = True
            self._timer.start()

    def _can_move(self) -> bool:
        """Whether the terminal is one on which a bar can be drawn over."""
        from rich.console import Console  # noqa: PLC0415 - who has no terminal needs none of it

        self._console = self._console or Console(stderr=True)
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def _begin(self) -> None:
        from rich.progress import (  # noqa: PLC0415 - what is done soon shows nothing
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        with self._lock:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
                redirect_stdout=False,  # it may be a file
            )
            self._progress.add_task(self._words, total=self._total, completed=self._done)
            self._progress.start()

    def _show(self) -> None:
        if self._progress is not None:
            (task,) = self._progress.tasks
            if task.description != self._words:
                self._progress.reset(task.id)
            self._progress.update(task.id, description=self._words, total=self._total, completed=self._done)
