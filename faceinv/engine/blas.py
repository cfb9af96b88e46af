"""How many threads BLAS may use, so that results do not depend on the machine.

Which partial sums a BLAS forms depends on how many threads share a product, and on which processor's kernel splits it.
And idle BLAS threads spin for a while and starve an engine's own: with two, a fit on two cores took four times as long.
So engines compute with one BLAS thread, whoever calls them, and are parallel by their own means.

The limit is the process's, and threads that compute side by side enter and leave it in any order: what it was is put
back when the last of them leaves.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from faceinv.process import in_forked_children

__all__ = ["one_blas_thread"]

_BRINGERS = ("numpy", "scipy.linalg", "torch", "mxnet")
"""Modules that load a BLAS of their own."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside the block (or the function that it decorates) every BLAS of the process has one thread.

    Takes some ten microseconds, and next to nothing within itself.
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


class _Limit:
    """The limit, and which threads are within it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = threading.local()
        self._threads = 0
        self._before: list[tuple[Any, int]] = []
        """How many threads each library had, the latest last."""
        self._loaded: tuple[bool, ...] = ()

    def enter(self) -> None:
        own, loaded = self._own, tuple(name in sys.modules for name in _BRINGERS)
        depth = getattr(own, "depth", 0)
        if not depth or own.loaded != loaded:
            with self._lock:
                before = [(library, library.num_threads) for library in _libraries(loaded)]
                for library, _ in before:
                    _set_threads(library, 1)
                if not depth:
                    own.before = []
                    self._threads += 1
                own.before += [(library, count) for library, count in before if _is_a_threads_own(library)]
                if not self._before or self._loaded != loaded:
                    self._before += [(library, count) for library, count in before if not _is_a_threads_own(library)]
                    self._loaded = loaded
        own.depth, own.loaded = depth + 1, loaded

    def leave(self) -> None:
        self._own.depth -= 1
        if not self._own.depth:
            with self._lock:
                self._threads -= 1
                _restore(self._own.before)
                if not self._threads:
                    _restore(self._before)

    def forked(self) -> None:
        """To be called in a forked child, where this thread is the only one, and another may have held the lock."""
        self._lock = threading.Lock()
        self._threads = 1 if getattr(self._own, "depth", 0) else 0
        if not self._threads:
            self._before.clear()


def _restore(before: list[tuple[Any, int]]) -> None:
    while before:
        _set_threads(*before.pop())


def _set_threads(library: Any, count: int) -> None:
    # threadpoolctl lets only the first thread that ever sets the number set it again, and ignores others.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


def _is_a_threads_own(library: Any) -> bool:
    """Whether each thread has a limit of its own."""
    return bool(library.internal_api == "openblas" and library.threading_layer == "openmp")


@cache
def _libraries(loaded: tuple[bool, ...]) -> list[Any]:
    """The BLAS libraries that are loaded by now; to look for them takes a millisecond."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


_limit = _Limit()
in_forked_children(_limit.forked)
