"""The reference rasteriser: the `numpy` engine's kernel, for any triangles, in a picture or in a texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rasterize_triangles"]


def rasterize_triangles(
    xy: NDArray[np.float64],
    depth: NDArray[np.float64],
    triangles: NDArray[np.int32],
    size: tuple[int, int],
    both_sides: bool = False,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Which triangle each pixel of an image of size (H, W) shows, by the engines' rules.

    Args:
        xy: (V, 2) px.
        depth: (V,) larger is nearer.
        triangles: (T, 3), shown from the side on which they run counter-clockwise as seen by a viewer.
        size: (H, W).
        both_sides: show every triangle, whichever way it turns.

    Returns:
        (H, W) int32 triangle, -1 for none, and (H, W, 3) its barycentric coordinates.
    """
    from faceinv.backends.numpy_numba.raster import rasterize
    from faceinv.backends.numpy_numba.threads import before_launch

    before_launch()
    turned = np.zeros(len(triangles), np.bool_)
    if both_sides:
        a, b, c = (xy[triangles[:, k]] for k in range(3))
        turned = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) > 0
    shown = np.where(turned[:, None], triangles[:, [0, 2, 1]], triangles).astype(np.int32)
    triangle, barycentric = np.empty(size, np.int32), np.empty((*size, 3))
    flat = np.ascontiguousarray(xy, np.float64), np.ascontiguousarray(depth, np.float64)
    rasterize(*flat, 0.0, shown, triangle, barycentric)
    back = (triangle >= 0) & turned[triangle]
    barycentric[back] = barycentric[back][:, [0, 2, 1]]
    return triangle, barycentric
