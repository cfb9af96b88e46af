"""The deterministic rasteriser over (triangle, pixel) pairs: fixed-point coverage, quantised depth, lowest id first.

The rule is the interface's (`AbstractRenderer.rasterize`), in integers, so that every engine sees the same triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from faceinv.engine.records import DEPTH_UNITS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP

if TYPE_CHECKING:
    from faceinv.engine.local_autodiff.ops import Array, ArrayOps

__all__ = ["PAIRS", "rasterize"]

PAIRS: Final = 1 << 18
"""Pairs worked on at once: memory stays bounded when triangles are large."""
_EMPTY: Final = -(2**62)
_ID_UNITS: Final = 2**32
_DEPTH_LIMIT: Final = 2**30


@dataclass(frozen=True)
class _Boxes:
    """Triangles that may cover a pixel, and the pixels of their bounding boxes."""

    triangle: Array
    """(C,) int64."""
    table: Array
    """(C, 13) int64: the edges' three coefficients each, left, upper, width, double area."""
    depth: Array
    """(C, 3) float64."""
    first: Array
    """(C,) int64: the number of the first pair."""
    pairs: int


def rasterize(
    ops: ArrayOps, xy: Array, depth: Array, inverse_focal: float, triangles: Array, size: tuple[int, int]
) -> tuple[Array, Array]:
    """The triangle of each pixel (H, W) int32, -1 for none, and barycentric weights (H, W, 3) float64 on the surface.

    xy (N, 2) px and depth (N,) px are float64, 1/f is in 1/px; triangles (T, 3) is an index.
    """
    height, width = size
    # NaN fails the comparison and is treated like a vertex out of range.
    usable = ops.flag(xy[:, 0] <= RASTER_LIMIT) * ops.flag(xy[:, 0] >= -RASTER_LIMIT)
    usable = usable * ops.flag(xy[:, 1] <= RASTER_LIMIT) * ops.flag(xy[:, 1] >= -RASTER_LIMIT)
    usable = usable * ops.flag(depth - depth == 0.0)
    units = ops.floor(xy * SNAP + 0.5)
    safe = [ops.cast(ops.where(usable, units[:, d], 0.0), "int64") for d in range(2)]
    keys = ops.full((height * width,), _EMPTY, "int64")
    boxes = _boxes(ops, safe, depth, usable, triangles, size)
    if boxes is not None:
        for begin in range(0, boxes.pairs, PAIRS):
            pairs = _pairs(ops, boxes, begin, min(begin + PAIRS, boxes.pairs), width)
            if pairs is not None:
                keys = ops.scatter_max(keys, *pairs)
    covered = ops.flag(keys > _EMPTY)
    depth_units = ops.cast(ops.floor(ops.cast(keys, "float64") / float(_ID_UNITS)), "int64")
    # Keys hold `depth * 2^32 + 2^32 - 1 - triangle`; the division rounds, so the remainder is put back in its range.
    rest = keys - depth_units * _ID_UNITS
    rest = ops.where(ops.flag(rest < 0), rest + _ID_UNITS, rest)
    rest = ops.where(ops.flag(rest >= _ID_UNITS), rest - _ID_UNITS, rest)
    triangle = ops.where(covered, (_ID_UNITS - 1) - rest, -1)
    nearer = ops.where(usable, depth, 0.0) * inverse_focal + 1.0
    barycentric = _barycentric(ops, xy, nearer, safe, triangles, ops.where(covered, triangle, 0), covered, width)
    return ops.cast(triangle, "int32").reshape((height, width)), barycentric.reshape((height, width, 3))


def _boxes(
    ops: ArrayOps, snapped: list[Array], depth: Array, usable: Array, triangles: Array, size: tuple[int, int]
) -> _Boxes | None:
    height, width = size
    # Model triangles are counter-clockwise with y up; swapping two corners makes them positive with y down.
    corners = [triangles[:, k] for k in (0, 2, 1)]
    x0, x1, x2 = (ops.take(snapped[0], c) for c in corners)
    y0, y1, y2 = (ops.take(snapped[1], c) for c in corners)
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    left, right = _span(ops, x0, x1, x2, width)
    upper, lower = _span(ops, y0, y1, y2, height)
    keep = ops.flag(area > 0) * ops.flag(left <= right) * ops.flag(upper <= lower)
    for corner in corners:
        keep = keep * ops.take(usable, corner)
    chosen = ops.nonzero(keep)
    if chosen is None:
        return None
    columns = []
    for xa, ya, xb, yb in ((x1, y1, x2, y2), (x2, y2, x0, y0), (x0, y0, x1, y1)):
        # Edge function a x + b y + c in units of 1/SNAP px; points on an edge count only if it is a top or a left one.
        dx, dy = xb - xa, yb - ya
        owned = ops.flag(dy < 0) + ops.flag(dy == 0) * ops.flag(dx > 0)
        columns += [-dy, dx, dy * xa - dx * ya, 1 - ops.cast(owned, "int64")]
    table = ops.stack([*columns, left, upper, right - left + 1, lower - upper + 1, area], 1)
    table = ops.take(table, chosen)
    corner_depth = ops.take(ops.stack([ops.take(depth, c) for c in corners], 1), chosen)
    count = table[:, 14] * table[:, 15]
    ends = ops.running_sum(count)
    pairs = int(ops.download(ends[-1:])[0])
    return _Boxes(ops.cast(chosen, "int64"), table, corner_depth, ends - count, pairs)


