"""Triangle meshes: normals, areas and connectivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Connectivity", "triangle_normals", "vertex_areas", "vertex_normals"]

_NO_NORMAL = 1e-12
"""mm^2. A vertex whose triangles have no area has no normal; it gets (0, 0, 1)."""


def triangle_normals(vertices: NDArray[np.float64], triangles: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(T, 3) normals whose length is twice the triangle's area; outward where the winding is counter-clockwise."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: NDArray[np.float64], triangles: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(N, 3) area-weighted unit normals; (0, 0, 1) where there is none."""
    faces = triangle_normals(vertices, triangles)
    corners = triangles.ravel()
    total = np.stack(
        [np.bincount(corners, np.repeat(faces[:, axis], 3), minlength=len(vertices)) for axis in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > _NO_NORMAL, total / np.maximum(length, _NO_NORMAL), [0.0, 0.0, 1.0])


def vertex_areas(vertices: NDArray[np.float64], triangles: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(N,) a third of the area of each vertex's triangles, in the square of the vertices' unit."""
    area = np.linalg.norm(triangle_normals(vertices, triangles), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices)).astype(np.float64)


@dataclass(frozen=True)
class Connectivity:
    """Which triangles and vertices are around each vertex, in compressed rows."""

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
    def of(cls, triangles: NDArray[np.int32], vertex_count: int) -> Connectivity:
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
            corner_start=corner_start.astype(np.int32),
            corners=corners,
            ring_start=ring_start.astype(np.int32),
            ring=(keys % vertex_count).astype(np.int32),
            ring_slot=np.ascontiguousarray(slots.reshape(-1, 3, 3), np.int32),
        )
