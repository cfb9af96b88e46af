"""What the kernels need to know of the mesh's connectivity; computed once for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from faceinv.face.mesh import Connectivity

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
        around = Connectivity.of(triangles, vertex_count)
        ring, ring_start = around.ring, around.ring_start
        graph = csr_matrix((np.ones(len(ring), np.int8), ring, ring_start), (vertex_count, vertex_count))
        vertex_order = reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int32)
        rank = np.empty(vertex_count, np.int32)
        rank[vertex_order] = np.arange(vertex_count, dtype=np.int32)
        return cls(
            triangles=np.array(triangles, np.int32, order="C"),
            corner_start=around.corner_start,
            corners=around.corners,
            ring_start=ring_start,
            ring=ring,
            ring_slot=around.ring_slot,
            ring_size=int(np.diff(ring_start).max()),
            vertex_order=vertex_order,
            triangle_order=np.argsort(rank[triangles].min(axis=1), kind="stable").astype(np.int32),
        )
