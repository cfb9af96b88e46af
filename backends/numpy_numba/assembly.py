"""Kernels: dense rows of J in blocks, and J^T J by vertices without any rows.

By vertices: every row of J over the shape columns is `sum_k b_k [p; q] . U_k`, where `U_v = [B_v; D_v]` (6, K) stacks a
vertex's basis and the derivative of its normal. So `H = U^T (C^T C) U`, and `C^T C` has one 6x6 block for each pair of
vertices in a triangle. Vertices are worked on in chunks: blocks of `C^T C` for the chunk's rings are summed from the
pixels, multiplied by U, and folded into a group's H while they are in the cache. Chunks and groups depend on the
data only, so sums come out the same whatever the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

__all__ = ["CHUNK", "GROUPS", "chunk_triangles", "dense_rows", "normal_equations", "used_vertices"]

CHUNK = 64
GROUPS = 16
_POSE = 6
_LIGHT = 27


@njit(cache=True)
def used_vertices(pixels, order, triangle_image, triangles, vertex_count):
    """Triangles with photometric pixels, where their pixels start in `order`, their vertices, and vertex -> place."""
    width = triangle_image.shape[1]
    seen = np.empty(pixels.shape[0], np.int32)
    start = np.empty(pixels.shape[0] + 1, np.int32)
    count = 0
    last = -1
    for i in range(order.shape[0]):
        p = pixels[order[i]]
        t = triangle_image[p // width, p % width]
        if t != last:
            seen[count], start[count] = t, i
            count, last = count + 1, t
    start[count] = order.shape[0]
    place = np.full(vertex_count, -1, np.int32)
    for i in range(count):
        for k in range(3):
            place[triangles[seen[i], k]] = 0
    used = np.empty(vertex_count, np.int32)
    found = 0
    for v in range(vertex_count):
        if place[v] == 0:
            place[v] = found
            used[found] = v
            found += 1
    return seen[:count].copy(), start[: count + 1].copy(), used[:found].copy(), place


@njit(cache=True)
def chunk_triangles(seen, triangles, place, chunk_count):
    """For each chunk of used vertices, the entries of `seen` that touch it, ascending (compressed rows)."""
    starts = np.zeros(chunk_count + 1, np.int32)
    for fill in range(2):
        if fill:
            for c in range(chunk_count):
                starts[c + 1] += starts[c]
            entries = np.empty(starts[chunk_count], np.int32)
            cursor = starts.copy()
        for i in range(seen.shape[0]):
            a = place[triangles[seen[i], 0]] // CHUNK
            b = place[triangles[seen[i], 1]] // CHUNK
            c = place[triangles[seen[i], 2]] // CHUNK
            if fill:
                entries[cursor[a]] = i
                cursor[a] += 1
                if b != a:
                    entries[cursor[b]] = i
                    cursor[b] += 1
                if c != a and c != b:
                    entries[cursor[c]] = i
                    cursor[c] += 1
            else:
                starts[a + 1] += 1
                if b != a:
                    starts[b + 1] += 1
                if c != a and c != b:
                    starts[c + 1] += 1
    return starts, entries


@njit(parallel=True, cache=True, fastmath={"contract"})
def dense_rows(flat, first, pixels, triangle_image, triangles, place, bary, geometry, shade, light, pose, shape_basis,
               normal_basis, albedo_basis, out):
    """Rows of J (3 * count, P) for pixels first, first + 1, ... as many as `out` holds; three rows (R, G, B) a pixel."""
    width = triangle_image.shape[1]
    shape_count, albedo_count = shape_basis.shape[2], albedo_basis.shape[2]
    real = out.dtype.type
    for r in prange(out.shape[0] // 3):
        i = first + r
        t = triangle_image[pixels[i] // width, pixels[i] % width]
        for c in range(3):
            for k in range(out.shape[1]):
                out[3 * r + c, k] = real(0.0)
        row0, row1, row2 = out[3 * r], out[3 * r + 1], out[3 * r + 2]
        for corner in range(3):
            v = triangles[t, corner]
            b = bary[i, corner]
            for a in range(3):
                if flat:
                    g0, g1, g2 = (
                        geometry[i, 0, 3 * corner + a],
                        geometry[i, 1, 3 * corner + a],
                        geometry[i, 2, 3 * corner + a],
                    )
                    for k in range(shape_count):
                        u = shape_basis[v, a, k]
                        row0[k] += g0 * u
                        row1[k] += g1 * u
                        row2[k] += g2 * u
                else:
                    s = place[v]
                    g0, g1, g2 = b * geometry[i, 0, a], b * geometry[i, 1, a], b * geometry[i, 2, a]
                    n0, n1, n2 = b * geometry[i, 0, 3 + a], b * geometry[i, 1, 3 + a], b * geometry[i, 2, 3 + a]
                    for k in range(shape_count):
                        u, d = shape_basis[v, a, k], normal_basis[s, a, k]
                        row0[k] += g0 * u + n0 * d
                        row1[k] += g1 * u + n1 * d
                        row2[k] += g2 * u + n2 * d
            h0, h1, h2 = b * shade[i, 0], b * shade[i, 1], b * shade[i, 2]
            for k in range(albedo_count):
                row0[shape_count + k] += h0 * albedo_basis[v, 0, k]
                row1[shape_count + k] += h1 * albedo_basis[v, 1, k]
                row2[shape_count + k] += h2 * albedo_basis[v, 2, k]
        start = shape_count + albedo_count
        for c in range(3):
            for k in range(_POSE):
                out[3 * r + c, start + k] = pose[i, c, k]
            for k in range(9):
                out[3 * r + c, start + _POSE + 9 * c + k] = light[i, c, k]


@njit(parallel=True, cache=True, fastmath={"contract"})
def normal_equations(seen, start, order, used, place, chunk_start, chunk_entries, triangles, ring_start, ring,
                     ring_slot, bary, geometry, shade, light, pose, residual, shape_basis, normal_basis, albedo_basis,
                     hessian, gradient):
    """Sum H (GROUPS, P, P) (upper triangle) and g (GROUPS, P) float64 by vertices, for interpolated normals.

    `seen` and `start` list triangles and their pixels (`order[start[i]:start[i + 1]]`, indices into the pixel arrays);
    `hessian` is zeroed here.
    """
    shape_count, albedo_count = shape_basis.shape[2], albedo_basis.shape[2]
    dense = shape_count + albedo_count  # where pose and lighting columns start
    count = dense + _POSE + _LIGHT
    real = bary.dtype.type
    chunk_count = chunk_start.shape[0] - 1
    for group in prange(GROUPS):
        h, g = hessian[group], gradient[group]
        for a in range(count):
            g[a] = 0.0
            for k in range(count):
                h[a, k] = real(0.0)
        w = np.empty((6, 6), real)
        wa = np.empty((6, 3), real)
        y = np.empty((9, count), real)
        corner_place = np.empty(3, np.int64)
        # Chunks are dealt out in turn so that groups get equal shares of the visible part.
        for chunk in range(group, chunk_count, GROUPS):
            low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, used.shape[0])
            offset = np.empty(high - low + 1, np.int64)
            offset[0] = 0
            for s in range(low, high):
                offset[s - low + 1] = offset[s - low] + ring_start[used[s] + 1] - ring_start[used[s]]
            total = offset[high - low]
            block = np.zeros((total, 6, 6), real)  # shape by shape
            block_albedo = np.zeros((total, 6, 3), real)  # shape by albedo
            block_both = np.zeros((total, 3), real)  # albedo by albedo, channel by channel
            side = np.zeros((high - low, 9, _POSE + _LIGHT), real)  # by pose and lighting
            force = np.zeros((high - low, 9))  # J^T r in local columns

            for entry in range(chunk_start[chunk], chunk_start[chunk + 1]):
                t = seen[chunk_entries[entry]]
                for k in range(3):
                    corner_place[k] = place[triangles[t, k]]
                owner = low <= corner_place[0] < high
                for pixel in range(start[chunk_entries[entry]], start[chunk_entries[entry] + 1]):
                    i = order[pixel]
                    for a in range(6):
                        for b in range(6):
                            w[a, b] = (geometry[i, 0, a] * geometry[i, 0, b] + geometry[i, 1, a] * geometry[i, 1, b]
                                       + geometry[i, 2, a] * geometry[i, 2, b])
                        for c in range(3):
                            wa[a, c] = geometry[i, c, a] * shade[i, c]
                    for k in range(3):
                        s = corner_place[k]
                        if s < low or s >= high:
                            continue
                        bk = bary[i, k]
                        for l in range(3):
                            at = offset[s - low] + ring_slot[t, k, l]
                            f = bk * bary[i, l]
                            for a in range(6):
                                for b in range(6):
                                    block[at, a, b] += f * w[a, b]
                                for c in range(3):
                                    block_albedo[at, a, c] += f * wa[a, c]
                            for c in range(3):
                                block_both[at, c] += f * shade[i, c] * shade[i, c]
                        for c in range(3):
                            r = residual[i, c] * bk
                            hc = bk * shade[i, c]
                            for a in range(6):
                                ga = bk * geometry[i, c, a]
                                force[s - low, a] += r * geometry[i, c, a]
                                for b in range(_POSE):
                                    side[s - low, a, b] += ga * pose[i, c, b]
                                for b in range(9):
                                    side[s - low, a, _POSE + 9 * c + b] += ga * light[i, c, b]
                            force[s - low, 6 + c] += r * shade[i, c]
                            for b in range(_POSE):
                                side[s - low, 6 + c, b] += hc * pose[i, c, b]
                            for b in range(9):
                                side[s - low, 6 + c, _POSE + 9 * c + b] += hc * light[i, c, b]
                    if owner:
                        for c in range(3):
                            for a in range(_POSE):
                                g[dense + a] += residual[i, c] * pose[i, c, a]
                                for b in range(a, _POSE):
                                    h[dense + a, dense + b] += pose[i, c, a] * pose[i, c, b]
                                for b in range(9):
                                    h[dense + a, dense + _POSE + 9 * c + b] += pose[i, c, a] * light[i, c, b]
                            at = dense + _POSE + 9 * c
                            for a in range(9):
                                g[at + a] += residual[i, c] * light[i, c, a]
                                for b in range(a, 9):
                                    h[at + a, at + b] += light[i, c, a] * light[i, c, b]

            for s in range(low, high):
                v = used[s]
                for a in range(9):
                    for k in range(dense):
                        y[a, k] = real(0.0)
                    for k in range(_POSE + _LIGHT):
                        y[a, dense + k] = side[s - low, a, k]
                for slot in range(ring_start[v + 1] - ring_start[v]):
                    j = ring[ring_start[v] + slot]
                    sj = place[j]
                    if sj < 0:
                        continue
                    at = offset[s - low] + slot
                    for a in range(6):
                        c0, c1, c2 = block[at, a, 0], block[at, a, 1], block[at, a, 2]
                        c3, c4, c5 = block[at, a, 3], block[at, a, 4], block[at, a, 5]
                        for k in range(shape_count):
                            y[a, k] += (c0 * shape_basis[j, 0, k] + c1 * shape_basis[j, 1, k]
                                        + c2 * shape_basis[j, 2, k] + c3 * normal_basis[sj, 0, k]
                                        + c4 * normal_basis[sj, 1, k] + c5 * normal_basis[sj, 2, k])
                        c0, c1, c2 = block_albedo[at, a, 0], block_albedo[at, a, 1], block_albedo[at, a, 2]
                        for k in range(albedo_count):
                            y[a, shape_count + k] += (c0 * albedo_basis[j, 0, k] + c1 * albedo_basis[j, 1, k]
                                                      + c2 * albedo_basis[j, 2, k])
                    for c in range(3):
                        c0 = block_both[at, c]
                        for k in range(albedo_count):
                            y[6 + c, shape_count + k] += c0 * albedo_basis[j, c, k]
                for a in range(shape_count):
                    u0, u1, u2 = shape_basis[v, 0, a], shape_basis[v, 1, a], shape_basis[v, 2, a]
                    u3, u4, u5 = normal_basis[s, 0, a], normal_basis[s, 1, a], normal_basis[s, 2, a]
                    for k in range(a, count):
                        h[a, k] += (u0 * y[0, k] + u1 * y[1, k] + u2 * y[2, k] + u3 * y[3, k] + u4 * y[4, k]
                                    + u5 * y[5, k])
                    g[a] += (np.float64(u0) * force[s - low, 0] + np.float64(u1) * force[s - low, 1]
                             + np.float64(u2) * force[s - low, 2] + np.float64(u3) * force[s - low, 3]
                             + np.float64(u4) * force[s - low, 4] + np.float64(u5) * force[s - low, 5])
                for a in range(albedo_count):
                    u0, u1, u2 = albedo_basis[v, 0, a], albedo_basis[v, 1, a], albedo_basis[v, 2, a]
                    at = shape_count + a
                    for k in range(at, count):
                        h[at, k] += u0 * y[6, k] + u1 * y[7, k] + u2 * y[8, k]
                    g[at] += (np.float64(u0) * force[s - low, 6] + np.float64(u1) * force[s - low, 7]
                              + np.float64(u2) * force[s - low, 8])
