"""Many small tasks by any executor, a few of them under way at once, and what becomes of tasks that kill their worker.

Nothing here holds more than the tasks that are under way, so there may be any number of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from faceinv.run.executors import MakeExecutor

__all__ = ["InlineExecutor", "run_tasks"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 2
"""Tasks that are handed over for each worker: one is worked on, one waits, so that no worker does."""


def run_tasks(
    tasks: Iterable[T],
    work: Callable[[T], R],
    died: Callable[[T], R],
    workers: int,
    threads: int,
    make: MakeExecutor,
) -> Iterator[tuple[T, R]]:
    """What tasks give, in the order in which they end.

    Tasks that were under way when a worker died are tried once more, one at a time.

    Args:
        tasks: taken as they are needed.
        work: what a worker does; it and the tasks are pickled.
        died: what a task gives that ends its worker when it is alone, too.
        workers: how many.
        threads: of each.
        make: makes executors.

    Raises:
        what `work` raises, after the tasks that are under way.
    """
    queue = iter(tasks)
    flying: dict[Future[R], T] = {}
    suspects: deque[T] = deque()
    pool = make(workers, threads)
    try:
        while True:
            lost: list[T] = []
            try:
                for task in _next(queue, _AHEAD * workers - len(flying)):
                    lost = [task]
                    flying[pool.submit(work, task)] = task
                    lost = []
            except BrokenExecutor:
                suspects.extend(lost)
            if not flying and not suspects:
                return
            for future in _done(flying):
                task = flying.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    suspects.append(task)
                else:
                    yield task, result
            if suspects:
                for future in list(flying):  # nothing else is to be blamed for what happens next
                    task = flying.pop(future)
                    try:
                        result = future.result()
                    except BrokenExecutor:
                        suspects.append(task)
                    else:
                        yield task, result
                while suspects:
                    pool.shutdown(wait=True, cancel_futures=True)
                    pool = make(1, threads)
                    task = suspects.popleft()
                    try:
                        result = pool.submit(work, task).result()
                    except BrokenExecutor:
                        result = died(task)
                    yield task, result
                pool.shutdown(wait=True, cancel_futures=True)
                pool = make(workers, threads)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _next(queue: Iterator[T], count: int) -> Iterator[T]:
    for _ in range(count):
        try:
            yield next(queue)
        except StopIteration:
            return


def _done(flying: dict[Future[Any], Any]) -> set[Future[Any]]:
    return wait(flying, return_when=FIRST_COMPLETED).done if flying else set()


class InlineExecutor(Executor):
    """Does each task at once, in this process."""

    def __init__(self, workers: int = 1, threads: int = 1) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `concurrent.futures.Executor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
