# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: residuals of pixels with their local derivatives, and the shading they share with `pixels`.

With visibility frozen a pixel's radiance depends on its own triangle and the light only (docs/ARCHITECTURE.md,
"Derivatives"):

    dI_c = sum_k (q_ck . du_k + h_c b_k drho_kc) + rho_c Y . dgamma_c

over the triangle's corners k, where `du_k` (R,) is the motion of the corner as `surface.vertex_jacobian` lists it. The
last of its three rows for the screen counts by the pixel's place; see `camera`.
All of these take part in the camera frame.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.camera import from_centre, pixel_place, weights
from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel
from faceinv.backends.numpy_numba.record import (
    HARMONICS,
    LANES,
    LIGHTS,
    PULL_ALBEDO,
    PULL_NORMAL,
    PULL_SCREEN,
    RECORD,
    RHO,
    SHARES,
)
from faceinv.face.lighting import SH_CONSTANTS, SH_TURNS

__all__ = [
    "face_normal",
    "harmonics",
    "local_rows",
    "mixed_normal",
    "pixel_pulls",
    "residuals",
    "shade",
    "shaded_harmonics",
]

_C0, _C1, _C2, _C3, _C4 = (float(c) for c in SH_CONSTANTS)
_SH_TURNS = SH_TURNS.copy()


@kernel
def harmonics(x, y, z):
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


@kernel
def shaded_harmonics(x, y, z, shadow, i0, i1, i2, b0, b1, b2):
    """The basis at a normal less the shadows (N, 9) of a triangle's corners; no shadows are (0, 9)."""
    basis = harmonics(x, y, z)
    if shadow.shape[0] == 0:
        return basis
    # Written out: a function of k would be compiled for each k.
    return (
        basis[0] - (b0 * shadow[i0, 0] + b1 * shadow[i1, 0] + b2 * shadow[i2, 0]),
        basis[1] - (b0 * shadow[i0, 1] + b1 * shadow[i1, 1] + b2 * shadow[i2, 1]),
        basis[2] - (b0 * shadow[i0, 2] + b1 * shadow[i1, 2] + b2 * shadow[i2, 2]),
        basis[3] - (b0 * shadow[i0, 3] + b1 * shadow[i1, 3] + b2 * shadow[i2, 3]),
        basis[4] - (b0 * shadow[i0, 4] + b1 * shadow[i1, 4] + b2 * shadow[i2, 4]),
        basis[5] - (b0 * shadow[i0, 5] + b1 * shadow[i1, 5] + b2 * shadow[i2, 5]),
        basis[6] - (b0 * shadow[i0, 6] + b1 * shadow[i1, 6] + b2 * shadow[i2, 6]),
        basis[7] - (b0 * shadow[i0, 7] + b1 * shadow[i1, 7] + b2 * shadow[i2, 7]),
        basis[8] - (b0 * shadow[i0, 8] + b1 * shadow[i1, 8] + b2 * shadow[i2, 8]),
    )


@kernel
def _turning_shadow(gamma, c, shadow, i0, i1, i2, b0, b1, b2):
    """How `-gamma . shadow` changes as the shadow turns with the head, about x, y and z: `lighting.SH_TURNS`."""
    x = y = z = 0.0
    for k in range(LIGHTS):
        for j in range(LIGHTS):
            if _SH_TURNS[0, k, j] or _SH_TURNS[1, k, j] or _SH_TURNS[2, k, j]:
                part = gamma[k, c] * (b0 * shadow[i0, j] + b1 * shadow[i1, j] + b2 * shadow[i2, j])
                x -= _SH_TURNS[0, k, j] * part
                y -= _SH_TURNS[1, k, j] * part
                z -= _SH_TURNS[2, k, j] * part
    return x, y, z


