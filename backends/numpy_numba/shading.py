# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: radiance of an image, and residuals with their local derivatives.

With visibility frozen a pixel's radiance depends on its own triangle and the light only (DESIGN section 3):

    dI_c = sum_k (q_ck . du_k + h_c b_k drho_kc) + rho_c Y . dgamma_c

over the triangle's corners k, where `du_k` (R,) is the motion of the corner as `surface.vertex_jacobian` lists it.
All of these take part in the camera frame: `camera` (N, 3) is `scale * (rotation @ vertex)`, px, y up.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.lighting import SH_CONSTANTS

__all__ = ["RECORD", "local_rows", "radiance", "residuals"]

RECORD = 64
"""Numbers in a pixel's record. For red, green and blue 16 each: `q` of the three corners (3 R, R = 3 or 4), zeros
up to 12, `h b` of the three corners, the residual. Then the 9 of Y, the three `rho`, and four zeros."""

_C0, _C1, _C2, _C3, _C4 = (float(c) for c in SH_CONSTANTS)


@njit(cache=True)
def _harmonics(x, y, z):
    return (
        _C0,
        _C1 * y,
        _C1 * z,
        _C1 * x,
        _C2 * x * y,
        _C2 * y * z,
        _C3 * (3.0 * z * z - 1.0),
        _C2 * x * z,
        _C4 * (x * x - y * y),
    )


@njit(cache=True)
def _gradients(camera, i0, i1, i2):
    """Screen-space gradients (x and y) of the barycentric weights of corners 1 and 2."""
    x1, y1 = camera[i1, 0] - camera[i0, 0], camera[i1, 1] - camera[i0, 1]
    x2, y2 = camera[i2, 0] - camera[i0, 0], camera[i2, 1] - camera[i0, 1]
    area = x1 * y2 - y1 * x2
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if abs(area) < MIN_DOUBLE_AREA * 1e-3:
        area = MIN_DOUBLE_AREA * 1e-3
    inverse = 1.0 / area
    return y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse


@njit(cache=True)
def _face_normal(camera, i0, i1, i2):
    """Unit normal of a triangle, and one over twice its area."""
    ax, ay, az = camera[i1, 0] - camera[i0, 0], camera[i1, 1] - camera[i0, 1], camera[i1, 2] - camera[i0, 2]
    bx, by, bz = camera[i2, 0] - camera[i0, 0], camera[i2, 1] - camera[i0, 1], camera[i2, 2] - camera[i0, 2]
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    inverse = 1.0 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@njit(cache=True)
def _mixed_normal(normals, i0, i1, i2, b0, b1, b2):
    """Unit interpolated normal, and one over the length it had."""
    x = b0 * normals[i0, 0] + b1 * normals[i1, 0] + b2 * normals[i2, 0]
    y = b0 * normals[i0, 1] + b1 * normals[i1, 1] + b2 * normals[i2, 1]
    z = b0 * normals[i0, 2] + b1 * normals[i1, 2] + b2 * normals[i2, 2]
    inverse = 1.0 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@njit(cache=True)
def _shade(gamma, c, basis):
    total = 0.0
    for k in range(9):
        total += gamma[k, c] * basis[k]
    return total


@njit(cache=True)
def _huber(r, delta, scale):
    """(Huber weight, cost) with cost = scale^2 huber(r)."""
    size = abs(r)
    if size <= delta:
        return 1.0, scale * scale * r * r
    return delta / size, scale * scale * (2.0 * delta * size - delta * delta)


@njit(cache=True)
def mix(triangle_image, barycentric, corners, values, out):
    """out (H, W, D): values (M, D) mixed over the corners (T, 3) of each pixel's triangle, zeros for the background."""
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            t = triangle_image[y, x]
            if t < 0:
                for c in range(out.shape[2]):
                    out[y, x, c] = 0.0
                continue
            i0, i1, i2 = corners[t, 0], corners[t, 1], corners[t, 2]
            b0, b1, b2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for c in range(out.shape[2]):
                out[y, x, c] = b0 * values[i0, c] + b1 * values[i1, c] + b2 * values[i2, c]


