"""What survives a fork.

A forked child has the memory of its parent, but of its threads only the one that forked. A thread pool that the parent
had started is dead there: work for it waits for ever, or ends the child. Whoever starts threads of a library's own says
so here before each computation, and in a child whose parent had done so it gets an error at once. Where the parent had
not computed yet, a forked child computes as any other process.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from faceinv.errors import BackendError

__all__ = ["NUMBA", "alone", "before_threads", "in_forked_children", "openmp_may_be_lost", "refuse_late_load"]

NUMBA: Final = "Engine 'numpy' (Numba)"
"""Numba's threads, for `before_threads`."""
_REMEDY: Final = (
    "Start processes by multiprocessing.get_context('spawn'), or compute nothing before the fork, but in the children."
)
_started: set[str] = set()
"""Whose threads run in this process."""
_lost: dict[str, str] = {}
"""Whose threads, or locks, a fork left behind, and what the parent was doing."""
_busy: set[tuple[str, int]] = set()
"""What runs in which thread. Sets, as their changes are atomic: a lock could be held by another thread at the fork."""
_openmp: set[str] = set()
"""What OpenMP libraries were loaded at a fork that made this process."""
_modules: set[str] = set()
"""The modules that were loaded at the last fork."""
_callbacks: list[Callable[[], None]] = []


def before_threads(library: str) -> None:
    """Say that threads of this library's are going to compute in this process.

    Raises:
        BackendError: when they did so in the process that this one was forked from.
    """
    _refuse_lost(library)
    _started.add(library)


@contextmanager
def alone(what: str) -> Iterator[None]:
    """A block that a fork does not harm, unless another thread is within it: its locks then stay closed in the child.

    Raises:
        BackendError: when that was so when this process was forked.
    """
    _refuse_lost(what)
    mark = (what, threading.get_ident())
    _busy.add(mark)
    try:
        yield
    finally:
        _busy.discard(mark)


def openmp_may_be_lost() -> bool:
    """Whether this process was forked when an OpenMP library was loaded, by whatever package.

    Its threads, if they had run, are dead, and packages share one such library without knowing it: PyTorch's and
    Numba's is the same where both are loaded. Computations with one thread do not need them.
    """
    return bool(_openmp)


def refuse_late_load(module: str, what: str) -> None:
    """For a library that can handle a fork if it is there, and else hangs on the threads of a lost OpenMP library.

    Raises:
        BackendError: when OpenMP may be lost, and the module was not loaded by then.
    """
    if _openmp and module not in _modules:
        raise _lost_threads(what, f"OpenMP's threads had run ({', '.join(sorted(_openmp))})")


def in_forked_children(callback: Callable[[], None]) -> None:
    """Have a function called in each process that is forked from this one; once, however often it is given."""
    if callback not in _callbacks:
        _callbacks.append(callback)


def _refuse_lost(what: str) -> None:
    if what in _lost:
        raise _lost_threads(what, _lost[what])


def _lost_threads(what: str, event: str) -> BackendError:
    return BackendError(
        f"{what} cannot compute in this process, which was forked after {event}: threads do not survive a fork. "
        f"{_REMEDY}"
    )


def _after_fork() -> None:
    for library in _started:
        _lost[library] = "its parent had computed"
    # Other users of Numba may have started its threads.
    if getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False):
        _lost.setdefault(NUMBA, "its parent had computed")
    for what, thread in _busy:
        if thread != threading.get_ident():
            _lost[what] = "its parent had begun it in another thread"
    _started.clear()
    _busy.clear()
    _modules.update(sys.modules)
    _openmp.update(_loaded_openmp())
    for callback in _callbacks:
        callback()


def _loaded_openmp() -> set[str]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            names = {Path(line.split()[-1]).name for line in maps if ".so" in line}
    except OSError:  # no Linux: it may be
        return {"unknown"}
    return {name for name in names if name.startswith(("libgomp", "libomp", "libiomp"))}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