@kernel
def face_normal(points, i0, i1, i2):
    """Unit normal of a triangle, and one over twice its area."""
    ax, ay, az = points[i1, 0] - points[i0, 0], points[i1, 1] - points[i0, 1], points[i1, 2] - points[i0, 2]
    bx, by, bz = points[i2, 0] - points[i0, 0], points[i2, 1] - points[i0, 1], points[i2, 2] - points[i0, 2]
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    inverse = 1.0 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def mixed_normal(normals, i0, i1, i2, b0, b1, b2):
    """Unit interpolated normal, and one over the length it had."""
    x = b0 * normals[i0, 0] + b1 * normals[i1, 0] + b2 * normals[i2, 0]
    y = b0 * normals[i0, 1] + b1 * normals[i1, 1] + b2 * normals[i2, 1]
    z = b0 * normals[i0, 2] + b1 * normals[i1, 2] + b2 * normals[i2, 2]
    inverse = 1.0 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def shade(gamma, c, basis):
    total = 0.0
    for k in range(LIGHTS):
        total += gamma[k, c] * basis[k]
    return total


@kernel
def _huber(r, delta, scale):
    """(Huber weight, cost) with cost = scale^2 huber(r)."""
    size = abs(r)
    if size <= delta:
        return 1.0, scale * scale * r * r
    return delta / size, scale * scale * (2.0 * delta * size - delta * delta)


@parallel_kernel
def residuals(flat, triangles, posed, gamma, seen, target, cost):
    """cost (F,): the photometric term's part of each of the pixels that are seen."""
    points, screen, normals, albedo, camera = posed.points, posed.screen, posed.normals, posed.albedo, posed.camera
    shadow = posed.shadow
    pixels, shown = seen.pixels, seen.shown
    image, delta, weights_of = target.image, target.delta, target.weights
    width = image.shape[1]
    for i in prange(pixels.shape[0]):
        y, x, t = pixels[i] // width, pixels[i] % width, shown[i]
        scale = target.scale * np.sqrt(np.float64(weights_of[y, x]))
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        u, v = pixel_place(camera, x, y)
        b0, b1, b2, _, _, _, _, _ = weights(screen, i0, i1, i2, u, v)
        if flat:
            nx, ny, nz, _ = face_normal(points, i0, i1, i2)
        else:
            nx, ny, nz, _ = mixed_normal(normals, i0, i1, i2, b0, b1, b2)
        basis = shaded_harmonics(nx, ny, nz, shadow, i0, i1, i2, b0, b1, b2)
        total = 0.0
        for c in range(3):
            rho = b0 * albedo[i0, c] + b1 * albedo[i1, c] + b2 * albedo[i2, c]
            total += _huber(rho * shade(gamma, c, basis) - np.float64(image[y, x, c]), delta, scale)[1]
        cost[i] = total


@kernel
def _normal_gradient(l1, l2, l3, l4, l5, l6, l7, l8, nx, ny, nz, inverse):
    """How `sum_k l_k Y_k(n)` goes with the vector that n is the direction of: `(I - n n^T) (l . dY/dn)` times one over
    its length."""
    ex = _C1 * l3 + _C2 * (l4 * ny + l7 * nz) + 2.0 * _C4 * l8 * nx
    ey = _C1 * l1 + _C2 * (l4 * nx + l5 * nz) - 2.0 * _C4 * l8 * ny
    ez = _C1 * l2 + _C2 * (l5 * ny + l7 * nx) + 6.0 * _C3 * l6 * nz
    along = ex * nx + ey * ny + ez * nz
    return inverse * (ex - along * nx), inverse * (ey - along * ny), inverse * (ez - along * nz)