@njit(cache=True)
def mix_normals(flat, triangle_image, barycentric, triangles, camera, normals, out):
    """out (H, W, 3): unit normals in the camera frame, zeros for the background."""
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            t = triangle_image[y, x]
            nx = ny = nz = 0.0
            if t >= 0:
                i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                if flat:
                    nx, ny, nz, _ = _face_normal(camera, i0, i1, i2)
                else:
                    b0, b1, b2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
                    nx, ny, nz, _ = _mixed_normal(normals, i0, i1, i2, b0, b1, b2)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = nx, ny, nz


@njit(cache=True)
def radiance(triangle_image, normal, albedo, gamma, out):
    """out (H, W, 3): normals and albedo (H, W, 3) under the light, zeros for the background."""
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            if triangle_image[y, x] < 0:
                out[y, x, 0] = out[y, x, 1] = out[y, x, 2] = 0.0
                continue
            basis = _harmonics(normal[y, x, 0], normal[y, x, 1], normal[y, x, 2])
            for c in range(3):
                out[y, x, c] = albedo[y, x, c] * _shade(gamma, c, basis)


@njit(parallel=True, cache=True)
def residuals(flat, pixels, shown, triangles, camera, normals, albedo, translation, gamma, image, delta, scale, cost):
    """cost (F,): the photometric term's part of each of `pixels` (F,), indices into the image, which show triangle
    `shown` (F,)."""
    width = image.shape[1]
    for i in prange(pixels.shape[0]):
        y, x, t = pixels[i] // width, pixels[i] % width, shown[i]
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        g1x, g1y, g2x, g2y = _gradients(camera, i0, i1, i2)
        dx, dy = x - translation[0] - camera[i0, 0], translation[1] - y - camera[i0, 1]
        b1, b2 = dx * g1x + dy * g1y, dx * g2x + dy * g2y
        b0 = 1.0 - b1 - b2
        if flat:
            nx, ny, nz, _ = _face_normal(camera, i0, i1, i2)
        else:
            nx, ny, nz, _ = _mixed_normal(normals, i0, i1, i2, b0, b1, b2)
        basis = _harmonics(nx, ny, nz)
        total = 0.0
        for c in range(3):
            rho = b0 * albedo[i0, c] + b1 * albedo[i1, c] + b2 * albedo[i2, c]
            total += _huber(rho * _shade(gamma, c, basis) - np.float64(image[y, x, c]), delta, scale)[1]
        cost[i] = total


