# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Relief that lies in a texture, drawn on the pixels of a face."""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel

__all__ = ["drape", "texture_frames"]


@kernel
def texture_frames(points, triangles, uv, uv_triangles, shown, out):
    """out (U, 2, 3): how the surface moves by one texel to the right, and by one down, at each corner of the texture.

    Means over the triangles around it, by area; zeros where there are none, or none with an extent in the texture.

    Args:
        points: (N, 3) mm.
        triangles: (T, 3).
        uv: (U, 2) texels, x right, y down.
        uv_triangles: (T, 3).
        shown: (T,) triangles that count.
        out: what is filled.
    """
    out[:] = 0.0
    total = np.zeros(uv.shape[0])
    for t in range(triangles.shape[0]):
        if not shown[t]:
            continue
        a, b, c = uv_triangles[t, 0], uv_triangles[t, 1], uv_triangles[t, 2]
        p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy = uv[b, 0] - uv[a, 0], uv[b, 1] - uv[a, 1]
        vx, vy = uv[c, 0] - uv[a, 0], uv[c, 1] - uv[a, 1]
        texels = ux * vy - uy * vx
        if abs(texels) < 1e-9:
            continue
        ex, ey, ez = points[q, 0] - points[p, 0], points[q, 1] - points[p, 1], points[q, 2] - points[p, 2]
        fx, fy, fz = points[r, 0] - points[p, 0], points[r, 1] - points[p, 1], points[r, 2] - points[p, 2]
        nx, ny, nz = ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx
        area = np.sqrt(nx * nx + ny * ny + nz * nz)
        for k in range(3):
            e = points[q, k] - points[p, k]
            f = points[r, k] - points[p, k]
            right, down = (vy * e - uy * f) / texels * area, (ux * f - vx * e) / texels * area
            for corner in (a, b, c):
                out[corner, 0, k] += right
                out[corner, 1, k] += down
        for corner in (a, b, c):
            total[corner] += area
    for corner in range(uv.shape[0]):
        if total[corner] > 0.0:
            for k in range(3):
                out[corner, 0, k] /= total[corner]
                out[corner, 1, k] /= total[corner]


@parallel_kernel
def drape(
    triangle_image,
    barycentric,
    normal,
    shown,
    uv_triangles,
    uv,
    frames,
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

    With o the offset along the normal n, its gradient g on the surface (mm per mm, at right angles to n) gives the
    normal `unit(n - g)`; moving along z by `o / n_z` is the same surface.

    Args:
        triangle_image: (H, W) int32, -1 for the background.
        barycentric: (H, W, 3).
        normal: (H, W, 3) unit, camera frame.
        shown: (T,) triangles that have relief.
        uv_triangles: (T, 3).
        uv: (U, 2) texels of the finest level, x right, y down, 0 at the middle of the first.
        frames: (U, 2, 3) mm per texel, camera frame: see `texture_frames`.
        footprint: mm of the surface over which means are taken.
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
            w0, w1, w2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            ux = w0 * frames[a, 0, 0] + w1 * frames[b, 0, 0] + w2 * frames[c, 0, 0]
            uy = w0 * frames[a, 0, 1] + w1 * frames[b, 0, 1] + w2 * frames[c, 0, 1]
            uz = w0 * frames[a, 0, 2] + w1 * frames[b, 0, 2] + w2 * frames[c, 0, 2]
            vx = w0 * frames[a, 1, 0] + w1 * frames[b, 1, 0] + w2 * frames[c, 1, 0]
            vy = w0 * frames[a, 1, 1] + w1 * frames[b, 1, 1] + w2 * frames[c, 1, 1]
            vz = w0 * frames[a, 1, 2] + w1 * frames[b, 1, 2] + w2 * frames[c, 1, 2]
            uu, uv_, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
            determinant = uu * vv - uv_ * uv_
            if determinant <= 0.0:
                continue
            # The root of the determinant is mm^2 of the surface to a texel.
            detail = np.log2(max(footprint / np.sqrt(np.sqrt(determinant)), 1.0))
            s = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
            r = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
            o, right, down = _filtered(levels, starts, shapes, detail, s, r)
            o, right, down = strength * o, strength * right, strength * down
            along_u, along_v = (vv * right - uv_ * down) / determinant, (uu * down - uv_ * right) / determinant
            gx, gy, gz = along_u * ux + along_v * vx, along_u * uy + along_v * vy, along_u * uz + along_v * vz
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
