"""Where the surface lies in a texture image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["texture_layout"]

_ISLAND_GAP: Final = 0.01
"""Between islands of the texture, over the side of a square as large as all of them."""
_OUTSIDE: Final = 0.4
"""Texels beside the face mask over those in it, along each axis: photos show most of the face, and hair is smooth."""
_BESIDE: Final = 0.45
"""The scale of islands without face (eyes, teeth, lashes), over that of the face."""
_RAMP: Final = 0.35
"""The share of the face's width, or height, over which the density falls from the one to the other."""
_GRID: Final = 512
_TRIES: Final = 16

_known: WeakKeyDictionary[MorphableModel, NDArray[np.float64]] = WeakKeyDictionary()


def texture_layout(model: MorphableModel) -> NDArray[np.float64]:
    """(U, 2) texture coordinates for `model.uv_triangles`: the model's islands, packed to fill the unit square.

    The islands keep their directions. In one that holds parts of the face mask the face gets the most room: each axis
    is stretched by itself, evenly over the face and less and less beside it, so that straight lines along the axes stay
    straight and nothing overlaps. Others are scaled down. The same for every fit with one model, and read-only.
    """
    if model not in _known:
        result = _packed(model)
        result.setflags(write=False)
        _known[model] = result
    return _known[model]


def _packed(model: MorphableModel) -> NDArray[np.float64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    uv, triangles = model.uv.astype(np.float64), model.uv_triangles
    ends = (triangles[:, [0, 1]].T.ravel(), triangles[:, [1, 2]].T.ravel())
    links = coo_array((np.ones(2 * len(triangles)), ends), shape=(len(uv), len(uv)))
    used = np.unique(triangles)
    _, label = np.unique(connected_components(links, directed=False)[1][used], return_inverse=True)
    place = np.full(len(uv), -1)
    place[used] = np.arange(len(used))
    face = np.zeros(len(used), np.bool_)
    face[place[np.unique(triangles[model.face_mask])]] = True
    points = _emphasised(uv[used], label, face)
    low, high = np.full((label.max() + 1, 2), np.inf), np.full((label.max() + 1, 2), -np.inf)
    np.minimum.at(low, label, points)
    np.maximum.at(high, label, points)
    box = high - low
    gap = _ISLAND_GAP * float(np.sqrt(max(box.prod(axis=1).sum(), 1e-24)))
    placed, side = _smallest_square(box + gap)
    result = np.zeros_like(uv)
    result[used] = (points - low[label] + placed[label] + gap / 2) / max(side, 1e-12)
    return result


def _emphasised(uv: NDArray[np.float64], label: NDArray[np.intp], face: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Texture coordinates (M, 2) of islands (M,), with more room for what is of the face (M,)."""
    points = _BESIDE * uv
    for island in np.unique(label[face]):
        here = label == island
        for axis in range(2):
            points[here, axis] = _stretched(uv[here, axis], uv[here & face, axis])
    return points


def _stretched(values: NDArray[np.float64], face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (M,) moved by a growing function, whose slope is 1 between the least and the largest of the face's."""
    low, high = float(face.min()), float(face.max())
    start, end = float(values.min()), float(values.max())
    ramp = _RAMP * (high - low)
    if ramp <= 0:
        return values
    grid = np.linspace(start, end, _GRID)
    away = np.clip(np.maximum(low - grid, grid - high) / ramp, 0.0, 1.0)
    density = 1 - (1 - _OUTSIDE) * away * away * (3 - 2 * away)
    step = (end - start) / (_GRID - 1)
    moved = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * step)])
    stretched: NDArray[np.float64] = np.interp(values, grid, moved)
    return stretched


def _smallest_square(box: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Lower left corners (M, 2) of boxes (M, 2) in a square that is as small as halving an interval finds, its side."""
    least = max(float(box.max()), float(np.sqrt(box.prod(axis=1).sum())), 1e-12)
    most = least
    while (found := _guillotine(box, most)) is None:
        most *= 1.25
    for _ in range(_TRIES):
        middle = (least + most) / 2
        tried = _guillotine(box, middle)
        if tried is None:
            least = middle
        else:
            found, most = tried, middle
    return found, most


def _guillotine(box: NDArray[np.float64], side: float) -> NDArray[np.float64] | None:
    """Lower left corners (M, 2) of boxes (M, 2) in a square, or None where they do not fit.

    Jylanki (A Thousand Ways to Pack the Bin, 2010): the longest box first, each into the free rectangle that leaves the
    shortest side over, which is then cut along its shorter remainder.
    """
    corner = np.zeros_like(box)
    free = [(0.0, 0.0, side, side)]
    slack = 1e-9 * side
    for index in np.lexsort((box.min(axis=1), box.max(axis=1)))[::-1]:
        width, height = box[index]
        fitting = [k for k, (_, _, w, h) in enumerate(free) if w >= width - slack and h >= height - slack]
        if not fitting:
            return None
        x, y, w, h = free.pop(min(fitting, key=lambda k: min(free[k][2] - width, free[k][3] - height)))
        corner[index] = x, y
        right, above = w - width, h - height
        if right < above:
            free += [(x + width, y, right, height), (x, y + height, w, above)]
        else:
            free += [(x + width, y, right, h), (x, y + height, width, above)]
    return corner
