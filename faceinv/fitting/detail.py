"""Relief on results: after a fit, or on a result that was read from a file."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from faceinv.detail.record import FORMULATIONS
from faceinv.engine.registry import build_engine, parse_engine
from faceinv.errors import InputError
from faceinv.face.fit_mesh import fit_mesh

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from faceinv.detail.record import Formulation
    from faceinv.engine.interface import Engine
    from faceinv.fitting.result import FitResult

__all__ = ["add_detail", "refine_detail"]


def add_detail(
    engine: Engine, results: Sequence[FitResult], masks: Sequence[NDArray[np.bool_] | None], formulation: Formulation
) -> list[FitResult]:
    """Results with relief; their photos must be there.

    Args:
        engine: finds it, for so many faces at once as suits it.
        results: fitted faces.
        masks: of each (H, W) pixels of the photo that may be used; None for all.
        formulation: the energy.

    Raises:
        BackendError: when the engine fails.
    """
    from faceinv.detail.stage import DetailJob, find_detail

    refined = []
    for first in range(0, len(results), engine.batch_size):
        began = time.perf_counter()
        batch = results[first : first + engine.batch_size]
        jobs = []
        for result, mask in zip(batch, masks[first : first + engine.batch_size], strict=True):
            assert result.photo is not None
            jobs.append(DetailJob(result.model, result.face, result.photo, mask))
        found = find_detail(engine.detail, jobs, formulation)
        seconds = (time.perf_counter() - began) / len(batch)
        for result, detail in zip(batch, found, strict=True):
            told = detail.warnings if detail.status.success else (detail.status.value,)
            warnings = tuple(line for line in result.warnings if line not in told) + told
            timings = {**result.timings, "detail": seconds}
            refined.append(dataclasses.replace(result, detail=detail, timings=timings, warnings=warnings))
    return refined


def refine_detail(
    result: FitResult,
    photo: Any = None,
    *,
    mask: Any = None,
    formulation: Formulation = "robust",
    backend: str | None = None,
) -> FitResult:
    """The result with the relief of its skin, which shading shows and a face model has not.

    Args:
        result: a fit, or a result read from a file.
        photo: anything `faceinv.fit` accepts; needed only for a result read from a file.
        mask: pixels of the photo that may be used, given in the same ways; None for all.
        formulation: `robust`, or `paper` for the energy of Guo et al. 2018 as it stands.
        backend: the engine, `engine[:device][:dtype]`; None for `numpy`.

    Returns:
        The same result with `detail`. A face that is too small, or masked altogether, keeps its coarse surface:
        `detail.status` and a line of `warnings` say so.

    Raises:
        InputError: when no photo is known, it is not the one that was fitted, or mask or formulation cannot be used.
        BackendError: when the engine is unknown, not installed, lacks the device or fails.
    """
    from faceinv.photo.read import load_mask

    if formulation not in FORMULATIONS:
        raise InputError(f"formulation is {formulation!r}; expected one of {', '.join(FORMULATIONS)}.")
    shown = result.with_photo(photo)
    if shown.photo is None:
        raise InputError(
            "detail is found in the photo, and this result was read from a file. Give the photo that was fitted."
        )
    chosen = None if mask is None else load_mask(mask, shown.image_size)
    if photo is not None:
        shown.check_photo()
    engine = build_engine(parse_engine(backend or "numpy"), fit_mesh(shown.model))
    try:
        return add_detail(engine, [shown], [chosen], formulation)[0]
    finally:
        engine.close()
