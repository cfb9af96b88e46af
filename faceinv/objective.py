"""What the solver minimises: the energy on an engine, or its landmark and prior terms alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.energy import HostTerms
from faceinv.interface import CostParts, Linearization, solve_on_host
from faceinv.solver import AbstractObjective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.interface import AbstractDifferentiator, Frozen, LandmarkPoints, Problem, Step
    from faceinv.model import MorphableModel
    from faceinv.parameters import ParameterLayout

__all__ = ["FaceObjective", "LandmarkObjective"]


class FaceObjective(AbstractObjective):
    """The whole energy, over the entries of chi that are free."""

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

    def cost(self, x: NDArray[np.float64], state: Frozen, active: NDArray[np.bool_]) -> CostParts:
        """See `AbstractDifferentiator.cost`."""
        return self.differentiator.cost(x, state, active)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64]) -> Step:
        """See `AbstractDifferentiator.solve`."""
        return self.differentiator.solve(linearization, damping, self.free)

    def retract(self, x: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `ParameterLayout.retract`."""
        return self.layout.retract(x, step)


class LandmarkObjective(AbstractObjective):
    """Landmark and prior terms; needs no engine."""

    def __init__(self, model: MorphableModel, problem: Problem, free: NDArray[np.bool_]) -> None:
        self._terms = HostTerms(model)
        self._problem = problem
        self.free = free

    def freeze(self, x: NDArray[np.float64]) -> list[LandmarkPoints]:
        """Landmark points of each item at x."""
        return [self._terms.points(chi, target) for chi, target in zip(x, self._problem.landmarks, strict=True)]

    def linearize(
        self, x: NDArray[np.float64], state: list[LandmarkPoints], active: NDArray[np.bool_]
    ) -> Linearization:
        """Cost, g and H of the two terms."""
        batch, count = x.shape
        parts, gradient, hessian = np.zeros((3, batch)), np.zeros((batch, count)), np.zeros((batch, count, count))
        for item in np.flatnonzero(active).tolist():
            parts[1:, item], gradient[item], hessian[item] = self._terms.linearize(
                x[item], state[item], self._problem, item
            )
        return Linearization(CostParts(*parts), gradient, hessian, np.zeros(batch, np.int64))

    def cost(self, x: NDArray[np.float64], state: list[LandmarkPoints], active: NDArray[np.bool_]) -> CostParts:
        """The two terms."""
        parts = np.zeros((3, len(x)))
        for item in np.flatnonzero(active).tolist():
            parts[1:, item] = self._terms.cost(x[item], state[item], self._problem, item)
        return CostParts(*parts)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64]) -> Step:
        """By Cholesky."""
        gradient: Any = linearization.gradient
        return solve_on_host(gradient, linearization.hessian, damping, self.free)

    def retract(self, x: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `ParameterLayout.retract`."""
        return self._terms.layout.retract(x, step)
