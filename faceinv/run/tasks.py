"""Many small tasks by any executor, a few of them under way at once, and what becomes of tasks that kill their worker.

Nothing here holds more than the tasks that are under way, so there may be any number of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from faceinv.run.executors import MakeExecutor

__all__ = ["Crew", "InlineExecutor"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 2
"""Tasks that are handed over for each worker: one is worked on, one waits, so that no worker does."""


class Crew:
    """Workers that do tasks. They start with the first task, and stay until they are dismissed.

    Args:
        workers: how many.
        threads: of each.
        make: makes executors.
    """

    def __init__(self, workers: int, threads: int, make: MakeExecutor) -> None:
        self._workers, self._threads, self._make = workers, threads, make
        self._pool: Executor | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """End the workers; what is under way is finished first."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def run(self, tasks: Iterable[T], work: Callable[[T], R], died: Callable[[T], R]) -> Iterator[tuple[T, R]]:
        """What tasks give, in the order in which they end.

        Tasks that were under way when a worker died are tried once more, one at a time, so that it is known which one
        is at fault.

        Args:
            tasks: taken as they are needed.
            work: what a worker does; it and the tasks are pickled.
            died: what a task gives that ends its worker when it is alone, too.

        Raises:
            what `work` raises.
        """
        queue = iter(tasks)
        flying: dict[Future[R], T] = {}
        suspects: deque[T] = deque()
        while True:
            for task in _next(queue, _AHEAD * self._workers - len(flying)):
                try:
                    flying[self._submit(work, task, self._workers)] = task
                except BrokenExecutor:
                    suspects.append(task)
                    break
            if not flying and not suspects:
                return
            # Where a worker died nothing else is under way when suspects are tried.
            until = ALL_COMPLETED if suspects else FIRST_COMPLETED
            for future in wait(flying, return_when=until).done:
                task = flying.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    suspects.append(task)
                else:
                    yield task, result
            while suspects and not flying:
                self.dismiss()
                task = suspects.popleft()
                try:
                    result = self._submit(work, task, 1).result()
                except BrokenExecutor:
                    result = died(task)
                yield task, result
                self.dismiss()

    def _submit(self, work: Callable[[T], R], task: T, workers: int) -> Future[R]:
        if self._pool is None:
            self._pool = self._make(workers, self._threads)
        return self._pool.submit(work, task)


def _next(queue: Iterator[T], count: int) -> Iterator[T]:
    for _ in range(count):
        try:
            yield next(queue)
        except StopIteration:
            return


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
