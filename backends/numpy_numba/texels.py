# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Texels of a texture: values of vertices at them, the nearest ones of gaps, neighbours across seams."""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel

__all__ = ["blend_texels", "interpolate_texels", "lay_out", "link_texels", "nearest_texels"]

_FAR = np.int32(2**15)
_STEPS = 64
"""Triangles that a walk along the surface crosses at most."""


@parallel_kernel
def interpolate_texels(values, corners, weights, out):
    """out (M, D) float32: values (N, D) of vertices at points with corners (M, 3) and weights (M, 3)."""
    for m in prange(corners.shape[0]):
        a, b, c = corners[m, 0], corners[m, 1], corners[m, 2]
        for d in range(values.shape[1]):
            out[m, d] = weights[m, 0] * values[a, d] + weights[m, 1] * values[b, d] + weights[m, 2] * values[c, d]


@parallel_kernel
def lay_out(values, nearest, out):
    """out (H, W, D): values (M, D) at the places that nearest (H, W) names."""
    for y in prange(nearest.shape[0]):
        for x in range(nearest.shape[1]):
            for d in range(values.shape[1]):
                out[y, x, d] = values[nearest[y, x], d]


@kernel
def nearest_texels(place, out):
    """out (H, W) int32: place (H, W) where it is not -1, and elsewhere that of a nearest such texel.

    Danielsson's two sweeps with eight neighbours (Computer Graphics and Image Processing, 1980): off by less than half
    a texel from the nearest.
    """
    height, width = place.shape
    dy, dx = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            dy[y, x] = dx[y, x] = 0 if place[y, x] >= 0 else _FAR
    for y in range(height):
        for x in range(width):
            _take(dy, dx, y, x, -1, 0)
            _take(dy, dx, y, x, -1, -1)
            _take(dy, dx, y, x, -1, 1)
            _take(dy, dx, y, x, 0, -1)
        for x in range(width - 1, -1, -1):
            _take(dy, dx, y, x, 0, 1)
    for y in range(height - 1, -1, -1):
        for x in range(width - 1, -1, -1):
            _take(dy, dx, y, x, 1, 0)
            _take(dy, dx, y, x, 1, -1)
            _take(dy, dx, y, x, 1, 1)
            _take(dy, dx, y, x, 0, 1)
        for x in range(width):
            _take(dy, dx, y, x, 0, -1)
    for y in range(height):
        for x in range(width):
            out[y, x] = -1 if dy[y, x] >= _FAR else place[y + dy[y, x], x + dx[y, x]]


@kernel
def _take(dy, dx, y, x, step_y, step_x):
    """Lead the texel (y, x) to where its neighbour is led, if that is nearer."""
    height, width = dy.shape
    v, u = y + step_y, x + step_x
    if v < 0 or v >= height or u < 0 or u >= width or dy[v, u] >= _FAR:
        return
    new_y, new_x = np.int64(dy[v, u] + step_y), np.int64(dx[v, u] + step_x)
    if new_y * new_y + new_x * new_x < np.int64(dy[y, x]) ** 2 + np.int64(dx[y, x]) ** 2:
        dy[y, x], dx[y, x] = new_y, new_x


