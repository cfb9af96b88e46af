"""Fine detail by `ArrayOps`: the equations of `faceinv.engine.detail`, a batch at a time.

Derivatives are written out here: a pixel's colour depends on two slopes, so that a backward pass would gain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.engine.detail import COST_PARTS, AbstractDetailSolver, DetailLinearization, basis_constants

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.detail import DetailProblem
    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.records import DType

__all__ = ["ArrayDetailSolver"]

_TINY = 1e-12


@dataclass(frozen=True)
class _System:
    """What H is made of; inner corners are those that lie within the image."""

    xx: Array
    """(B, H, W): A + t I, with `xy` and `yy`."""
    xy: Array
    yy: Array
    curve: Array
    """(B, H - 1, W - 1) inner corners: l."""
    inverse_diagonal: Array
    """(B, H + 1, W + 1)."""


class ArrayDetailSolver(AbstractDetailSolver):
    """Arrays of any library."""

    def __init__(self, ops: ArrayOps, problem: DetailProblem, dtype: DType) -> None:
        self.ops = ops
        self.problem = problem
        self._dtype = dtype
        channels = range(3)
        self._target = [self._up(problem.target[..., c]) for c in channels]
        self._gain = [self._up(problem.gain[..., c]) for c in channels]
        self._normal = [self._up(problem.normal[..., c]) for c in channels]
        self._mask = self._up(problem.mask)
        self._counts = self._up(problem.weight * problem.mask)
        on = problem.corners.astype(np.float64)
        neighbours = on[:, :-2, 1:-1] + on[:, 2:, 1:-1] + on[:, 1:-1, :-2] + on[:, 1:-1, 2:]
        self._corners = self._up(on)
        self._on = self._up(on[:, 1:-1, 1:-1])
        self._neighbours = self._up(neighbours * on[:, 1:-1, 1:-1])
        light = problem.lighting * basis_constants()[:, None]
        self._light = [[self._each(light[:, k, c]) for k in range(9)] for c in channels]
        self._metric = [[self._each(problem.metric[:, i, j]) for j in channels] for i in channels]
        self._half = self._each(0.5 / problem.pixel)
        self._per_area = self._each(1 / problem.pixel**2)
        height, width = problem.size
        columns = np.arange(width) - problem.principal_point[:, :1]
        rows = np.arange(height) - problem.principal_point[:, 1:]
        zeros = np.zeros(problem.mask.shape)
        self._a = self._up((columns * problem.inverse_focal[:, None])[:, None] + zeros)
        self._b = self._up(-(rows * problem.inverse_focal[:, None])[:, :, None] + zeros)

    def _up(self, host: NDArray[Any]) -> Array:
        return self.ops.upload(np.ascontiguousarray(host, self._dtype), self._dtype)

    def _each(self, numbers: NDArray[np.float64]) -> Array:
        """One number (B,) for each item, as (B, 1, 1)."""
        return self._up(numbers[:, None, None])

    def upload(self, displacement: NDArray[np.float64] | None) -> Array:
        """See `AbstractDetailSolver.upload`."""
        corners = self.problem.corners
        return self._up(np.zeros(corners.shape) if displacement is None else np.where(corners, displacement, 0.0))

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractDetailSolver.to_host`."""
        return self.ops.download(array)

    def prolong(self, coarse: Array) -> Array:
        """See `AbstractDetailSolver.prolong`."""
        height, width = self.problem.size
        for axis, size in ((1, height + 1), (2, width + 1)):
            place = np.arange(size)
            before, after = (np.minimum(p, coarse.shape[axis] - 1) for p in (place // 2, (place + 1) // 2))
            coarse = (self._taken(coarse, before, axis) + self._taken(coarse, after, axis)) * 0.5
        return coarse * self._corners

    def _taken(self, array: Array, index: NDArray[np.int64], axis: int) -> Array:
        """Rows or columns of every item."""
        count, height, width = array.shape
        items = np.arange(count)
        if axis == 1:
            rows = items[:, None] * height + index
            return self.ops.take(array.reshape((count * height, width)), self.ops.upload(rows, "int64"))
        columns = np.arange(count * height)[:, None] * width + index
        flat = self.ops.take(array.reshape((count * height * width,)), self.ops.upload(columns, "int64"))
        return flat.reshape((count, height, len(index)))

    def moved(self, displacement: Array, step: Array, length: NDArray[np.float64]) -> Array:
        """See `AbstractDetailSolver.moved`."""
        return displacement + self._each(length) * step

    def normals(self, displacement: Array) -> Array:
        """See `AbstractDetailSolver.normals`."""
        x, y, z, _ = self._turned(*self._slopes(displacement))
        outside = 1 - self._mask
        return self.ops.stack(
            [n * self._mask + n0 * outside for n, n0 in zip((x, y, z), self._normal, strict=True)], axis=3
        )

    def linearize(self, displacement: Array) -> DetailLinearization:
        """See `AbstractDetailSolver.linearize`."""
        ops, weights, mask = self.ops, self.problem.weights, self._mask
        dx, dy = self._slopes(displacement)
        nx, ny, nz, scale = self._turned(dx, dy)
        residuals, by_x, by_y = [], [], []
        for c in range(3):
            shade, sx, sy = self._shading(c, nx, ny, nz)
            residuals.append(self._target[c] - self._gain[c] * shade)
            by_x.append(self._gain[c] * scale * sx)
            by_y.append(self._gain[c] * scale * sy)
        weighed, weighed_x, weighed_y = (self._weighed(each) for each in (residuals, by_x, by_y))
        size = ops.sqrt(ops.at_least(_dot(residuals, weighed), _TINY**2))
        near = size
        if np.isfinite(weights.huber):
            near = ops.smaller(size, size * 0 + weights.huber)
        photometric = self._counts * near * (2 * size - near)
        counts = self._counts * near / size

        squared = dx * dx + dy * dy
        stiff, value = self._sparse(squared, weights.slope, weights.slope_softness)
        turn = mask * (stiff + 2 * weights.steep * squared)
        slope = mask * (value + weights.steep * squared * squared)
        xx = counts * _dot(by_x, weighed_x) + turn
        xy = counts * _dot(by_x, weighed_y)
        yy = counts * _dot(by_y, weighed_y) + turn
        force_x = turn * dx - counts * _dot(by_x, weighed)
        force_y = turn * dy - counts * _dot(by_y, weighed)

        bend = self._laplacian(displacement)
        curve, value = self._sparse(bend * bend, weights.curvature, weights.curvature_softness)
        curve = curve * self._on
        inner = displacement[:, 1:-1, 1:-1]
        gradient = self._gathered(curve * bend, force_x, force_y) + weights.size * inner
        costs = (photometric, weights.size * inner * inner, value * self._on, slope)
        cost = np.stack([np.asarray(ops.download(ops.sums(part)), np.float64) for part in costs], axis=1)
        assert cost.shape[1] == len(COST_PARTS)
        inverse = self._inverse_diagonal(xx, xy, yy, curve)
        system = _System(xx, xy, yy, curve, inverse)
        return DetailLinearization(cost, ops.bordered(gradient * self._on), system)

    def hessian_product(self, linearization: DetailLinearization, vector: Array) -> Array:
        """See `AbstractDetailSolver.hessian_product`."""
        system: _System = linearization.system
        dx, dy = self._slopes(vector)
        force_x, force_y = system.xx * dx + system.xy * dy, system.xy * dx + system.yy * dy
        product = self._gathered(system.curve * self._laplacian(vector), force_x, force_y)
        product = product + self.problem.weights.size * vector[:, 1:-1, 1:-1]
        return self.ops.bordered(product * self._on)

    def solve(
        self, linearization: DetailLinearization, tolerance: float, limit: int
    ) -> tuple[Array, NDArray[np.int64]]:
        """See `AbstractDetailSolver.solve`."""
        inverse = linearization.system.inverse_diagonal
        left = linearization.gradient * -1.0
        direction = left * inverse
        step = direction * 0.0
        size = self._total(left * direction)
        small = tolerance**2 * size
        taken = np.zeros(len(size), np.int64)
        running = size > small
        while running.any() and taken.max() < limit:
            product = self.hessian_product(linearization, direction)
            bent = self._total(direction * product)
            length = np.where(running, size / np.where(running, bent, 1.0), 0.0)
            step = step + self._each(length) * direction
            left = left - self._each(length) * product
            found = self._total(left * left * inverse)
            share = np.where(running, found / np.where(running, size, 1.0), 0.0)
            direction = left * inverse + self._each(share) * direction
            taken += running
            size = np.where(running, found, size)
            running &= size > small
        return step, taken

    def _total(self, array: Array) -> NDArray[np.float64]:
        return np.asarray(self.ops.download(self.ops.sums(array)), np.float64)

    def _slopes(self, d: Array) -> tuple[Array, Array]:
        """(B, H, W) each."""
        a, b, c, e = d[:, :-1, :-1], d[:, :-1, 1:], d[:, 1:, :-1], d[:, 1:, 1:]
        return (b + e - a - c) * self._half, (c + e - a - b) * self._half

    def _turned(self, dx: Array, dy: Array) -> tuple[Array, Array, Array, Array]:
        """The displaced unit normal, and e over the length it had; (B, H, W) each."""
        n0x, n0y, n0z = self._normal
        e = n0z - self._a * n0x - self._b * n0y
        x, y, z = n0x - e * dx, n0y + e * dy, n0z + e * (self._b * dy - self._a * dx)
        inverse = 1 / self.ops.sqrt(self.ops.at_least(x * x + y * y + z * z, _TINY))
        return x * inverse, y * inverse, z * inverse, e * inverse

    def _shading(self, channel: int, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """gamma . Y(n) of a channel, and its derivatives by the slopes over the last number of `_turned`."""
        l0, l1, l2, l3, l4, l5, l6, l7, l8 = self._light[channel]
        shade = l0 + l1 * y + l2 * z + l3 * x + l4 * x * y + l5 * y * z + l7 * x * z
        shade = shade + l6 * (3 * z * z - 1) + l8 * (x * x - y * y)
        sx = l3 + l4 * y + l7 * z + 2 * l8 * x
        sy = l1 + l4 * x + l5 * z - 2 * l8 * y
        sz = l2 + l5 * y + l7 * x + 6 * l6 * z
        along = sx * x + sy * y + sz * z
        sx, sy, sz = sx - along * x, sy - along * y, sz - along * z
        return shade, (sx + self._a * sz) * -1.0, sy + self._b * sz

    def _weighed(self, vector: list[Array]) -> list[Array]:
        """W times a vector of three."""
        return [_dot(row, vector) for row in self._metric]

    def _sparse(self, squared: Array, strength: float, softness: float) -> tuple[Array, Array]:
        """Half the derivative of a sparse cost over its argument, and the cost, by the argument's square."""
        whole = squared + softness**2
        if self.problem.weights.heavy_tails:
            return strength * softness / whole, strength * softness * self.ops.log(whole / softness**2)
        root = self.ops.sqrt(whole)
        return 0.5 * strength / root, strength * (root - softness)

    def _laplacian(self, d: Array) -> Array:
        """(B, H - 1, W - 1) at inner corners, of what is zero where corners do not count."""
        around = d[:, :-2, 1:-1] + d[:, 2:, 1:-1] + d[:, 1:-1, :-2] + d[:, 1:-1, 2:]
        return (around - self._neighbours * d[:, 1:-1, 1:-1]) * self._per_area

    def _gathered(self, bent: Array, force_x: Array, force_y: Array) -> Array:
        """A^T of inner corners and G^T of pixels, at inner corners."""
        total, difference = force_x + force_y, force_x - force_y
        turned = total[:, :-1, :-1] - total[:, 1:, 1:] + difference[:, 1:, :-1] - difference[:, :-1, 1:]
        return self._laplacian(self.ops.bordered(bent)) + turned * self._half

    def _inverse_diagonal(self, xx: Array, xy: Array, yy: Array, curve: Array) -> Array:
        wide = self.ops.bordered(curve)
        stiff = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
        stiff = stiff + self._neighbours * self._neighbours * curve
        both, cross = xx + yy, 2 * xy
        plus, minus = both + cross, both - cross
        turns = plus[:, :-1, :-1] + plus[:, 1:, 1:] + minus[:, 1:, :-1] + minus[:, :-1, 1:]
        diagonal = self.problem.weights.size + self._per_area * self._per_area * stiff + self._half * self._half * turns
        return self.ops.bordered(self._on / (diagonal + (1 - self._on)))


def _dot(first: list[Array], second: list[Array]) -> Array:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