def _span(ops: ArrayOps, a: Array, b: Array, c: Array, count: int) -> tuple[Array, Array]:
    """The first and last whole pixel that a triangle may cover along one axis."""
    low = ops.smaller(ops.smaller(a, b), c)
    high = -ops.smaller(ops.smaller(-a, -b), -c)
    # Coordinates stay below 2^29, where float64 divides exactly enough for the floor to be right.
    first = -ops.floor(-ops.cast(low, "float64") / SNAP)
    last = ops.floor(ops.cast(high, "float64") / SNAP)
    last = -ops.at_least(-last, -(count - 1.0))
    return ops.cast(ops.at_least(first, 0.0), "int64"), ops.cast(last, "int64")


def _pairs(ops: ArrayOps, boxes: _Boxes, begin: int, end: int, width: int) -> tuple[Array, Array] | None:
    """(pixel, key) of the pairs begin, ... end - 1 that are covered."""
    numbers = ops.arange(begin, end)
    box = ops.last_at_most(boxes.first, numbers)
    values = ops.take(boxes.table, box)
    local = numbers - ops.take(boxes.first, box)
    wide = values[:, 14]
    row = ops.cast(ops.floor(ops.cast(local, "float64") / ops.cast(wide, "float64")), "int64")
    px, py = values[:, 12] + local - row * wide, values[:, 13] + row
    cx, cy = px * SNAP, py * SNAP
    e0 = values[:, 0] * cx + values[:, 1] * cy + values[:, 2]
    e1 = values[:, 4] * cx + values[:, 5] * cy + values[:, 6]
    area = values[:, 16]
    e2 = area - e0 - e1
    in_triangle = ops.flag(e0 >= values[:, 3]) * ops.flag(e1 >= values[:, 7]) * ops.flag(e2 >= values[:, 11])
    chosen = ops.nonzero(in_triangle)
    if chosen is None:
        return None
    edges = ops.cast(ops.take(ops.stack([e0, e1, e2, area], 1), chosen), "float64")
    box = ops.take(box, chosen)
    z = ops.take(boxes.depth, box)
    value = (edges[:, 0] * z[:, 0] + edges[:, 1] * z[:, 1] + edges[:, 2] * z[:, 2]) * (1.0 / edges[:, 3])
    value = ops.floor(value * DEPTH_UNITS + 0.5)
    value = -ops.at_least(-ops.at_least(value, -_DEPTH_LIMIT), -_DEPTH_LIMIT)
    key = ops.cast(value, "int64") * _ID_UNITS + ((_ID_UNITS - 1) - ops.take(boxes.triangle, box))
    return ops.take(py * width + px, chosen), key


def _barycentric(
    ops: ArrayOps,
    xy: Array,
    nearer: Array,
    snapped: list[Array],
    triangles: Array,
    triangle: Array,
    covered: Array,
    width: int,
) -> Array:
    """(H * W, 3) from the unsnapped vertices, or from the snapped ones where a triangle is edge-on; zeros for none."""
    pixel = ops.arange(0, triangle.shape[0])
    row = ops.cast(ops.floor(ops.cast(pixel, "float64") / width), "int64")
    py, px = row, pixel - row * width
    corners = ops.take(triangles, triangle)
    exact = ops.take(xy, corners)
    b1, b2, area = _weights(
        ops.cast(px, "float64"), ops.cast(py, "float64"), [[exact[:, k, d] for d in range(2)] for k in range(3)]
    )
    whole = [[ops.take(snapped[d], corners[:, k]) for d in range(2)] for k in range(3)]
    s1, s2, snapped_area = _weights(px * SNAP, py * SNAP, whole)
    front = ops.flag(area < -MIN_DOUBLE_AREA)
    # Pixels without a triangle divide by one.
    safe = ops.where(covered, ops.where(front, area, 1.0), 1.0)
    safe_snapped = ops.where(covered, ops.cast(snapped_area, "float64"), 1.0)
    weights = []
    for fine, coarse in ((b1, s1), (b2, s2)):
        weights.append(ops.where(front, fine / safe, ops.cast(coarse, "float64") / safe_snapped))
    # From the weights in the image to those on the surface; see `camera.weights`.
    corner_nearer = ops.take(nearer, corners)
    w0, w1, w2 = (corner_nearer[:, k] for k in range(3))
    w = ops.where(covered, w0 + weights[0] * (w1 - w0) + weights[1] * (w2 - w0), 1.0)
    weights = [weights[0] * (w1 / w), weights[1] * (w2 / w)]
    result = [ops.where(covered, b, 0.0) for b in (1.0 - weights[0] - weights[1], *weights)]
    return ops.stack(result, 1)


def _weights(x: Array, y: Array, corner: list[list[Array]]) -> tuple[Array, Array, Array]:
    """Weights 1 and 2 times the double area, and the double area (negative for front faces)."""
    (x0, y0), (x1, y1), (x2, y2) = corner
    dx, dy = x - x0, y - y0
    ux, uy, vx, vy = x1 - x0, y1 - y0, x2 - x0, y2 - y0
    return dx * vy - dy * vx, dy * ux - dx * uy, ux * vy - uy * vx
