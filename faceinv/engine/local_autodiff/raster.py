"""The deterministic rasteriser over (triangle, pixel) pairs: fixed-point coverage, quantised depth, lowest id first.

The rule is the interface's (`AbstractRenderer.rasterize`), in integers, so that every engine sees the same triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from faceinv.engine.records import DEPTH_UNITS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps

__all__ = ["PAIRS", "rasterize"]

PAIRS: Final = 1 << 18
"""Pairs worked on at once: memory stays bounded when triangles are large."""
_EMPTY: Final = -(2**62)
_ID_UNITS: Final = 2**32
_DEPTH_LIMIT: Final = 2**30


@dataclass(frozen=True)
class _Boxes:
    """Triangles that may cover a pixel, and the pixels of their bounding boxes; (C,) int64 unless it says otherwise."""

    triangle: Array
    corner: Array
    """The number of the upper left pixel."""
    width: Array
    """px."""
    edges: Sequence[tuple[Array, Array, Array]]
    """Of two edge functions, in units of 1/SNAP px: at the upper left pixel less the least that is inside, and what a
    pixel to the right and a pixel down add."""
    least: Sequence[Array]
    """The least value of each of the three edge functions that is inside."""
    area: Array
    """Their sum: twice the triangle's area."""
    depth: Sequence[Array]
    """Of the three corners, float64."""
    first: Array
    """The number of the first pair."""
    pairs: int


def rasterize(
    ops: ArrayOps, place: Array, depth: Array, inverse_focal: float, corners: Array, size: tuple[int, int]
) -> tuple[Array, Array]:
    """The triangle of each pixel (H, W) int32, -1 for none, and barycentric weights (H, W, 3) float64 on the surface.

    place (2, N) px and depth (N,) px are float64, 1/f is in 1/px; corners (3, T) is an index.
    """
    height, width = size
    # NaN fails the comparison and is treated like a vertex out of range.
    usable = ops.flag(ops.absolute(place) <= RASTER_LIMIT)
    usable = usable[0] * usable[1] * ops.flag(depth - depth == 0.0)
    units = ops.floor(place * SNAP + 0.5)
    snapped = [ops.cast(ops.where(usable, units[d], 0.0), "int64") for d in range(2)]
    keys = ops.full((height * width,), _EMPTY, "int64")
    boxes = _boxes(ops, snapped, depth, usable, corners, size)
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
    seen = [ops.take(corner, ops.where(covered, triangle, 0)) for corner in (corners[k] for k in range(3))]
    barycentric = _barycentric(ops, place, nearer, snapped, seen, covered, width)
    return ops.cast(triangle, "int32").reshape((height, width)), barycentric.reshape((height, width, 3))


def _boxes(
    ops: ArrayOps, snapped: list[Array], depth: Array, usable: Array, corners: Array, size: tuple[int, int]
) -> _Boxes | None:
    height, width = size
    # Model triangles are counter-clockwise with y up; swapping two corners makes them positive with y down.
    order = (0, 2, 1)
    x, y = (ops.take(axis, corners) for axis in snapped)
    x, y = ([axis[k] for k in order] for axis in (x, y))
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    # The first and the last whole pixel along each axis that a triangle may cover. Coordinates stay below 2^29, where
    # float64 divides exactly enough for the floor to be right.
    low = [ops.smaller(ops.smaller(a, b), c) for a, b, c in (x, y)]
    high = [ops.smaller(ops.smaller(-a, -b), -c) for a, b, c in (x, y)]
    span = ops.floor(ops.cast(ops.stack([*low, *high], 0), "float64") * (-1.0 / SNAP))
    start = ops.at_least(-span[:2], 0.0)
    stop = ops.stack([ops.at_most(span[2 + d], float(count - 1)) for d, count in enumerate((width, height))], 0)
    keep = ops.flag(start <= stop)
    keep = ops.flag(area > 0) * keep[0] * keep[1]
    whole = ops.take(usable, corners)
    chosen = ops.nonzero(keep * whole[0] * whole[1] * whole[2])
    if chosen is None:
        return None
    x, y = ([ops.take(corner, chosen) for corner in axis] for axis in (x, y))
    left, upper = (ops.cast(ops.take(start[d], chosen), "int64") for d in range(2))
    wide, tall = (ops.cast(ops.take(stop[d], chosen), "int64") - first + 1 for d, first in enumerate((left, upper)))
    area = ops.take(area, chosen)
    edges, least = [], []
    for k in range(3):
        # Edge function a x + b y + c; points on an edge count only if it is a top or a left one.
        i, j = (k + 1) % 3, (k + 2) % 3
        dx, dy = x[j] - x[i], y[j] - y[i]
        least.append(1 - ops.cast(ops.flag(dy < 0) + ops.flag(dy == 0) * ops.flag(dx > 0), "int64"))
        if k < 2:
            at = (upper * SNAP - y[i]) * dx - (left * SNAP - x[i]) * dy - least[k]
            edges.append((at, dy * -SNAP, dx * SNAP))
    count = wide * tall
    ends = ops.running_sum(count)
    return _Boxes(
        triangle=ops.cast(chosen, "int64"),
        corner=upper * width + left,
        width=wide,
        edges=edges,
        least=least,
        area=area,
        depth=[ops.take(depth, ops.take(corners[k], chosen)) for k in order],
        first=ends - count,
        pairs=int(ops.download(ends[-1:])[0]),
    )


