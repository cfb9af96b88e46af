# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: surface from coefficients, vertex normals, and their derivatives."""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.camera import (
    DEPTH_ROW,
    PARAMETERS,
    SCREEN_ROWS,
    add_pose_pull,
    add_turn,
    motion_row,
    turn,
)
from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel

__all__ = [
    "linear_surface",
    "ring_levers",
    "tangent_frames",
    "tangents",
    "vertex_jacobian",
    "vertex_normals",
]

_BLOCK = 32


# Sums may be reassociated, so that they vectorise: the order is fixed when the kernel is compiled, the same for every
# vertex, and does not depend on threads.
@parallel_kernel(fastmath={"reassoc", "contract", "nsz"})
def linear_surface(mean, basis, coefficients, out):
    """out (N, 3) = mean + basis @ coefficients, summed in float64 whatever the basis is stored in."""
    for v in prange(mean.shape[0]):
        for axis in range(3):
            total = 0.0
            for k in range(coefficients.shape[0]):
                total += np.float64(basis[v, axis, k]) * coefficients[k]
            out[v, axis] = np.float64(mean[v, axis]) + total


@parallel_kernel
def vertex_normals(triangles, corner_start, corners, vertices, normals, inverse_length):
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


@kernel(fastmath={"contract"})
def tangent_frames(normals, camera, used, out):
    """out (V, 2, 3), camera frame: two unit tangents of vertices used[i]; unit normals (N, 3) are the model frame's.

    Serial: it takes less than a tenth of a millisecond, and threads would cost half a second of compiling.
    """
    frame = np.empty((2, 3))
    for i in range(used.shape[0]):
        v = used[i]
        tangents(normals[v, 0], normals[v, 1], normals[v, 2], frame)
        for a in range(2):
            out[i, a, 0], out[i, a, 1], out[i, a, 2] = turn(camera, frame[a, 0], frame[a, 1], frame[a, 2])


