"""The deterministic rasteriser: fixed-point coverage, quantised depth, ties to the lowest triangle."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from faceinv.interface import DEPTH_UNITS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP

__all__ = ["list_pixels", "rasterize"]

BAND = 16
_EMPTY = np.int64(-(2**63))
_ID_MASK = np.int64(2**32 - 1)
_DEPTH_LIMIT = float(2**30)


@njit(parallel=True, cache=True)
def rasterize(xy, depth, triangles, triangle_image, barycentric):
    """Fill triangle_image (H, W) int32, -1 for the background, and barycentric (H, W, 3)."""
    height, width = triangle_image.shape
    count = triangles.shape[0]
    snapped = np.empty((xy.shape[0], 2), np.int64)
    for v in prange(xy.shape[0]):
        for d in range(2):
            value = xy[v, d]
            # NaN fails the comparison and is marked like a vertex out of range.
            usable = abs(value) <= RASTER_LIMIT and np.isfinite(depth[v])
            snapped[v, d] = np.int64(np.floor(value * SNAP + 0.5)) if usable else _EMPTY
    for band in prange((height + BAND - 1) // BAND):
        top, bottom = band * BAND, min((band + 1) * BAND, height)
        keys = np.full((bottom - top, width), _EMPTY, np.int64)
        for t in range(count):
            # Model triangles are counter-clockwise with y up; swapping two corners makes them positive with y down.
            i0, i1, i2 = triangles[t, 0], triangles[t, 2], triangles[t, 1]
            x0, y0, x1, y1 = snapped[i0, 0], snapped[i0, 1], snapped[i1, 0], snapped[i1, 1]
            x2, y2 = snapped[i2, 0], snapped[i2, 1]
            if min(y0, y1, y2) > (bottom - 1) * SNAP or max(y0, y1, y2) < top * SNAP:
                continue
            if min(x0, x1, x2, y0, y1, y2) == _EMPTY:
                continue
            area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
            if area <= 0:
                continue
            left = max(0, -(-min(x0, x1, x2) // SNAP))
            right = min(width - 1, max(x0, x1, x2) // SNAP)
            upper = max(top, -(-min(y0, y1, y2) // SNAP))
            lower = min(bottom - 1, max(y0, y1, y2) // SNAP)
            if left > right or upper > lower:
                continue
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
                    continue
                t = _ID_MASK - (key & _ID_MASK)
                triangle_image[py, px] = t
                _barycentric(xy, snapped, triangles, t, px, py, barycentric[py, px])


@njit(cache=True, inline="always")
def double_area(xy, i0, i1, i2):
    """Twice the signed projected area, negative for front-facing triangles (y points down)."""
    return (xy[i1, 0] - xy[i0, 0]) * (xy[i2, 1] - xy[i0, 1]) - (xy[i1, 1] - xy[i0, 1]) * (xy[i2, 0] - xy[i0, 0])


@njit(cache=True)
def _barycentric(xy, snapped, triangles, t, px, py, out):
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    area = double_area(xy, i0, i1, i2)
    if area < -MIN_DOUBLE_AREA:
        dx, dy = px - xy[i0, 0], py - xy[i0, 1]
        out[1] = (dx * (xy[i2, 1] - xy[i0, 1]) - dy * (xy[i2, 0] - xy[i0, 0])) / area
        out[2] = (dy * (xy[i1, 0] - xy[i0, 0]) - dx * (xy[i1, 1] - xy[i0, 1])) / area
    else:  # edge-on: the snapped triangle still has an area
        x0, y0, x1, y1 = snapped[i0, 0], snapped[i0, 1], snapped[i1, 0], snapped[i1, 1]
        x2, y2 = snapped[i2, 0], snapped[i2, 1]
        dx, dy = px * SNAP - x0, py * SNAP - y0
        whole = np.float64((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0))
        out[1] = np.float64(dx * (y2 - y0) - dy * (x2 - x0)) / whole
        out[2] = np.float64(dy * (x1 - x0) - dx * (y1 - y0)) / whole
    out[0] = 1.0 - out[1] - out[2]


@njit(cache=True)
def list_pixels(triangle_image, mask, face_mask, xy, triangles):
    """The photometric pixels: their flat indices row by row, and a permutation that sorts them by triangle."""
    height, width = triangle_image.shape
    state = np.zeros(triangles.shape[0], np.int8)  # 0 unknown, 1 in, 2 out
    counts = np.zeros(triangles.shape[0] + 1, np.int32)
    pixels = np.empty(height * width, np.int32)
    found = 0
    for y in range(height):
        for x in range(width):
            t = triangle_image[y, x]
            if t < 0 or not mask[y, x]:
                continue
            if state[t] == 0:
                area = double_area(xy, triangles[t, 0], triangles[t, 1], triangles[t, 2])
                state[t] = 1 if face_mask[t] and area < -MIN_DOUBLE_AREA else 2
            if state[t] == 1:
                pixels[found] = y * width + x
                counts[t + 1] += 1
                found += 1
    for t in range(triangles.shape[0]):
        counts[t + 1] += counts[t]
    order = np.empty(found, np.int32)
    for i in range(found):
        y, x = pixels[i] // width, pixels[i] % width
        t = triangle_image[y, x]
        order[counts[t]] = i
        counts[t] += 1
    return pixels[:found].copy(), order
