"""Photos that are fitted at the same time, each by itself, where an engine works on one photo at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

from faceinv.engine.blas import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceinv.engine.interface import Engine

__all__ = ["side_by_side"]

_T = TypeVar("_T")


def side_by_side(engine: Engine, work: Callable[[int], _T], count: int, done: Callable[[int], None]) -> list[_T]:
    """`work(0)`, `work(1)`, ... of so many, by as many threads as the engine allows.

    Threads, as kernels and BLAS leave Python's lock: they share the model, need no copies of photos and results, and
    work in programs that do not guard their main module. No more is under way at once than there are threads.

    Args:
        engine: what the work uses.
        work: told the number of a photo.
        count: how many there are.
        done: told, in the calling thread, how many are finished.

    Returns:
        What the work gave, in the order of the numbers.

    Raises:
        Exception: what a piece of work raised first; what is under way by then is finished, and no more begun.
    """
    threads = engine.fitting_threads(count)
    if threads.count == 1:
        results = []
        for number in range(count):
            results.append(work(number))
            done(number + 1)
        return results
    pool = ThreadPoolExecutor(threads.count, "faceinv-fit", threads.begin)
    try:
        with one_blas_thread():
            futures = [pool.submit(work, number) for number in range(count)]
            for finished, future in enumerate(as_completed(futures), start=1):
                future.result()
                done(finished)
            return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
