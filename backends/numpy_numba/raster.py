# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""The deterministic rasteriser: fixed-point coverage, quantised depth, ties to the lowest triangle."""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel
from faceinv.engine.records import DEPTH_UNITS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP

__all__ = ["list_pixels", "rasterize"]

_BAND = 16
_EMPTY = np.int64(-(2**63))
_ID_MASK = np.int64(2**32 - 1)
_DEPTH_LIMIT = float(2**30)


@parallel_kernel
def rasterize(xy, depth, inverse_focal, triangles, triangle_image, barycentric):
    """Fill triangle_image (H, W) int32, -1 for the background, and barycentric (H, W, 3): weights on the surface."""
    height = triangle_image.shape[0]
    snapped, rows = _snap(xy, depth, triangles, height)
    for band in prange((height + _BAND - 1) // _BAND):
        top, bottom = band * _BAND, min((band + 1) * _BAND, height)
        _draw_band(top, bottom, snapped, rows, xy, depth, inverse_focal, triangles, triangle_image, barycentric)


@kernel
def _snap(xy, depth, triangles, height):
    """Vertices (N, 2) in units of 1/SNAP px, and the first and last row of pixels that each triangle may cover (T, 2),
    none for those that face away."""
    snapped = np.empty((xy.shape[0], 2), np.int64)
    for v in range(xy.shape[0]):
        for d in range(2):
            value = xy[v, d]
            # NaN fails the comparison and is marked like a vertex out of range.
            usable = abs(value) <= RASTER_LIMIT and np.isfinite(depth[v])
            snapped[v, d] = np.int64(np.floor(value * SNAP + 0.5)) if usable else _EMPTY
    rows = np.empty((triangles.shape[0], 2), np.int32)
    for t in range(triangles.shape[0]):
        i0, i1, i2 = triangles[t, 0], triangles[t, 2], triangles[t, 1]
        x0, y0, x1, y1 = snapped[i0, 0], snapped[i0, 1], snapped[i1, 0], snapped[i1, 1]
        x2, y2 = snapped[i2, 0], snapped[i2, 1]
        rows[t, 0], rows[t, 1] = 0, -1
        if min(x0, x1, x2, y0, y1, y2) != _EMPTY and (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) > 0:
            rows[t, 0] = max(0, -(-min(y0, y1, y2) // SNAP))
            rows[t, 1] = min(height - 1, max(y0, y1, y2) // SNAP)
    return snapped, rows


@kernel
def _draw_band(top, bottom, snapped, rows, xy, depth, inverse_focal, triangles, triangle_image, barycentric):
    """Rows top, ... bottom - 1 of the images."""
    width = triangle_image.shape[1]
    keys = np.full((bottom - top, width), _EMPTY, np.int64)
    for t in range(triangles.shape[0]):
        upper, lower = max(top, rows[t, 0]), min(bottom - 1, rows[t, 1])
        if upper > lower:
            continue
        # Model triangles are counter-clockwise with y up; swapping two corners makes them positive with y down.
        i0, i1, i2 = triangles[t, 0], triangles[t, 2], triangles[t, 1]
        x0, y0, x1, y1 = snapped[i0, 0], snapped[i0, 1], snapped[i1, 0], snapped[i1, 1]
        x2, y2 = snapped[i2, 0], snapped[i2, 1]
        left = max(0, -(-min(x0, x1, x2) // SNAP))
        right = min(width - 1, max(x0, x1, x2) // SNAP)
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        # Edge k lies opposite corner k; points on an edge belong to it only if it is a top or a left one.
        bias0 = 0 if (y2 - y1 < 0 or (y2 == y1 and x2 > x1)) else 1
        bias1 = 0 if (y0 - y2 < 0 or (y0 == y2 and x0 > x2)) else 1
        bias2 = 0 if (y1 - y0 < 0 or (y1 == y0 and x1 > x0)) else 1
        z0, z1, z2 = depth[i0], depth[i1], depth[i2]
        inverse = 1.0 / np.float64(area)
        for py in range(upper, lower + 1):
            cy = py * SNAP
            for px in range(left, right + 1):
                cx = px * SNAP
                e0 = (x2 - x1) * (cy - y1) - (y2 - y1) * (cx - x1)
                e1 = (x0 - x2) * (cy - y2) - (y0 - y2) * (cx - x2)
                e2 = area - e0 - e1
                if e0 < bias0 or e1 < bias1 or e2 < bias2:
                    continue
                z = (np.float64(e0) * z0 + np.float64(e1) * z1 + np.float64(e2) * z2) * inverse
                z = np.floor(z * DEPTH_UNITS + 0.5)
                z = min(max(z, -_DEPTH_LIMIT), _DEPTH_LIMIT)
                key = (np.int64(z) << 32) + (_ID_MASK - t)
                keys[py - top, px] = max(key, keys[py - top, px])
    for py in range(top, bottom):
        for px in range(width):
            key = keys[py - top, px]
            if key == _EMPTY:
                triangle_image[py, px] = -1
                barycentric[py, px, 0] = barycentric[py, px, 1] = barycentric[py, px, 2] = 0.0
            else:
                t = _ID_MASK - (key & _ID_MASK)
                triangle_image[py, px] = t
                _barycentric(xy, depth, inverse_focal, snapped, triangles, t, px, py, barycentric)


@kernel
def _double_area(xy, i0, i1, i2):
    """Twice the signed projected area, negative for front-facing triangles (y points down)."""
    return (xy[i1, 0] - xy[i0, 0]) * (xy[i2, 1] - xy[i0, 1]) - (xy[i1, 1] - xy[i0, 1]) * (xy[i2, 0] - xy[i0, 0])


@kernel
def _barycentric(xy, depth, inverse_focal, snapped, triangles, t, px, py, out):
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    area = _double_area(xy, i0, i1, i2)
    if area < -MIN_DOUBLE_AREA:
        dx, dy = px - xy[i0, 0], py - xy[i0, 1]
        b1 = (dx * (xy[i2, 1] - xy[i0, 1]) - dy * (xy[i2, 0] - xy[i0, 0])) / area
        b2 = (dy * (xy[i1, 0] - xy[i0, 0]) - dx * (xy[i1, 1] - xy[i0, 1])) / area
    else:  # edge-on: the snapped triangle still has an area
        x0, y0, x1, y1 = snapped[i0, 0], snapped[i0, 1], snapped[i1, 0], snapped[i1, 1]
        x2, y2 = snapped[i2, 0], snapped[i2, 1]
        sx, sy = px * SNAP - x0, py * SNAP - y0
        whole = np.float64((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0))
        b1 = np.float64(sx * (y2 - y0) - sy * (x2 - x0)) / whole
        b2 = np.float64(sy * (x1 - x0) - sx * (y1 - y0)) / whole
    # From the weights in the image to those on the surface; see `camera.weights`.
    w0 = 1.0 + inverse_focal * depth[i0]
    w1, w2 = 1.0 + inverse_focal * depth[i1], 1.0 + inverse_focal * depth[i2]
    nearer = 1.0 / (w0 + b1 * (w1 - w0) + b2 * (w2 - w0))
    b1, b2 = b1 * (w1 * nearer), b2 * (w2 * nearer)
    out[py, px, 0], out[py, px, 1], out[py, px, 2] = 1.0 - b1 - b2, b1, b2


@kernel
def list_pixels(triangle_image, mask, face_mask, xy, triangles, triangle_order, vertex_order):
    """The photometric pixels, and what shows in them.

    Returns pixels (F,), flat indices sorted by triangle; shown (F,), their triangles; start and stop (T,): those of
    triangle t are `pixels[start[t]:stop[t]]`; used (V,), the vertices of these triangles; place (N,), where a vertex is
    in `used`, or -1. Triangles and vertices come in the given orders, in which neighbours are near each other.
    """
    height, width = triangle_image.shape
    count = triangles.shape[0]
    usable = np.empty(count, np.bool_)
    for t in range(count):
        area = _double_area(xy, triangles[t, 0], triangles[t, 1], triangles[t, 2])
        usable[t] = face_mask[t] and area < -MIN_DOUBLE_AREA
    stop = np.zeros(count, np.int32)
    for y in range(height):
        for x in range(width):
            t = triangle_image[y, x]
            if t >= 0 and mask[y, x] and usable[t]:
                stop[t] += 1
    start = np.empty(count, np.int32)
    place = np.full(vertex_order.shape[0], -1, np.int32)
    total = 0
    for n in range(count):
        t = triangle_order[n]
        start[t] = total
        total += stop[t]
        if stop[t] > 0:
            place[triangles[t, 0]] = place[triangles[t, 1]] = place[triangles[t, 2]] = 0
        stop[t] = start[t]
    pixels, shown = np.empty(total, np.int32), np.empty(total, np.int32)
    for y in range(height):
        for x in range(width):
            t = triangle_image[y, x]
            if t >= 0 and mask[y, x] and usable[t]:
                pixels[stop[t]], shown[stop[t]] = y * width + x, t
                stop[t] += 1
    used = np.empty(vertex_order.shape[0], np.int32)
    used_count = 0
    for n in range(vertex_order.shape[0]):
        v = vertex_order[n]
        if place[v] == 0:
            place[v], used[used_count] = used_count, v
            used_count += 1
    return pixels, shown, start, stop, used[:used_count].copy(), place
