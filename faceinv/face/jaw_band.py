"""The part of a face over which the outline of its jaw moves when the head turns.

The 17 jaw landmarks mark the outline of the face in the photo. Seen from the front that is the edge of the jaw; on the
far side of a turned head it has moved forward over the cheek. The band is the skin between the jaw's edge and the
middle of the face: there, and on the edge, the outline is looked for.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from faceinv.errors import ModelError
from faceinv.face.landmarks68 import CHIN, INNER_LIPS, JAW_COUNT, LANDMARK_COUNT, NOSE_TIP

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["jaw_band"]

_WINDOW: Final = 2.0
"""A mark sees the band within this many marks of its own place along the jaw."""
_CHEEK_REACH: Final = 0.3
_CHIN_REACH: Final = 0.55
"""How near to the nose tip the band comes, seen from the front, as a share of the way from there to the jaw: close over
the cheeks, whose middle is the outline of a head turned by 75 degrees; below the lips at the chin."""
_CHIN_MARKS: Final = 1.5
"""The chin ends this many marks from its middle; the cheek's reach begins at twice as many."""
_OUTSIDE: Final = 1.03
"""The band ends here beyond the jaw, in the same shares: an edge path strays from the line through the landmarks."""
_BEHIND: Final = 0.1
"""And this far behind it, as a share of the nose tip's distance in depth: not around the ear."""
_STRAY: Final = 4.0
"""Cost of an edge of the jaw's path that is one segment's length away from the segment, relative to one that is on
it."""


def jaw_band(
    mean: ArrayLike, triangles: ArrayLike, landmark_vertices: ArrayLike, landmark_weights: ArrayLike
) -> NDArray[np.int32]:
    """Derive the band from the mean surface and its landmarks alone.

    A path of mesh edges through the jaw's landmarks keeps the underside of the jaw and the neck apart from the cheeks,
    and one around the mouth's opening what is inside of the mouth; the band is what can be reached from the cheeks
    without crossing them.

    Args:
        mean: (N, 3) the mean surface, any unit; x to the image's right, y up, z towards the viewer.
        triangles: (T, 3) vertex indices.
        landmark_vertices: (68, 3), or more columns, the vertices that carry the landmarks.
        landmark_weights: of the same shape, each row summing to 1.

    Returns:
        (17, M) triangles that each mark of the jaw sees, ascending; -1 after the last of a row.

    Raises:
        ModelError: when the landmarks' vertices are not vertices of the surface.
    """
    points, faces = np.asarray(mean, np.float64), np.asarray(triangles, np.int64)
    corners, weights = np.asarray(landmark_vertices, np.int64), np.asarray(landmark_weights, np.float64)
    if corners.min() < 0 or corners.max() >= len(points):
        raise ModelError(
            f"landmark_vertices has indices {corners.min()}..{corners.max()}, expected 0..{len(points) - 1}."
        )
    marks = (weights[..., None] * points[corners]).sum(axis=1)
    heaviest = corners[np.arange(LANDMARK_COUNT), weights.argmax(axis=1)]
    jaw, lips = heaviest[:JAW_COUNT], heaviest[INNER_LIPS]
    edges = _edges(faces, len(points))
    place, share = _around_the_nose(points, marks[:JAW_COUNT], marks[NOSE_TIP])
    from_chin = np.abs(place - CHIN) / _CHIN_MARKS
    reach = np.interp(from_chin, [1.0, 2.0], [_CHIN_REACH, _CHEEK_REACH])
    inside = np.isfinite(place) & (share > reach) & (share < _OUTSIDE)
    edge_depth = np.interp(place, np.arange(JAW_COUNT), marks[:JAW_COUNT, 2])
    inside &= points[:, 2] > edge_depth - _BEHIND * (marks[NOSE_TIP, 2] - edge_depth)

    barrier = np.zeros(len(points), np.bool_)
    for first, last in (*itertools.pairwise(jaw), *itertools.pairwise([*lips, lips[0]])):
        barrier[_path(points, edges, int(first), int(last))] = True
    open_skin = inside & ~barrier
    label = _parts(edges[open_skin[edges].all(axis=1)], len(points))
    seeds = [_cheek(points, marks, open_skin, mark) for mark in (3, CHIN, 13)]
    cheek = np.isin(label, label[[seed for seed in seeds if seed is not None]]) & open_skin
    allowed = cheek | barrier
    band = np.flatnonzero(allowed[faces].all(axis=1) & cheek[faces].any(axis=1))
    centre = np.where(np.isfinite(place[faces[band]]), place[faces[band]], jaw_place(faces[band], jaw)).mean(axis=1)
    rows = [band[np.abs(centre - mark) <= _WINDOW] for mark in range(JAW_COUNT)]
    found = np.full((JAW_COUNT, max(map(len, rows))), -1, np.int32)
    for mark, row in enumerate(rows):
        found[mark, : len(row)] = row
    return found