@njit(parallel=True, cache=True)
def local_rows(
    flat,
    pixels,
    shown,
    triangles,
    camera,
    normals,
    albedo,
    translation,
    gamma,
    image,
    delta,
    scale,
    robust,
    place,
    tangents,
    cost,
    residual,
    weight,
    record,
):
    """As `residuals`, and residual (F, 3), Huber's weight (F, 3), and local derivatives: record (F, RECORD).

    With `robust`, records are multiplied by the root of Huber's weight, so that H = J^T J and g = J^T r as they stand.
    """
    width = image.shape[1]
    real = record.dtype.type
    for i in prange(pixels.shape[0]):
        y, x, t = pixels[i] // width, pixels[i] % width, shown[i]
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        g1x, g1y, g2x, g2y = _gradients(camera, i0, i1, i2)
        dx, dy = x - translation[0] - camera[i0, 0], translation[1] - y - camera[i0, 1]
        b1, b2 = dx * g1x + dy * g1y, dx * g2x + dy * g2y
        b0 = 1.0 - b1 - b2
        b = (b0, b1, b2)
        corners = (i0, i1, i2)
        if flat:
            nx, ny, nz, inverse = _face_normal(camera, i0, i1, i2)
        else:
            nx, ny, nz, inverse = _mixed_normal(normals, i0, i1, i2, b0, b1, b2)
        basis = _harmonics(nx, ny, nz)
        total = 0.0
        for c in range(3):
            at = 16 * c
            a0, a1, a2 = albedo[i0, c], albedo[i1, c], albedo[i2, c]
            rho = b0 * a0 + b1 * a1 + b2 * a2
            h = _shade(gamma, c, basis)
            r = rho * h - np.float64(image[y, x, c])
            huber, part = _huber(r, delta, scale)
            total += part
            weight[i, c] = huber
            factor = scale * np.sqrt(huber) if robust else scale
            residual[i, c] = r * factor
            # e = rho (I - n n^T) (gamma . dY/dn) / |m|: radiance against a change of the unnormalised normal m.
            ex = _C1 * gamma[3, c] + _C2 * (gamma[4, c] * ny + gamma[7, c] * nz) + 2.0 * _C4 * gamma[8, c] * nx
            ey = _C1 * gamma[1, c] + _C2 * (gamma[4, c] * nx + gamma[5, c] * nz) - 2.0 * _C4 * gamma[8, c] * ny
            ez = _C1 * gamma[2, c] + _C2 * (gamma[5, c] * ny + gamma[7, c] * nx) + 6.0 * _C3 * gamma[6, c] * nz
            along = ex * nx + ey * ny + ez * nz
            turn = rho * inverse * factor
            ex, ey, ez = turn * (ex - along * nx), turn * (ey - along * ny), turn * (ez - along * nz)
            # s: the radiance's change as the surface slides by one px under the fixed pixel.
            h *= factor
            s1, s2 = h * (a1 - a0), h * (a2 - a0)
            if not flat:
                s1 += ex * (normals[i1, 0] - normals[i0, 0])
                s1 += ey * (normals[i1, 1] - normals[i0, 1])
                s1 += ez * (normals[i1, 2] - normals[i0, 2])
                s2 += ex * (normals[i2, 0] - normals[i0, 0])
                s2 += ey * (normals[i2, 1] - normals[i0, 1])
                s2 += ez * (normals[i2, 2] - normals[i0, 2])
            sx, sy = -(s1 * g1x + s2 * g2x), -(s1 * g1y + s2 * g2y)
            for k in range(3):
                if flat:
                    # d(unnormalised normal) = sum_k du_k x o_k, with o_k the edge opposite corner k.
                    ia, ib = corners[(k + 1) % 3], corners[(k + 2) % 3]
                    ox, oy, oz = (
                        camera[ia, 0] - camera[ib, 0],
                        camera[ia, 1] - camera[ib, 1],
                        camera[ia, 2] - camera[ib, 2],
                    )
                    record[i, at + 3 * k] = real(b[k] * sx + oy * ez - oz * ey)
                    record[i, at + 3 * k + 1] = real(b[k] * sy + oz * ex - ox * ez)
                    record[i, at + 3 * k + 2] = real(ox * ey - oy * ex)
                    record[i, at + 9 + k] = real(0.0)
                else:
                    p = place[corners[k]]
                    record[i, at + 4 * k] = real(b[k] * sx)
                    record[i, at + 4 * k + 1] = real(b[k] * sy)
                    record[i, at + 4 * k + 2] = real(
                        b[k] * (ex * tangents[p, 0, 0] + ey * tangents[p, 0, 1] + ez * tangents[p, 0, 2])
                    )
                    record[i, at + 4 * k + 3] = real(
                        b[k] * (ex * tangents[p, 1, 0] + ey * tangents[p, 1, 1] + ez * tangents[p, 1, 2])
                    )
                record[i, at + 12 + k] = real(b[k] * h)
            record[i, at + 15] = real(residual[i, c])
            record[i, 57 + c] = real(rho * factor)
            record[i, 60 + c] = real(0.0)
        for k in range(9):
            record[i, 48 + k] = real(basis[k])
        record[i, 63] = real(0.0)
        cost[i] = total
