"""Numba's threads, and processes that were forked from one that has them."""

from __future__ import annotations

from functools import partial
from typing import Final

import numba

from faceinv.engine.interface import FittingThreads
from faceinv.process import NUMBA, before_threads, openmp_may_be_lost

__all__ = ["before_launch", "fitting_threads"]

_FOR_SEVERAL: Final = ("omp", "tbb")
"""Numba's threading layers that several threads may call at once; its own, `workqueue`, ends the process then."""

_MOST: Final = 8
"""Threads that fit at the same time, at most; of more cores each gets several. Two wait for Python's lock for 7 % of a
fit, more of them for longer; how many are best on many cores was not measured."""


def before_launch() -> None:
    """To be called before parallel kernels, in the thread that calls them.

    Raises:
        BackendError: when Numba's threads ran in the process that this one was forked from.
    """
    before_threads(NUMBA)
    if openmp_may_be_lost():
        numba.set_num_threads(1)


def fitting_threads(photos: int) -> FittingThreads:
    """See `Engine.fitting_threads`: as many as Numba may use now for the thread that calls.

    Raises:
        BackendError: as `before_launch`.
    """
    before_launch()
    threads = numba.get_num_threads()  # which starts them
    if numba.threading_layer() not in _FOR_SEVERAL:
        return FittingThreads()
    count = max(1, min(photos, threads, _MOST))
    return FittingThreads(count, partial(numba.set_num_threads, threads // count))
