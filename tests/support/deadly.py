"""A worker that dies when it draws a photo called `killer.png`: the initializer of a pool, or a preload of Dask's."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from faceinv.dataset import work


class DeadlyPool(ProcessPoolExecutor):
    """Processes of this kind."""

    def __init__(self, workers: int, threads: int) -> None:
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=arm)


def arm() -> None:
    """Make this process one."""
    draw = work._draw

    def deadly(shared: work.Shared, source: Any) -> work.Outcome:
        if source.name == "killer.png":
            time.sleep(0.2)  # so that others are under way
            os._exit(3)
        return draw(shared, source)

    work._draw = deadly


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker."""
    arm()
