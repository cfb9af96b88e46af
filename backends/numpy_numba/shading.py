"""Kernels: radiance of an image, and residuals with their local derivatives.

With visibility frozen a pixel's radiance depends on its own triangle, the pose and the light (DESIGN section 3):

    dI_c = sum_k b_k (p_c . dV_k + q_c . dn_k + h_c drho_kc) + pose and lighting columns

for interpolated normals. For flat ones `sum_k P_ck . dV_k` takes the place of the first two terms.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from faceinv.interface import MIN_DOUBLE_AREA
from faceinv.lighting import SH_CONSTANTS

__all__ = ["local_rows", "radiance", "residuals"]

_C0, _C1, _C2, _C3, _C4 = (float(c) for c in SH_CONSTANTS)
BLOCK = 256


@njit(cache=True, inline="always")
def _sh(x, y, z, out):
    out[0], out[1], out[2], out[3] = _C0, _C1 * y, _C1 * z, _C1 * x
    out[4], out[5], out[6] = _C2 * x * y, _C2 * y * z, _C3 * (3.0 * z * z - 1.0)
    out[7], out[8] = _C2 * x * z, _C4 * (x * x - y * y)


@njit(cache=True)
def _screen(xy, i0, i1, i2, px, py, b, g):
    """Barycentric weights b (3,) of a pixel and their screen-space gradients g (3, 2), also outside the triangle."""
    area = (xy[i1, 0] - xy[i0, 0]) * (xy[i2, 1] - xy[i0, 1]) - (xy[i1, 1] - xy[i0, 1]) * (xy[i2, 0] - xy[i0, 0])
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if abs(area) < MIN_DOUBLE_AREA * 1e-3:
        area = -MIN_DOUBLE_AREA * 1e-3
    g[1, 0], g[1, 1] = (xy[i2, 1] - xy[i0, 1]) / area, -(xy[i2, 0] - xy[i0, 0]) / area
    g[2, 0], g[2, 1] = -(xy[i1, 1] - xy[i0, 1]) / area, (xy[i1, 0] - xy[i0, 0]) / area
    g[0, 0], g[0, 1] = -g[1, 0] - g[2, 0], -g[1, 1] - g[2, 1]
    dx, dy = px - xy[i0, 0], py - xy[i0, 1]
    b[1] = dx * g[1, 0] + dy * g[1, 1]
    b[2] = dx * g[2, 0] + dy * g[2, 1]
    b[0] = 1.0 - b[1] - b[2]


@njit(cache=True)
def _face_normal(vertices, i0, i1, i2, n):
    """Unit normal n (3,) of a triangle, model space; returns one over twice its area."""
    ax, ay, az = (
        vertices[i1, 0] - vertices[i0, 0],
        vertices[i1, 1] - vertices[i0, 1],
        vertices[i1, 2] - vertices[i0, 2],
    )
    bx, by, bz = (
        vertices[i2, 0] - vertices[i0, 0],
        vertices[i2, 1] - vertices[i0, 1],
        vertices[i2, 2] - vertices[i0, 2],
    )
    n[0], n[1], n[2] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    inverse = 1.0 / max(np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-12)
    n[0], n[1], n[2] = n[0] * inverse, n[1] * inverse, n[2] * inverse
    return inverse


@njit(cache=True)
def _camera_normal(flat, vertices, normals, rotation, i0, i1, i2, b, mean, m):
    """m (3,): the unnormalised normal of a pixel in the camera frame. Returns 1/(2 area) for flat normals."""
    inverse = 1.0
    if flat:
        inverse = _face_normal(vertices, i0, i1, i2, mean)
    else:
        for d in range(3):
            mean[d] = b[0] * normals[i0, d] + b[1] * normals[i1, d] + b[2] * normals[i2, d]
    for d in range(3):
        m[d] = rotation[d, 0] * mean[0] + rotation[d, 1] * mean[1] + rotation[d, 2] * mean[2]
    return inverse


@njit(parallel=True, cache=True)
def radiance(flat, triangle_image, barycentric, triangles, vertices, normals, albedo, rotation, gamma, out):
    """out (H, W, 3): the model's radiance where a triangle is seen, zero elsewhere."""
    for y in prange(triangle_image.shape[0]):
        basis, mean, m = np.empty(9), np.empty(3), np.empty(3)
        for x in range(triangle_image.shape[1]):
            t = triangle_image[y, x]
            if t < 0:
                out[y, x, 0] = out[y, x, 1] = out[y, x, 2] = 0.0
                continue
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            b = barycentric[y, x]
            _camera_normal(flat, vertices, normals, rotation, i0, i1, i2, b, mean, m)
            inverse = 1.0 / max(np.sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), 1e-12)
            _sh(m[0] * inverse, m[1] * inverse, m[2] * inverse, basis)
            for c in range(3):
                rho = b[0] * albedo[i0, c] + b[1] * albedo[i1, c] + b[2] * albedo[i2, c]
                shade = 0.0
                for k in range(9):
                    shade += gamma[k, c] * basis[k]
                out[y, x, c] = rho * shade


