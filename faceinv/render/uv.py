"""Where the surface lies in a texture image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["texture_layout"]

_ISLAND_GAP: Final = 0.01
"""Between islands of the texture, over the side of a square as large as all of them."""


def texture_layout(model: MorphableModel) -> NDArray[np.float64]:
    """(U, 2) texture coordinates for `model.uv_triangles`: the model's islands, packed to fill the unit square.

    Islands keep their proportions and directions; only where they lie changes, and one scale for all. The same for
    every fit with one model. The parts of the model's own layout that the surface does not use would waste most of it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    uv, triangles = model.uv.astype(np.float64), model.uv_triangles
    ends = (triangles[:, [0, 1]].T.ravel(), triangles[:, [1, 2]].T.ravel())
    links = coo_array((np.ones(2 * len(triangles)), ends), shape=(len(uv), len(uv)))
    used = np.unique(triangles)
    _, label = np.unique(connected_components(links, directed=False)[1][used], return_inverse=True)
    low, high = np.full((label.max() + 1, 2), np.inf), np.full((label.max() + 1, 2), -np.inf)
    np.minimum.at(low, label, uv[used])
    np.maximum.at(high, label, uv[used])
    box = high - low
    gap = _ISLAND_GAP * float(np.sqrt(max(box.prod(axis=1).sum(), 1e-24)))
    placed, side = min((_shelves(box + gap, width) for width in _shelf_widths(box + gap)), key=lambda found: found[1])
    result = np.zeros_like(uv)
    result[used] = (uv[used] - low[label] + placed[label] + gap / 2) / max(side, 1e-12)
    return result


def _shelf_widths(box: NDArray[np.float64]) -> NDArray[np.float64]:
    start = max(float(box[:, 0].max()), float(np.sqrt(box.prod(axis=1).sum())))
    return start * np.linspace(1.0, 2.0, 41)


def _shelves(box: NDArray[np.float64], width: float) -> tuple[NDArray[np.float64], float]:
    """Place boxes (M, 2) on shelves of a width, the tallest first: lower left corners, and the side of the square."""
    corner = np.zeros_like(box)
    x = y = shelf = 0.0
    for index in np.lexsort((-box[:, 0], -box[:, 1])):
        if x > 0 and x + box[index, 0] > width * (1 + 1e-9):
            x, y, shelf = 0.0, y + shelf, 0.0
        corner[index] = x, y
        x += box[index, 0]
        shelf = max(shelf, float(box[index, 1]))
    return corner, max(float((corner + box).max()), 1e-12)
