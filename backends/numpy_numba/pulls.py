# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: g = J^T r from the pulls of pixels, at vertices, then at coefficients.

These are transposed derivatives, and gathered: each sum runs over what is around one vertex, in the order of the mesh,
so that it needs no other thread.
"""

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
    turn_back,
)
from faceinv.backends.numpy_numba.kernel import parallel_kernel
from faceinv.backends.numpy_numba.record import PULL_ALBEDO, PULL_NORMAL, PULL_SCREEN

__all__ = ["coefficient_pulls", "point_pulls", "vertex_pulls"]


@parallel_kernel(fastmath={"contract"})
def vertex_pulls(flat, turning, mesh, shape, posed, seen, pulls, points_out, turns_out, albedo_out, pose_out):
    """What pixels pull at (see `shading.pixel_pulls`), gathered at the vertices that are seen.

    Adds to points_out (N, 3), by a vertex's place, and sets turns_out (N, 3), by the sum of its triangles' normals,
    both in the model's frame, per mm; albedo_out (V, 3); and pose_out (blocks, C), by the camera's parameters, to be
    summed over blocks of vertices. `turning` is as in `surface.vertex_jacobian`.
    """
    triangles, corner_start, corners = mesh.triangles, mesh.corner_start, mesh.corners
    points, camera = posed.points, posed.camera
    used, begin, end = seen.vertices, seen.start, seen.stop
    blocks = pose_out.shape[0]
    for block in prange(blocks):
        pose = np.zeros(PARAMETERS)
        for i in range(block * used.shape[0] // blocks, (block + 1) * used.shape[0] // blocks):
            v = used[i]
            f0 = f1 = f2 = f3 = 0.0
            e0 = e1 = e2 = 0.0
            a0 = a1 = a2 = 0.0
            for q in range(corner_start[v], corner_start[v + 1]):
                t, k = corners[q] // 3, corners[q] % 3
                g0 = g1 = g2 = 0.0
                for p in range(begin[t], end[t]):
                    b = pulls[p, k]
                    f0 += b * pulls[p, PULL_SCREEN]
                    f1 += b * pulls[p, PULL_SCREEN + 1]
                    f2 += b * pulls[p, PULL_SCREEN + 2]
                    a0 += b * pulls[p, PULL_ALBEDO]
                    a1 += b * pulls[p, PULL_ALBEDO + 1]
                    a2 += b * pulls[p, PULL_ALBEDO + 2]
                    if flat:
                        b = 1.0
                    g0 += b * pulls[p, PULL_NORMAL]
                    g1 += b * pulls[p, PULL_NORMAL + 1]
                    g2 += b * pulls[p, PULL_NORMAL + 2]
                if flat:
                    # d(unnormalised normal) = sum_k du_k x o_k, with o_k the edge opposite corner k.
                    ia, ib = triangles[t, (k + 1) % 3], triangles[t, (k + 2) % 3]
                    o0, o1, o2 = (
                        points[ia, 0] - points[ib, 0],
                        points[ia, 1] - points[ib, 1],
                        points[ia, 2] - points[ib, 2],
                    )
                    f0 += o1 * g2 - o2 * g1
                    f1 += o2 * g0 - o0 * g2
                    f3 += o0 * g1 - o1 * g0
                else:
                    e0, e1, e2 = e0 + g0, e1 + g1, e2 + g2
            albedo_out[i, 0], albedo_out[i, 1], albedo_out[i, 2] = a0, a1, a2
            force = (f0, f1, f2, f3)
            for a in range(DEPTH_ROW + 1 if flat else SCREEN_ROWS):
                f = force[a]
                m0, m1, m2 = motion_row(camera, a)
                points_out[v, 0] += f * m0
                points_out[v, 1] += f * m1
                points_out[v, 2] += f * m2
                add_pose_pull(camera, a, f * points[v, 0], f * points[v, 1], f * points[v, 2], f, pose)
            if flat:
                continue
            e0, e1, e2 = turn_back(camera, e0, e1, e2)
            n0, n1, n2 = shape.normals[v, 0], shape.normals[v, 1], shape.normals[v, 2]
            along = e0 * n0 + e1 * n1 + e2 * n2
            e0, e1, e2 = e0 - along * n0, e1 - along * n1, e2 - along * n2
            if turning:
                add_turn(camera, n1 * e2 - n2 * e1, n2 * e0 - n0 * e2, n0 * e1 - n1 * e0, pose)
            shorter = shape.inverse_length[v]
            turns_out[v, 0], turns_out[v, 1], turns_out[v, 2] = shorter * e0, shorter * e1, shorter * e2
        for p in range(PARAMETERS):
            pose_out[block, p] = pose[p]


@parallel_kernel(fastmath={"contract"})
def point_pulls(mesh, vertices, place, turns, points_out):
    """Adds to points_out (N, 3) what the normals of vertices, with turns (N, 3), pull at the places of those around
    them.

    A triangle's normal turns by `sum_k dV_k x (V_k+1 - V_k+2)` over its corners, and each corner's vertex has it in its
    sum; where all three are not seen (place -1) there is nothing.
    """
    triangles, corner_start, corners = mesh.triangles, mesh.corner_start, mesh.corners
    for v in prange(vertices.shape[0]):
        f0 = f1 = f2 = 0.0
        for q in range(corner_start[v], corner_start[v + 1]):
            t, k = corners[q] // 3, corners[q] % 3
            j, o = triangles[t, (k + 1) % 3], triangles[t, (k + 2) % 3]
            if place[v] < 0 and place[j] < 0 and place[o] < 0:
                continue
            w0 = turns[v, 0] + turns[j, 0] + turns[o, 0]
            w1 = turns[v, 1] + turns[j, 1] + turns[o, 1]
            w2 = turns[v, 2] + turns[j, 2] + turns[o, 2]
            c0, c1, c2 = (
                vertices[j, 0] - vertices[o, 0],
                vertices[j, 1] - vertices[o, 1],
                vertices[j, 2] - vertices[o, 2],
            )
            f0 += c1 * w2 - c2 * w1
            f1 += c2 * w0 - c0 * w2
            f2 += c0 * w1 - c1 * w0
        points_out[v, 0] += f0
        points_out[v, 1] += f1
        points_out[v, 2] += f2


@parallel_kernel(fastmath={"contract"})
def coefficient_pulls(basis, chosen, pulls, out):
    """out (blocks, K) float64, to be summed over blocks: basis (N, 3, K) transposed times pulls (M, 3) at the vertices
    chosen[i] (M,)."""
    size = (chosen.shape[0] + out.shape[0] - 1) // out.shape[0]
    for block in prange(out.shape[0]):
        for k in range(out.shape[1]):
            out[block, k] = 0.0
        for i in range(block * size, min((block + 1) * size, chosen.shape[0])):
            v = chosen[i]
            f0, f1, f2 = pulls[i, 0], pulls[i, 1], pulls[i, 2]
            for k in range(out.shape[1]):
                out[block, k] += f0 * basis[v, 0, k] + f1 * basis[v, 1, k] + f2 * basis[v, 2, k]
