"""The texels of a model's texture: which point of the surface each shows. Made once for each model and size.

Texels lie in rows from the top: that of row r and column c has the texture coordinates `((c + .5) / S, 1 - (r + .5) /
S)`. What a texture is made of is computed for the M texels that show the surface, in the order of their flat indices,
and laid out as a picture in the end.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.errors import InputError
from faceinv.render.raster import rasterize_triangles
from faceinv.render.uv import texture_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["LARGEST", "Atlas", "atlas_of"]

LARGEST: Final = 8192
"""Texels along each side at most."""
_KEPT: Final = 4096**2
"""How many texels all remembered atlases may have together; the one that was asked for last is kept in any case."""

_layouts: WeakKeyDictionary[MorphableModel, tuple[str, NDArray[np.float64]]] = WeakKeyDictionary()
_known: OrderedDict[tuple[str, int], Atlas] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Atlas:
    """Which point of a model's surface each texel of its texture shows. Arrays are shared and read-only."""

    size: int
    """S, texels along each side."""
    triangle: NDArray[np.int32]
    """(S, S) the triangle that the middle of each texel shows, -1 for none."""
    texels: NDArray[np.int32]
    """(M,) flat indices of the texels that show one, ascending."""
    corners: NDArray[np.int32]
    """(M, 3) the vertices around them."""
    weights: NDArray[np.float32]
    """(M, 3) barycentric."""
    nearest: NDArray[np.int32]
    """(S, S) for every texel the index in `texels` of itself or, in gaps, of one that is nearest to it."""
    uv: NDArray[np.float64]
    """(U, 2) texture coordinates, origin at the lower left, for `uv_triangles`."""
    uv_triangles: NDArray[np.int32]
    """(T, 3)."""
    triangles: NDArray[np.int32]
    """(T, 3) vertices, corner for corner with `uv_triangles`."""

    @property
    def shown(self) -> NDArray[np.int32]:
        """(M,) the triangles of the texels that show one."""
        triangles: NDArray[np.int32] = self.triangle.ravel()[self.texels]
        return triangles

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(S, S) which texels show the surface."""
        return self.triangle >= 0

    def at_texels(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Values (N, ...) of the vertices, interpolated to (M, ...) float32."""
        return _interpolated(values, self.corners, self.weights)

    def picture(self, values: NDArray[Any]) -> NDArray[Any]:
        """(S, S, ...) of values (M, ...) at texels. Gaps hold the nearest, so that filtering finds no seams."""
        from faceinv.backends.numpy_numba.texels import lay_out
        from faceinv.backends.numpy_numba.threads import before_launch

        values = np.asarray(values)
        if values.dtype != np.uint8 or values.ndim != 2:
            return values[self.nearest]
        before_launch()
        picture = np.empty((*self.nearest.shape, values.shape[1]), np.uint8)
        lay_out(np.ascontiguousarray(values), self.nearest, picture)
        return picture

    @cached_property
    def neighbours(self) -> NDArray[np.int32]:
        """(M, 4) indices in `texels`: to the right, below, to the left, above, as one goes along the surface.

        Over a seam the neighbour is the texel of the other chart that lies as far behind it. -1 where the surface ends.
        """
        from faceinv.backends.numpy_numba.texels import link_texels

        place = np.full(self.size**2, -1, np.int32)
        place[self.texels] = np.arange(len(self.texels), dtype=np.int32)
        found = np.empty((len(self.texels), 4), np.int32)
        across, turn = _across(self.triangles)
        grid = place.reshape(self.size, self.size)
        link_texels(grid, self.texels, self.shown, self.xy, self.uv_triangles, across, turn, found)
        found.setflags(write=False)
        return found

    @cached_property
    def xy(self) -> NDArray[np.float64]:
        """(U, 2) texture corners in texels, x right, y down, 0 at the middle of the first."""
        return _in_texels(self.uv, self.size)


