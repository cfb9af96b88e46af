"""What the kernels need to know of the mesh's connectivity; computed once for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Mesh"]


class Mesh(NamedTuple):
    """Triangles; corners and rings of vertices, in compressed rows; orders that keep neighbours together."""

    triangles: NDArray[np.int32]
    """(T, 3)."""
    corner_start: NDArray[np.int32]
    """(N + 1,) vertex v's corners are `corners[corner_start[v]:corner_start[v + 1]]`."""
    corners: NDArray[np.int32]
    """(3T,) 3 * triangle + corner."""
    ring_start: NDArray[np.int32]
    """(N + 1,) offsets into `ring`."""
    ring: NDArray[np.int32]
    """Vertex v itself and the vertices it shares a triangle with, ascending."""
    ring_slot: NDArray[np.int32]
    """(T, 3, 3): corner l of triangle t is entry `[t, k, l]` of the ring of corner k."""
    ring_size: int
    """The largest ring."""
    vertex_order: NDArray[np.int32]
    """(N,) an order of the vertices in which rings are near each other, so that kernels find them in the cache."""
    triangle_order: NDArray[np.int32]
    """(T,) triangles in the order of their first vertices."""

    @classmethod
    def of(cls, triangles: NDArray[np.int32], vertex_count: int) -> Mesh:
        """Connectivity of triangles (T, 3)."""
        flat = triangles.ravel()
        corners = np.argsort(flat, kind="stable").astype(np.int32)
        corner_start = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=vertex_count))])
        first = np.repeat(triangles, 3, axis=1).astype(np.int64)
        second = np.tile(triangles, (1, 3)).astype(np.int64)
        keys, inverse = np.unique(first * vertex_count + second, return_inverse=True)
        ring_start = np.searchsorted(keys, np.arange(vertex_count + 1, dtype=np.int64) * vertex_count)
        slots = inverse.reshape(first.shape) - ring_start[first]
        ring = (keys % vertex_count).astype(np.int32)
        graph = csr_matrix((np.ones(len(ring), np.int8), ring, ring_start), (vertex_count, vertex_count))
        vertex_order = reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int32)
        rank = np.empty(vertex_count, np.int32)
        rank[vertex_order] = np.arange(vertex_count, dtype=np.int32)
        return cls(
            triangles=np.array(triangles, np.int32, order="C"),
            corner_start=corner_start.astype(np.int32),
            corners=corners,
            ring_start=ring_start.astype(np.int32),
            ring=ring,
            ring_slot=np.ascontiguousarray(slots.reshape(-1, 3, 3), np.int32),
            ring_size=int(np.diff(ring_start).max()),
            vertex_order=vertex_order,
            triangle_order=np.argsort(rank[triangles].min(axis=1), kind="stable").astype(np.int32),
        )
