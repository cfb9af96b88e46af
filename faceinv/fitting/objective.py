"""What the solver minimises: the energy on an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.fitting.solver import AbstractObjective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractDifferentiator
    from faceinv.engine.records import Cost, Frozen, Linearization, Step
    from faceinv.face.layout import ParameterLayout

__all__ = ["FaceObjective"]


class FaceObjective(AbstractObjective):
    """The energy, over the entries of chi that are free."""

    def __init__(self, differentiator: AbstractDifferentiator, free: NDArray[np.bool_] | None = None) -> None:
        self.differentiator = differentiator
        self.layout: ParameterLayout = differentiator.renderer.layout
        self.free = np.ones(self.layout.count, np.bool_) if free is None else free

    def freeze(self, x: NDArray[np.float64]) -> Frozen:
        """Visibility and landmark points at x."""
        return self.differentiator.freeze(x)

    def linearize(self, x: NDArray[np.float64], state: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """See `AbstractDifferentiator.linearize`."""
        return self.differentiator.linearize(x, state, active)

    def cost(self, x: NDArray[np.float64], state: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        return self.differentiator.cost(x, state, active)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64]) -> Step:
        """See `AbstractDifferentiator.solve`."""
        return self.differentiator.solve(linearization, damping, self.free)

    def retract(self, x: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `ParameterLayout.retract`."""
        return self.layout.retract(x, step)
