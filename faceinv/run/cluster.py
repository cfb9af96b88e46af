"""Workers on other machines, by Dask distributed, behind the interface of `concurrent.futures`.

Start them with `dask scheduler --host ADDRESS` and `dask worker tcp://ADDRESS:8786 --nthreads 1 --nworkers N`, on
machines that see the same folders at the same paths. Whoever reaches a scheduler can run anything on its workers: give
it an address that only these machines reach. This process opens no port to others.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Any, Final

from faceinv.errors import InputError
from faceinv.version import __version__

__all__ = ["Cluster", "ClusterError", "ClusterExecutor", "connect"]

_SECONDS: Final = 20
"""Until a scheduler that does not answer, or has no workers, is given up."""


class ClusterError(InputError):
    """A scheduler that cannot be reached or was lost, or workers that cannot be used."""


class _LostWorkerError(BrokenExecutor):
    """The worker that had a task died."""


@dataclass(frozen=True)
class Cluster:
    """A scheduler that can be used."""

    address: str
    workers: int
    """How many it has now."""

    def make(self, workers: int, threads: int) -> ClusterExecutor:
        """An executor (`faceinv.run.executors.MakeExecutor`); which workers take part the scheduler decides."""
        return ClusterExecutor(self.address)


def connect(address: str) -> Cluster:
    """The cluster at an address, after seeing that it can be used.

    Args:
        address: of the scheduler, such as `tcp://127.0.0.1:8786`.

    Raises:
        ClusterError: when distributed is not installed, the scheduler cannot be reached or has no workers, or these
            have another version of faceinv or several threads.
    """
    with ClusterExecutor(address) as executor:
        return Cluster(address, executor.workers)


class ClusterExecutor(Executor):
    """The workers of one scheduler.

    Args:
        address: see `connect`.

    Raises:
        ClusterError: see `connect`.
    """

    def __init__(self, address: str) -> None:
        self._client = _client(address)
        try:
            self.workers = _checked_workers(self._client, address)
        except BaseException:
            self._client.close()
            raise
        self._address = address

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `concurrent.futures.Executor.submit`. Where the worker dies the future raises `BrokenExecutor`, where the
        scheduler does `ClusterError`."""
        from distributed import KilledWorker

        given: Future[Any] = Future()
        given.set_running_or_notify_cancel()
        try:
            remote = self._client.submit(fn, *args, **kwargs, pure=False)
        except Exception as error:
            given.set_exception(self._lost(error))
            return given

        def done(future: Any) -> None:
            if future.status == "finished":
                try:
                    given.set_result(future.result(timeout=60))
                except Exception as error:
                    given.set_exception(self._lost(error))
            elif future.status == "error":
                fault = future.exception(timeout=60)
                killed = isinstance(fault, KilledWorker)
                given.set_exception(_LostWorkerError(str(fault)) if killed else fault)
            else:
                given.set_exception(self._lost(RuntimeError(f"the task was {future.status}")))

        remote.add_done_callback(done)
        return given

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; it goes on. What was not begun there is forgotten."""
        self._client.close()

    def _lost(self, error: BaseException) -> ClusterError:
        return ClusterError(
            f"the scheduler at '{self._address}' was lost ({error}). What was finished is kept: start the scheduler "
            "and run the same command again."
        )


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            "--scheduler needs Dask distributed, which is not installed: pip install 'faceinv[cluster]'."
        ) from None
    import logging

    # Its messages on a connection that cannot be had are ours to give.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    make: Any = Client
    try:
        _check_address(address)  # of one that cannot be, a client begins to connect and does not end
        return make(address, timeout=_SECONDS / 2, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines()[0] if str(error) else type(error).__name__).rstrip(".")
        raise ClusterError(
            f"no scheduler answers at '{address}': {reason}. Start one with 'dask scheduler', and give the address "
            "that it prints, such as tcp://127.0.0.1:8786."
        ) from None


def _check_address(address: str) -> None:
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    scheme, place = parse_address(address)
    get_backend(scheme)
    host, port = parse_host_port(place)
    if not host or not 0 < port < 65536:
        raise ValueError("there is no such host and port")


def _checked_workers(client: Any, address: str) -> int:
    try:
        client.wait_for_workers(1, timeout=_SECONDS)
    except TimeoutError:
        raise ClusterError(
            f"the scheduler at '{address}' has no workers after {_SECONDS} s. Start some: dask worker {address} "
            "--nthreads 1."
        ) from None
    try:
        versions = client.run(_version)
    except Exception as error:  # whatever a worker without faceinv raises
        raise ClusterError(
            f"workers of '{address}' cannot use faceinv ({type(error).__name__}: {error}). Install version "
            f"{__version__} there."
        ) from None
    for worker, version in sorted(versions.items()):
        if version != __version__:
            raise ClusterError(
                f"worker '{worker}' has faceinv {version}; this is {__version__}, and results would be mixed. Install "
                "one version everywhere."
            )
    threads = {name: worker["nthreads"] for name, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
    for worker, count in sorted(threads.items()):
        if count != 1:
            raise ClusterError(
                f"worker '{worker}' does {count} tasks at once in one process. Start workers with --nthreads 1, and as "
                "many of them (--nworkers)."
            )
    return len(threads)


def _version() -> str:
    from faceinv.version import __version__ as version

    return version
