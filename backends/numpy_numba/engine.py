"""The `numpy` engine: NumPy arrays and Numba kernels on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from faceinv.backends.numpy_numba.detail import NumbaDetailSolver
from faceinv.backends.numpy_numba.differentiator import NumbaDifferentiator
from faceinv.backends.numpy_numba.renderer import NumbaRenderer
from faceinv.backends.numpy_numba.threads import fitting_threads
from faceinv.engine.interface import AbstractDifferentiator, Engine, FittingThreads
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
    from faceinv.engine.records import EngineSettings, Problem
    from faceinv.face.model import MorphableModel

__all__ = ["NumbaEngine", "build"]


class NumbaEngine(Engine):
    """NumPy arrays, Numba kernels, one CPU."""

    name = "numpy"

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.description = f"NumPy {np.__version__}, Numba {numba.__version__}, cpu, {settings.dtype}"
        self.renderer: NumbaRenderer = NumbaRenderer(model, settings)

    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """See `Engine.differentiator`."""
        return NumbaDifferentiator(self.renderer, problem)

    def detail(self, problem: DetailProblem) -> AbstractDetailSolver:
        """See `Engine.detail`."""
        return NumbaDetailSolver(problem, self.renderer.settings.dtype)

    def fitting_threads(self, photos: int) -> FittingThreads:
        """See `Engine.fitting_threads`."""
        return fitting_threads(photos)


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the registry calls.

    Raises:
        BackendError: when a device other than the CPU is asked for.
    """
    if settings.device not in ("", "cpu"):
        raise BackendError(f"engine 'numpy' runs on 'cpu' only, not on '{settings.device}'.")
    return NumbaEngine(model, settings)
