"""What the kernels need to know of the mesh's connectivity; computed once for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Mesh"]


@dataclass(frozen=True)
class Mesh:
    """Triangles, and in compressed rows the corners and the ring around each vertex."""

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
        return cls(
            triangles=np.ascontiguousarray(triangles, np.int32),
            corner_start=corner_start.astype(np.int32),
            corners=corners,
            ring_start=ring_start.astype(np.int32),
            ring=(keys % vertex_count).astype(np.int32),
            ring_slot=np.ascontiguousarray(slots.reshape(-1, 3, 3), np.int32),
        )