@njit(cache=True)
def _residual(radiance_c, target, delta, scale):
    """(scaled residual, Huber weight, cost) with cost = scale^2 huber(radiance - target)."""
    r = radiance_c - target
    size = abs(r)
    if size <= delta:
        return scale * r, 1.0, scale * scale * r * r
    return scale * r, delta / size, scale * scale * (2.0 * delta * size - delta * delta)


@njit(parallel=True, cache=True)
def residuals(flat, pixels, triangle_image, triangles, xy, vertices, normals, albedo, rotation, gamma, image, delta,
              scale, cost):
    """cost (F,): each pixel's part of the photometric term."""
    width = triangle_image.shape[1]
    for block in prange((pixels.shape[0] + BLOCK - 1) // BLOCK):
        basis, mean, m, b, g = np.empty(9), np.empty(3), np.empty(3), np.empty(3), np.empty((3, 2))
        for i in range(block * BLOCK, min((block + 1) * BLOCK, pixels.shape[0])):
            y, x = pixels[i] // width, pixels[i] % width
            t = triangle_image[y, x]
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            _screen(xy, i0, i1, i2, x, y, b, g)
            _camera_normal(flat, vertices, normals, rotation, i0, i1, i2, b, mean, m)
            inverse = 1.0 / max(np.sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), 1e-12)
            _sh(m[0] * inverse, m[1] * inverse, m[2] * inverse, basis)
            total = 0.0
            for c in range(3):
                rho = b[0] * albedo[i0, c] + b[1] * albedo[i1, c] + b[2] * albedo[i2, c]
                shade = 0.0
                for k in range(9):
                    shade += gamma[k, c] * basis[k]
                total += _residual(rho * shade, np.float64(image[y, x, c]), delta, scale)[2]
            cost[i] = total