def jaw_place(vertices: NDArray[np.int64], jaw: NDArray[np.int64]) -> NDArray[np.float64]:
    """Places along the jaw of vertices that are landmarks of it; NaN for others."""
    place = np.full(vertices.shape, np.nan)
    for mark, vertex in enumerate(jaw):
        place[vertices == vertex] = mark
    return place


def _around_the_nose(
    points: NDArray[np.float64], jaw: NDArray[np.float64], tip: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the ray from the nose tip through each vertex, seen from the front, meets the line through the jaw's
    landmarks: the place along it, from -1 to 17 as it is drawn out by one mark, NaN for a ray that misses; and the
    vertex's share of the way there."""
    line = np.concatenate([[2 * jaw[0] - jaw[1]], jaw, [2 * jaw[-1] - jaw[-2]]])[:, :2] - tip[:2]
    x, y = (points[:, :2] - tip[:2]).T
    place, share = np.full(len(points), np.nan), np.full(len(points), np.nan)
    for k, (a, b) in enumerate(itertools.pairwise(line)):
        edge = b - a
        # lambda p = a + t edge
        crossed = x * edge[1] - y * edge[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (a[1] * x - a[0] * y) / (edge[0] * y - edge[1] * x)
            stretch = (a[0] * edge[1] - a[1] * edge[0]) / crossed
        hit = np.isnan(place) & (along >= 0) & (along <= 1) & (stretch > 0)
        place[hit], share[hit] = k - 1 + along[hit], 1 / stretch[hit]
    return place, share


def _cheek(points: NDArray[np.float64], marks: NDArray[np.float64], skin: NDArray[np.bool_], mark: int) -> int | None:
    """A vertex that is surely on the cheek (or on the chin's front): the foremost near the line to a jaw landmark."""
    spot = (0.3 * marks[NOSE_TIP] + 0.7 * marks[mark])[:2]
    gap = np.where(skin, np.linalg.norm(points[:, :2] - spot, axis=1), np.inf)
    near = np.flatnonzero(gap < max(0.1 * np.linalg.norm(marks[mark] - marks[NOSE_TIP]), 1.001 * float(gap.min())))
    return int(near[np.argmax(points[near, 2])]) if np.isfinite(gap.min()) else None


def _edges(triangles: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(E, 2) each edge of a mesh of `count` vertices once, the lower vertex first, in ascending order."""
    first, second = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    keys = np.minimum(first, second) * count + np.maximum(first, second)
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return np.stack(np.divmod(keys, count), axis=1)


def _parts(edges: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """(count,) labels of what hangs together by edges."""
    graph = sparse.coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    label: NDArray[np.int32] = csgraph.connected_components(graph, directed=False)[1]
    return label


def _path(points: NDArray[np.float64], edges: NDArray[np.int64], first: int, last: int) -> NDArray[np.int64]:
    """The vertices of the path between two vertices that keeps near the straight line; both alone where there is
    none."""
    chord = points[last] - points[first]
    length = float(np.linalg.norm(chord))
    if length == 0:
        return np.array([first])
    middle = (points[first] + points[last]) / 2
    # What is further away than this is no place for a path; where the surface has a gap there, there is none.
    near = np.flatnonzero(np.linalg.norm(points - middle, axis=1) <= 1.5 * length)
    index = np.full(len(points), -1)
    index[near] = np.arange(len(near))
    local = index[edges[(index[edges] >= 0).all(axis=1)]]
    offset = points[near] - points[first]
    along = np.clip(offset @ chord / length**2, 0, 1)
    stray = np.linalg.norm(offset - along[:, None] * chord, axis=1) / length
    run = np.linalg.norm(points[near[local[:, 0]]] - points[near[local[:, 1]]], axis=1)
    cost = np.maximum(run * (1 + _STRAY * stray[local].mean(axis=1)), 1e-12 * length)
    graph = sparse.coo_array((cost, (local[:, 0], local[:, 1])), shape=(len(near), len(near))).tocsr()
    previous = csgraph.dijkstra(graph, directed=False, indices=[int(index[first])], return_predecessors=True)[1][0]
    path = [int(index[last])]
    while path[-1] != index[first]:
        if previous[path[-1]] < 0:
            return np.array([first, last])
        path.append(int(previous[path[-1]]))
    return near[path]
