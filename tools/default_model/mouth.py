"""Room for the teeth: facial units corrected where lips, cheeks or the floor of the mouth would pass through them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.formats._mesh import Surface
from faceinv.face.mesh import vertex_normals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrays import Floats, Ints
    from shell import Skin

__all__ = ["clear_of_teeth", "depth_below"]

STEPS: Final = (0.25, 0.5, 0.75, 1.0)
"""Activations of a unit at which the mouth is looked at."""
CLEAR_MM: Final = 0.15
DEEPEST_MM: Final = 5.0
"""Teeth farther behind the nearest skin than this are behind another fold of it."""
ROUNDS: Final = 12


def clear_of_teeth(
    skin: Skin, mean: Floats, offset: Floats, teeth: Sequence[tuple[Floats, Floats]], *, paired: bool
) -> Floats:
    """A unit's full offset (M + H, 3), corrected so that teeth stay in the mouth at any activation from 0 to 1.

    Args:
        skin: the skin.
        mean: (M + H, 3) mm.
        offset: (M + H, 3) mm.
        teeth: points (P, 3) of each jaw's at rest, and their full offset (P, 3).
        paired: whether the unit is of one side, so that it also comes together with its twin of the other side.
    """
    corrected = offset.copy()
    rows = skin.subdivision
    of_mouth = skin.mouth_ring > 0
    fine = np.array([of_mouth[list(key)].any() for key in skin.parents])
    triangles = skin.triangles[fine[skin.triangles].any(axis=1)].astype(np.int64)
    spread = rows.T.tocsr()
    for _ in range(ROUNDS):
        push, size = np.zeros((rows.shape[0], 3)), np.zeros(rows.shape[0])
        twin = corrected[skin.coarse_mirror] * np.array([-1.0, 1.0, 1.0])
        for t, moved in product(STEPS, (corrected, corrected + twin) if paired else (corrected,)):
            surface = rows @ (mean + t * moved)
            for points, motion in teeth:
                depth, corners, normal = depth_below(surface, triangles, points + t * motion)
                inside = (depth > 0.02) & (depth < DEEPEST_MM)
                if not inside.any():
                    continue
                lack = np.repeat((depth[inside] + CLEAR_MM) / t, 3)
                where = corners[inside].ravel()
                away = np.repeat(-normal[inside], 3, axis=0)
                order = np.argsort(lack, kind="stable")  # the largest is written last
                where, lack, away = where[order], lack[order], away[order]
                worst = np.zeros(len(size))
                worst[where] = lack
                direction = np.zeros_like(push)
                direction[where] = away
                worse = worst > size
                size[worse] = worst[worse]
                push[worse] = worst[worse, None] * direction[worse]
        if not size.any():
            break
        load = spread @ (size > 0).astype(float)
        step = (spread @ push) / np.maximum(load, 1e-9)[:, None]
        corrected += np.where(((load > 0.05) & of_mouth)[:, None], 0.6 * step, 0.0)
    return np.round(corrected, 4)


def depth_below(surface: Floats, triangles: Ints, points: Floats) -> tuple[Floats, Ints, Floats]:
    """(P,) mm by which points (P, 3) lie behind a surface (negative: before it), and the corners (P, 3) and unit normal
    (P, 3) of the nearest place."""
    nearest = Surface(surface, triangles).closest(points, around=4)
    corners = triangles[nearest.triangle]
    normals = vertex_normals(surface, triangles)
    normal = np.einsum("qk,qkd->qd", nearest.weights, normals[corners])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    before = np.einsum("qd,qd->q", points - nearest.position, normal)
    return -np.sign(before) * nearest.distance, corners, normal
