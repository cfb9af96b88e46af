"""Geometry of triangle meshes that the loaders share: normals, winding, parts, nearest points, mirror, flattening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

__all__ = [
    "Surface",
    "SurfacePoints",
    "closest_weights",
    "cylindrical_uv",
    "mirror_vertices",
    "quads_to_triangles",
    "vertex_parts",
    "winding_conflicts",
]

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]


def winding_conflicts(triangles: Triangles) -> float:
    """The share of directed edges that two triangles run through in the same direction: 0 on a consistent mesh."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = edges[:, 0] * (int(triangles.max()) + 1) + edges[:, 1]
    keys.sort()
    return int((keys[1:] == keys[:-1]).sum()) / len(keys)


def vertex_parts(count: int, triangles: Triangles) -> NDArray[np.int32]:
    """(N,) the number of the connected part each of `count` vertices belongs to."""
    rows = triangles[:, [0, 1]].ravel()
    columns = triangles[:, [1, 2]].ravel()
    graph = sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int32)


def quads_to_triangles(quads: NDArray[np.int64]) -> Triangles:
    """(2Q, 3): each quad (Q, 4) as two triangles along its first diagonal, keeping the winding."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def mirror_vertices(vertices: Points, landmarks: Points) -> NDArray[np.int32]:
    """(N,) the vertex nearest to each vertex's mirror image.

    The plane of symmetry is x = constant, through the middle of the left-right landmark pairs (68, 3). A vertex within
    a fifth of the typical spacing of that plane names itself.
    """
    pairs = [(k, 16 - k) for k in range(8)] + [(17 + k, 26 - k) for k in range(5)] + [(36, 45), (39, 42), (48, 54)]
    middle = float(np.median([(landmarks[a, 0] + landmarks[b, 0]) / 2 for a, b in pairs]))
    tree = cKDTree(vertices)
    image = vertices * (-1, 1, 1) + (2 * middle, 0, 0)
    nearest = np.asarray(tree.query(image)[1], np.int32)
    between = np.asarray(tree.query(vertices[:: max(1, len(vertices) // 500)], k=2)[0])
    spacing = float(np.median(between[:, 1]))
    central = np.flatnonzero(np.abs(vertices[:, 0] - middle) < spacing / 5)
    nearest[central] = central
    return nearest


def cylindrical_uv(vertices: Points) -> NDArray[np.float32]:
    """(N, 2) texture coordinates for a model that has none: the angle about the head's upright axis, and the height.

    The seam is at the back of the head; triangles that cross it are drawn wrongly there and nowhere else.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    x = vertices[:, 0] - (low[0] + high[0]) / 2
    z = vertices[:, 2] - (high[2] - 1.1 * (high[0] - low[0]) / 2)
    u = np.arctan2(x, z) / (2 * np.pi) + 0.5
    v = (vertices[:, 1] - low[1]) / max(high[1] - low[1], 1e-9)
    return np.stack([u, v], axis=1).astype(np.float32)


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a triangle mesh."""

    triangle: NDArray[np.int64]
    """(Q,) the triangle each lies on."""
    weights: Points
    """(Q, 3) barycentric."""
    position: Points
    """(Q, 3)."""
    distance: Points
    """(Q,) from the query."""


class Surface:
    """A mesh that is asked for nearest points again and again."""

    def __init__(self, vertices: Points, triangles: Triangles) -> None:
        """Take a mesh: vertices (N, 3), triangles (T, 3)."""
        self.vertices, self.triangles = vertices, triangles
        self._used = np.unique(triangles)
        self._tree = cKDTree(vertices[self._used])
        corners = triangles.ravel()
        self._order = np.argsort(corners, kind="stable")
        self._starts = np.searchsorted(corners[self._order], np.arange(len(vertices) + 1))

    def closest(self, queries: Points, around: int = 4) -> SurfacePoints:
        """The point of the mesh nearest to each query (Q, 3), among the triangles at the `around` nearest vertices.

        Exact wherever the nearest triangle has one of those vertices, as on any mesh without long thin triangles.
        """
        count = len(queries)
        near = np.asarray(self._tree.query(queries, k=min(around, len(self._used)))[1]).reshape(count, -1)
        best = SurfacePoints(
            np.zeros(count, np.int64), np.zeros((count, 3)), np.zeros((count, 3)), np.full(count, np.inf)
        )
        for column in self._used[near].T:
            degree = self._starts[column + 1] - self._starts[column]
            for turn in range(int(degree.max(initial=0))):
                rows = np.flatnonzero(degree > turn)
                candidate = self._order[self._starts[column[rows]] + turn] // 3
                corners = self.vertices[self.triangles[candidate]]
                weights = closest_weights(queries[rows], corners)
                position = np.einsum("qk,qkd->qd", weights, corners)
                distance = np.linalg.norm(position - queries[rows], axis=1)
                nearer = distance < best.distance[rows]
                rows = rows[nearer]
                best.triangle[rows] = candidate[nearer]
                best.weights[rows] = weights[nearer]
                best.position[rows] = position[nearer]
                best.distance[rows] = distance[nearer]
        return best


def closest_weights(points: Points, corners: Points) -> Points:
    """(Q, 3) barycentric weights of the point of each triangle (Q, 3, 3) nearest to each point (Q, 3)."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ap = points - a
    aa, bb, cc = (np.einsum("qd,qd->q", p, q) for p, q in ((ab, ab), (ab, ac), (ac, ac)))
    d, e = np.einsum("qd,qd->q", ab, ap), np.einsum("qd,qd->q", ac, ap)
    area = np.maximum(aa * cc - bb * bb, 1e-30)
    v, w = (cc * d - bb * e) / area, (aa * e - bb * d) / area
    in_triangle = (v >= 0) & (w >= 0) & (v + w <= 1)
    options = [np.stack([1 - v - w, v, w], axis=1)]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, second] - corners[:, first]
        length = np.maximum(np.einsum("qd,qd->q", edge, edge), 1e-30)
        along = np.clip(np.einsum("qd,qd->q", points - corners[:, first], edge) / length, 0, 1)
        option = np.zeros((len(points), 3))
        option[:, first], option[:, second] = 1 - along, along
        options.append(option)
    squared = np.stack([((np.einsum("qk,qkd->qd", option, corners) - points) ** 2).sum(axis=1) for option in options])
    squared[0, ~in_triangle] = np.inf
    chosen: Points = np.stack(options)[squared.argmin(axis=0), np.arange(len(points))]
    return chosen
