"""Which light a face keeps off itself: depth maps from many directions, summed to moments at the vertices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from faceinv.face.mesh import vertex_normals
from faceinv.face.self_shadow import MOMENT_COUNT
from faceinv.render.raster import rasterize_triangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["blocked_light", "with_occlusion"]

_DIRECTIONS: Final = 192
_TEXEL_MM: Final = 1.5
"""Of the depth maps: finer than the folds that keep light off, coarser than the mesh."""
_OFF_SURFACE_MM: Final = 0.8
"""How far a vertex is lifted along its normal before it looks, so that its own triangles do not hide it."""
_SLACK_MM: Final = 0.5
"""By how much something must at least be nearer to the light to block it."""
_LARGEST_MAP: Final = 1024

_extended: WeakKeyDictionary[MorphableModel, MorphableModel] = WeakKeyDictionary()


def with_occlusion(model: MorphableModel) -> MorphableModel:
    """The model with the moments of the light that its mean face blocks; as it is where it has them already.

    A second or two for a head of 26,000 vertices; remembered for as long as the model lives.
    """
    if model.occlusion is not None:
        return model
    if model not in _extended:
        moments = blocked_light(model.mean.astype(np.float64), model.triangles)
        # As a file stores them, so that a model gives the same face from its file.
        _extended[model] = replace(model, occlusion=moments.astype(np.float16).astype(np.float32))
    return _extended[model]


def blocked_light(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """(N, 10) moments of the blocked, cosine-weighted directions: see `faceinv.face.self_shadow`.

    The mesh is drawn from `_DIRECTIONS` directions, evenly spread, in parallel projection; what is drawn nearer to the
    light than a vertex that faces it blocks it. Deterministic.

    Args:
        vertices: (N, 3) mm.
        triangles: (T, 3); both sides block.
    """
    normals = vertex_normals(vertices, triangles)
    lifted = vertices + _OFF_SURFACE_MM * normals
    moments = np.zeros((len(vertices), MOMENT_COUNT))
    rows, columns = np.triu_indices(3)
    share = 4 * np.pi / _DIRECTIONS
    for direction in _spread(_DIRECTIONS):
        cosine = normals @ direction
        facing = np.flatnonzero(cosine > 0)
        slope = np.sqrt(1 - np.minimum(cosine[facing], 1.0) ** 2) / cosine[facing]
        blocked = share * cosine[facing] * _hidden(vertices, triangles, lifted[facing], slope, direction)
        powers = np.concatenate([[1.0], direction, direction[rows] * direction[columns]])
        moments[facing] += blocked[:, None] * powers
    return _smoothed(moments, triangles)


def _spread(count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors evenly over the sphere: a Fibonacci lattice (Gonzalez, Mathematical Geosciences 2010)."""
    number = np.arange(count) + 0.5
    height, angle = 1 - 2 * number / count, np.pi * (1 + np.sqrt(5)) * number
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _hidden(
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int32],
    points: NDArray[np.float64],
    slope: NDArray[np.float64],
    direction: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(M,) from 0 to 1, how much of the light from a direction the mesh keeps off points (M, 3), around which the
    surface comes nearer to the light by `slope` (M,) for each mm across."""
    across = np.cross(direction, [1.0, 0.0, 0.0] if abs(direction[0]) < 0.6 else [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(direction, across), direction], axis=1)
    seen, looking = vertices @ axes, points @ axes
    low, span = seen[:, :2].min(axis=0), np.ptp(seen[:, :2], axis=0)
    texel = max(_TEXEL_MM, float(span.max()) / (_LARGEST_MAP - 4))
    width, height = (int(n) + 4 for n in np.ceil(span / texel))

    def place(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = (xy - low) / texel + 1.5
        return moved

    # In the map y runs down, as in a picture.
    xy = place(seen[:, :2])
    xy[:, 1] = height - 1 - xy[:, 1]
    triangle, weights = rasterize_triangles(xy, seen[:, 2] / texel, triangles, (height, width), both_sides=True)
    depth = np.where(triangle >= 0, (weights * seen[triangles[triangle], 2]).sum(axis=2), -np.inf)
    # Four neighbouring texels are compared and the answers mixed, which keeps edges smooth.
    at = place(looking[:, :2])
    at[:, 1] = height - 1 - at[:, 1]
    at = np.clip(at, 0, [width - 1.001, height - 1.001])
    corner = at.astype(np.int64)
    part = at - corner
    # A neighbouring texel shows a surface that is seen at an angle nearer by as much as it slopes.
    reach = looking[:, 2] + _SLACK_MM + texel * slope
    hidden = np.zeros(len(points))
    for dy in (0, 1):
        for dx in (0, 1):
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            hidden += share * (depth[corner[:, 1] + dy, corner[:, 0] + dx] > reach)
    return hidden


def _smoothed(moments: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Half of each vertex and half of the mean of its neighbours: evens out the texels."""
    count = len(moments)
    start, end = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    both = (np.concatenate([start, end]), np.concatenate([end, start]))
    links = sparse.coo_array((np.ones(2 * len(start)), both), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    number = np.maximum(np.asarray(links.sum(axis=1)), 1.0)
    smooth: NDArray[np.float64] = (moments + (links @ moments) / number[:, None]) / 2
    return smooth