@kernel
def link_texels(place, texels, shown, xy, uv_triangles, across, turn, out):
    """out (M, 4) int32: the texels to the right of, below, left of and above each, along the surface.

    Where a texel's neighbour in the picture shows another part of the surface, or none, a walk over the triangles leads
    to it; over a seam it goes on at the other chart, as far inside as it would have gone beyond. -1 where the surface
    ends.

    Args:
        place: (H, W) the index of each texel in `texels`, or -1.
        texels: (M,) flat indices.
        shown: (M,) their triangles.
        xy: (U, 2) texture corners in texels, x right, y down, from the middle of the first.
        uv_triangles: (T, 3).
        across: (T, 3) the triangle beyond the edge from corner k to k + 1, or -1.
        turn: (T, 3) which edge that is of the other triangle, which runs along it from k + 1 to k.
        out: what is filled.
    """
    height, width = place.shape
    for m in range(texels.shape[0]):
        y, x = texels[m] // width, texels[m] % width
        for side in range(4):
            v = y + (1 if side == 1 else -1 if side == 3 else 0)
            u = x + (1 if side == 0 else -1 if side == 2 else 0)
            at, other = np.int64(-1), np.int64(-1)
            if 0 <= v < height and 0 <= u < width:
                at = place[v, u]
            if at >= 0 and shown[at] == shown[m]:
                out[m, side] = at
                continue
            t, px, py, crossed = np.int64(shown[m]), float(u), float(v), False
            for _ in range(_STEPS):
                k = _way_out(xy, uv_triangles, t, px, py)
                if k < 0:
                    row, column = np.int64(np.floor(py + 0.5)), np.int64(np.floor(px + 0.5))
                    if 0 <= row < height and 0 <= column < width:
                        other = place[row, column]
                    break
                n, j = across[t, k], turn[t, k]
                if n < 0:
                    break
                a, b = uv_triangles[t, k], uv_triangles[t, (k + 1) % 3]
                # Along the edge the other triangle runs the other way.
                c, d = uv_triangles[n, (j + 1) % 3], uv_triangles[n, j]
                if a != c or b != d:
                    crossed = True
                    px, py = _carried(xy, uv_triangles, t, n, j, a, b, c, d, px, py)
                t = n
            if other == m:
                other = np.int64(-1)
            # A walk within a chart ends at the neighbour itself, wherever rounding has put it.
            out[m, side] = at if at >= 0 and not crossed and other >= 0 else other


