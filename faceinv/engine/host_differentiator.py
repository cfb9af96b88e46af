"""A partial differentiator: landmarks, priors and comparison with the photo on the host, the photometric term left to
the engine."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.interface import AbstractDifferentiator
from faceinv.engine.records import Cost, Frozen, Linearization, ResidualJacobian, Visibility

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractRenderer
    from faceinv.engine.records import Problem

__all__ = ["HostTermsDifferentiator"]


class HostTermsDifferentiator(AbstractDifferentiator):
    """Adds landmarks and priors to an engine's photometric term. Items of a batch are worked on one after another.

    Engines implement `_see`, `_photometric`, `_photometric_cost` and `_photometric_rows`.
    """

    def __init__(self, renderer: AbstractRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        self._terms = renderer.host_terms
        self._terms.resize(len(problem.landmarks))

    @abstractmethod
    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], Any]:
        """Visibility of a batch, |F| (B,), and whatever the engine wants to keep for this frozen set."""

    @abstractmethod
    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, free: NDArray[np.bool_]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Cost, g (P,) and H (P, P) of the photometric term of one item, host float64; what is not `free` (P,) may be
        left zero."""

    @abstractmethod
    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        """The photometric term of one item."""

    @abstractmethod
    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`; the item has photometric pixels."""

    @one_blas_thread()
    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        if frozen.pixels[item]:
            return self._photometric_rows(chi, frozen, item, rows)
        return ResidualJacobian(np.zeros(0), np.zeros((0, chi.shape[1])), np.zeros(0))

    @one_blas_thread()
    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`."""
        points = self._terms.points(chi, self.problem)
        if not self.problem.energy.photometric:
            return Frozen(None, points, np.zeros(len(chi), np.int64))
        visibility, pixels, cache = self._see(chi)
        return Frozen(visibility, points, pixels, cache)

    @one_blas_thread()
    def linearize(
        self,
        chi: NDArray[np.float64],
        frozen: Frozen,
        active: NDArray[np.bool_],
        free: NDArray[np.bool_] | None = None,
    ) -> Linearization:
        """See `AbstractDifferentiator.linearize`."""
        batch, count = chi.shape
        free = np.ones((batch, count), np.bool_) if free is None else free
        items = np.flatnonzero(active)
        parts = np.zeros((3, batch))
        (parts[1, items], parts[2, items]), gradient, hessian = self._terms.linearize(
            chi, frozen.points, self.problem, items, free
        )
        if len(items) < batch:
            every = np.zeros((batch, count)), np.zeros((batch, count, count))
            every[0][items], every[1][items] = gradient, hessian
            gradient, hessian = every
        for item in items[frozen.pixels[items] > 0].tolist():
            parts[0, item], photo_g, photo_h = self._photometric(chi[item], frozen, item, free[item])
            gradient[item] += photo_g
            hessian[item] += photo_h
        return Linearization(_cost(parts), gradient, hessian, 3 * frozen.pixels)

    @one_blas_thread()
    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        items = np.flatnonzero(active)
        parts = np.zeros((3, len(chi)))
        parts[1, items], parts[2, items] = self._terms.cost(chi, frozen.points, self.problem, items)
        for item in items[frozen.pixels[items] > 0].tolist():
            parts[0, item] = self._photometric_cost(chi[item], frozen, item)
        return _cost(parts)


def _cost(parts: NDArray[np.float64]) -> Cost:
    """The energy of its terms (3, B)."""
    return Cost.of(photometric=parts[0], landmarks=parts[1], prior=parts[2])
