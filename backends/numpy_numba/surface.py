"""Kernels: surface from coefficients, vertex normals, and the normals' derivative."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

__all__ = ["linear_surface", "normal_jacobian", "vertex_normals"]

BLOCK = 64


@njit(parallel=True, cache=True)
def linear_surface(mean, basis, coefficients, out):
    """out = mean + basis @ coefficients, (N, 3) in float64 whatever the basis is stored in.

    Four partial sums give independent chains of additions in an order that does not depend on threads.
    """
    count = coefficients.shape[0]
    whole = count - count % 4
    for v in prange(mean.shape[0]):
        for axis in range(3):
            s0 = s1 = s2 = s3 = 0.0
            for k in range(0, whole, 4):
                s0 += np.float64(basis[v, axis, k]) * coefficients[k]
                s1 += np.float64(basis[v, axis, k + 1]) * coefficients[k + 1]
                s2 += np.float64(basis[v, axis, k + 2]) * coefficients[k + 2]
                s3 += np.float64(basis[v, axis, k + 3]) * coefficients[k + 3]
            for k in range(whole, count):
                s0 += np.float64(basis[v, axis, k]) * coefficients[k]
            out[v, axis] = np.float64(mean[v, axis]) + ((s0 + s1) + (s2 + s3))


@njit(parallel=True, cache=True)
def vertex_normals(vertices, triangles, corner_start, corners, normals, inverse_length):
    """Unit area-weighted normals (N, 3) and one over the length they had; (0, 0, 1) and 0 where there is none."""
    for v in prange(vertices.shape[0]):
        nx = ny = nz = 0.0
        for c in range(corner_start[v], corner_start[v + 1]):
            t = corners[c] // 3
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax = vertices[i1, 0] - vertices[i0, 0]
            ay = vertices[i1, 1] - vertices[i0, 1]
            az = vertices[i1, 2] - vertices[i0, 2]
            bx = vertices[i2, 0] - vertices[i0, 0]
            by = vertices[i2, 1] - vertices[i0, 1]
            bz = vertices[i2, 2] - vertices[i0, 2]
            nx += ay * bz - az * by
            ny += az * bx - ax * bz
            nz += ax * by - ay * bx
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length > 1e-12:
            inverse_length[v] = 1.0 / length
            normals[v, 0], normals[v, 1], normals[v, 2] = nx / length, ny / length, nz / length
        else:
            inverse_length[v] = 0.0
            normals[v, 0], normals[v, 1], normals[v, 2] = 0.0, 0.0, 1.0


@njit(parallel=True, cache=True, fastmath={"contract"})
def normal_jacobian(used, vertices, normals, inverse_length, mesh_triangles, corner_start, corners, ring_start, ring,
                    ring_slot, basis, out):
    """out[i] = d n / d coefficients (3, K) for vertices used[i], from the bases of its ring.

    With N = sum over triangles of (V_j - V_v) x (V_l - V_v), each ring vertex j contributes `dV_j x c_j`, and
    `dn = (I - n n^T)/|N| dN`.
    """
    count = basis.shape[2]
    real = out.dtype.type
    for block in prange((used.shape[0] + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, used.shape[0])):
            v = used[i]
            size = ring_start[v + 1] - ring_start[v]
            c = np.zeros((size, 3))
            for q in range(corner_start[v], corner_start[v + 1]):
                t, k = corners[q] // 3, corners[q] % 3
                kj, kl = (k + 1) % 3, (k + 2) % 3
                j, l = mesh_triangles[t, kj], mesh_triangles[t, kl]
                sv, sj, sl = ring_slot[t, k, k], ring_slot[t, k, kj], ring_slot[t, k, kl]
                for d in range(3):
                    c[sj, d] += vertices[l, d] - vertices[v, d]
                    c[sl, d] += vertices[v, d] - vertices[j, d]
                    c[sv, d] += vertices[j, d] - vertices[l, d]
            for a in range(3):
                for k in range(count):
                    out[i, a, k] = real(0.0)
            n0, n1, n2 = normals[v, 0], normals[v, 1], normals[v, 2]
            for s in range(size):
                j = ring[ring_start[v] + s]
                c0, c1, c2 = c[s, 0], c[s, 1], c[s, 2]
                # Columns of [-c]x, the matrix of dV -> dV x c, then projected off n.
                m = np.array(((0.0, c2, -c1), (-c2, 0.0, c0), (c1, -c0, 0.0)))
                for b in range(3):
                    along = n0 * m[0, b] + n1 * m[1, b] + n2 * m[2, b]
                    m[0, b] = (m[0, b] - n0 * along) * inverse_length[v]
                    m[1, b] = (m[1, b] - n1 * along) * inverse_length[v]
                    m[2, b] = (m[2, b] - n2 * along) * inverse_length[v]
                m00, m01, m02 = real(m[0, 0]), real(m[0, 1]), real(m[0, 2])
                m10, m11, m12 = real(m[1, 0]), real(m[1, 1]), real(m[1, 2])
                m20, m21, m22 = real(m[2, 0]), real(m[2, 1]), real(m[2, 2])
                for k in range(count):
                    b0, b1, b2 = basis[j, 0, k], basis[j, 1, k], basis[j, 2, k]
                    out[i, 0, k] += m00 * b0 + m01 * b1 + m02 * b2
                    out[i, 1, k] += m10 * b0 + m11 * b1 + m12 * b2
                    out[i, 2, k] += m20 * b0 + m21 * b1 + m22 * b2
