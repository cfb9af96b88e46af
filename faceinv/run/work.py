"""What a process does with the photos that it is given: fit them as one batch and write their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from faceinv.engine.blas import one_blas_thread
from faceinv.errors import DeviceLostError, FaceinvError, InputError
from faceinv.run.jobs import Job, Record, fail
from faceinv.run.outputs import FitOptions, clean_leftovers, photo_place, write_result

if TYPE_CHECKING:
    from faceinv.fitting.fitter import Fitter
    from faceinv.fitting.result import FitResult
    from faceinv.photo.prepare import Prepared

__all__ = ["check_result", "fit_jobs", "unexpected"]

_log = logging.getLogger(__name__)


def fit_jobs(options: FitOptions, jobs: Sequence[Job]) -> list[Record]:
    """Fit photos together and write their files; what fails is recorded, not raised.

    Where the device is lost the process ends: it is of no more use, and a new one can try the photos again.

    Returns:
        a record for each photo, in their order; it stands in the photo's JSON, too.
    """
    try:
        for job in jobs:
            clean_leftovers(job.folder, job.stem)
        outcomes = _fit(_fitter(options), jobs)
    except DeviceLostError as error:
        _log.error("%s", error)
        os._exit(1)
    except Exception as error:
        return [fail(job, _message(error)) for job in jobs]
    # Held here, so that threads which enter and leave it within do not change it under each other.
    with one_blas_thread(), ThreadPoolExecutor(_threads(jobs)) as pool:
        return list(pool.map(partial(_finish, options), jobs, outcomes))


def check_result(result: FitResult) -> FitResult:
    """The same result.

    Raises:
        InputError: when the fit ended without a usable face.
    """
    if not result.status.success:
        raise InputError(f"no face could be fitted. {result.status.value}")
    return result


def unexpected(error: Exception) -> str:
    """What is said of a fault of the program, which must not cost the results of other photos."""
    return f"unexpected {type(error).__name__}: {error}. Please report this."


@lru_cache(maxsize=1)
def _fitter(options: FitOptions) -> Fitter:
    """Kept by the process for the next photos."""
    from faceinv.fitting.fitter import Fitter

    return Fitter(options.model, options.backend, options.config)


def _fit(fitter: Fitter, jobs: Sequence[Job]) -> list[FitResult | Exception]:
    """A result or an error for each photo.

    Raises:
        DeviceLostError: when the device can be used no more.
    """
    with ThreadPoolExecutor(_threads(jobs)) as pool:
        prepared = list(pool.map(partial(_prepare, fitter), jobs))
    usable = [photo for photo in prepared if not isinstance(photo, Exception)]
    results = iter(_solve(fitter, usable))
    return [photo if isinstance(photo, Exception) else next(results) for photo in prepared]


def _prepare(fitter: Fitter, job: Job) -> Prepared | Exception:
    try:
        return fitter.prepare(job.image, job.landmarks)
    except Exception as error:
        return error


def _solve(fitter: Fitter, photos: Sequence[Prepared]) -> list[FitResult | Exception]:
    try:
        return list(fitter.solve(photos)) if photos else []
    except DeviceLostError:
        raise
    except Exception as error:
        if len(photos) == 1:
            return [error]
    # One of the photos may be at fault; the others shall have their results.
    return [outcome for photo in photos for outcome in _solve(fitter, [photo])]


def _finish(options: FitOptions, job: Job, outcome: FitResult | Exception) -> Record:
    """Write the files of one photo."""
    try:
        if isinstance(outcome, Exception):
            return fail(job, _message(outcome))
        extra = {"image": job.name, **photo_place(job.image, job.folder), "source": job.source()}
        return write_result(check_result(outcome), job.folder, job.stem, options, extra)
    except Exception as error:
        return fail(job, _message(error))


def _threads(jobs: Sequence[Job]) -> int:
    return min(len(jobs), os.cpu_count() or 1)


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, FaceinvError) else unexpected(error)
