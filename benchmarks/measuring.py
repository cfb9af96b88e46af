"""Times, memory and processes of their own, for benchmarks of fits."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

__all__ = ["alone", "busy", "peak_mb", "timed"]

Result = TypeVar("Result")


def timed(work: Callable[[int], object], runs: int, seconds: float = math.inf) -> tuple[float, float]:
    """The least wall and the least CPU seconds (of all threads) of some runs; `work` gets the number of the run.

    Args:
        work: what is timed.
        runs: how often, at most.
        seconds: after so many no other run is begun.
    """
    wall, cpu, start = [], [], time.perf_counter()
    for run in range(runs):
        began, began_cpu = time.perf_counter(), time.process_time()
        work(run)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
        if time.perf_counter() - start > seconds:
            break
    return min(wall), min(cpu)


def peak_mb() -> float:
    """The most memory this process has held, MB; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return math.nan
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def alone(work: Callable[..., Result], *arguments: Any, threads: int | None = None) -> Result:
    """`work` in a fresh process, with so many threads for Numba (None: as the environment says)."""
    known = os.environ.get("NUMBA_NUM_THREADS")
    if threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(work, *arguments).result()
    finally:
        if threads is not None:
            os.environ.pop("NUMBA_NUM_THREADS")
            if known is not None:
                os.environ["NUMBA_NUM_THREADS"] = known


def busy() -> float:
    """How many processes wanted a core during the last minute; NaN where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
