"""Who does the work: batches of photos go to an executor, and come back as records.

Any `concurrent.futures.Executor` will do; the one here keeps processes on this machine. On a CPU each process has one
photo at a time. An engine on a GPU has one process, whose photos are fitted in batches: several processes would only
share its memory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from faceinv.run.jobs import Job, Record, fail, finished
from faceinv.run.outputs import FitOptions
from faceinv.run.work import fit_jobs

__all__ = ["Finish", "MakeExecutor", "Plan", "ProcessPool", "plan", "run_jobs"]

_DIED: Final = "the process died while fitting this photo; it may have run out of memory."
_THREADS: Final = (
    *("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)

Finish = Callable[[Job, Record], None]
"""Told of each photo that is finished, in the process that called."""
MakeExecutor = Callable[[int, int], Executor]
"""An executor of so many workers, each of which may use so many threads. When a worker dies, the futures that are lost
by it raise `BrokenExecutor`, and a new executor is asked for."""


@dataclass(frozen=True)
class Plan:
    """How the work is shared out."""

    workers: int
    """How many photos or batches are under way at once."""
    threads: int
    """Of each worker."""
    batch: int
    """Photos that a worker is given at once."""


def plan(photos: int, batch: int, workers: int | None = None) -> Plan:
    """Who does how much.

    Args:
        photos: how many there are.
        batch: `Engine.batch_size`: 1 on a CPU, more on a GPU.
        workers: None is one for each core, or one for a GPU.
    """
    workers = max(1, min(workers or (1 if batch > 1 else _cores()), -(-photos // batch)))
    return Plan(workers, max(1, _cores() // workers), batch)


def run_jobs(
    jobs: Sequence[Job], options: FitOptions, plan: Plan, finish: Finish, make: MakeExecutor | None = None
) -> None:
    """Fit photos and write their files, by an executor.

    Photos that were under way when a worker died are tried once more, one by one: the one that kills its worker again
    is recorded as failed.

    Args:
        jobs: the photos.
        options: what they share.
        plan: how the work is shared out.
        finish: told of each photo. What it raises ends the run; photos that are under way are finished first.
        make: makes executors; a `ProcessPool` by default.
    """
    make = make or ProcessPool
    suspects = _run(deque(jobs), options, plan, finish, make)
    for job in _run(deque(suspects), options, Plan(1, plan.threads, 1), finish, make):
        finish(job, fail(job, _DIED))


def _run(queue: deque[Job], options: FitOptions, plan: Plan, finish: Finish, make: MakeExecutor) -> list[Job]:
    """Run all jobs of a queue; those that were under way whenever a worker died are returned."""
    suspects: list[Job] = []
    while queue:
        pool = make(plan.workers, plan.threads)
        flying: dict[Future[list[Record]], list[Job]] = {}
        try:
            while queue or flying:
                while queue and len(flying) < plan.workers:
                    batch = [queue.popleft() for _ in range(min(plan.batch, len(queue)))]
                    for job in batch:
                        with suppress(OSError):  # a folder that cannot be written is met again, by the photo's files
                            job.record.unlink()  # from here until all files are there, the photo is not finished
                    try:
                        flying[pool.submit(fit_jobs, options, batch)] = batch
                    except BrokenExecutor:
                        queue.extendleft(reversed(batch))
                        raise
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    records = future.result()
                    for job, record in zip(flying.pop(future), records, strict=True):
                        finish(job, record)
        except BrokenExecutor:
            for job in (job for batch in flying.values() for job in batch):
                if (kept := finished(job)) is None:
                    suspects.append(job)
                else:
                    finish(job, kept)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return suspects


class ProcessPool(ProcessPoolExecutor):
    """New processes on this machine, each with so many threads; they end with the process that made them."""

    def __init__(self, workers: int, threads: int) -> None:
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
        self._threads = threads

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `concurrent.futures.Executor.submit`; processes start when the first task comes."""
        with _limited_threads(self._threads):
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _limited_threads(count: int) -> Iterator[None]:
    """Processes started within use so many threads each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
