# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Relief that lies in a texture, drawn on the pixels of a face."""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel

__all__ = ["drape"]


@parallel_kernel
def drape(
    triangle_image,
    barycentric,
    normal,
    shown,
    triangles,
    uv_triangles,
    points,
    uv,
    footprint,
    grazing,
    strength,
    levels,
    starts,
    shapes,
    normal_out,
    displacement_out,
):
    """Normals (H, W, 3) and displacement (H, W) mm along z of pixels that show a surface with relief.

    With o the offset along the normal n, the surface's own gradient g of o (mm per mm, in the plane of a pixel's
    triangle, made perpendicular to n) gives the normal `unit(n - g)`; moving along z by `o / n_z` is the same surface.

    Args:
        triangle_image: (H, W) int32, -1 for the background.
        barycentric: (H, W, 3).
        normal: (H, W, 3) unit, camera frame.
        shown: (T,) triangles that have relief.
        triangles: (T, 3).
        uv_triangles: (T, 3).
        points: (N, 3) mm, camera frame.
        uv: (U, 2) texels of the finest level, x right, y down, 0 at the middle of the first.
        footprint: mm of the surface that a pixel shows, across.
        grazing: n_z below which a displacement along z grows no more.
        strength: what offset and slopes are multiplied by.
        levels: (M, 3) float32, level after level, row after row: offset mm, and its slopes along x and y, mm per texel
            of the finest level.
        starts: (L,) where each level begins in `levels`.
        shapes: (L, 2) rows and columns of each.
        normal_out: (H, W, 3) float32; the given normals where there is no relief.
        displacement_out: (H, W) float32; zeros there.
    """
    height, width = triangle_image.shape
    for y in prange(height):
        for x in range(width):
            t = triangle_image[y, x]
            nx, ny, nz = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            displacement_out[y, x] = 0.0
            normal_out[y, x, 0], normal_out[y, x, 1], normal_out[y, x, 2] = nx, ny, nz
            if t < 0 or not shown[t]:
                continue
            a, b, c = uv_triangles[t, 0], uv_triangles[t, 1], uv_triangles[t, 2]
            p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ux, uy = uv[b, 0] - uv[a, 0], uv[b, 1] - uv[a, 1]
            vx, vy = uv[c, 0] - uv[a, 0], uv[c, 1] - uv[a, 1]
            ex, ey, ez = points[q, 0] - points[p, 0], points[q, 1] - points[p, 1], points[q, 2] - points[p, 2]
            fx, fy, fz = points[r, 0] - points[p, 0], points[r, 1] - points[p, 1], points[r, 2] - points[p, 2]
            ee, ef, ff = ex * ex + ey * ey + ez * ez, ex * fx + ey * fy + ez * fz, fx * fx + fy * fy + fz * fz
            double = ee * ff - ef * ef
            texels = abs(ux * vy - uy * vx)
            if double <= 0.0 or texels <= 0.0:
                continue
            # As many texels to a pixel as lie under it: sqrt(double) / texels is mm^2 of the surface to a texel.
            detail = np.log2(max(footprint / np.sqrt(np.sqrt(double) / texels), 1.0))
            w0, w1, w2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            s = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
            u = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
            o, ox, oy = _filtered(levels, starts, shapes, detail, s, u)
            o, ox, oy = strength * o, strength * ox, strength * oy
            along_e, along_f = ox * ux + oy * uy, ox * vx + oy * vy
            ce, cf = (along_e * ff - along_f * ef) / double, (along_f * ee - along_e * ef) / double
            gx, gy, gz = ce * ex + cf * fx, ce * ey + cf * fy, ce * ez + cf * fz
            out = gx * nx + gy * ny + gz * nz
            mx, my, mz = nx - (gx - out * nx), ny - (gy - out * ny), nz - (gz - out * nz)
            length = np.sqrt(mx * mx + my * my + mz * mz)
            normal_out[y, x, 0], normal_out[y, x, 1], normal_out[y, x, 2] = mx / length, my / length, mz / length
            displacement_out[y, x] = o / max(nz, grazing)


@kernel
def _filtered(levels, starts, shapes, detail, s, u):
    """Offset and slopes at a place (s, u) of the finest level, between the two levels that are next to `detail`."""
    last = starts.shape[0] - 1
    lower = min(np.int64(np.floor(detail)), last)
    share = min(detail - lower, 1.0)
    o, ox, oy = _bilinear(levels, starts, shapes, lower, s, u)
    if share <= 0.0 or lower == last:
        return o, ox, oy
    o2, ox2, oy2 = _bilinear(levels, starts, shapes, lower + 1, s, u)
    return o + share * (o2 - o), ox + share * (ox2 - ox), oy + share * (oy2 - oy)


@kernel
def _bilinear(levels, starts, shapes, level, s, u):
    scale = 0.5**level
    rows, columns = shapes[level, 0], shapes[level, 1]
    x, y = (s + 0.5) * scale - 0.5, (u + 0.5) * scale - 0.5
    x, y = min(max(x, 0.0), columns - 1.0), min(max(y, 0.0), rows - 1.0)
    left, top = min(np.int64(x), columns - 2), min(np.int64(y), rows - 2)
    left, top = max(left, 0), max(top, 0)
    fx, fy = x - left, y - top
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    k00, k01 = starts[level] + top * columns + left, starts[level] + top * columns + right
    k10, k11 = starts[level] + bottom * columns + left, starts[level] + bottom * columns + right
    w00, w01, w10, w11 = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
    o = w00 * levels[k00, 0] + w01 * levels[k01, 0] + w10 * levels[k10, 0] + w11 * levels[k11, 0]
    ox = w00 * levels[k00, 1] + w01 * levels[k01, 1] + w10 * levels[k10, 1] + w11 * levels[k11, 1]
    oy = w00 * levels[k00, 2] + w01 * levels[k01, 2] + w10 * levels[k10, 2] + w11 * levels[k11, 2]
    return o, ox, oy