@parallel_kernel
def pixel_pulls(flat, spinning, triangles, posed, gamma, seen, target, cost, pulls, sums):
    """As `residuals`, and J^T r by what a pixel depends on itself: no derivative of a channel is ever written.

    pulls (F, PULL): what each pulls at, see `record`; sums (blocks, 30), to be summed over blocks of pixels: g of the
    light (27) and, where shadows are `spinning` with the head by themselves, what they add to that of its turn (3).
    """
    points, screen, normals, albedo, camera = posed.points, posed.screen, posed.normals, posed.albedo, posed.camera
    shadow = posed.shadow
    pixels, shown = seen.pixels, seen.shown
    image, delta, weights_of = target.image, target.delta, target.weights
    width = image.shape[1]
    blocks = sums.shape[0]
    for block in prange(blocks):
        light = np.empty((LIGHTS, 1))
        for n in range(sums.shape[1]):
            sums[block, n] = 0.0
        for i in range(block * pixels.shape[0] // blocks, (block + 1) * pixels.shape[0] // blocks):
            y, x, t = pixels[i] // width, pixels[i] % width, shown[i]
            scale = target.scale * np.sqrt(np.float64(weights_of[y, x]))
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v = pixel_place(camera, x, y)
            b0, b1, b2, g1x, g1y, g2x, g2y, w = weights(screen, i0, i1, i2, u, v)
            centre_u, centre_v = from_centre(camera, x, y)
            if flat:
                nx, ny, nz, inverse = face_normal(points, i0, i1, i2)
            else:
                nx, ny, nz, inverse = mixed_normal(normals, i0, i1, i2, b0, b1, b2)
            basis = shaded_harmonics(nx, ny, nz, shadow, i0, i1, i2, b0, b1, b2)
            for k in range(LIGHTS):
                light[k, 0] = 0.0
            total = s1 = s2 = 0.0
            for c in range(3):
                a0, a1, a2 = albedo[i0, c], albedo[i1, c], albedo[i2, c]
                rho = b0 * a0 + b1 * a1 + b2 * a2
                h = shade(gamma, c, basis)
                r = rho * h - np.float64(image[y, x, c])
                huber, part = _huber(r, delta, scale)
                total += part
                r *= huber * scale * scale
                pulls[i, PULL_ALBEDO + c] = r * h
                s1 += r * h * (a1 - a0)
                s2 += r * h * (a2 - a0)
                r *= rho
                for k in range(LIGHTS):
                    light[k, 0] += r * gamma[k, c]
                    sums[block, LIGHTS * c + k] += r * basis[k]
            cost[i] = total
            ex, ey, ez = _normal_gradient(
                light[1, 0],
                light[2, 0],
                light[3, 0],
                light[4, 0],
                light[5, 0],
                light[6, 0],
                light[7, 0],
                light[8, 0],
                nx,
                ny,
                nz,
                inverse,
            )
            if not flat:
                s1 += ex * (normals[i1, 0] - normals[i0, 0])
                s1 += ey * (normals[i1, 1] - normals[i0, 1])
                s1 += ez * (normals[i1, 2] - normals[i0, 2])
                s2 += ex * (normals[i2, 0] - normals[i0, 0])
                s2 += ey * (normals[i2, 1] - normals[i0, 1])
                s2 += ez * (normals[i2, 2] - normals[i0, 2])
            if shadow.shape[0]:
                for k in range(LIGHTS):
                    s1 -= light[k, 0] * (shadow[i1, k] - shadow[i0, k])
                    s2 -= light[k, 0] * (shadow[i2, k] - shadow[i0, k])
            if spinning:
                y0, y1, y2 = _turning_shadow(light, 0, shadow, i0, i1, i2, b0, b1, b2)
                sums[block, 3 * LIGHTS] += y0
                sums[block, 3 * LIGHTS + 1] += y1
                sums[block, 3 * LIGHTS + 2] += y2
            sx, sy = -w * (s1 * g1x + s2 * g2x), -w * (s1 * g1y + s2 * g2y)
            pulls[i, 0], pulls[i, 1], pulls[i, 2] = b0, b1, b2
            pulls[i, PULL_SCREEN], pulls[i, PULL_SCREEN + 1] = sx, sy
            pulls[i, PULL_SCREEN + 2] = sx * centre_u + sy * centre_v
            pulls[i, PULL_NORMAL], pulls[i, PULL_NORMAL + 1], pulls[i, PULL_NORMAL + 2] = ex, ey, ez


@parallel_kernel
def local_rows(flat, triangles, posed, gamma, seen, target, robust, tangents, residual, weight, spin, record):
    """What `Local` holds of the pixels; tangents are those of the vertices.

    With `robust`, records are multiplied by the root of Huber's weight, so that H = J^T J and g = J^T r as they stand.
    """
    points, screen, normals, albedo, camera = posed.points, posed.screen, posed.normals, posed.albedo, posed.camera
    shadow = posed.shadow
    pixels, shown, place = seen.pixels, seen.shown, seen.place
    image, delta, weights_of = target.image, target.delta, target.weights
    width = image.shape[1]
    real = record.dtype.type
    for i in prange(pixels.shape[0]):
        y, x, t = pixels[i] // width, pixels[i] % width, shown[i]
        scale = target.scale * np.sqrt(np.float64(weights_of[y, x]))
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        u, v = pixel_place(camera, x, y)
        b0, b1, b2, g1x, g1y, g2x, g2y, w = weights(screen, i0, i1, i2, u, v)
        centre_u, centre_v = from_centre(camera, x, y)
        b = (b0, b1, b2)
        corners = (i0, i1, i2)
        if flat:
            nx, ny, nz, inverse = face_normal(points, i0, i1, i2)
        else:
            nx, ny, nz, inverse = mixed_normal(normals, i0, i1, i2, b0, b1, b2)
        basis = shaded_harmonics(nx, ny, nz, shadow, i0, i1, i2, b0, b1, b2)
        for c in range(3):
            at = LANES * c
            a0, a1, a2 = albedo[i0, c], albedo[i1, c], albedo[i2, c]
            rho = b0 * a0 + b1 * a1 + b2 * a2
            h = shade(gamma, c, basis)
            r = rho * h - np.float64(image[y, x, c])
            huber = _huber(r, delta, scale)[0]
            weight[i, c] = huber
            factor = scale * np.sqrt(huber) if robust else scale
            residual[i, c] = r * factor
            # e = rho (I - n n^T) (gamma . dY/dn) / |m|: radiance against a change of the unnormalised normal m.
            ex, ey, ez = _normal_gradient(
                gamma[1, c],
                gamma[2, c],
                gamma[3, c],
                gamma[4, c],
                gamma[5, c],
                gamma[6, c],
                gamma[7, c],
                gamma[8, c],
                nx,
                ny,
                nz,
                inverse * rho * factor,
            )
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
            if shadow.shape[0]:
                for k in range(LIGHTS):
                    light = rho * factor * gamma[k, c]
                    s1 -= light * (shadow[i1, k] - shadow[i0, k])
                    s2 -= light * (shadow[i2, k] - shadow[i0, k])
            sx, sy = -w * (s1 * g1x + s2 * g2x), -w * (s1 * g1y + s2 * g2y)
            sz = sx * centre_u + sy * centre_v
            for k in range(3):
                if flat:
                    # d(unnormalised normal) = sum_k du_k x o_k, with o_k the edge opposite corner k.
                    ia, ib = corners[(k + 1) % 3], corners[(k + 2) % 3]
                    ox, oy, oz = (
                        points[ia, 0] - points[ib, 0],
                        points[ia, 1] - points[ib, 1],
                        points[ia, 2] - points[ib, 2],
                    )
                    record[i, at + 4 * k] = real(b[k] * sx + oy * ez - oz * ey)
                    record[i, at + 4 * k + 1] = real(b[k] * sy + oz * ex - ox * ez)
                    record[i, at + 4 * k + 2] = real(b[k] * sz)
                    record[i, at + 4 * k + 3] = real(ox * ey - oy * ex)
                    record[i, at + 12 + k] = real(0.0)
                else:
                    p = place[corners[k]]
                    record[i, at + 5 * k] = real(b[k] * sx)
                    record[i, at + 5 * k + 1] = real(b[k] * sy)
                    record[i, at + 5 * k + 2] = real(b[k] * sz)
                    record[i, at + 5 * k + 3] = real(
                        b[k] * (ex * tangents[p, 0, 0] + ey * tangents[p, 0, 1] + ez * tangents[p, 0, 2])
                    )
                    record[i, at + 5 * k + 4] = real(
                        b[k] * (ex * tangents[p, 1, 0] + ey * tangents[p, 1, 1] + ez * tangents[p, 1, 2])
                    )
                record[i, at + SHARES + k] = real(b[k] * h)
            if spin.shape[0]:
                y0, y1, y2 = _turning_shadow(gamma, c, shadow, i0, i1, i2, b0, b1, b2)
                turn = rho * factor
                spin[i, c, 0], spin[i, c, 1], spin[i, c, 2] = real(turn * y0), real(turn * y1), real(turn * y2)
            for lane in range(SHARES + 3, LANES):
                record[i, at + lane] = real(0.0)
            record[i, RHO + c] = real(rho * factor)
        for k in range(LIGHTS):
            record[i, HARMONICS + k] = real(basis[k])
        for lane in range(RHO + 3, RECORD):
            record[i, lane] = real(0.0)
