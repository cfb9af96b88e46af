"""Distances between surfaces of different topology: nearest points, alignment, and what a model can express."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from faceinv.face.camera import rotation_matrix
from faceinv.face.registration.similarity import Similarity, similarity_of_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

    Array = NDArray[np.float64]

__all__ = [
    "Expressed",
    "Similarity",
    "Surface",
    "align",
    "express",
    "face_triangles",
    "quantile",
    "similarity_of_points",
]

_CANDIDATES = 10
"""Triangles tried for each point: those with the nearest centroids."""


@dataclass(frozen=True)
class Nearest:
    """For each query the nearest point of a surface."""

    triangle: NDArray[np.int64]
    weights: Array
    """(Q, 3) barycentric."""
    point: Array
    distance: Array


class Surface:
    """A triangle mesh that answers queries for nearest points."""

    def __init__(self, vertices: Array, triangles: NDArray[np.integer]) -> None:
        self.vertices = np.asarray(vertices, np.float64)
        self.triangles = np.asarray(triangles, np.int64)
        self._corners = self.vertices[self.triangles]
        self._tree = cKDTree(self._corners.mean(axis=1))
        crossed = np.cross(self._corners[:, 1] - self._corners[:, 0], self._corners[:, 2] - self._corners[:, 0])
        self.normals: Array = crossed / np.maximum(np.linalg.norm(crossed, axis=1, keepdims=True), 1e-12)

    def nearest(self, points: Array) -> Nearest:
        """The nearest points of the surface, among the triangles with the nearest centroids."""
        candidates = np.asarray(self._tree.query(points, k=min(_CANDIDATES, len(self.triangles)))[1])
        a, b, c = (self._corners[candidates, k] for k in range(3))
        weights = _nearest_weights(points[:, None], a, b, c)
        nearest = weights[..., :1] * a + weights[..., 1:2] * b + weights[..., 2:] * c
        squared = ((nearest - points[:, None]) ** 2).sum(axis=-1)
        best = np.argmin(squared, axis=1)
        row = np.arange(len(points))
        return Nearest(candidates[row, best], weights[row, best], nearest[row, best], np.sqrt(squared[row, best]))


def _nearest_weights(p: Array, a: Array, b: Array, c: Array) -> Array:
    """Barycentric weights of the points of triangles abc nearest to p: inside if possible, else on the best edge."""

    def dot(u: Array, v: Array) -> Array:
        product: Array = np.einsum("...d,...d->...", u, v)
        return product

    ab, ac, ap = b - a, c - a, p - a
    d00, d01, d11, d20, d21 = dot(ab, ab), dot(ab, ac), dot(ac, ac), dot(ap, ab), dot(ap, ac)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inner = np.stack([1 - v - w, v, w], axis=-1)
    in_triangle = (inner >= 0).all(axis=-1)
    best, best_gap = inner, np.where(in_triangle, -1.0, np.inf)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, end = (a, b, c)[first], (a, b, c)[second]
        edge = end - start
        along = np.clip(dot(p - start, edge) / np.maximum(dot(edge, edge), 1e-18), 0.0, 1.0)
        gap = dot(start + along[..., None] * edge - p, start + along[..., None] * edge - p)
        nearer = gap < best_gap
        weights = np.zeros_like(inner)
        weights[..., first], weights[..., second] = 1 - along, along
        best = np.where(nearer[..., None], weights, best)
        best_gap = np.where(nearer, gap, best_gap)
    return best


def face_triangles(model: MorphableModel, rings: int = 4) -> NDArray[np.int32]:
    """The triangles of the face mask and those within some rings of it: skin that a face's points may lie on."""
    chosen = model.face_mask.copy()
    for _ in range(rings):
        touched = np.zeros(model.vertex_count, np.bool_)
        touched[model.triangles[chosen]] = True
        chosen = np.asarray(touched[model.triangles].any(axis=1))
    return model.triangles[chosen]


