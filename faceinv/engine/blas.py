"""How many threads BLAS may use, so that results do not depend on the machine.

Which partial sums a BLAS forms depends on how many threads share a product, and on which processor's kernel splits it.
And idle BLAS threads spin for a while and starve an engine's own: with two, a fit on two cores took four times as long.
So engines compute with one BLAS thread, whoever calls them, and are parallel by their own means.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]

_BRINGERS = ("numpy", "scipy.linalg", "torch", "mxnet")
"""Modules that load a BLAS of their own."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside the block (or the function that it decorates) every BLAS of the process has one thread.

    Takes some ten microseconds, so that it may be entered within itself.
    """
    with _controller(tuple(name in sys.modules for name in _BRINGERS)).limit(limits=1, user_api="blas"):
        yield


@cache
def _controller(loaded: tuple[bool, ...]) -> ThreadpoolController:
    """The thread pools of the libraries that are loaded by now; to look for them takes a millisecond."""
    return ThreadpoolController()
