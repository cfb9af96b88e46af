"""From pixels to what they show: sums over the pixels of each vertex, or of each triangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps

__all__ = ["Scatter"]


class Scatter:
    """The transposed interpolation of pixels that show triangles (n,) of the face mask, in an order that is always the
    same, as are the bits of the sums.

    Args:
        ops: the library.
        triangles: (T, 3) of the model, by the places of vertices among those of the face mask.
        rows: how many vertices these are.
        shown: (n,) the pixels' triangles.
        owner: (T,) of triangles as owners of flat normals, their places among `owners`; None for smooth ones.
        owners: how many they are.
    """

    def __init__(
        self,
        ops: ArrayOps,
        triangles: NDArray[np.int64],
        rows: int,
        shown: NDArray[np.int64],
        owner: NDArray[np.int64] | None = None,
        owners: int = 0,
    ) -> None:
        self._ops = ops
        self._order, self._corners = _pattern(ops, triangles[shown].ravel(), rows, 3)
        self._faces = None if owner is None else _pattern(ops, owner[shown], owners, 1)[1]
        self._ones = None if owner is None else ops.full((len(shown),), 1.0, "float64")

    def __call__(self, weights: Array, table: Array) -> tuple[Array, Array]:
        """Rows of pixels (n, L), times their barycentric weights (n, 3), summed at the vertices, (M, L); and summed at
        the owners of their normals: the same, or for flat normals the plain sums of triangles."""
        ops = self._ops
        spread = ops.take(weights.reshape((-1,)), self._order)
        vertices = ops.combine(self._corners, spread, table)
        return vertices, vertices if self._faces is None else ops.combine(self._faces, self._ones, table)


def _pattern(ops: ArrayOps, target: NDArray[np.int64], rows: int, corners: int) -> tuple[Array, object]:
    """The order of entries that go to target (n * corners,), and their pattern over pixels."""
    order = np.argsort(target, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=rows))]).astype(np.int64)
    return ops.upload(order, "int64"), ops.sparse_rows(start, order // corners, len(target) // corners)
