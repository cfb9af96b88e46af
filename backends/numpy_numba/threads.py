"""Numba's threads, and processes that were forked from one that has them."""

from __future__ import annotations

import numba

from faceinv.process import NUMBA, before_threads, openmp_may_be_lost

__all__ = ["before_launch"]


def before_launch() -> None:
    """To be called before parallel kernels, in the thread that calls them.

    Raises:
        BackendError: when Numba's threads ran in the process that this one was forked from.
    """
    before_threads(NUMBA)
    if openmp_may_be_lost():
        numba.set_num_threads(1)
