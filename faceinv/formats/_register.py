"""Laying the default model on another head, to carry its landmarks or its albedo over.

The default model is fitted to the other mean surface as to a scan: a similarity first, from known landmarks where there
are some and else from the tips of the noses; then its own identity and expression modes, each round to the nearest
points of the surface, point to plane, with pairs that are far apart, face elsewhere or end at the surface's rim left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from faceinv.formats._landmarks import Landmarks
from faceinv.formats._mesh import closest_surface_points, vertex_normals
from faceinv.model import MorphableModel

__all__ = ["Registration", "find_landmarks", "register"]

_SAMPLES: Final = 2500
_RIGID_ROUNDS: Final = 10
_ROUNDS: Final = 12
_LANDMARK_WEIGHT: Final = 10.0
_PRIOR: Final = 5.0
_MODES: Final = 50
_PULL: Final = 0.1
"""Weight of the distance along the surface beside the distance to its plane."""


@dataclass(frozen=True)
class Registration:
    """The default model's surface, laid on another."""

    vertices: NDArray[np.float64]
    """(N, 3) the default model's vertices, in the other model's space, mm."""
    distance: float
    """Root mean square distance between the faces, mm: 1 to 3 where it went well."""


def register(
    default: MorphableModel,
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int64],
    landmarks: Mapping[int, NDArray[np.float64]],
) -> Registration:
    """Lay `default` on the surface (N, 3), (T, 3), whose known landmarks are given by their iBUG number."""
    sample = np.unique(default.triangles[default.face_mask])
    sample = sample[:: max(1, len(sample) // _SAMPLES)]
    known = np.array(sorted(landmarks), np.int64)
    target = np.array([landmarks[int(k)] for k in known]).reshape(-1, 3)
    normals = vertex_normals(vertices, triangles)
    rim = _rim(len(vertices), triangles)
    tree = cKDTree(vertices)
    identity, expression = (min(_MODES, count) for count in (default.identity_count, default.expression_count))
    coefficients = np.zeros(identity + expression)
    basis = np.concatenate([default.identity[:, :, :identity], default.expression[:, :, :expression]], axis=2)
    shape = default.mean.astype(np.float64)
    own_landmarks = default.landmarks(shape)
    marked = np.einsum("lk,lkdm->ldm", default.landmark_weights[known], basis[default.landmark_vertices[known]])

    scale, rotation = 1.0, np.eye(3)
    if len(known) >= 3:
        scale, rotation, shift = _similarity(own_landmarks[known], target)
    else:
        tip = np.abs(vertices[:, 0] - np.median(vertices[:, 0])) < 0.1 * float(np.ptp(vertices[:, 0]))
        shift = vertices[tip][vertices[tip, 2].argmax()] - own_landmarks[30]

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return scale * points @ rotation.T + shift

    for turn in range(_RIGID_ROUNDS + _ROUNDS):
        placed = move(shape[sample])
        distance, nearest = (np.asarray(part) for part in tree.query(placed))
        own_normals = vertex_normals(shape, default.triangles.astype(np.int64))[sample] @ rotation.T
        limit = max(3 * float(np.median(distance)), 4.0)
        use = (distance < limit) & ((own_normals * normals[nearest]).sum(axis=1) > 0.5) & ~rim[nearest]
        if use.sum() < 20:
            break
        rows, goal, facing = sample[use], vertices[nearest[use]], normals[nearest[use]]
        anchors = np.concatenate([shape[rows], own_landmarks[known]])
        weights = np.concatenate([np.ones(len(rows)), np.full(len(known), _LANDMARK_WEIGHT)])
        scale, rotation, shift = _similarity(anchors, np.concatenate([goal, target]), weights)
        if turn < _RIGID_ROUNDS or not basis.shape[2]:
            continue
        turned = scale * np.einsum("ij,njk->nik", rotation, basis[rows].astype(np.float64))
        offset = goal - move(default.mean[rows].astype(np.float64))
        plane = np.einsum("nd,ndk->nk", facing, turned), np.einsum("nd,nd->n", facing, offset)
        pull = _PULL * turned.reshape(-1, basis.shape[2]), _PULL * offset.ravel()
        marks = (
            np.sqrt(_LANDMARK_WEIGHT) * scale * np.einsum("ij,njk->nik", rotation, marked).reshape(-1, basis.shape[2]),
            np.sqrt(_LANDMARK_WEIGHT) * (target - move(default.landmarks(default.mean)[known])).ravel(),
        )
        matrix, right = (np.concatenate([part[k] for part in (plane, pull, marks)]) for k in (0, 1))
        normal = matrix.T @ matrix + _PRIOR * np.eye(len(coefficients))
        coefficients = np.linalg.solve(normal, matrix.T @ right)
        shape = default.mean + basis @ coefficients
        own_landmarks = default.landmarks(shape)

    found = closest_surface_points(move(shape[sample]), vertices, triangles)
    return Registration(move(shape), float(np.sqrt(np.mean(np.minimum(found.distance, 20.0) ** 2))))


def find_landmarks(
    default: MorphableModel,
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int64],
    landmarks: Mapping[int, NDArray[np.float64]],
) -> tuple[Landmarks, float]:
    """The 68 landmarks of a surface as points on its triangles, and the registration's distance in mm."""
    laid = register(default, vertices, triangles, landmarks)
    wanted = default.landmarks(laid.vertices)
    for number, position in landmarks.items():
        wanted[number] = position
    points = closest_surface_points(wanted, vertices, triangles)
    return (triangles[points.triangle], points.weights), laid.distance


def _similarity(
    source: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation (3, 3) and shift (3,) that take `source` (M, 3) to `target`, by weighted least squares."""
    share = np.ones(len(source)) if weights is None else weights
    share = share / share.sum()
    middle, goal = share @ source, share @ target
    left, _, right = np.linalg.svd((target - goal).T @ ((source - middle) * share[:, None]))
    flip = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = left @ flip @ right
    spread = float((share[:, None] * (source - middle) ** 2).sum())
    scale = float(((target - goal) * ((source - middle) @ rotation.T) * share[:, None]).sum()) / max(spread, 1e-12)
    return scale, rotation, goal - scale * rotation @ middle


def _rim(count: int, triangles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) vertices on an edge that only one triangle has."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(count, bool)
    rim[unique[uses == 1].ravel()] = True
    return rim
