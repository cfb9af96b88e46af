# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: what BLAS multiplies for J^T J by vertices, and the light's part of it.

Columns are ordered [shape | pose | albedo | light] here. `motion` is U of `surface.vertex_jacobian`, `record` is that
of `shading.local_rows`; `axes` is `(0, 1, 2, 3)` or `(0, 1, 2, 3, 4)`: its length R is known when a kernel is compiled,
which unrolls the loops over it.

A row of J over shape and pose is `sum_k q_k . U_k` over a triangle's corners, so H = U^T (C^T C) U, where
`C^T C` has one R x R block for each pair of vertices in a triangle. It is L + L^T, L being what is left of its diagonal
with half of that, so H = Z + Z^T with Z = U^T (L U): the kernel makes Y = L U, from half of the pairs; U^T Y is left.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import parallel_kernel
from faceinv.backends.numpy_numba.record import HARMONICS, LANES, LIGHT_LANES, LIGHTS, RHO, SHARES

__all__ = ["light_products", "vertex_rows"]

_BLOCK = 8
_MOST = 5  # of R
_LOCAL = _MOST + 1  # local columns of a vertex: R of geometry, and albedo
_WITH_ALBEDO = _MOST * _MOST
_ALBEDO = _WITH_ALBEDO + 3 * _MOST
_PAIR = _ALBEDO + 3


@parallel_kernel(fastmath={"contract"})
def vertex_rows(axes, first, mesh, seen, record, motion, albedo_basis, shape_pose, out, out_albedo):
    """Rows of Y for vertices used[first], used[first + 1], ...

    out (count, R, >= K + C + Ka + 27): L U over the columns of shape and pose, and the whole of C^T C by the columns of
    albedo and light; out_albedo (count, 3, >= Ka + 27), for the three albedo rows of a vertex, over those of albedo and
    light.
    """
    triangles, corner_start, corners, ring_size = mesh.triangles, mesh.corner_start, mesh.corners, mesh.ring_size
    ring_start, ring, ring_slot = mesh.ring_start, mesh.ring, mesh.ring_slot
    used, place, start, stop = seen.vertices, seen.place, seen.start, seen.stop
    rank = len(axes)
    albedo_count = albedo_basis.shape[2]
    light_at = shape_pose + albedo_count
    real = out.dtype.type
    for block in prange((out.shape[0] + _BLOCK - 1) // _BLOCK):
        # For each of the ring: R x R geometry, R x 3 with albedo, 3 of albedo.
        pairs = np.empty((ring_size, _PAIR), real)
        # Rows of channel c: the vertex's local columns (the last is albedo) times the record, summed over a triangle's
        # pixels; and times light, summed over all of the vertex's triangles.
        sums = np.empty((3 * _LOCAL, LANES), real)
        lights = np.empty((3 * _LOCAL, LIGHT_LANES), real)
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, out.shape[0])):
            v = used[first + i]
            size = ring_start[v + 1] - ring_start[v]
            for s in range(size):
                for n in range(_PAIR):
                    pairs[s, n] = real(0.0)
            for n in range(3 * _LOCAL):
                for lane in range(LIGHT_LANES):
                    lights[n, lane] = real(0.0)
            for corner in range(corner_start[v], corner_start[v + 1]):
                t, k = corners[corner] // 3, corners[corner] % 3
                if start[t] == stop[t]:
                    continue
                for n in range(3 * _LOCAL):
                    for lane in range(LANES):
                        sums[n, lane] = real(0.0)
                for p in range(start[t], stop[t]):
                    for c in range(3):
                        at, g, row = LANES * c, record[p, RHO + c], _LOCAL * c
                        f0, f1, f2, f3 = (
                            record[p, at + k * rank],
                            record[p, at + k * rank + 1],
                            record[p, at + k * rank + 2],
                            record[p, at + k * rank + 3],
                        )
                        f4 = record[p, at + k * rank + 4] if rank == _MOST else real(0.0)
                        f5 = record[p, at + SHARES + k]
                        for lane in range(LANES):
                            r = record[p, at + lane]
                            sums[row, lane] += f0 * r
                            sums[row + 1, lane] += f1 * r
                            sums[row + 2, lane] += f2 * r
                            sums[row + 3, lane] += f3 * r
                            sums[row + 4, lane] += f4 * r
                            sums[row + 5, lane] += f5 * r
                        for lane in range(LIGHT_LANES):
                            y = g * record[p, HARMONICS + lane]
                            lights[row, lane] += f0 * y
                            lights[row + 1, lane] += f1 * y
                            lights[row + 2, lane] += f2 * y
                            lights[row + 3, lane] += f3 * y
                            lights[row + 4, lane] += f4 * y
                            lights[row + 5, lane] += f5 * y
                for o in range(3):
                    s = ring_slot[t, k, o]
                    share = real(1.0) if o != k else real(0.5)
                    if place[triangles[t, o]] <= first + i:
                        for a in range(rank):
                            for b in range(rank):
                                j = o * rank + b
                                total = sums[a, j] + sums[_LOCAL + a, j] + sums[2 * _LOCAL + a, j]
                                pairs[s, _MOST * a + b] += share * total
                    for a in range(rank):
                        for c in range(3):
                            pairs[s, _WITH_ALBEDO + 3 * a + c] += sums[_LOCAL * c + a, SHARES + o]
                    for c in range(3):
                        pairs[s, _ALBEDO + c] += sums[_LOCAL * c + _MOST, SHARES + o]

            for a in range(rank):
                for k in range(light_at):
                    out[i, a, k] = real(0.0)
                for c in range(3):
                    for k in range(LIGHTS):
                        out[i, a, light_at + LIGHTS * c + k] = lights[_LOCAL * c + a, k]
                for k in range(light_at + 27, out.shape[2]):
                    out[i, a, k] = real(0.0)
            for c in range(3):
                for k in range(out_albedo.shape[2]):
                    out_albedo[i, c, k] = real(0.0)
                for k in range(LIGHTS):
                    out_albedo[i, c, albedo_count + LIGHTS * c + k] = lights[_LOCAL * c + _MOST, k]
            for s in range(size):
                j = ring[ring_start[v] + s]
                p = place[j]
                if p < 0:
                    continue
                if p <= first + i:
                    for a in range(rank):
                        # Factors in registers: the loop over k then is a few vector instructions.
                        n = _MOST * a
                        h0, h1, h2, h3 = pairs[s, n], pairs[s, n + 1], pairs[s, n + 2], pairs[s, n + 3]
                        if rank == _MOST:
                            h4 = pairs[s, n + 4]
                            for k in range(shape_pose):
                                total = out[i, a, k] + h0 * motion[p, 0, k] + h1 * motion[p, 1, k]
                                total += h2 * motion[p, 2, k] + h3 * motion[p, 3, k] + h4 * motion[p, 4, k]
                                out[i, a, k] = total
                        else:
                            for k in range(shape_pose):
                                total = out[i, a, k] + h0 * motion[p, 0, k] + h1 * motion[p, 1, k]
                                out[i, a, k] = total + h2 * motion[p, 2, k] + h3 * motion[p, 3, k]
                for k in range(albedo_count):
                    b0, b1, b2 = albedo_basis[j, 0, k], albedo_basis[j, 1, k], albedo_basis[j, 2, k]
                    for a in range(rank):
                        n = _WITH_ALBEDO + 3 * a
                        h0, h1, h2 = pairs[s, n], pairs[s, n + 1], pairs[s, n + 2]
                        out[i, a, shape_pose + k] += h0 * b0 + h1 * b1 + h2 * b2
                    out_albedo[i, 0, k] += pairs[s, _ALBEDO] * b0
                    out_albedo[i, 1, k] += pairs[s, _ALBEDO + 1] * b1
                    out_albedo[i, 2, k] += pairs[s, _ALBEDO + 2] * b2


