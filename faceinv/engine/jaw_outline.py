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
        self._facing, self._around = place[facing], place[around]
        small = np.full(len(self.vertices), -1)
        small[self._facing] = np.arange(len(facing))
        # Sums of the triangles around each vertex, always in the same order.
        rows = small[self._around]
        inside = rows >= 0
        columns = np.broadcast_to(np.arange(len(around))[:, None], rows.shape)
        self._sum = sparse.csr_array(
            (np.ones(int(inside.sum())), (rows[inside], columns[inside])), shape=(len(facing), len(around))
        )
        self._ids = facing
        self._band = small[place[band]]
        self._marks = small[place[marks]]
        self._mark_weights = model.landmark_weights[JAW].astype(np.float64)
        # Which triangles of the band each mark sees, and which segments of the edge.
        rows_of, columns_of = np.nonzero(listed >= 0)
        self._seen = np.zeros((JAW_COUNT, len(used)), np.bool_)
        self._seen[rows_of, np.searchsorted(used, listed[rows_of, columns_of])] = True
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
        here = vertices[self._facing]
        normal, xy, screen = self._normals(vertices), camera.project(here)[:, :2], camera.screen_jacobian(here)
        view = _cross(screen[:, 1], screen[:, 0])  # to the viewer: no point moves in the image along it
        view /= np.maximum(np.linalg.norm(view, axis=1, keepdims=True), _TINY)
        facing = (normal * view).sum(axis=1)

        triangle, shares = self._contour(here, view, facing)
        corners, marks = self._band[triangle], np.arange(JAW_COUNT)
        start, end = ((shares[:, k, :, None] * xy[corners]).sum(axis=1) for k in range(2))
        gap, along = _nearest(start, end, target)
        gap = np.where(self._seen[:, triangle], gap, np.inf)
        edge_xy = (self._mark_weights[..., None] * xy[self._marks]).sum(axis=1)
        edge_facing = (self._mark_weights * facing[self._marks]).sum(axis=1)
        edge_gap, edge_along = self._edge(edge_xy, edge_facing, target)
        all_gaps = np.concatenate([gap, edge_gap], axis=1)
        hidden = ~np.isfinite(all_gaps).any(axis=1)  # the whole neighbourhood faces away: its edge is the best guess
        if hidden.any():
            edge_gap, edge_along = self._edge(edge_xy, np.ones(JAW_COUNT), target)
            all_gaps[hidden, len(triangle) :] = edge_gap[hidden]
        best = all_gaps.argmin(axis=1)

        chosen = np.zeros((JAW_COUNT, MARK_CORNERS), np.int64)
        weights, across = np.zeros((JAW_COUNT, MARK_CORNERS)), np.empty((JAW_COUNT, 2))
        on_edge = best >= len(triangle)
        at, segment = marks[on_edge], best[on_edge] - len(triangle)
        share = edge_along[at, segment][:, None]
        chosen[at] = np.concatenate([self._marks[segment], self._marks[segment + 1]], axis=1)
        weights[at] = np.concatenate(
            [(1 - share) * self._mark_weights[segment], share * self._mark_weights[segment + 1]], axis=1
        )
        # The edge's direction turns evenly from one mark's to the next: at a mark it is that between its neighbours.
        ends = np.clip(marks[:, None] + [-1, 1], 0, JAW_COUNT - 1)
        direction = edge_xy[ends[:, 1]] - edge_xy[ends[:, 0]]
        line = (1 - share) * direction[segment] + share * direction[segment + 1]
        across[at] = line[:, ::-1] * [-1.0, 1.0]

        at, which = marks[~on_edge], best[~on_edge]
        share = along[at, which][:, None]
        three, carried = corners[which], (1 - share) * shares[which, 0] + share * shares[which, 1]
        chosen[at] = three[:, :1]
        chosen[at, :3], weights[at, :3] = three, carried
        # The image direction a with a . du = 0 for every motion along the surface: J^T a is along the surface's normal.
        up = (carried[..., None] * normal[three]).sum(axis=1)
        jacobian = (carried[..., None, None] * screen[three]).sum(axis=1)
        across[at] = _solved(jacobian, (jacobian @ up[..., None])[..., 0])
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), _TINY)
        return self._ids[chosen], weights, across, np.sqrt(all_gaps[marks, best])

    def _normals(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(F, 3) unit normals of the vertices whose facing matters."""
        a, b, c = (vertices[self._around[:, k]] for k in range(3))
        total = self._sum @ _cross(b - a, c - a)
        normal: NDArray[np.float64] = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), _TINY)
        return normal

    def _contour(
        self, points: NDArray[np.float64], view: NDArray[np.float64], facing: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The band's triangles (S,) that hold a piece of the occluding contour, ascending, and the weights (S, 2, 3)
        of the two ends of each piece."""
        front = facing[self._band] > 0
        triangle = np.flatnonzero(front.any(axis=1) & ~front.all(axis=1))
        corners, front = self._band[triangle], front[triangle]
        value = facing[corners]
        # The corner that differs from the other two; a piece runs between its two edges.
        lone = np.where(front.sum(axis=1) == 1, front.argmax(axis=1), front.argmin(axis=1))
        rows, shares = np.arange(len(triangle)), np.zeros((len(triangle), 2, 3))
        for k in range(2):
            other = (lone + 1 + k) % 3
            share = value[rows, lone] / (value[rows, lone] - value[rows, other])
            shares[rows, k, other], shares[rows, k, lone] = share, 1 - share
        # The surface nearer to the viewer must be the one that faces: (gradient of the facing) . v > 0.
        first, second = points[corners[:, 1]] - points[corners[:, 0]], points[corners[:, 2]] - points[corners[:, 0]]
        area = _cross(first, second)
        slope = (value[:, 1:2] - value[:, :1]) * _cross(second, area)
        slope += (value[:, 2:] - value[:, :1]) * _cross(area, first)
        convex = (slope * view[corners[:, 0]]).sum(axis=1) > 0
        return triangle[convex], shares[convex]

    def _edge(
        self, xy: NDArray[np.float64], facing: NDArray[np.float64], target: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(17, 16) squared distances, px^2, of the marks from the facing part of each segment of the jaw's edge,
        infinite for those out of reach; and where on the segment that is, from 0 to 1."""
        before, after = facing[:-1], facing[1:]
        turn = before / np.where(before == after, 1.0, before - after)
        low, high = np.where(before > 0, 0.0, turn), np.where(after > 0, 1.0, turn)
        along = np.clip(_along(xy[:-1], xy[1:], target), low, high)
        gap = _squared(xy[:-1], xy[1:], along, target)
        return np.where(self._seen_edge & ((before > 0) | (after > 0)), gap, np.inf), along


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of vectors (M, 3); `numpy.cross` takes five times as long."""
    x, y, z = a.T
    u, v, w = b.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def _along(start: NDArray[np.float64], end: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L, S) where the lines through segments (S, 2) are nearest to points (L, 2): 0 at the start, 1 at the end."""
    line = end - start
    along: NDArray[np.float64] = ((target[:, None] - start) * line).sum(axis=2)
    along /= np.maximum((line**2).sum(axis=1), _TINY)
    return along


def _squared(
    start: NDArray[np.float64], end: NDArray[np.float64], along: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(L, S) squared distances of points (L, 2) from places (L, S) on segments (S, 2)."""
    gap: NDArray[np.float64] = start + along[..., None] * (end - start) - target[:, None]
    return np.asarray((gap**2).sum(axis=2))


def _nearest(
    start: NDArray[np.float64], end: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(L, S) squared distances of points (L, 2) from segments (S, 2), and where on them that is, from 0 to 1."""
    along = np.clip(_along(start, end, target), 0.0, 1.0)
    return _squared(start, end, along, target), along


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
