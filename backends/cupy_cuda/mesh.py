"""Connectivity of the model's mesh, as the kernels read it; computed once for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Connectivity"]


@dataclass(frozen=True)
class Connectivity:
    """Corners and rings of all vertices in compressed rows; int32 host arrays."""

    corner_start: NDArray[np.int32]
    """(N + 1,) vertex v's corners are `corners[corner_start[v]:corner_start[v + 1]]`."""
    corners: NDArray[np.int32]
    """(3 T,) 3 * triangle + corner, ascending for each vertex."""
    ring_start: NDArray[np.int32]
    """(N + 1,) offsets into `ring`."""
    ring: NDArray[np.int32]
    """A vertex itself and the vertices it shares a triangle with, ascending."""
    ring_slot: NDArray[np.int32]
    """(T, 3, 3): where corner l of a triangle stands in the ring of its corner k."""

    @classmethod
    def of(cls, triangles: NDArray[np.int32], vertices: int) -> Connectivity:
        """The connectivity of triangles (T, 3)."""
        corner_vertex = triangles.reshape(-1)
        counts = np.bincount(corner_vertex, minlength=vertices)
        # All ordered pairs of corners of a triangle, a corner with itself included; equal pairs are one ring entry.
        centre = np.repeat(triangles[:, :, None], 3, axis=2).astype(np.int64)
        other = np.repeat(triangles[:, None, :], 3, axis=1).astype(np.int64)
        pairs, entry = np.unique((centre * vertices + other).ravel(), return_inverse=True)
        ring_start = np.searchsorted(pairs // vertices, np.arange(vertices + 1))
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            np.argsort(corner_vertex, kind="stable").astype(np.int32),
            ring_start.astype(np.int32),
            (pairs % vertices).astype(np.int32),
            (entry.reshape(centre.shape) - ring_start[centre]).astype(np.int32),
        )
