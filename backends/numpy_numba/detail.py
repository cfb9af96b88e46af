"""Fine detail by Numba: one level of a batch, item after item, each row by row on all threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.numpy_numba import detail_kernels as kernels
from faceinv.backends.numpy_numba.threads import before_launch
from faceinv.engine.detail import COST_PARTS, AbstractDetailSolver, DetailLinearization, basis_constants

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.detail import DetailProblem
    from faceinv.engine.records import DType

__all__ = ["NumbaDetailSolver"]


@dataclass(frozen=True)
class _System:
    """What H of one item is made of."""

    pixels: NDArray[Any]
    """(3, H, W): A + t I as xx, xy, yy."""
    curve: NDArray[Any]
    """(H + 1, W + 1): l."""
    inverse_diagonal: NDArray[Any]
    """(H + 1, W + 1)."""


class _Item:
    """One item's fields as kernels want them."""

    def __init__(self, problem: DetailProblem, item: int, real: type[np.floating[Any]]) -> None:
        def planes(values: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(np.moveaxis(values[item], -1, 0), real)

        on = problem.corners[item]
        width = on.shape[1]
        counted = np.zeros(on.shape, real)
        counted[1:-1, 1:-1] = on[:-2, 1:-1].astype(real) + on[2:, 1:-1] + on[1:-1, :-2] + on[1:-1, 2:]
        self.target, self.gain, self.normal = planes(problem.target), planes(problem.gain), planes(problem.normal)
        self.weight = np.ascontiguousarray(problem.weight[item], real)
        self.mask = problem.mask[item].astype(real)
        self.on = on.astype(real)
        self.count = counted * self.on
        self.light = (problem.lighting[item] * basis_constants()[:, None]).astype(real)
        self.metric = problem.metric[item].astype(real)
        pixel, w = problem.pixel[item], problem.weights
        self.ray = np.array([*problem.principal_point[item], problem.inverse_focal[item], 0.5 / pixel], real)
        self.of_pixels = np.array([w.huber, w.slope, w.steep, w.slope_softness, w.heavy_tails], real)
        self.of_corners = np.array([w.size, w.curvature, w.curvature_softness, 1 / pixel**2, w.heavy_tails], real)
        any_on = on.any(axis=1)
        self.start = np.where(any_on, on.argmax(axis=1), 1)
        self.stop = np.where(any_on, width - on[:, ::-1].argmax(axis=1), 1)

    @property
    def span(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First corner of each row that counts, and the one after the last."""
        return self.start, self.stop


class NumbaDetailSolver(AbstractDetailSolver):
    """NumPy arrays, Numba kernels."""

    def __init__(self, problem: DetailProblem, dtype: DType) -> None:
        self.problem = problem
        self._real: Any = np.dtype(dtype).type
        self._items = [_Item(problem, item, self._real) for item in range(len(problem.mask))]

    def _zeros(self) -> NDArray[Any]:
        return np.zeros(self.problem.corners.shape, self._real)

    def upload(self, displacement: NDArray[np.float64] | None) -> NDArray[Any]:
        """See `AbstractDetailSolver.upload`."""
        if displacement is None:
            return self._zeros()
        return np.where(self.problem.corners, displacement, 0.0).astype(self._real)

    def prolong(self, coarse: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractDetailSolver.prolong`."""
        before_launch()
        fine = self._zeros()
        for item, given, out in zip(self._items, coarse, fine, strict=True):
            kernels.prolong(given, item.on, out)
        return fine

    def linearize(self, displacement: NDArray[Any]) -> DetailLinearization:
        """See `AbstractDetailSolver.linearize`."""
        before_launch()
        height, width = self.problem.size
        gradient, cost, systems = self._zeros(), np.zeros((len(displacement), len(COST_PARTS))), []
        for k, (i, d) in enumerate(zip(self._items, displacement, strict=True)):
            system, force = (np.zeros((n, height, width), self._real) for n in (3, 2))
            curve, bent, inverse = (np.zeros_like(d) for _ in range(3))
            rows, corner_rows = (np.zeros((2, n), self._real) for n in (height, height + 1))
            fields = (i.target, i.gain, i.normal, i.weight, i.mask, i.light, i.metric)
            kernels.photometric(d, *fields, i.ray, i.of_pixels, *i.span, system, force, rows)
            kernels.curvatures(d, i.count, i.on, i.of_corners, *i.span, curve, bent, corner_rows)
            kernels.gradient_and_diagonal(
                *(d, system, force, curve, bent, i.count, i.on),
                *(i.of_corners, i.ray, *i.span, gradient[k], inverse),
            )
            pixels, corners = rows.sum(axis=1, dtype=np.float64), corner_rows.sum(axis=1, dtype=np.float64)
            cost[k] = pixels[0], *corners, pixels[1]
            systems.append(_System(system, curve, inverse))
        return DetailLinearization(cost, gradient, systems)

    def hessian_product(self, linearization: DetailLinearization, vector: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractDetailSolver.hessian_product`."""
        before_launch()
        product = self._zeros()
        for i, system, given, out in zip(self._items, linearization.system, vector, product, strict=True):
            kernels.hessian_product(
                given, system.pixels, system.curve, i.count, i.on, i.of_corners, i.ray, *i.span, out
            )
        return product

    def solve(
        self, linearization: DetailLinearization, tolerance: float, limit: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """See `AbstractDetailSolver.solve`."""
        before_launch()
        step, taken = self._zeros(), np.zeros(len(self._items), np.int64)
        for k, (i, system) in enumerate(zip(self._items, linearization.system, strict=True)):
            taken[k] = kernels.conjugate_gradients(
                *(linearization.gradient[k], system.inverse_diagonal, system.pixels, system.curve, i.count, i.on),
                *(i.of_corners, i.ray, *i.span, tolerance, limit, step[k]),
            )
        return step, taken

    def moved(self, displacement: NDArray[Any], step: NDArray[Any], length: NDArray[np.float64]) -> NDArray[Any]:
        """See `AbstractDetailSolver.moved`."""
        before_launch()
        result = displacement.copy()
        for k in np.flatnonzero(length):
            kernels.add_scaled(displacement[k], step[k], length[k], result[k])
        return result

    def normals(self, displacement: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractDetailSolver.normals`."""
        before_launch()
        result = np.zeros((*self.problem.mask.shape, 3), self._real)
        for i, d, out in zip(self._items, displacement, result, strict=True):
            kernels.displaced_normals(d, i.normal, i.mask, i.ray, out)
        return result

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractDetailSolver.to_host`."""
        return array