def _pairs(ops: ArrayOps, boxes: _Boxes, begin: int, end: int, width: int) -> tuple[Array, Array] | None:
    """(pixel, key) of the pairs begin, ... end - 1 that are covered."""
    numbers = ops.arange(begin, end)
    box = ops.last_at_most(boxes.first, numbers)
    local = numbers - ops.take(boxes.first, box)
    wide = ops.take(boxes.width, box)
    row = ops.cast(ops.floor(ops.cast(local, "float64") / ops.cast(wide, "float64")), "int64")
    column = local - row * wide
    e0, e1 = (
        ops.take(at, box) + ops.take(right, box) * column + ops.take(down, box) * row for at, right, down in boxes.edges
    )
    spare = boxes.area - boxes.least[0] - boxes.least[1] - boxes.least[2]
    e2 = ops.take(spare, box) - e0 - e1
    chosen = ops.nonzero(ops.flag(ops.smaller(ops.smaller(e0, e1), e2) >= 0))
    if chosen is None:
        return None
    box = ops.take(box, chosen)
    e0, e1, e2 = (
        ops.cast(ops.take(e, chosen) + ops.take(least, box), "float64")
        for e, least in zip((e0, e1, e2), boxes.least, strict=True)
    )
    z0, z1, z2 = (ops.take(corner, box) for corner in boxes.depth)
    value = (e0 * z0 + e1 * z1 + e2 * z2) * (1.0 / ops.cast(ops.take(boxes.area, box), "float64"))
    value = ops.floor(value * DEPTH_UNITS + 0.5)
    value = ops.at_most(ops.at_least(value, -_DEPTH_LIMIT), _DEPTH_LIMIT)
    key = ops.cast(value, "int64") * _ID_UNITS + ((_ID_UNITS - 1) - ops.take(boxes.triangle, box))
    pixel = ops.take(boxes.corner, box) + ops.take(row * width + column, chosen)
    return pixel, key


def _barycentric(
    ops: ArrayOps,
    place: Array,
    nearer: Array,
    snapped: list[Array],
    corners: list[Array],
    covered: Array,
    width: int,
) -> Array:
    """(H * W, 3) of pixels whose triangles have three corners, (H * W,) each: from the unsnapped vertices, or from the
    snapped ones where a triangle is edge-on; zeros for none."""
    pixel = ops.arange(0, covered.shape[0])
    row = ops.cast(ops.floor(ops.cast(pixel, "float64") / width), "int64")
    column = pixel - row * width
    exact = [[ops.take(place[d], corner) for corner in corners] for d in range(2)]
    b1, b2, area = _weights(ops.cast(column, "float64"), ops.cast(row, "float64"), *exact)
    front = ops.flag(area < -MIN_DOUBLE_AREA)
    # Pixels without a triangle divide by one.
    safe = ops.where(covered, ops.where(front, area, 1.0), 1.0)
    weights = [b1 / safe, b2 / safe]
    if ops.nonzero(covered * ops.flag(area >= -MIN_DOUBLE_AREA)) is not None:
        whole = [[ops.take(snapped[d], corner) for corner in corners] for d in range(2)]
        *coarse, area = (ops.cast(w, "float64") for w in _weights(column * SNAP, row * SNAP, *whole))
        safe = ops.where(covered, area, 1.0)
        weights = [ops.where(front, fine, c / safe) for fine, c in zip(weights, coarse, strict=True)]
    # From the weights in the image to those on the surface; see `camera.Shares`.
    w0, w1, w2 = (ops.take(nearer, corner) for corner in corners)
    w = ops.where(covered, w0 + weights[0] * (w1 - w0) + weights[1] * (w2 - w0), 1.0)
    weights = [weights[0] * (w1 / w), weights[1] * (w2 / w)]
    result = [ops.where(covered, b, 0.0) for b in (1.0 - weights[0] - weights[1], *weights)]
    return ops.stack(result, 1)


def _weights(x: Array, y: Array, xs: list[Array], ys: list[Array]) -> tuple[Array, Array, Array]:
    """Weights 1 and 2 times the double area, and the double area (negative for front faces)."""
    dx, dy = x - xs[0], y - ys[0]
    ux, uy, vx, vy = xs[1] - xs[0], ys[1] - ys[0], xs[2] - xs[0], ys[2] - ys[0]
    return dx * vy - dy * vx, dy * ux - dx * uy, ux * vy - uy * vx
