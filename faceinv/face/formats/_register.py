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
from scipy.spatial.transform import Rotation

from faceinv.face.formats._landmarks import Landmarks
from faceinv.face.formats._mesh import Surface
from faceinv.face.mesh import vertex_normals
from faceinv.face.model import MorphableModel

__all__ = ["Registration", "find_landmarks", "register"]

_SAMPLES: Final = 1500
_RIGID_ROUNDS: Final = 20
_ROUNDS: Final = 10
_SETTLED_MM: Final = 0.05
"""A stage ends when its largest step is smaller than this."""
_LANDMARK_WEIGHT: Final = 10.0
_PRIOR: Final = 5.0
_MODES: Final = 50
_PULL: Final = 0.01
"""Weight of the squared distance along the surface beside that of the squared distance to it."""


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
    surface, normals, rim = Surface(vertices, triangles), vertex_normals(vertices, triangles), _rim(vertices, triangles)
    own_triangles = default.triangles.astype(np.int64)
    identity, expression = (min(_MODES, count) for count in (default.identity_count, default.expression_count))
    basis = np.concatenate(
        [default.identity_basis[:, :, :identity], default.expression_basis[:, :, :expression]], axis=2
    )
    marked = np.einsum("lk,lkdm->ldm", default.landmark_weights[known], basis[default.landmark_vertices[known]])
    coefficients = np.zeros(basis.shape[2])
    shape = default.mean.astype(np.float64)
    if len(known) >= 3:
        scale, rotation, shift = _similarity(default.landmarks(shape)[known], target)
    else:
        central = np.abs(vertices[:, 0] - np.median(vertices[:, 0])) < 0.1 * float(np.ptp(vertices[:, 0]))
        tip = vertices[central][vertices[central, 2].argmax()]
        scale, rotation, shift = 1.0, np.eye(3), tip - default.landmarks(shape)[30]

    placed = scale * shape @ rotation.T + shift
    free = 0
    for turn in range(_RIGID_ROUNDS + _ROUNDS):
        if turn == _RIGID_ROUNDS:
            free = basis.shape[2]
        nearest = surface.closest(placed[sample], around=2)
        facing = np.einsum("qk,qkd->qd", nearest.weights, normals[triangles[nearest.triangle]])
        agreement = (vertex_normals(placed, own_triangles)[sample] * facing).sum(axis=1)
        agrees = agreement * np.sign(agreement.sum()) > 0.5  # the other surface may be wound inwards
        limit = max(3 * float(np.median(nearest.distance)), 4.0)
        use = agrees & (nearest.distance < limit) & ~rim[nearest.triangle]
        if use.sum() < 20:
            break
        rows, facing = sample[use], facing[use]
        marks = default.landmarks(placed)[known]
        # Unknowns: a turn (3) and a growth about the middle, a shift (3), and from the second stage on the modes.
        middle = placed[rows].mean(axis=0)
        moves = _moves(placed[rows] - middle, scale * np.einsum("ij,njk->nik", rotation, basis[rows, :, :free]))
        mark_moves = _moves(marks - middle, scale * np.einsum("ij,njk->nik", rotation, marked[:, :, :free]))
        offset = nearest.position[use] - placed[rows]
        along = np.einsum("nd,ndk->nk", facing, moves)
        matrix = along.T @ along + _PULL * np.einsum("ndk,ndl->kl", moves, moves, optimize=True)
        right = along.T @ (facing * offset).sum(axis=1) + _PULL * np.einsum("ndk,nd->k", moves, offset)
        matrix += _LANDMARK_WEIGHT * np.einsum("ndk,ndl->kl", mark_moves, mark_moves)
        right += _LANDMARK_WEIGHT * np.einsum("ndk,nd->k", mark_moves, target - marks)
        matrix[range(7, 7 + free), range(7, 7 + free)] += _PRIOR
        right[7:] -= _PRIOR * coefficients[:free]
        step = np.linalg.solve(matrix + 1e-9 * np.trace(matrix) * np.eye(len(matrix)), right)
        coefficients[:free] += step[7:]
        shape = default.mean + basis @ coefficients
        turned = Rotation.from_rotvec(step[:3]).as_matrix()
        shift = (1 + step[3]) * turned @ (shift - middle) + middle + step[4:7]
        scale, rotation = (1 + step[3]) * scale, turned @ rotation
        before, placed = placed, scale * shape @ rotation.T + shift
        if np.abs(placed[sample] - before[sample]).max() < _SETTLED_MM:
            if free:
                break
            free = basis.shape[2]

    distance = np.minimum(surface.closest(placed[sample]).distance, 20.0)
    return Registration(placed, float(np.sqrt(np.mean(distance**2))))


def _moves(offset: NDArray[np.float64], modes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 3, 7 + K): how points (M, 3) from the middle move with each unknown."""
    moves = np.zeros((len(offset), 3, 7 + modes.shape[2]))
    x, y, z = offset.T
    moves[:, 1, 0], moves[:, 2, 0] = -z, y
    moves[:, 0, 1], moves[:, 2, 1] = z, -x
    moves[:, 0, 2], moves[:, 1, 2] = -y, x
    moves[:, :, 3] = offset
    moves[:, :, 4:7] = np.eye(3)
    moves[:, :, 7:] = modes
    return moves


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
    points = Surface(vertices, triangles).closest(wanted)
    return (triangles[points.triangle], points.weights), laid.distance


def _similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation (3, 3) and shift (3,) that take `source` (M, 3) to `target`, by least squares."""
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((target - goal).T @ (source - middle))
    rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    turned = (source - middle) @ rotation.T
    scale = float(((target - goal) * turned).sum() / max(float((turned**2).sum()), 1e-12))
    return scale, rotation, goal - scale * rotation @ middle


def _rim(vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(T,) triangles at an edge that no other triangle has, and their neighbours."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    open_vertices = np.zeros(len(vertices), bool)
    open_vertices[unique[uses == 1].ravel()] = True
    return np.asarray(open_vertices[triangles].any(axis=1))
