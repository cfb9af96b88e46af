"""A partial differentiator: landmark and prior terms on the host, the photometric term left to the engine."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from faceinv.energy import HostTerms
from faceinv.interface import AbstractDifferentiator, CostParts, Frozen, LandmarkPoints, Linearization, Visibility

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from faceinv.interface import AbstractRenderer, Problem

__all__ = ["HostTermsDifferentiator"]


class HostTermsDifferentiator(AbstractDifferentiator):
    """Adds landmarks and priors to an engine's photometric term. Items of a batch are worked on one after another.

    Engines implement `_see`, `_photometric`, `_photometric_cost` and `residual_jacobian`.
    """

    def __init__(self, renderer: AbstractRenderer, problem: Problem) -> None:
        self.renderer = renderer
        self.problem = problem
        self._terms = HostTerms(renderer.model)

    @abstractmethod
    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], Any]:
        """Visibility of a batch, |F| (B,), and whatever the engine wants to keep for this frozen set."""

    @abstractmethod
    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Cost, g (P,) and H (P, P) of the photometric term of one item, host float64."""

    @abstractmethod
    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        """The photometric term of one item."""

    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`."""
        visibility, pixels, cache = self._see(chi)
        chosen = [self._terms.points(chi[item], self.problem.landmarks[item]) for item in range(len(chi))]
        points = LandmarkPoints(
            np.concatenate([p.vertices for p in chosen]), np.concatenate([p.weights for p in chosen])
        )
        return Frozen(visibility, points, pixels, cache)

    def linearize(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """See `AbstractDifferentiator.linearize`."""
        batch, count = chi.shape
        parts = np.zeros((3, batch))
        gradient, hessian = np.zeros((batch, count)), np.zeros((batch, count, count))
        for item in np.flatnonzero(active).tolist():
            points = _item(frozen.points, item)
            parts[1:, item], g, h = self._terms.linearize(chi[item], points, self.problem, item)
            if frozen.pixels[item]:
                parts[0, item], photo_g, photo_h = self._photometric(chi[item], frozen, item)
                g, h = g + photo_g, h + photo_h
            gradient[item], hessian[item] = g, h
        return Linearization(CostParts(*parts), gradient, hessian, 3 * frozen.pixels)

    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> CostParts:
        """See `AbstractDifferentiator.cost`."""
        parts = np.zeros((3, len(chi)))
        for item in np.flatnonzero(active).tolist():
            parts[1:, item] = self._terms.cost(chi[item], _item(frozen.points, item), self.problem, item)
            if frozen.pixels[item]:
                parts[0, item] = self._photometric_cost(chi[item], frozen, item)
        return CostParts(*parts)


def _item(points: LandmarkPoints, item: int) -> LandmarkPoints:
    return LandmarkPoints(points.vertices[item : item + 1], points.weights[item : item + 1])
