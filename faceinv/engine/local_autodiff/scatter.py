"""From pixels to what they show: sums over the pixels of each vertex, or of each triangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.face.model import MorphableModel

__all__ = ["Scatter"]


class Scatter:
    """The transposed interpolation of pixels that show triangles (n,), in an order that is always the same, as are the
    bits of the sums."""

    def __init__(self, ops: ArrayOps, model: MorphableModel, triangles: NDArray[np.int64], flat: bool) -> None:
        self._ops = ops
        corners = model.triangles[triangles].astype(np.int64)
        self._order, self._corners = _pattern(ops, corners.ravel(), model.vertex_count, 3)
        self._faces = _pattern(ops, triangles, len(model.triangles), 1)[1] if flat else None
        self._ones = ops.full((len(triangles),), 1.0, "float64") if flat else None

    def __call__(self, weights: Sequence[Array], table: Array) -> tuple[Array, Array]:
        """Rows of pixels (n, L), times their barycentric weights (three arrays (n,)), summed at the vertices, (N, L);
        and summed at the owners of their normals: the same, or for flat normals the plain sums of triangles (T, L)."""
        ops = self._ops
        spread = ops.take(ops.stack(weights, 1).reshape((-1,)), self._order)
        vertices = ops.combine(self._corners, spread, table)
        return vertices, vertices if self._faces is None else ops.combine(self._faces, self._ones, table)


def _pattern(ops: ArrayOps, target: NDArray[np.int64], rows: int, corners: int) -> tuple[Array, object]:
    """The order of entries that go to target (n * corners,), and their pattern over pixels."""
    order = np.argsort(target, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=rows))]).astype(np.int64)
    return ops.upload(order, "int64"), ops.sparse_rows(start, order // corners, len(target) // corners)
