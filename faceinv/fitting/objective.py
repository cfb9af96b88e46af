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
    """The energy, over the entries of chi that are free.

    The camera's principal point never is, and its focal length only where that is to be estimated; wherever else it is
    held, so that the distance follows from the scale.

    Args:
        differentiator: the energy on an engine.
        free: (P,) entries that may move; None for all.
        estimated: (B,) items whose focal length is among them, which stays positive; None for no item.
    """

    def __init__(
        self,
        differentiator: AbstractDifferentiator,
        free: NDArray[np.bool_] | None = None,
        estimated: NDArray[np.bool_] | None = None,
    ) -> None:
        self.differentiator = differentiator
        self.layout: ParameterLayout = differentiator.renderer.layout
        batch = len(differentiator.problem.landmarks)
        self._estimated = np.zeros(batch, np.bool_) if estimated is None else estimated
        self.free = np.tile(self.layout.unknowns if free is None else free & self.layout.unknowns, (batch, 1))
        """(B, P)."""
        self.free[:, self.layout.inverse_focal] &= self._estimated

    def freeze(self, x: NDArray[np.float64]) -> Frozen:
        """Visibility and landmark points at x."""
        return self.differentiator.freeze(x)

    def linearize(self, x: NDArray[np.float64], state: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """See `AbstractDifferentiator.linearize`."""
        return self.differentiator.linearize(x, state, active, self.free)

    def cost(self, x: NDArray[np.float64], state: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        return self.differentiator.cost(x, state, active)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64]) -> Step:
        """See `AbstractDifferentiator.solve`."""
        return self.differentiator.solve(linearization, damping, self.free)

    def retract(self, x: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `ParameterLayout.retract`."""
        moved, focal = self.layout.retract(x, step), self.layout.inverse_focal
        moved[:, focal] = np.where(self._estimated, np.maximum(moved[:, focal], 0.0), x[:, focal])
        return moved