@parallel_kernel(fastmath={"contract"})
def light_products(record, out):
    """out (blocks, 3, 9, 16), to be summed over blocks of pixels: light columns by light columns."""
    real = record.dtype.type
    size = (record.shape[0] + out.shape[0] - 1) // out.shape[0]
    for block in prange(out.shape[0]):
        # Rows a known distance apart, so that the loop over lanes vectorises.
        sums = np.empty((LIGHTS, LIGHT_LANES), real)
        for c in range(3):
            for n in range(LIGHTS):
                for lane in range(LIGHT_LANES):
                    sums[n, lane] = real(0.0)
            for p in range(block * size, min((block + 1) * size, record.shape[0])):
                g = record[p, RHO + c]
                y0, y1, y2 = g * record[p, HARMONICS], g * record[p, HARMONICS + 1], g * record[p, HARMONICS + 2]
                y3, y4, y5 = g * record[p, HARMONICS + 3], g * record[p, HARMONICS + 4], g * record[p, HARMONICS + 5]
                y6, y7, y8 = g * record[p, HARMONICS + 6], g * record[p, HARMONICS + 7], g * record[p, HARMONICS + 8]
                for lane in range(LIGHT_LANES):
                    y = g * record[p, HARMONICS + lane]
                    sums[0, lane] += y0 * y
                    sums[1, lane] += y1 * y
                    sums[2, lane] += y2 * y
                    sums[3, lane] += y3 * y
                    sums[4, lane] += y4 * y
                    sums[5, lane] += y5 * y
                    sums[6, lane] += y6 * y
                    sums[7, lane] += y7 * y
                    sums[8, lane] += y8 * y
            for n in range(LIGHTS):
                for lane in range(LIGHT_LANES):
                    out[block, c, n, lane] = sums[n, lane]