def quantile(values: Array, weights: Array, share: float) -> float:
    """The weighted quantile."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])


def align(
    surface: Surface, points: Array, weights: Array, start: Similarity, scaled: bool = True, iterations: int = 12
) -> tuple[Similarity, Array]:
    """Move a surface onto points by iterated nearest points, point to plane.

    Args:
        surface: the surface that moves.
        points: (Q, 3) mm, fixed.
        weights: (Q,).
        start: a first guess.
        scaled: whether the scale is free too.
        iterations: at most.

    Returns:
        The similarity, and the (Q,) distances of the points from the moved surface, in the points' unit.
    """
    now = start
    for _ in range(iterations):
        local = ((points - now.translation) @ now.rotation) / now.scale
        hit = surface.nearest(local)
        moved = now(hit.point)
        normal = surface.normals[hit.triangle] @ now.rotation.T
        gap = ((points - moved) * normal).sum(axis=1)
        # Points far off (holes, borders) must not steer the alignment.
        robust = weights * np.minimum(1.0, 3.0 / np.maximum(hit.distance * now.scale, 1e-9))
        arm = moved - now.translation
        rows = np.concatenate([np.cross(arm, normal), normal, (arm * normal).sum(axis=1, keepdims=True)], axis=1)
        if not scaled:
            rows = rows[:, :6]
        normal_matrix = rows.T @ (robust[:, None] * rows)
        step = np.linalg.solve(normal_matrix + 1e-9 * np.eye(len(normal_matrix)), rows.T @ (robust * gap))
        now = Similarity(
            now.scale * float(np.exp(step[6])) if scaled else now.scale,
            rotation_matrix(step[:3]) @ now.rotation,
            now.translation + step[3:6],
        )
        if np.abs(step[:3]).max() < 1e-6 and np.abs(step[3:6]).max() < 1e-4:
            break
    local = ((points - now.translation) @ now.rotation) / now.scale
    return now, surface.nearest(local).distance * now.scale


@dataclass(frozen=True)
class Expressed:
    """A model bent onto a surface."""

    vertices: Array
    """(N, 3) mm, model space."""
    coefficients: Array
    """Identity, then expression."""
    similarity: Similarity
    """Model space to the surface's."""


def express(
    model: MorphableModel,
    points: Array,
    weights: Array,
    landmarks: Array,
    prior: float = 1e-4,
    iterations: int = 20,
) -> Expressed:
    """The face of a model nearest to points of a surface: what its basis can express.

    Minimises the mean squared distance of the points from the model's surface, in mm^2, plus `prior` times the sum of
    squared coefficients. Landmarks guide the first half of the iterations only.

    Args:
        model: the model that is bent.
        points: (Q, 3) mm.
        weights: (Q,).
        landmarks: (68, 3) mm; the inner 51 are used.
        prior: mm^2 per squared standard deviation.
        iterations: of nearest points and linear least squares.
    """
    triangles = face_triangles(model)
    basis = np.concatenate([model.identity_basis, model.expression_basis], axis=2).astype(np.float64)
    coefficients = np.zeros(basis.shape[2])
    share = weights / weights.sum()
    inner = model.landmark_vertices[17:], model.landmark_weights[17:].astype(np.float64)
    marks = np.einsum("lk,lkdc->ldc", inner[1], basis[inner[0]])
    mean = model.mean.astype(np.float64)
    now = similarity_of_points(model.landmarks(mean)[17:], landmarks[17:])
    for step in range(iterations):
        vertices = mean + basis @ coefficients
        surface = Surface(vertices, triangles)
        local = ((points - now.translation) @ now.rotation) / now.scale
        hit = surface.nearest(local)
        normal = surface.normals[hit.triangle]
        corners = surface.triangles[hit.triangle]
        columns = np.zeros((len(points), basis.shape[2]))
        for k in range(3):
            columns += hit.weights[:, k : k + 1] * np.einsum("qd,qdc->qc", normal, basis[corners[:, k]])
        gap = ((local - hit.point) * normal).sum(axis=1)
        rigid = np.concatenate([np.cross(hit.point, normal), normal, (hit.point * normal).sum(1)[:, None]], axis=1)
        rows = np.concatenate([columns, rigid], axis=1)
        robust = share * np.minimum(1.0, 3.0 / np.maximum(hit.distance, 1e-9))
        left, right = rows.T @ (robust[:, None] * rows), rows.T @ (robust * gap)
        if step < iterations // 2:
            here = model.landmarks(vertices)[17:]
            goal = ((landmarks[17:] - now.translation) @ now.rotation) / now.scale
            arms = np.concatenate(
                [-_cross_matrices(here), np.broadcast_to(np.eye(3), (51, 3, 3)), here[:, :, None]], axis=2
            )
            guide = np.concatenate([marks, arms], axis=2).reshape(153, -1)
            weight = 0.1 / 51
            left += weight * guide.T @ guide
            right += weight * guide.T @ (goal - here).ravel()
        count = len(coefficients)
        left[np.arange(count), np.arange(count)] += prior
        right[:count] -= prior * coefficients
        left[np.arange(count, count + 7), np.arange(count, count + 7)] += 1e-9
        delta = np.linalg.solve(left, right)
        coefficients = coefficients + delta[:count]
        w, t, s = delta[count : count + 3], delta[count + 3 : count + 6], float(np.exp(delta[count + 6]))
        # now o (small motion of model space)
        turn = rotation_matrix(w)
        now = Similarity(now.scale * s, now.rotation @ turn, now.translation + now.scale * now.rotation @ t)
    return Expressed(mean + basis @ coefficients, coefficients, now)


def _cross_matrices(points: Array) -> Array:
    """(L, 3, 3) with M x = p cross x."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    matrices: Array = np.stack(
        [np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], axis=1
    )
    return matrices
