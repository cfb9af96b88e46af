"""The outline of the jaw as a photo shows it: where the posed surface turns away from the viewer, or the jaw's edge.

Annotators mark the visible outline of the face on the far side of a turned head, which is the occluding contour of the
cheek, and the edge of the jaw on the near side; from the front the two coincide nearly. So a mark is matched to the
nearest point of

- the occluding contour over the model's jaw band: the zeros of n . v, n being the smooth normal and v the direction to
  the viewer at each vertex, linear over each triangle. Where the surface curves towards the viewer as it turns away the
  contour is never seen (Koenderink, "What does the occluding contour tell us about solid shape?", Perception 1984), and
  is left out;
- the lines between neighbouring jaw landmarks, as far as they face the viewer.

The point is carried by the vertices around it. As the contour slides over the surface it moves in the image, to first
order, like the surface point below it does across the outline; so a point held fixed for a step has the right
derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from faceinv.engine.records import MARK_CORNERS
from faceinv.face.landmarks68 import JAW, JAW_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import Camera
    from faceinv.face.model import MorphableModel

__all__ = ["DOUBTFUL", "JawOutline"]

DOUBTFUL: Final = 3.0
"""Standard deviations. Of marks further away than about this it is doubtful whether they are of this outline at all: on
the far side of a face in profile the nose covers the cheek, and hair widens the outline. They count by Cauchy's weight,
`1 / (1 + (distance / DOUBTFUL)^2)`, held fixed for a step."""
_NEIGHBOURS: Final = 2
"""A mark sees the jaw's edge within this many segments on either side."""
_TINY: Final = 1e-12


