"""Which triangles of a foreign head are the face: derived from its 68 landmarks alone.

Both regions are read off the front view of the mean surface (x right, y up), where the landmarks outline the face: the
jaw (0 to 16), closed over the forehead by the brows (17 to 26) raised by half the height from nose base to brows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from faceinv.face.mesh import triangle_normals, vertex_normals

__all__ = ["face_mask", "face_region"]

_EYES: Final = (slice(36, 42), slice(42, 48))
_MOUTH: Final = slice(60, 68)
_FOREHEAD: Final = 0.5
_EYE_GROWTH: Final = 1.25
"""Eye outlines are enlarged by this factor, so that lashes and the rim of the lids stay out."""
_FACING: Final = 0.1
"""Least z of a triangle's unit normal: what the front view sees at a glance is left out."""
_BEHIND_MM: Final = 1.0
"""A triangle this far behind another is inside the mouth, an eye socket, a nostril or the head."""
_NEIGHBOURS: Final = 16
"""How many triangles around a place are tried for the one in front of it."""


def face_mask(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64], landmarks: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(T,) the skin that photos show: inside the face's outline, outside eyes and mouth, facing front, in front.

    Args:
        vertices: (N, 3) mm, the mean surface.
        triangles: (T, 3), wound outwards.
        landmarks: (68, 3) mm.
    """
    centres = vertices[triangles].mean(axis=1)
    mask = _inside(centres[:, :2], _outline(landmarks))
    for eye in _EYES:
        middle = landmarks[eye, :2].mean(axis=0)
        mask &= ~_inside(centres[:, :2], middle + _EYE_GROWTH * (landmarks[eye, :2] - middle))
    mask &= ~_inside(centres[:, :2], landmarks[_MOUTH, :2])
    normals = triangle_normals(vertices, triangles)
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-30)
    smooth = vertex_normals(vertices, triangles)[triangles].mean(axis=1)
    mask &= (normals[:, 2] / length > _FACING) & (smooth[:, 2] > _FACING)
    masked = np.flatnonzero(mask)
    if len(masked):
        mask[masked[_hidden(vertices, triangles, masked)]] = False
    return mask


def face_region(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64], landmarks: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(T,) the face with a margin: the outline enlarged by a fifth, without what lies behind the jaw's ends.

    Eyelids, lips and jaw line are in it, so landmarks and silhouettes keep their surface.
    """
    outline = _outline(landmarks)
    middle = outline.mean(axis=0)
    corners = vertices[triangles]
    in_outline = _inside(corners[:, :, :2].reshape(-1, 2), middle + 1.2 * (outline - middle)).reshape(-1, 3).any(axis=1)
    back = landmarks[[0, 16], 2].mean() - 0.15 * float(np.ptp(landmarks[:, 1]))
    region: NDArray[np.bool_] = in_outline & (corners[:, :, 2].max(axis=1) > back)
    return region


def _outline(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    brows = landmarks[26:16:-1, :2]
    rise = _FOREHEAD * (brows[:, 1].mean() - landmarks[33, 1])
    share = np.array([0.6, *([1.0] * 8), 0.6])
    return np.concatenate([landmarks[:17, :2], brows + np.stack([np.zeros(10), rise * share], axis=1)])


def _inside(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(Q,) whether each point (Q, 2) is inside the polygon (M, 2), by counting crossings."""
    in_outline = np.zeros(len(points), bool)
    x, y = points[:, 0], points[:, 1]
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        in_outline ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return in_outline


def _hidden(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64], candidates: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(M,) which of the candidate triangles have another one in front of their centre, seen from the front."""
    corners = vertices[triangles]
    flat = corners[:, :, :2]
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    double_area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    front = np.flatnonzero(double_area > 1e-12)
    centres = corners.mean(axis=1)[candidates]
    tree = cKDTree(flat[front].mean(axis=1))
    near = front[
        np.asarray(tree.query(centres[:, :2], k=min(_NEIGHBOURS, len(front)), workers=-1)[1]).reshape(
            len(candidates), -1
        )
    ]
    hidden = np.zeros(len(candidates), bool)
    for other in near.T:
        offset = centres[:, :2] - flat[other, 0]
        v = (offset[:, 0] * second[other, 1] - offset[:, 1] * second[other, 0]) / double_area[other]
        w = (offset[:, 1] * first[other, 0] - offset[:, 0] * first[other, 1]) / double_area[other]
        depth = corners[other, 0, 2] * (1 - v - w) + corners[other, 1, 2] * v + corners[other, 2, 2] * w
        hidden |= (v >= 0) & (w >= 0) & (v + w <= 1) & (depth > centres[:, 2] + _BEHIND_MM)
    return hidden