def atlas_of(model: MorphableModel, size: int) -> Atlas:
    """The texels of a model's texture of `size` x `size`; remembered, as far as memory is not filled by it.

    Raises:
        InputError: for a size that is no whole number from 1 to `LARGEST`.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST:
        raise InputError(f"a texture of {size!r} texels along each side; expected a whole number from 1 to {LARGEST}.")
    with _lock:
        digest, uv = _layout(model)
        key = digest, int(size)
        atlas = _known.pop(key, None) or _draw(model, uv, int(size))
        _known[key] = atlas
        while len(_known) > 1 and sum(other.size**2 for other in _known.values()) > _KEPT:
            _known.popitem(last=False)
        return atlas


def _layout(model: MorphableModel) -> tuple[str, NDArray[np.float64]]:
    """A digest of all that an atlas depends on, and the texture coordinates. Models that were made of one another, with
    other modes, share it."""
    if model not in _layouts:
        uv = texture_layout(model)
        digest = hashlib.sha256()
        for array in (uv, model.uv_triangles, model.triangles):
            digest.update(np.ascontiguousarray(array).data)
        uv.setflags(write=False)
        _layouts[model] = digest.hexdigest(), uv
    return _layouts[model]


def _draw(model: MorphableModel, uv: NDArray[np.float64], size: int) -> Atlas:
    from faceinv.backends.numpy_numba.texels import nearest_texels

    xy = _in_texels(uv, size)
    shape = (size, size)
    triangle, barycentric = rasterize_triangles(xy, np.zeros(len(xy)), model.uv_triangles, shape, both_sides=True)
    texels = np.flatnonzero(triangle >= 0).astype(np.int32)
    place = np.full(size**2, -1, np.int32)
    place[texels] = np.arange(len(texels), dtype=np.int32)
    nearest = np.empty(shape, np.int32)
    nearest_texels(place.reshape(shape), nearest)
    corners = model.triangles[triangle.ravel()[texels]]
    weights = barycentric.reshape(-1, 3)[texels].astype(np.float32)
    for array in (triangle, texels, corners, weights, nearest):
        array.setflags(write=False)
    return Atlas(size, triangle, texels, corners, weights, nearest, uv, model.uv_triangles, model.triangles)


def _in_texels(uv: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], axis=1)


def _interpolated(
    values: NDArray[Any], corners: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    from faceinv.backends.numpy_numba.texels import interpolate_texels
    from faceinv.backends.numpy_numba.threads import before_launch

    before_launch()
    values = np.asarray(values)
    flat = np.ascontiguousarray(values.reshape(len(values), -1), np.float32)
    result = np.empty((len(corners), flat.shape[1]), np.float32)
    interpolate_texels(flat, np.ascontiguousarray(corners), np.ascontiguousarray(weights), result)
    return result.reshape(len(corners), *values.shape[1:])


def _across(triangles: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(T, 3) for the edge from corner k to k + 1 of each triangle: the triangle on its other side, or -1, and which
    edge it is there. Edges of more than two triangles, or of two that run the same way, count as the surface's end."""
    start, end = triangles.ravel().astype(np.int64), np.roll(triangles, -1, axis=1).ravel().astype(np.int64)
    count = int(triangles.max()) + 1
    forward, backward = start * count + end, end * count + start
    order = np.argsort(forward, kind="stable")
    ascending = forward[order]
    first = np.searchsorted(ascending, backward)
    single = np.searchsorted(ascending, backward, side="right") - first == 1
    own = np.searchsorted(ascending, forward, side="right") - np.searchsorted(ascending, forward) == 1
    other = np.where(single & own, order[np.minimum(first, len(order) - 1)], -1)
    across = np.where(other >= 0, other // 3, -1).reshape(-1, 3).astype(np.int32)
    turn = np.where(other >= 0, other % 3, 0).reshape(-1, 3).astype(np.int32)
    return across, turn
