"""Counterparts of points on another surface: near, and facing the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from faceinv.face.formats._mesh import closest_weights
from faceinv.face.mesh import vertex_normals

__all__ = ["Correspondence", "FacingSurface", "open_vertices"]

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]

_NORMAL_MM: Final = 6.0
"""A right angle between two normals counts as this distance times the square root of two."""
_AROUND: Final = 12
"""Triangles tried for each point."""


@dataclass(frozen=True)
class Correspondence:
    """For each of M points, its counterpart on a surface."""

    triangle: NDArray[np.int64]
    """(M,) the triangle of the surface,"""
    weights: Points
    """(M, 3) and the barycentric weights of its corners."""
    position: Points
    """(M, 3) mm."""
    normal: Points
    """(M, 3) unit, of the surface there."""
    distance: Points
    """(M,) mm."""
    agreement: Points
    """(M,) cosine of the angle between both normals."""
    inner: NDArray[np.bool_]
    """(M,) whether the counterpart lies off the surface's rims; on one, the true counterpart may lie beyond."""


class FacingSurface:
    """A surface that is asked for the nearest points which face the same way."""

    def __init__(self, vertices: Points, triangles: Triangles) -> None:
        """Take a mesh (N, 3), (T, 3), wound outwards."""
        self.vertices, self.triangles = vertices, triangles
        self.normals = vertex_normals(vertices, triangles)
        corners = vertices[triangles]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._normal = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        self._tree = cKDTree(np.hstack([corners.mean(axis=1), _NORMAL_MM * self._normal]))
        self._open = open_vertices(len(vertices), triangles)

    def counterparts(self, points: Points, normals: Points) -> Correspondence:
        """The counterparts of points (M, 3) with unit normals (M, 3).

        Distance counts together with the angle between the normals, so that an upper lip does not snap to a lower one.
        """
        queries = np.hstack([points, _NORMAL_MM * normals])
        near = np.asarray(self._tree.query(queries, k=min(_AROUND, len(self.triangles)))[1]).reshape(len(points), -1)
        best = np.full(len(points), np.inf)
        triangle, weights = near[:, 0].copy(), np.zeros((len(points), 3))
        for candidate in near.T:
            corners = self.vertices[self.triangles[candidate]]
            share = closest_weights(points, corners)
            gap = ((np.einsum("mk,mkd->md", share, corners) - points) ** 2).sum(axis=1)
            cost = gap + _NORMAL_MM**2 * (2 - 2 * (self._normal[candidate] * normals).sum(axis=1))
            better = cost < best
            best[better], triangle[better], weights[better] = cost[better], candidate[better], share[better]
        chosen = self.triangles[triangle]
        position = np.einsum("mk,mkd->md", weights, self.vertices[chosen])
        normal = np.einsum("mk,mkd->md", weights, self.normals[chosen])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        return Correspondence(
            triangle=triangle,
            weights=weights,
            position=position,
            normal=normal,
            distance=np.linalg.norm(position - points, axis=1),
            agreement=(normal * normals).sum(axis=1),
            inner=(weights * self._open[chosen]).sum(axis=1) < 1 - 1e-6,
        )


def open_vertices(count: int, triangles: Triangles) -> NDArray[np.bool_]:
    """(count,) the vertices on an edge that only one triangle has."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    found = np.zeros(count, np.bool_)
    found[unique[uses == 1].ravel()] = True
    return found