class JawOutline:
    """Finds the outline of one posed face. `vertices` (M,) are the model's vertices whose positions it needs."""

    def __init__(self, model: MorphableModel) -> None:
        listed = model.jaw_band
        used = model.jaw_triangles
        band = model.triangles[used].astype(np.int64)
        marks = model.landmark_vertices[JAW].astype(np.int64)
        facing = np.unique(np.concatenate([band.ravel(), marks.ravel()]))
        around = model.triangles[np.isin(model.triangles, facing).any(axis=1)].astype(np.int64)
        self.vertices = np.unique(np.concatenate([around.ravel(), facing]))
        place = np.full(model.vertex_count, -1)
        place[self.vertices] = np.arange(len(self.vertices))
        self._facing = place[facing]
        self._around = np.ascontiguousarray(place[around].T)
        small = np.full(len(self.vertices), -1)
        small[self._facing] = np.arange(len(facing))
        # Sums of the triangles around each vertex, always in the same order.
        rows = small[place[around]]
        inside = rows >= 0
        columns = np.broadcast_to(np.arange(len(around))[:, None], rows.shape)
        self._sum = sparse.csr_array(
            (np.ones(int(inside.sum())), (rows[inside], columns[inside])), shape=(len(facing), len(around))
        )
        self._ids = facing
        self._band = small[place[band]]
        self._band_columns = np.ascontiguousarray(self._band.T)
        self._marks = small[place[marks]]
        self._mark_weights = model.landmark_weights[JAW].astype(np.float64)
        self._segments = np.concatenate([self._marks[:-1], self._marks[1:]], axis=1)
        # Which triangles of the band each mark sees, and which segments of the edge.
        rows_of, columns_of = np.nonzero(listed >= 0)
        self._seen = np.zeros((len(used), JAW_COUNT), np.bool_)
        self._seen[np.searchsorted(used, listed[rows_of, columns_of]), rows_of] = True
        apart = np.arange(JAW_COUNT - 1) - np.arange(JAW_COUNT)[:, None]
        self._seen_edge = (apart >= -_NEIGHBOURS) & (apart < _NEIGHBOURS)

    def points(
        self, camera: Camera, vertices: NDArray[np.float64], target: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Where the outline is nearest to each mark.

        Args:
            camera: one camera.
            vertices: (M, 3) mm of `self.vertices`.
            target: (17, 2) px.

        Returns:
            Vertices of the model and their weights, (17, MARK_CORNERS) each; unit normals (17, 2) of the outline in the
            image; how far the marks are from it (17,), px.
        """
        here = vertices.take(self._facing, axis=0)
        seen = camera.see(here)
        # Normals and the way to the viewer, in the camera's frame and of any length; no point moves along the latter.
        normal = camera.rotation @ self._normals(vertices)
        toward = np.stack([-seen.slant[0], seen.slant[1], np.ones(len(here))])
        lengths = np.sqrt(_dot(normal, normal) * _dot(toward, toward))
        facing, xy = _dot(normal, toward) / np.maximum(lengths, _TINY), seen.image_xy

        triangle, shares = self._contour(seen.turned, toward, facing)
        corners = self._band.take(triangle, axis=0)
        ends = shares @ xy.take(corners, axis=0)
        gap, along = _nearest(ends[:, 0], ends[:, 1], target, 0.0, 1.0)
        gap = np.where(self._seen.take(triangle, axis=0).T, gap, np.inf)
        edge_xy = (self._mark_weights[:, None] @ xy.take(self._marks, axis=0))[:, 0]
        edge_facing = (self._mark_weights * facing.take(self._marks)).sum(axis=1)
        edge_gap, edge_along = self._edge(edge_xy, edge_facing, target)
        all_gaps = np.concatenate([gap, edge_gap], axis=1)
        best, marks = all_gaps.argmin(axis=1), np.arange(JAW_COUNT)
        hidden = all_gaps[marks, best] == np.inf  # the whole neighbourhood faces away: its edge is the best guess
        if hidden.any():
            edge_gap, edge_along = self._edge(edge_xy, np.ones(JAW_COUNT), target)
            all_gaps[hidden, len(triangle) :] = edge_gap[hidden]
            best = all_gaps.argmin(axis=1)

        chosen = np.zeros((JAW_COUNT, MARK_CORNERS), np.int64)
        weights, across = np.zeros((JAW_COUNT, MARK_CORNERS)), np.empty((JAW_COUNT, 2))
        on_edge = best >= len(triangle)
        at = on_edge.nonzero()[0]
        segment = best[at] - len(triangle)
        share = edge_along[at, segment][:, None]
        chosen[at] = self._segments[segment]
        weights[at, :3], weights[at, 3:] = (
            (1 - share) * self._mark_weights[segment],
            share * self._mark_weights[segment + 1],
        )
        # The edge's direction turns evenly from one mark's to the next: at a mark it is that between its neighbours.
        direction = np.concatenate([edge_xy[1:], edge_xy[-1:]]) - np.concatenate([edge_xy[:1], edge_xy[:-1]])
        line = (1 - share) * direction[segment] + share * direction[segment + 1]
        across[at, 0], across[at, 1] = -line[:, 1], line[:, 0]

        at = (~on_edge).nonzero()[0]
        which = best[at]
        share = along[at, which][:, None]
        three, carried = corners[which], (1 - share) * shares[which, 0] + share * shares[which, 1]
        chosen[at] = three[:, :1]
        chosen[at, :3], weights[at, :3] = three, carried
        # The image direction a with a . du = 0 for every motion along the surface: J^T a is along the surface's normal.
        upright = normal.take(three, axis=1)
        upright /= np.maximum(np.sqrt(_dot(upright, upright)), _TINY)
        up = (carried * upright).sum(axis=2)
        jacobian = (carried[..., None, None] * camera.see(here.take(three, axis=0)).turned_jacobian).sum(axis=1)
        across[at] = _solved(jacobian, (jacobian @ up.T[..., None])[..., 0])
        across /= np.maximum(np.hypot(across[:, :1], across[:, 1:]), _TINY)
        return self._ids[chosen], weights, across, np.sqrt(all_gaps[marks, best])

    def _normals(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, F) normals of the vertices whose facing matters, times twice the area around them."""
        a, b, c = vertices.T.copy().take(self._around, axis=1).transpose(1, 0, 2)
        area = _cross(b - a, c - a)
        return np.stack([self._sum @ part for part in area])

    def _contour(
        self, points: NDArray[np.float64], toward: NDArray[np.float64], facing: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The band's triangles (S,) that hold a piece of the occluding contour, ascending, and the weights (S, 2, 3)
        of the two ends of each piece; of points (F, 3), the ways (3, F) from them to the viewer, and facings (F,)."""
        a, b, c = (facing > 0).take(self._band_columns)
        triangle = np.flatnonzero((a != b) | (b != c))
        corners = self._band.take(triangle, axis=0)
        value = facing.take(corners)
        front = value > 0
        # The corner that differs from the other two; a piece runs between its two edges.
        lone = np.where(front.sum(axis=1) == 1, front.argmax(axis=1), front.argmin(axis=1))
        rows, end, others = np.arange(len(triangle))[:, None], np.arange(2), (lone[:, None] + [1, 2]) % 3
        own = value[rows, lone[:, None]]
        share, shares = own / (own - value[rows, others]), np.zeros((len(triangle), 2, 3))
        shares[rows, end, others], shares[rows, end, lone[:, None]] = share, 1 - share
        # The surface nearer to the viewer must be the one that faces: (gradient of the facing) . v > 0. The gradient is
        # that of a linear function with given differences along two edges, times the square of their parallelogram.
        place = points.take(corners, axis=0).transpose(1, 2, 0)
        first, second, way = place[1] - place[0], place[2] - place[0], toward.take(corners[:, 0], axis=1)
        rise, other_rise = (value[:, k] - value[:, 0] for k in (1, 2))
        skew = _dot(first, second)
        slope = (rise * _dot(second, second) - other_rise * skew) * _dot(first, way)
        slope += (other_rise * _dot(first, first) - rise * skew) * _dot(second, way)
        convex = slope > 0
        return triangle[convex], shares[convex]

    def _edge(
        self, xy: NDArray[np.float64], facing: NDArray[np.float64], target: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(17, 16) squared distances, px^2, of the marks from the facing part of each segment of the jaw's edge,
        infinite for those out of reach; and where on the segment that is, from 0 to 1."""
        before, after = facing[:-1], facing[1:]
        starts, ends = before > 0, after > 0
        turn = before / np.where(before == after, 1.0, before - after)
        low, high = np.where(starts, 0.0, turn), np.where(ends, 1.0, turn)
        gap, along = _nearest(xy[:-1], xy[1:], target, low, high)
        return np.where(self._seen_edge & (starts | ends), gap, np.inf), along


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of vectors (3, M)."""
    product: NDArray[np.float64] = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of vectors (3, M); `numpy.cross` takes five times as long."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _nearest(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    target: NDArray[np.float64],
    low: NDArray[np.float64] | float,
    high: NDArray[np.float64] | float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(L, S) squared distances of points (L, 2) from the parts `low` to `high` of segments (S, 2), and where on these
    that is: 0 at the start, 1 at the end."""
    (x, y), (line_x, line_y) = start.T, (end - start).T
    from_x, from_y = target[:, :1] - x, target[:, 1:] - y
    along = (from_x * line_x + from_y * line_y) / np.maximum(line_x * line_x + line_y * line_y, _TINY)
    along = np.minimum(np.maximum(along, low), high)
    away_x, away_y = from_x - along * line_x, from_y - along * line_y
    return away_x * away_x + away_y * away_y, along


def _solved(jacobian: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """(J J^T)^-1 b but for a positive factor: J (L, 2, 3), b (L, 2)."""
    square = jacobian @ jacobian.transpose(0, 2, 1)
    return np.stack(
        [
            square[:, 1, 1] * right[:, 0] - square[:, 0, 1] * right[:, 1],
            square[:, 0, 0] * right[:, 1] - square[:, 1, 0] * right[:, 0],
        ],
        axis=1,
    )
