"""Where on a head hair grows, and where only the face is: shares of each vertex, from its place on the mean face.

Heads differ, but a texture only needs to know where hair may be kept and where it is in the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.face.landmarks68 import BROWS, CHIN, JAW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["Regions", "regions_of"]

_HAIRLINE: Final = np.array(
    [
        *((3.0, 0.62), (0.60, 0.49), (0.41, 0.32), (0.15, 0.08)),  # forehead, temple, before the ear
        *((-0.03, 0.14), (-0.19, 0.10), (-0.28, -0.19), (-0.56, -0.58), (-3.0, -0.58)),  # over and behind it, nape
        *((-3.0, 4.0), (3.0, 4.0)),  # over the head
    ]
)
"""Seen from the side: z and y from the upper ends of the jaw landmarks, over the height from chin to brows."""
_HAIRLINE_WIDTH: Final = 0.05
"""Over the same height: half of the band over which skin gives way to hair."""
_NECK: Final = np.array(
    [(3.0, -0.86), (0.50, -0.86), (-0.25, -0.30), (-0.45, -0.58), (-3.0, -0.58), (-3.0, -9.0), (3.0, -9.0)]
)
"""The same: under the jaw, to the hair of the nape."""
_NECK_WIDTH: Final = 0.15
_CORE: Final = (*range(17, 27), 36, 45, 48, 54, *range(5, 12))
"""Landmarks whose hull, seen from the front, holds what no hair hangs over but brows, lashes and beard."""
_OVER_BROWS: Final = 0.06
"""How far that hull goes over the brows' landmarks, over the same height."""
_CORE_WIDTH: Final = 0.07


@dataclass(frozen=True, eq=False)
class Regions:
    """Shares of the N vertices, (N,) float32 from 0 to 1."""

    scalp: NDArray[np.float32]
    """Where hair grows."""
    core: NDArray[np.float32]
    """The middle of the face: brows, eyes, nose, mouth and chin."""
    neck: NDArray[np.float32]
    """What collars cover: more and more of it further down."""
    skin: NDArray[np.float32]
    """1 on the skin, 0 on eyes, teeth and what else the model has."""


_known: WeakKeyDictionary[MorphableModel, Regions] = WeakKeyDictionary()


def regions_of(model: MorphableModel) -> Regions:
    """The regions of a model; found once for as long as the model lives."""
    if model not in _known:
        _known[model] = _regions(model)
    return _known[model]


def _regions(model: MorphableModel) -> Regions:
    mean = model.mean.astype(np.float64)
    marks = model.landmarks(mean)
    ends = marks[[JAW.start, JAW.stop - 1]].mean(axis=0)
    height = max(float(marks[BROWS, 1].mean() - marks[CHIN, 1]), 1e-6)
    side = (mean[:, [2, 1]] - ends[[2, 1]]) / height
    scalp = _ramp(_inside(side, _HAIRLINE) / _HAIRLINE_WIDTH)
    outline = marks[list(_CORE), :2]
    outline[: BROWS.stop - BROWS.start, 1] += _OVER_BROWS * height
    hull = _convex(outline)
    neck = np.clip(_inside(side, _NECK) / _NECK_WIDTH, 0, 1)
    core = _ramp(_inside(mean[:, :2], hull) / (_CORE_WIDTH * height)) * (mean[:, 2] > ends[2])
    skin = np.zeros(len(mean), np.float32)
    skin[np.unique(model.triangles[model.part("skin")])] = 1
    return Regions(
        (scalp * skin).astype(np.float32), (core * skin).astype(np.float32), (neck * skin).astype(np.float32), skin
    )


def _ramp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 at -1 to 1 at 1, smooth."""
    t = np.clip((values + 1) / 2, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _convex(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]


def _inside(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) how far points (M, 2) lie inside a polygon (K, 2); negative outside."""
    within = np.zeros(len(points), np.bool_)
    nearest = np.full(len(points), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = b - a
        t = np.clip((points - a) @ along / max(float(along @ along), 1e-24), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - t[:, None] * along, axis=1))
        if a[1] != b[1]:
            crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
            within ^= crosses & (points[:, 0] < a[0] + (points[:, 1] - a[1]) * along[0] / along[1])
    return np.where(within, nearest, -nearest)
