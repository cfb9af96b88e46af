"""What a process does with the photos that it is given: fit them as one batch and write their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from faceinv.engine.blas import one_blas_thread
from faceinv.errors import DeviceLostError, FaceinvError, InputError
from faceinv.run.jobs import Job, Record, fail
from faceinv.run.outputs import FitOptions, clean_leftovers, write_result

if TYPE_CHECKING:
    from faceinv.fitting.fitter import Fitter
    from faceinv.fitting.result import FitResult

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
    with one_blas_thread(), ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        return list(pool.map(_finish, [options] * len(jobs), jobs, outcomes))


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
    outcomes: list[FitResult | Exception] = []
    for job in jobs:
        try:
            outcomes.append(fitter.fit(job.image, job.landmarks))
        except DeviceLostError:
            raise
        except Exception as error:
            outcomes.append(error)
    return outcomes


def _finish(options: FitOptions, job: Job, outcome: FitResult | Exception) -> Record:
    """Write the files of one photo."""
    try:
        if isinstance(outcome, Exception):
            return fail(job, _message(outcome))
        extra = {"image": job.name, "source": job.source()}
        return write_result(check_result(outcome), job.folder, job.stem, options.texture, extra)
    except Exception as error:
        return fail(job, _message(error))


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, FaceinvError) else unexpected(error)