@parallel_kernel(fastmath={"contract"})
def vertex_jacobian(flat, turning, mesh, shape, posed, used, basis, out):
    """out (V, R, K + C): how vertices used[i] move with the K shape coefficients and the C parameters of the camera.

    Rows 0, 1 and 2 say how it moves on the screen (see `camera`). For flat normals R = 4 and row 3 is the motion along
    the depth. For interpolated ones R = 5 and rows 3 and 4 are the turn of the vertex normal along the two tangents of
    `tangent_frames`.

    Without `turning`, rows 2 and 3 of interpolated normals are zero in the camera's columns: someone else sees to it
    that normals turn with the head (`normal_equations.LightTurn`).

    With N the sum over triangles of (V_j - V_v) x (V_l - V_v), vertex j of the ring contributes `dV_j x c_j` to dN;
    so the turn along a tangent u is `sum_j dV_j . (c_j x u) / |N|`.
    """
    triangles, corner_start, corners, ring_size = mesh.triangles, mesh.corner_start, mesh.corners, mesh.ring_size
    ring_start, ring, ring_slot = mesh.ring_start, mesh.ring, mesh.ring_slot
    vertices, normals, inverse_length = shape.vertices, shape.normals, shape.inverse_length
    points, camera = posed.points, posed.camera
    count = basis.shape[2]
    real = out.dtype.type
    for block in prange((used.shape[0] + _BLOCK - 1) // _BLOCK):
        c = np.empty((ring_size, 3))
        frame, pose = np.empty((2, 3)), np.empty(PARAMETERS)
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, used.shape[0])):
            v = used[i]
            for a in range(DEPTH_ROW + 1 if flat else SCREEN_ROWS):
                m0, m1, m2 = motion_row(camera, a)
                r0, r1, r2 = real(m0), real(m1), real(m2)
                for k in range(count):
                    out[i, a, k] = r0 * basis[v, 0, k] + r1 * basis[v, 1, k] + r2 * basis[v, 2, k]
                for k in range(PARAMETERS):
                    pose[k] = 0.0
                add_pose_pull(camera, a, points[v, 0], points[v, 1], points[v, 2], 1.0, pose)
                for k in range(PARAMETERS):
                    out[i, a, count + k] = real(pose[k])
            if flat:
                continue

            n0, n1, n2 = normals[v, 0], normals[v, 1], normals[v, 2]
            tangents(n0, n1, n2, frame)
            size = ring_start[v + 1] - ring_start[v]
            ring_levers(triangles, corner_start, corners, ring_slot, vertices, v, size, c)
            for a in range(2):
                u0, u1, u2 = frame[a, 0], frame[a, 1], frame[a, 2]
                w0, w1, w2 = n1 * u2 - n2 * u1, n2 * u0 - n0 * u2, n0 * u1 - n1 * u0
                for k in range(PARAMETERS):
                    pose[k] = 0.0
                if turning:
                    add_turn(camera, w0, w1, w2, pose)
                for k in range(PARAMETERS):
                    out[i, SCREEN_ROWS + a, count + k] = real(pose[k])
                for k in range(count):
                    out[i, SCREEN_ROWS + a, k] = real(0.0)
            for s in range(size):
                j = ring[ring_start[v] + s]
                c0, c1, c2 = c[s, 0] * inverse_length[v], c[s, 1] * inverse_length[v], c[s, 2] * inverse_length[v]
                p0 = real(c1 * frame[0, 2] - c2 * frame[0, 1])
                p1 = real(c2 * frame[0, 0] - c0 * frame[0, 2])
                p2 = real(c0 * frame[0, 1] - c1 * frame[0, 0])
                q0 = real(c1 * frame[1, 2] - c2 * frame[1, 1])
                q1 = real(c2 * frame[1, 0] - c0 * frame[1, 2])
                q2 = real(c0 * frame[1, 1] - c1 * frame[1, 0])
                for k in range(count):
                    b0, b1, b2 = basis[j, 0, k], basis[j, 1, k], basis[j, 2, k]
                    out[i, SCREEN_ROWS, k] += p0 * b0 + p1 * b1 + p2 * b2
                    out[i, SCREEN_ROWS + 1, k] += q0 * b0 + q1 * b1 + q2 * b2


@kernel(fastmath={"contract"})
def ring_levers(triangles, corner_start, corners, ring_slot, vertices, v, size, c):
    """c (ring, 3): dN of vertex v is `sum_s dV_s x c_s` over its ring, N being the sum of its triangles' normals."""
    for s in range(size):
        c[s, 0] = c[s, 1] = c[s, 2] = 0.0
    for q in range(corner_start[v], corner_start[v + 1]):
        t, k = corners[q] // 3, corners[q] % 3
        kj, kl = (k + 1) % 3, (k + 2) % 3
        j, o = triangles[t, kj], triangles[t, kl]
        sv, sj, so = ring_slot[t, k, k], ring_slot[t, k, kj], ring_slot[t, k, kl]
        for d in range(3):
            c[sj, d] += vertices[o, d] - vertices[v, d]
            c[so, d] += vertices[v, d] - vertices[j, d]
            c[sv, d] += vertices[j, d] - vertices[o, d]


@kernel
def tangents(n0, n1, n2, frame):
    """Two unit vectors, rows of frame (2, 3), orthogonal to the unit vector n and to each other."""
    if abs(n0) < 0.6:
        u0, u1, u2 = 0.0, n2, -n1  # n x (1, 0, 0)
    else:
        u0, u1, u2 = -n2, 0.0, n0  # n x (0, 1, 0)
    inverse = 1.0 / np.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
    u0, u1, u2 = u0 * inverse, u1 * inverse, u2 * inverse
    frame[0, 0], frame[0, 1], frame[0, 2] = u0, u1, u2
    frame[1, 0], frame[1, 1], frame[1, 2] = n1 * u2 - n2 * u1, n2 * u0 - n0 * u2, n0 * u1 - n1 * u0
