"""Rows of vertices along which the jaw landmarks slide when a head turns.

The 17 jaw landmarks mark the outline of the face in the photo, so which surface point they are depends on the
view. For a turned head the outline on the far side has moved forward over the cheek. A row of candidate vertices
per landmark, from the jaw forward, lets a fit re-choose the point with the pose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from faceinv.errors import ModelError
from faceinv.face.landmarks68 import CHIN, JAW_COUNT

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["jaw_contour"]

_REACH: Final = 0.5
"""How far a row runs: this fraction of the way to the nose tip, seen from the front."""
_NEARBY: Final = 1.5
"""A goal is first looked for within this many times the distance to the nose tip, as cost."""
_PLANE_PENALTY: Final = 25.0
"""Cost of leaving a row's plane by one jaw width times this, relative to walking along it."""


def jaw_contour(mean: ArrayLike, triangles: ArrayLike, jaw_vertices: ArrayLike) -> NDArray[np.int32]:
    """Derive the sliding rows of the jaw landmarks from the mean surface alone.

    Row l starts at jaw landmark l and follows mesh edges, near the plane through that landmark which holds the
    view axis z and the direction to the nose tip, about halfway to the nose. Walking on edges keeps the row on the
    skin where a mesh also has eyeballs, teeth or a mouth bag.

    Args:
        mean: (N, 3) the mean surface, any unit; x to the image's right, y up, z towards the viewer.
        triangles: (T, 3) vertex indices.
        jaw_vertices: (17,) the vertex at each jaw landmark, from the image's left over the chin to its right.

    Returns:
        (17, C) vertex indices. A row shorter than C repeats its last vertex.

    Raises:
        ModelError: when there are not 17 jaw vertices or they are not vertices of the surface.
    """
    points = np.asarray(mean, dtype=np.float64)
    faces = np.asarray(triangles, dtype=np.int64)
    jaw = np.asarray(jaw_vertices, dtype=np.int64)
    if jaw.shape != (JAW_COUNT,):
        raise ModelError(f"jaw_vertices has shape {jaw.shape}, expected ({JAW_COUNT},).")
    if jaw.min() < 0 or jaw.max() >= len(points):
        raise ModelError(f"jaw_vertices has indices {jaw.min()}..{jaw.max()}, expected 0..{len(points) - 1}.")

    edges = _edges(faces, len(points))
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    tip = _nose_tip(points, edges, jaw)
    width = float(np.ptp(points[jaw, 0])) or 1.0
    rows = [_row(points, edges, lengths, int(start), tip, width) for start in jaw]
    contour = np.empty((JAW_COUNT, max(map(len, rows))), dtype=np.int32)
    for index, row in enumerate(rows):
        contour[index, : len(row)] = row
        contour[index, len(row) :] = row[-1]
    return contour


def _edges(triangles: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(E, 2) each edge of a mesh of `count` vertices once, the lower vertex first, in ascending order."""
    first, second = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    keys = np.minimum(first, second) * count + np.maximum(first, second)
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return np.stack(np.divmod(keys, count), axis=1)


def _nose_tip(points: NDArray[np.float64], edges: NDArray[np.int64], jaw: NDArray[np.int64]) -> NDArray[np.float64]:
    """The foremost skin point (3,) between chin and ears, near the middle of the jaw."""
    outline = points[jaw]
    low, high = np.sort([outline[CHIN, 1], outline[[0, 16], 1].mean()])
    middle, width = outline[[0, 16], 0].mean(), np.ptp(outline[:, 0])
    skin = _connected(len(points), edges, int(jaw[CHIN]))
    band = skin & (points[:, 1] > low) & (points[:, 1] < high) & (np.abs(points[:, 0] - middle) < 0.15 * width)
    candidates = np.flatnonzero(band if band.any() else skin)
    tip: NDArray[np.float64] = points[candidates[np.argmax(points[candidates, 2])]]
    return tip


def _connected(count: int, edges: NDArray[np.int64], start: int) -> NDArray[np.bool_]:
    """(count,) which vertices hang together with `start`."""
    graph = sparse.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, label = csgraph.connected_components(graph, directed=False)
    joined: NDArray[np.bool_] = label == label[start]
    return joined


def _row(
    points: NDArray[np.float64],
    edges: NDArray[np.int64],
    lengths: NDArray[np.float64],
    start: int,
    tip: NDArray[np.float64],
    width: float,
) -> list[int]:
    """The vertices of one row, `start` first."""
    along = (tip - points[start])[:2]
    distance = float(np.hypot(*along))
    if distance == 0:
        return [start]
    along = along / distance
    offset = points[:, :2] - points[start, :2]
    off_plane = np.abs(offset[:, 0] * along[1] - offset[:, 1] * along[0])
    # Squared, so that the wobble of a path on a coarse mesh stays cheap while a detour does not.
    detour = 1 + (_PLANE_PENALTY * off_plane[edges].mean(axis=1) / width) ** 2
    cost = np.maximum(lengths * detour, 1e-12 * width)
    graph = sparse.coo_array((cost, (edges[:, 0], edges[:, 1])), shape=(len(points), len(points))).tocsr()
    progress = offset @ along
    near = (off_plane < 0.04 * width) & (progress > (_REACH - 0.08) * distance) & (progress < _REACH * distance)
    # Nearly always the goal is close by; only otherwise is the whole surface walked.
    for limit in (_NEARBY * distance, np.inf):
        costs, parents = csgraph.dijkstra(graph, directed=False, indices=[start], return_predecessors=True, limit=limit)
        reached, previous = costs[0], parents[0]
        candidates = np.flatnonzero(near & np.isfinite(reached))
        if len(candidates):
            break
    else:
        candidates = np.flatnonzero(np.isfinite(reached) & (progress <= distance))
    # The one cheapest to walk to is on the same skin, on the same side of the mouth.
    goal = int(candidates[np.argmin(reached[candidates])])
    path = [goal]
    while path[-1] != start:
        path.append(int(previous[path[-1]]))
    path.reverse()
    return path
