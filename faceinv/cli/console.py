"""What is said on the terminal: results on standard output, all else on standard error.

Both may be of any encoding: what it does not have is escaped. When the reader of a pipe has gone (`| head -1`), the run
ends as other programs do, with a status and without a word.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "CLOSED_PIPE",
    "ClosedPipeError",
    "PipeConsole",
    "Reporter",
    "accept_any_text",
    "print_error",
    "reporter",
    "silence",
]

CLOSED_PIPE: Final = 141
"""The exit status that a shell shows for a program whose reader has gone: 128 and the signal's number, 13."""


class ClosedPipeError(BaseException):
    """Nobody reads on. Like an interruption it is no fault of a photo's, so it is no `Exception`."""


class PipeConsole(Console):
    """Raises `ClosedPipeError` where nobody reads on."""

    def on_broken_pipe(self) -> NoReturn:
        """Rich would end the program at once, which the processes of a run must not meet."""
        raise ClosedPipeError


def accept_any_text() -> None:
    """Let the standard streams escape what their encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Send the standard streams nowhere: what is left in their buffers must not fail when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
        with suppress(OSError, ValueError, AttributeError):
            if not os.isatty(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _errors() -> Console:
    # Made anew each time: tests and callers exchange sys.stderr.
    return PipeConsole(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """One error on standard error."""
    console = _errors()
    console.print("error: ", style="bold red", end="")
    console.print(message)


class Reporter:
    """Lines and progress bars. Bars appear only where standard error is a terminal.

    Each method may raise `ClosedPipeError`.
    """

    def __init__(self, console: Console, progress: Progress | None, quiet: bool, machine: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._machine = machine
        self.progress = progress
        """The live display, or None."""

    def result(self, line: str) -> None:
        """A line of results."""
        if self._quiet:
            return
        with _closed_pipes():
            if self._machine:  # standard output belongs to `record`
                self._console.print(line)
            elif self.progress is not None and sys.stdout is not None and sys.stdout.isatty():
                self._console.print(line)  # above the bars
            else:
                print(line, flush=True)

    def record(self, text: str) -> None:
        """A line for programs, where these read standard output; quiet or not."""
        if self._machine:
            with _closed_pipes():
                print(text, flush=True)

    def note(self, line: str) -> None:
        """Something to know."""
        if not self._quiet:
            with _closed_pipes():
                self._console.print(line, style="dim")

    def error(self, message: str) -> None:
        """An error that does not end the run."""
        with _closed_pipes():
            self._console.print("error: ", style="bold red", end="")
            self._console.print(message)

    def counter(self, name: str) -> Callable[[int, int], None]:
        """A bar that is told what is done and of how much; it is gone when all is done."""
        progress = self.progress
        if progress is None:
            return lambda done, total: None
        task = progress.add_task(name, visible=False)

        def count(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=done < total)

        return count


@contextmanager
def _closed_pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipeError from None


@contextmanager
def reporter(quiet: bool = False, bars: bool = True, machine: bool = False) -> Iterator[Reporter]:
    """A `Reporter` whose bars are gone when the block ends; the library's warnings go through it.

    Args:
        quiet: errors only.
        bars: whether there may be any.
        machine: standard output has lines for programs alone (`Reporter.record`).
    """
    from rich.logging import RichHandler
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _errors()
    level = logging.ERROR if quiet else logging.NOTSET
    handler = RichHandler(level, console=console, show_time=False, show_path=False, markup=False, highlighter=None)
    logger = logging.getLogger("faceinv")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        if quiet or not bars or not console.is_terminal:
            yield Reporter(console, None, quiet, machine)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            yield Reporter(console, bar, quiet, machine)
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
