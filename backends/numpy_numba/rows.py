# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: rows of J, straight from the bases, and the sums of their squares.

A pixel depends on the corners of its triangle and, where normals are interpolated, on the rings around these, through
the corners' normals: a dozen vertices. Its `record` says by how much for each row of the corners' motion (see
`surface.vertex_jacobian`); here this is taken back to the vertices themselves, and their basis is read once for the
three channels. The motion of vertices by coefficients, which is larger than all rows, is never formed.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.blas import add_squares
from faceinv.backends.numpy_numba.camera import (
    DEPTH_ROW,
    PARAMETERS,
    SCREEN_ROWS,
    add_pose_pull,
    add_turn,
    motion_row,
)
from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel
from faceinv.backends.numpy_numba.record import HARMONICS, LANES, LIGHTS, RHO, SHARES
from faceinv.backends.numpy_numba.surface import ring_levers, tangents

__all__ = ["collect", "normal_levers", "pixel_rows"]

_BLOCK = 256
_VERTICES = 64
_CHANNELS = 3


@parallel_kernel(fastmath={"contract"})
def normal_levers(mesh, shape, used, levers, spins):
    """How the normals of vertices used[i] turn, along the two tangents of `surface.tangent_frames`.

    levers (V, R, 2, 3): by the places of the ring's vertices, per mm; with N the sum over triangles of (V_j - V_v) x
    (V_l - V_v), vertex j of the ring contributes `dV_j x c_j` to dN, so the turn along a tangent u is `sum_j dV_j .
    (c_j x u) / |N|`. spins (V, 2, 3): n x u, by which the turn goes with that of the head.
    """
    triangles, corner_start, corners, ring_size = mesh.triangles, mesh.corner_start, mesh.corners, mesh.ring_size
    ring_start, ring_slot = mesh.ring_start, mesh.ring_slot
    vertices, normals, inverse_length = shape.vertices, shape.normals, shape.inverse_length
    real = levers.dtype.type
    for block in prange((used.shape[0] + _VERTICES - 1) // _VERTICES):
        c, frame = np.empty((ring_size, 3)), np.empty((2, 3))
        for i in range(block * _VERTICES, min((block + 1) * _VERTICES, used.shape[0])):
            v = used[i]
            size = ring_start[v + 1] - ring_start[v]
            n0, n1, n2 = normals[v, 0], normals[v, 1], normals[v, 2]
            tangents(n0, n1, n2, frame)
            ring_levers(triangles, corner_start, corners, ring_slot, vertices, v, size, c)
            for a in range(2):
                u0, u1, u2 = frame[a, 0], frame[a, 1], frame[a, 2]
                spins[i, a, 0], spins[i, a, 1], spins[i, a, 2] = n1 * u2 - n2 * u1, n2 * u0 - n0 * u2, n0 * u1 - n1 * u0
                u0, u1, u2 = u0 * inverse_length[v], u1 * inverse_length[v], u2 * inverse_length[v]
                for s in range(size):
                    levers[i, s, a, 0] = real(c[s, 1] * u2 - c[s, 2] * u1)
                    levers[i, s, a, 1] = real(c[s, 2] * u0 - c[s, 0] * u2)
                    levers[i, s, a, 2] = real(c[s, 0] * u1 - c[s, 1] * u0)


@kernel(fastmath={"contract"})
def _pulled(rank, i, t, mesh, points, place, levers, record, motion, near, at, pull, weighted):
    """The vertices that pixel i of triangle t depends on: how many there are, an even number.

    near (n,) they are, and at[near[m]] = m; pull (n, 9): how far each channel goes with their x, y and z; weighted: for
    each screen row and channel the sums of the corners' weights times x, y, z and 1. at (N,) is -1 everywhere before.
    """
    screen_rows = SCREEN_ROWS if rank > DEPTH_ROW + 1 else DEPTH_ROW + 1
    size = 0
    for n in range(weighted.shape[0]):
        weighted[n] = 0.0
    for k in range(3):
        v = mesh.triangles[t, k]
        size = _listed(v, size, near, at, pull)
        m = at[v]
        for a in range(screen_rows):
            for c in range(_CHANNELS):
                q = np.float64(record[i, LANES * c + rank * k + a])
                n = 4 * (_CHANNELS * a + c)
                for d in range(3):
                    pull[m, 3 * c + d] += q * motion[a, d]
                    weighted[n + d] += q * points[v, d]
                weighted[n + 3] += q
        if rank == DEPTH_ROW + 1:
            continue
        p = place[v]
        for s in range(mesh.ring_start[v + 1] - mesh.ring_start[v]):
            j = mesh.ring[mesh.ring_start[v] + s]
            size = _listed(j, size, near, at, pull)
            m = at[j]
            for c in range(_CHANNELS):
                n = LANES * c + rank * k + SCREEN_ROWS
                q0, q1 = np.float64(record[i, n]), np.float64(record[i, n + 1])
                for d in range(3):
                    pull[m, 3 * c + d] += q0 * levers[p, s, 0, d] + q1 * levers[p, s, 1, d]
    # An even number of vertices, so that two at once go through the loop over columns.
    if size % 2:
        near[size] = near[0]
        for n in range(pull.shape[1]):
            pull[size, n] = 0.0
        size += 1
    return size


@kernel
def _listed(v, size, near, at, pull):
    """How many vertices are listed when v is."""
    if at[v] >= 0:
        return size
    near[size], at[v] = v, size
    for n in range(pull.shape[1]):
        pull[size, n] = 0.0
    return size + 1


@kernel(fastmath={"contract"})
def _pose_row(rank, turning, i, c, t, triangles, camera, place, spins, record, weighted, pose):
    """pose (C,): how channel c of pixel i goes with the camera's parameters; weighted is that of `_pulled`."""
    for p in range(PARAMETERS):
        pose[p] = 0.0
    for a in range(SCREEN_ROWS if rank > DEPTH_ROW + 1 else DEPTH_ROW + 1):
        n = 4 * (_CHANNELS * a + c)
        add_pose_pull(camera, a, weighted[n], weighted[n + 1], weighted[n + 2], weighted[n + 3], pose)
    if turning and rank > DEPTH_ROW + 1:
        for k in range(3):
            n = LANES * c + rank * k + SCREEN_ROWS
            q0, q1 = np.float64(record[i, n]), np.float64(record[i, n + 1])
            p = place[triangles[t, k]]
            w0 = q0 * spins[p, 0, 0] + q1 * spins[p, 1, 0]
            w1 = q0 * spins[p, 0, 1] + q1 * spins[p, 1, 1]
            w2 = q0 * spins[p, 0, 2] + q1 * spins[p, 1, 2]
            add_turn(camera, w0, w1, w2, pose)


@parallel_kernel(fastmath={"contract"})
def pixel_rows(
    axes,
    turning,
    first,
    mesh,
    posed,
    seen,
    levers,
    spins,
    record,
    shape_basis,
    albedo_basis,
    spin,
    spin_at,
    out,
    begun,
    squares,
):
    """out (3, count, >= P - 18): rows of J for pixels first, first + 1, ... of those listed; zeros beyond.

    Columns are as in chi, but for the light's: a channel has its own nine only. `axes` and `turning` are as in
    `assembly` and `surface.vertex_jacobian`; levers and spins are those of `normal_levers`. What is in `spin` (see
    `Local`) is added to the three columns from `spin_at` on.

    The pixels are shared among the lanes of squares (L, 3, W, W), W being the columns of `out`: each adds up the lower
    triangles of its J_c^T J_c, to what is there where that is `begun`. With W = 0 there are none.
    """
    triangles, ring_size = mesh.triangles, mesh.ring_size
    points, camera, shown = posed.points, posed.camera, seen.shown
    rank = len(axes)
    # Columns that are known not to be negative, so that loops over them are plain ones.
    count, albedo_count = max(shape_basis.shape[2], 0), max(albedo_basis.shape[2], 0)
    pose_at = count + albedo_count
    light_at = pose_at + PARAMETERS
    lanes, multiplied = squares.shape[0], squares.shape[2] > 0
    real = out.dtype.type
    for lane in prange(lanes):
        motion = np.empty((DEPTH_ROW + 1, 3))
        for a in range(DEPTH_ROW + 1):
            motion[a, 0], motion[a, 1], motion[a, 2] = motion_row(camera, a)
        # See `_pulled`.
        near, at = np.empty(3 * ring_size + 1, np.int32), np.full(points.shape[0], -1, np.int32)
        pull, pose = np.empty((3 * ring_size + 1, 3 * _CHANNELS)), np.empty(PARAMETERS)
        weighted = np.empty(4 * _CHANNELS * (DEPTH_ROW + 1))
        letters, sizes, factors = np.empty(2, np.uint8), np.empty(3, np.int32), np.empty(2, out.dtype)
        begin, end = lane * out.shape[1] // lanes, (lane + 1) * out.shape[1] // lanes
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            for row in range(start, stop):
                i = first + row
                t = shown[i]
                size = _pulled(rank, i, t, mesh, points, seen.place, levers, record, motion, near, at, pull, weighted)
                for k in range(count):
                    out[0, row, k] = out[1, row, k] = out[2, row, k] = real(0.0)
                for m in range(0, size, 2):
                    v, w = near[m], near[m + 1]
                    at[v] = at[w] = -1
                    r0, r1, r2 = real(pull[m, 0]), real(pull[m, 1]), real(pull[m, 2])
                    g0, g1, g2 = real(pull[m, 3]), real(pull[m, 4]), real(pull[m, 5])
                    b0, b1, b2 = real(pull[m, 6]), real(pull[m, 7]), real(pull[m, 8])
                    r3, r4, r5 = real(pull[m + 1, 0]), real(pull[m + 1, 1]), real(pull[m + 1, 2])
                    g3, g4, g5 = real(pull[m + 1, 3]), real(pull[m + 1, 4]), real(pull[m + 1, 5])
                    b3, b4, b5 = real(pull[m + 1, 6]), real(pull[m + 1, 7]), real(pull[m + 1, 8])
                    for k in range(count):
                        x, y, z = shape_basis[v, 0, k], shape_basis[v, 1, k], shape_basis[v, 2, k]
                        red = out[0, row, k] + r0 * x + r1 * y + r2 * z
                        green = out[1, row, k] + g0 * x + g1 * y + g2 * z
                        blue = out[2, row, k] + b0 * x + b1 * y + b2 * z
                        x, y, z = shape_basis[w, 0, k], shape_basis[w, 1, k], shape_basis[w, 2, k]
                        out[0, row, k] = red + r3 * x + r4 * y + r5 * z
                        out[1, row, k] = green + g3 * x + g4 * y + g5 * z
                        out[2, row, k] = blue + b3 * x + b4 * y + b5 * z
                v0, v1, v2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                for c in range(_CHANNELS):
                    _pose_row(rank, turning, i, c, t, triangles, camera, seen.place, spins, record, weighted, pose)
                    for p in range(PARAMETERS):
                        out[c, row, pose_at + p] = real(pose[p])
                    h0, h1, h2 = (
                        record[i, LANES * c + SHARES],
                        record[i, LANES * c + SHARES + 1],
                        record[i, LANES * c + SHARES + 2],
                    )
                    for k in range(albedo_count):
                        out[c, row, count + k] = (
                            h0 * albedo_basis[v0, c, k] + h1 * albedo_basis[v1, c, k] + h2 * albedo_basis[v2, c, k]
                        )
                    for k in range(LIGHTS):
                        out[c, row, light_at + k] = record[i, RHO + c] * record[i, HARMONICS + k]
                    for k in range(light_at + LIGHTS, out.shape[2]):
                        out[c, row, k] = real(0.0)
                if spin.shape[0]:
                    for c in range(_CHANNELS):
                        for a in range(3):
                            out[c, row, spin_at + a] += spin[i, c, a]
            if multiplied:
                for c in range(_CHANNELS):
                    fresh = start == begin and not begun
                    add_squares(out, c, start, stop, light_at + LIGHTS, squares, lane, fresh, letters, sizes, factors)


@parallel_kernel
def collect(squares, dense, out):
    """out (P, P) float64 of `pixel_rows`' squares: lanes and channels summed, and the light's columns, from `dense` on,
    put where each channel has its own."""
    for i in prange(out.shape[0]):
        if i < dense:
            for j in range(i + 1):
                out[i, j] = 0.0
            for lane in range(squares.shape[0]):
                for j in range(i + 1):
                    total = np.float64(squares[lane, 0, i, j]) + np.float64(squares[lane, 1, i, j])
                    out[i, j] += total + np.float64(squares[lane, 2, i, j])
        else:
            c, k = (i - dense) // LIGHTS, dense + (i - dense) % LIGHTS
            own = dense + LIGHTS * c
            for j in range(i + 1):
                out[i, j] = 0.0
            for lane in range(squares.shape[0]):
                for j in range(dense):
                    out[i, j] += np.float64(squares[lane, c, k, j])
                for j in range(k - dense + 1):
                    out[i, own + j] += np.float64(squares[lane, c, k, dense + j])
        for j in range(i):
            out[j, i] = out[i, j]
