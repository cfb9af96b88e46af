"""Paint: brows, lips, beard and sockets, by formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from regions import closest_point, eye_rims

if TYPE_CHECKING:
    from arrays import Floats, Ints
    from mesh import Mesh

__all__ = ["PAINTS", "Paint", "painted_areas"]


@dataclass(frozen=True)
class Paint:
    """What is painted on the skins, and the albedo mode that paints more or less of it."""

    tint: tuple[float, float, float]
    """Linear RGB: full paint multiplies skin by this,"""
    cover: tuple[float, float, float]
    """and adds this."""
    typical: float
    """The part of full paint that the mean face wears."""
    deviation: float
    """The part of full paint that one standard deviation of the mode adds, seen on mean skin."""


PAINTS: Final[dict[str, Paint]] = {
    "brows": Paint((0.0, 0.0, 0.0), (0.035, 0.028, 0.025), typical=0.50, deviation=0.23),
    "lips": Paint((0.62, 0.40, 0.48), (0.0, 0.0, 0.0), typical=0.35, deviation=0.30),
    "beard": Paint((0.0, 0.0, 0.0), (0.060, 0.052, 0.047), typical=0.0, deviation=0.20),
    "sockets": Paint((0.0, 0.0, 0.0), (0.100, 0.055, 0.045), typical=0.10, deviation=0.18),
}
"""In the order of the modes, after those of the skins. Brows and beard are hair, which hides the skin; lips are skin
that shows more blood; sockets are lids and the hollows about the eyes."""

BROW_HALF_MM: Final = (2.1, 2.8, 3.6, 4.0, 4.2)
"""Half the height of the brow below landmarks 17 to 21, outer end to inner."""
BROW_DROP_MM: Final = (1.0, 2.2, 3.2, 3.4, 3.2)
"""How far below these landmarks, which follow the brow's upper edge, its middle runs."""
BROW_EDGE_MM: Final = 2.2
"""Half the width of a soft edge, here and below."""
LIP_EDGE_MM: Final = 0.9
BEARD_EDGE_MM: Final = 5.0
BEARD_THIN: Final = (30.0, 65.0, 0.5)
"""The beard thins from the first to the second distance (mm) from the middle of the mouth, down to this part."""
BEARD_LIP_GAP_MM: Final = 1.5
"""Between the lips and the hair around them."""
BEARD_OUTLINE: Final[tuple[tuple[float, float, float], ...]] = (
    (0.0, -48.0, 92.4),
    (-9.7, -48.5, 89.5),
    (-16.5, -50.5, 86.8),
    (-25.5, -57.0, 80.5),
    (-33.0, -66.0, 73.5),
    (-43.0, -62.0, 66.5),
    (-53.0, -49.0, 57.0),
    (-60.0, -33.0, 46.0),
    (-63.5, -18.0, 35.0),
    (-66.0, 2.0, 20.0),
    (-68.0, 6.0, 4.0),
    (-64.0, -25.0, -12.0),
    (-55.0, -80.0, -12.0),
    (-40.0, -112.0, 8.0),
    (0.0, -118.0, 34.0),
)
"""The outline of the beard on the mean face, mm in model space, from below the nose around to the throat: the subject's
right half."""
SOCKET_MM: Final = (4.0, 12.0)
"""Paint of the sockets is full up to the first distance from a lid rim and ends at the second."""