@kernel
def _way_out(xy, uv_triangles, t, px, py):
    """The edge k of triangle t that a point lies farthest beyond, or -1 where it is inside."""
    found, worst = -1, -1e-6
    a, b, c = uv_triangles[t, 0], uv_triangles[t, 1], uv_triangles[t, 2]
    area = (xy[b, 0] - xy[a, 0]) * (xy[c, 1] - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (xy[c, 0] - xy[a, 0])
    if area == 0.0:
        return -1
    for k in range(3):
        a, b = uv_triangles[t, k], uv_triangles[t, (k + 1) % 3]
        e = (xy[b, 0] - xy[a, 0]) * (py - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (px - xy[a, 0])
        share = e / area
        if share < worst:
            found, worst = k, share
    return found


@kernel
def _carried(xy, uv_triangles, t, n, j, a, b, c, d, px, py):
    """Where a point beyond the edge a, b of triangle t lies at the chart of triangle n, whose edge c, d is the same:
    as far along it, and inside by the distance that it was beyond."""
    ex, ey = xy[b, 0] - xy[a, 0], xy[b, 1] - xy[a, 1]
    length = np.sqrt(ex * ex + ey * ey)
    fx, fy = xy[d, 0] - xy[c, 0], xy[d, 1] - xy[c, 1]
    there = np.sqrt(fx * fx + fy * fy)
    if length == 0.0 or there == 0.0:
        return xy[c, 0], xy[c, 1]
    along = min(max(((px - xy[a, 0]) * ex + (py - xy[a, 1]) * ey) / (length * length), 0.0), 1.0)
    beyond = abs((px - xy[a, 0]) * ey - (py - xy[a, 1]) * ex) / length
    inner = uv_triangles[n, (j + 2) % 3]
    nx, ny = -fy / there, fx / there
    if nx * (xy[inner, 0] - xy[c, 0]) + ny * (xy[inner, 1] - xy[c, 1]) < 0.0:
        nx, ny = -nx, -ny
    return xy[c, 0] + along * fx + beyond * nx, xy[c, 1] + along * fy + beyond * ny


@parallel_kernel
def blend_texels(photo, trust, place, corners, mirrored, weights, vertices, decode, encode, lit, out):
    """out (M, 3) uint8 sRGB: what a photo shows of points of a surface, and what stands for it where it does not.

    Args:
        photo: (H, W, 3) float32, sRGB-encoded.
        trust: (S, S) float32, how surely a pixel shows the surface.
        place: (3,) x, y of the corner of the square of `trust` in pixels of `photo`, and pixels of it for one of those.
        corners, mirrored: (M, 3) the vertices around each point and those around the point on the other side.
        weights: (M, 3) barycentric.
        vertices: (N, 12) float32: x, y px of `photo` from its corner; trust; shading, fill (reflectance, times what
            makes it meet the photo), and the factor of mirrored colours, each of three channels.
        decode, encode: tables from sRGB to the model's space, and back to bytes, over [0, 1] evenly.
        lit: whether the result is as photographed, and not divided by shading.
        out: what is filled.
    """
    for m in prange(corners.shape[0]):
        a, b, c = corners[m, 0], corners[m, 1], corners[m, 2]
        e, f, g = mirrored[m, 0], mirrored[m, 1], mirrored[m, 2]
        wa, wb, wc = weights[m, 0], weights[m, 1], weights[m, 2]
        x = wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0]
        y = wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1]
        own = wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2]
        if own > 0.0:
            own *= _bilinear(trust, (x - place[0]) * place[2] - 0.5, (y - place[1]) * place[2] - 0.5)
        u = wa * vertices[e, 0] + wb * vertices[f, 0] + wc * vertices[g, 0]
        v = wa * vertices[e, 1] + wb * vertices[f, 1] + wc * vertices[g, 1]
        other = wa * vertices[e, 2] + wb * vertices[f, 2] + wc * vertices[g, 2]
        if own >= 1.0:
            other = 0.0
        if other > 0.0:
            other *= _bilinear(trust, (u - place[0]) * place[2] - 0.5, (v - place[1]) * place[2] - 0.5)
        for d in range(3):
            shade = wa * vertices[a, 3 + d] + wb * vertices[b, 3 + d] + wc * vertices[c, 3 + d]
            value = wa * vertices[a, 6 + d] + wb * vertices[b, 6 + d] + wc * vertices[c, 6 + d]
            if other > 0.0:
                there = wa * vertices[e, 3 + d] + wb * vertices[f, 3 + d] + wc * vertices[g, 3 + d]
                factor = wa * vertices[a, 9 + d] + wb * vertices[b, 9 + d] + wc * vertices[c, 9 + d]
                value += other * (_looked_up(decode, _of_channel(photo, u - 0.5, v - 0.5, d)) / there * factor - value)
            if own > 0.0:
                value += own * (_looked_up(decode, _of_channel(photo, x - 0.5, y - 0.5, d)) / shade - value)
            if lit:
                value *= shade
            out[m, d] = np.uint8(_looked_up(encode, value) + 0.5)


@kernel
def _looked_up(table, value):
    """Linear between the entries of a table over [0, 1]."""
    place = min(max(value, 0.0), 1.0) * (table.shape[0] - 1)
    k = min(int(place), table.shape[0] - 2)
    return table[k] + (place - k) * (table[k + 1] - table[k])


@kernel
def _bilinear(image, x, y):
    """Of (H, W), at pixel coordinates; 0 outside."""
    height, width = image.shape
    if x < 0.0 or y < 0.0 or x >= width - 1 or y >= height - 1:
        return 0.0
    k, j = int(y), int(x)
    p, q = x - j, y - k
    upper = image[k, j] + p * (image[k, j + 1] - image[k, j])
    lower = image[k + 1, j] + p * (image[k + 1, j + 1] - image[k + 1, j])
    return upper + q * (lower - upper)


@kernel
def _of_channel(image, x, y, d):
    """Of (H, W, 3), at pixel coordinates; the nearest edge goes on outside."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    k, j = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    right, below = min(j + 1, width - 1), min(k + 1, height - 1)
    p, q = x - j, y - k
    upper = image[k, j, d] + p * (image[k, right, d] - image[k, j, d])
    lower = image[below, j, d] + p * (image[below, right, d] - image[below, j, d])
    return upper + q * (lower - upper)
