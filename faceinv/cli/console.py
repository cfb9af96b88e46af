"""What is said on the terminal: results on standard output, all else on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Reporter", "print_error", "reporter"]


def _errors() -> Console:
    # Made anew each time: tests and callers exchange sys.stderr.
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """One error on standard error."""
    console = _errors()
    console.print("error: ", style="bold red", end="")
    console.print(message)


class Reporter:
    """Lines and progress bars. Bars appear only where standard error is a terminal."""

    def __init__(self, console: Console, progress: Progress | None, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self.progress = progress
        """The live display, or None."""

    def result(self, line: str) -> None:
        """A line of results."""
        if self._quiet:
            return
        if self.progress is not None and sys.stdout.isatty():
            self._console.print(line)  # above the bars
        else:
            print(line, flush=True)

    def note(self, line: str) -> None:
        """Something to know."""
        if not self._quiet:
            self._console.print(line, style="dim")

    def error(self, message: str) -> None:
        """An error that does not end the run."""
        self._console.print("error: ", style="bold red", end="")
        self._console.print(message)


@contextmanager
def reporter(quiet: bool = False, bars: bool = True) -> Iterator[Reporter]:
    """A `Reporter` whose bars are gone when the block ends; the library's warnings go through it."""
    from rich.logging import RichHandler
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _errors()
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False, highlighter=None)
    logger = logging.getLogger("faceinv")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        if quiet or not bars or not console.is_terminal:
            yield Reporter(console, None, quiet)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            yield Reporter(console, bar, quiet)
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