@njit(parallel=True, cache=True)
def local_rows(flat, robust, pixels, triangle_image, triangles, xy, depth, vertices, normals, albedo, rotation,
               translation, model_scale, gamma, image, delta, scale, cost, residual, weight, bary, geometry, shade,
               light, pose):
    """Residuals and their local derivatives for pixels (F,).

    Fills cost (F,); residual and weight (F, 3) float64; bary (F, 3); geometry (F, 3, 6): p, q, or (F, 3, 9): P of the
    three corners for flat normals; shade (F, 3): h; light (F, 3, 9); pose (F, 3, 6). With `robust`, rows and residuals
    are multiplied by the root of Huber's weight, so that H = J^T J and g = J^T r as they stand.
    """
    width = triangle_image.shape[1]
    real = bary.dtype.type
    for block in prange((pixels.shape[0] + BLOCK - 1) // BLOCK):
        basis, mean, m, b, g = np.empty(9), np.empty(3), np.empty(3), np.empty(3), np.empty((3, 2))
        n, e, em, corner, z = np.empty(3), np.empty(3), np.empty(3), np.empty((3, 3)), np.empty(2)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, pixels.shape[0])):
            y, x = pixels[i] // width, pixels[i] % width
            t = triangle_image[y, x]
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            _screen(xy, i0, i1, i2, x, y, b, g)
            face_inverse = _camera_normal(flat, vertices, normals, rotation, i0, i1, i2, b, mean, m)
            inverse = 1.0 / max(np.sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), 1e-12)
            n[0], n[1], n[2] = m[0] * inverse, m[1] * inverse, m[2] * inverse
            _sh(n[0], n[1], n[2], basis)
            # The surface point under the pixel in the camera frame, in px: depth is along z, towards the viewer.
            wx, wy = x - translation[0], -(y - translation[1])
            wz = b[0] * depth[i0] + b[1] * depth[i1] + b[2] * depth[i2]
            total = 0.0
            for k in range(3):
                bary[i, k] = real(b[k])
            for c in range(3):
                rho = b[0] * albedo[i0, c] + b[1] * albedo[i1, c] + b[2] * albedo[i2, c]
                h = 0.0
                for k in range(9):
                    h += gamma[k, c] * basis[k]
                r, huber, part = _residual(rho * h, np.float64(image[y, x, c]), delta, scale)
                total += part
                factor = scale * np.sqrt(huber) if robust else scale
                residual[i, c] = r * np.sqrt(huber) if robust else r
                weight[i, c] = huber
                # e = rho (I - n n^T) (gamma . dY/dn): radiance against a turn of the normal.
                e[0] = gamma[3, c] * _C1 + gamma[4, c] * _C2 * n[1] + gamma[7, c] * _C2 * n[2]
                e[0] += gamma[8, c] * 2.0 * _C4 * n[0]
                e[1] = gamma[1, c] * _C1 + gamma[4, c] * _C2 * n[0] + gamma[5, c] * _C2 * n[2]
                e[1] -= gamma[8, c] * 2.0 * _C4 * n[1]
                e[2] = gamma[2, c] * _C1 + gamma[5, c] * _C2 * n[1] + gamma[6, c] * 6.0 * _C3 * n[2]
                e[2] += gamma[7, c] * _C2 * n[0]
                along = e[0] * n[0] + e[1] * n[1] + e[2] * n[2]
                for d in range(3):
                    e[d] = rho * (e[d] - n[d] * along)
                # A turn dw moves n by dw x n: dI = dw . (n x e).
                tx, ty, tz = n[1] * e[2] - n[2] * e[1], n[2] * e[0] - n[0] * e[2], n[0] * e[1] - n[1] * e[0]
                for d in range(3):
                    e[d] *= inverse
                    em[d] = 0.0
                for d in range(3):  # into the model frame
                    em[d] = rotation[0, d] * e[0] + rotation[1, d] * e[1] + rotation[2, d] * e[2]
                # z: minus the radiance's change as the surface slides under the fixed pixel by one px.
                for d in range(2):
                    z[d] = h * (albedo[i0, c] * g[0, d] + albedo[i1, c] * g[1, d] + albedo[i2, c] * g[2, d])
                    if not flat:
                        for a in range(3):
                            slope = normals[i0, a] * g[0, d] + normals[i1, a] * g[1, d] + normals[i2, a] * g[2, d]
                            z[d] += em[a] * slope
                for a in range(3):
                    p = -model_scale * (z[0] * rotation[0, a] - z[1] * rotation[1, a]) * factor
                    if flat:
                        for k in range(3):
                            corner[k, a] = b[k] * p
                    else:
                        geometry[i, c, a] = real(p)
                        geometry[i, c, 3 + a] = real(em[a] * factor)
                if flat:
                    # d(unnormalised normal) = sum_k dV_k x c_k, with c_k the edge opposite corner k.
                    for k in range(3):
                        ia, ib = triangles[t, (k + 1) % 3], triangles[t, (k + 2) % 3]
                        cx = vertices[ia, 0] - vertices[ib, 0]
                        cy = vertices[ia, 1] - vertices[ib, 1]
                        cz = vertices[ia, 2] - vertices[ib, 2]
                        f = factor * face_inverse
                        geometry[i, c, 3 * k] = real(corner[k, 0] + f * (cy * em[2] - cz * em[1]))
                        geometry[i, c, 3 * k + 1] = real(corner[k, 1] + f * (cz * em[0] - cx * em[2]))
                        geometry[i, c, 3 * k + 2] = real(corner[k, 2] + f * (cx * em[1] - cy * em[0]))
                shade[i, c] = real(h * factor)
                for k in range(9):
                    light[i, c, k] = real(rho * basis[k] * factor)
                pose[i, c, 0] = real(-(z[0] * (x - translation[0]) + z[1] * (y - translation[1])) * factor)
                pose[i, c, 1] = real((tx - z[1] * wz) * factor)
                pose[i, c, 2] = real((ty - z[0] * wz) * factor)
                pose[i, c, 3] = real((tz + z[0] * wy + z[1] * wx) * factor)
                pose[i, c, 4] = real(-z[0] * factor)
                pose[i, c, 5] = real(-z[1] * factor)
            cost[i] = total
