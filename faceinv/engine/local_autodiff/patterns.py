"""Constant sparsity patterns of a mesh: computed on the host once, for normals and for their derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["NormalDerivativePattern", "corner_rows"]


def corner_rows(triangles: NDArray[np.int32], vertex_count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compressed rows (start (N + 1,), index (3T,)): the triangles around each vertex, ascending."""
    flat = triangles.ravel()
    start = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=vertex_count))])
    return start, np.argsort(flat, kind="stable") // 3


@dataclass(frozen=True)
class NormalDerivativePattern:
    """Which vertices move which normals, over the model's face mask.

    An owner of a normal is a vertex (smooth) or a triangle (flat). Its unnormalised normal is N = sum of the cross
    products of its triangles' edges, and `dN = sum_j dV_j x c_j` over the vertices j of those triangles, where c_j is
    the sum of the edges opposite j. One entry stands for each owner and j; an owner's entries follow one another.
    """

    owners: NDArray[np.int64]
    """(M,) vertices or triangles, ascending."""
    place: NDArray[np.int64]
    """(N,) or (T,): the owner's row, 0 for the rest."""
    row: NDArray[np.int64]
    """(R,) each entry's owner's row."""
    edge_start: NDArray[np.int64]
    """(R + 1,) an entry's edges are `edge_index[edge_start[e]:edge_start[e + 1]]`."""
    edge_index: NDArray[np.int64]
    """corner * T + triangle: the edge opposite that corner."""
    order: NDArray[np.int64]
    """(9R,) takes entries' 3x3 matrices (a, b, entry) to the order (row, a, entry, b) of the sparse matrix."""
    start: NDArray[np.int64]
    """(3M + 1,) rows of the sparse matrix that takes (3N, K) bases to (3M, K) normals' derivatives."""
    index: NDArray[np.int64]
    """(9R,) its columns."""

    @classmethod
    def of(cls, model: MorphableModel, flat: bool) -> NormalDerivativePattern:
        """The pattern for flat normals or for smooth ones."""
        triangles, n = model.triangles.astype(np.int64), model.vertex_count
        if flat:
            owners = np.flatnonzero(model.face_mask)
            owner, column = np.repeat(owners, 3), triangles[owners].ravel()
            edges = (owners[:, None] + len(triangles) * np.arange(3)).ravel()
            edge_start = np.arange(len(edges) + 1)
        else:
            owners = np.unique(triangles[model.face_mask])
            owned = np.zeros(n, np.bool_)
            owned[owners] = True
            first = np.repeat(triangles, 3, axis=1).ravel()
            second = np.tile(triangles, (1, 3)).ravel()
            edges = np.tile(np.arange(triangles.size).reshape(3, -1).T, (1, 3)).ravel()
            keep = owned[first]
            key, edges = (first * n + second)[keep], edges[keep]
            edges = edges[np.argsort(key, kind="stable")]
            unique, counts = np.unique(key, return_counts=True)
            owner, column = unique // n, unique % n
            edge_start = np.concatenate([[0], np.cumsum(counts)])
        place = np.zeros(len(triangles) if flat else n, np.int64)
        place[owners] = np.arange(len(owners))
        row = place[owner]
        sizes = np.bincount(row, minlength=len(owners))
        begin = np.concatenate([[0], np.cumsum(sizes)])
        entry, axis = np.arange(len(row))[:, None, None], np.arange(3)
        size, local = sizes[row][:, None, None], (np.arange(len(row)) - begin[row])[:, None, None]
        position = 9 * begin[row][:, None, None] + 3 * size * axis[:, None] + 3 * local + axis
        order, index = np.empty(9 * len(row), np.int64), np.empty(9 * len(row), np.int64)
        order[position] = (3 * axis[:, None] + axis) * len(row) + entry
        index[position] = np.broadcast_to(3 * column[:, None, None] + axis, position.shape)
        start = np.concatenate([[0], np.cumsum(np.repeat(3 * sizes, 3))])
        return cls(owners, place, row, edge_start, edges, order, start, index)
