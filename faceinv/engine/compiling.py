"""Saying that kernels are being compiled, and how far that is.

Numba compiles a kernel when it is called for the first time after installation and keeps it on disk. That takes some
seconds to half a minute for all of them, which must not look as if the program hung.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

__all__ = ["FIRST_RUN", "announce_compiling", "watched_compiling"]

FIRST_RUN: Final = (
    "Compiling numerical kernels: the first fit after installation takes 10 to 30 seconds longer. "
    "The next ones start at once."
)
"""What to tell people before the wait."""

_log = logging.getLogger("faceinv")
_watchers: list[Callable[[str], None]] = []


@cache
def announce_compiling(package: str) -> None:
    """From now on, log once when a Numba kernel of a package is compiled, whoever called it.

    It is a warning, as a message of a lower level would not be seen where logging is not set up.
    """
    event: Any = importlib.import_module("numba.core.event")

    class Listener(event.Listener):  # type: ignore[misc]
        said = False

        def on_start(self, event: Any) -> None:
            if _is_of(event, package) and not self.said and not _watchers:
                self.said = True
                _log.warning(FIRST_RUN)

        def on_end(self, event: Any) -> None:
            if _is_of(event, package):
                for watcher in _watchers:
                    watcher(event.data["dispatcher"].py_func.__qualname__)

    event.register("numba:compile", Listener())


@contextmanager
def watched_compiling(compiled: Callable[[str], None]) -> Iterator[None]:
    """Within the block `compiled` is told the name of each kernel that has been compiled, and none is logged."""
    _watchers.append(compiled)
    try:
        yield
    finally:
        _watchers.remove(compiled)


def _is_of(event: Any, package: str) -> bool:
    module: str = event.data["dispatcher"].py_func.__module__
    return module.startswith(package)