def painted_areas(mesh: Mesh, surface: Floats, corners: Ints, weights: Floats) -> dict[str, Floats]:
    """How much of each paint the vertices take: (N,) from 0 to 1, symmetric, by the names of `PAINTS`.

    Args:
        mesh: the mesh.
        surface: (N, 3) mm: the mean.
        corners: (68, 3) vertices of the landmarks.
        weights: (68, 3) weights of the landmarks.
    """
    surface = np.round(surface, 3)
    at = surface[corners]
    landmarks = np.round(sum(weights[:, k, None] * at[:, k] for k in range(3)), 3)
    outer = mesh.cavity_depth == 0

    middle = []
    for point, drop in zip(landmarks[17:22], BROW_DROP_MM, strict=True):
        three, shares = closest_point(point - [0.0, drop, 0.0], surface, mesh.triangles)
        on = surface[three]
        middle.append(shares[0] * on[0] + shares[1] * on[1] + shares[2] * on[2])
    line = _curve(np.round(np.array(middle), 3), closed=False)
    half = _curve(np.array(BROW_HALF_MM)[:, None].repeat(3, axis=1), closed=False)[:, 0]
    distance, nearest = _nearest(surface, line)
    brows = _step((half[nearest] - distance) / BROW_EDGE_MM)

    lip_depth = _depth_inside(surface, _curve(landmarks[48:60], closed=True))
    lips = _step(lip_depth / LIP_EDGE_MM)
    lips = np.where(outer, lips, 1.0) * (surface[:, 1] < -35) * (surface[:, 2] > 40)

    right = np.array(BEARD_OUTLINE)
    left = right[-2:0:-1] * [-1.0, 1.0, 1.0]
    beard = _step(_depth_inside(surface, _curve(np.concatenate([right, left]), closed=True)) / BEARD_EDGE_MM)
    distance, _ = _nearest(surface, landmarks[[62, 66]].mean(axis=0)[None])
    start, end, least = BEARD_THIN
    beard *= 1 - (1 - least) * _step(2 * (distance - start) / (end - start) - 1)
    beard *= _step((-lip_depth - BEARD_LIP_GAP_MM) / BEARD_LIP_GAP_MM) * (lips < 1)

    near, far = SOCKET_MM
    distance, _ = _nearest(surface, surface[eye_rims(mesh, surface)[0]])
    sockets = _step(1 - 2 * (distance - near) / (far - near))

    def both(area: Floats) -> Floats:
        area = np.round(area, 4)
        return np.maximum(area, area[mesh.mirror])

    areas = {"brows": both(brows), "lips": both(lips), "beard": both(beard)}
    areas["sockets"] = np.round(both(sockets) * (1 - areas["brows"]), 4)
    return areas


def _step(x: Floats) -> Floats:
    """0 up to x = -1, 1 from x = 1, smooth between."""
    t = np.clip((x + 1) / 2, 0.0, 1.0)
    smooth: Floats = t * t * (3 - 2 * t)
    return smooth


def _curve(points: Floats, *, closed: bool) -> Floats:
    """Sixteen points (., 3) per stretch of the smooth curve (Catmull and Rom) through points (n, 3)."""
    n = len(points)
    stretches = np.arange(n if closed else n - 1)
    around = np.concatenate([points[-1:], points, points[:2]])
    if not closed:
        around[0], around[n + 1] = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    a, b, c, d = (around[stretches + k][:, None] for k in range(4))
    t = (np.arange(16) / 16)[None, :, None]
    curve = b + t / 2 * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def _nearest(points: Floats, targets: Floats) -> tuple[Floats, Ints]:
    """Distance (N,) from points (N, 3) to the nearest of targets (M, 3), and which it is."""
    best, which = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
    for index, target in enumerate(targets):
        offset = points - target
        squared = offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2
        closer = squared < best
        best, which = np.where(closer, squared, best), np.where(closer, index, which)
    return np.sqrt(best), which


def _depth_inside(points: Floats, outline: Floats) -> Floats:
    """(N,) mm between points (N, 3) and a closed curve (M, 3), negative outside.

    Inside and outside are told apart with the face rolled out flat about a vertical axis.
    """

    def flat(p: Floats) -> tuple[Floats, Floats]:
        ahead = p[:, 2] + 10.0
        return p[:, 0] / (np.sqrt(p[:, 0] ** 2 + ahead**2) + np.maximum(ahead, 1.0)), p[:, 1]

    u, v = flat(points)
    a, b = flat(outline)
    in_outline = np.zeros(len(points), dtype=np.bool_)
    for a0, b0, a1, b1 in zip(a, b, np.roll(a, -1), np.roll(b, -1), strict=True):
        if b0 != b1:
            in_outline ^= ((b0 > v) != (b1 > v)) & (u < a0 + (v - b0) * (a1 - a0) / (b1 - b0))
    distance, _ = _nearest(points, outline)
    depth: Floats = np.where(in_outline, distance, -distance)
    return depth
