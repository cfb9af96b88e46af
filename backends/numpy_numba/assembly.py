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

__all__ = ["CHUNK", "GROUPS", "chunk_triangles", "dense_rows", "normal_equations", "padded", "used_vertices"]

CHUNK = 64
GROUPS = 16
_POSE = 6
_GLOBAL = 33  # pose and lighting columns
_PAIR = 57  # products of two vertices' columns: geometry 6 x 6, geometry by albedo 6 x 3, albedo 3
_LANES = 16  # rows of H begin and end at multiples of this, so that loops run in whole vectors


def padded(count: int) -> int:
    """P rounded up to whole vectors."""
    return -(-count // _LANES) * _LANES


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
    """Sum H (GROUPS, P, Q) (upper triangle) and g (GROUPS, P) float64 by vertices, for interpolated normals.

    `seen` and `start` list triangles and their pixels (`order[start[i]:start[i + 1]]`, indices into the pixel arrays);
    Q is P rounded up to a multiple of 16; columns past P are scratch.
    """
    shape_count, albedo_count = shape_basis.shape[2], albedo_basis.shape[2]
    dense = shape_count + albedo_count  # where pose and lighting columns start
    count = dense + _GLOBAL
    real = bary.dtype.type
    chunk_count = chunk_start.shape[0] - 1
    for group in prange(GROUPS):
        h, g = hessian[group], gradient[group]
        for a in range(h.shape[0]):
            for k in range(h.shape[1]):
                h[a, k] = real(0.0)
        for a in range(count):
            g[a] = 0.0
        pair = np.empty(_PAIR, real)
        sides = np.zeros(9 * _GLOBAL, real)
        y = np.zeros((9, h.shape[1]), real)
        # Chunks are dealt out in turn so that groups get equal shares of the visible part.
        for chunk in range(group, chunk_count, GROUPS):
            low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, used.shape[0])
            offset = np.empty(high - low + 1, np.int64)
            offset[0] = 0
            for s in range(low, high):
                offset[s - low + 1] = offset[s - low] + ring_start[used[s] + 1] - ring_start[used[s]]
            pairs = np.zeros((offset[high - low], _PAIR), real)  # C^T C between a vertex and its ring
            side = np.zeros((high - low, 9 * _GLOBAL), real)  # between a vertex and pose and lighting
            force = np.zeros((high - low, 9))  # C^T r

            for entry in range(chunk_start[chunk], chunk_start[chunk + 1]):
                t = seen[chunk_entries[entry]]
                owner = low <= place[triangles[t, 0]] < high
                for pixel in range(start[chunk_entries[entry]], start[chunk_entries[entry] + 1]):
                    i = order[pixel]
                    _pixel_products(geometry[i], shade[i], light[i], pose[i], pair, sides)
                    for k in range(3):
                        s = place[triangles[t, k]] - low
                        if s < 0 or s >= high - low:
                            continue
                        for l in range(3):
                            _add(pairs[offset[s] + ring_slot[t, k, l]], bary[i, k] * bary[i, l], pair)
                        _add(side[s], bary[i, k], sides)
                        for c in range(3):
                            r = residual[i, c] * bary[i, k]
                            for a in range(6):
                                force[s, a] += r * geometry[i, c, a]
                            force[s, 6 + c] += r * shade[i, c]
                    if owner:
                        _add_global(residual[i], light[i], pose[i], dense, h, g)

            for s in range(low, high):
                v = used[s]
                for a in range(9):
                    for k in range(dense):
                        y[a, k] = real(0.0)
                    for k in range(_GLOBAL):
                        y[a, dense + k] = side[s - low, a * _GLOBAL + k]
                for slot in range(ring_start[v + 1] - ring_start[v]):
                    j = ring[ring_start[v] + slot]
                    if place[j] >= 0:
                        block = pairs[offset[s - low] + slot]
                        _multiply(block, shape_basis[j], normal_basis[place[j]], albedo_basis[j], shape_count, y)
                _fold(shape_basis[v], normal_basis[s], albedo_basis[v], force[s - low], y, h, g)


@njit(cache=True, fastmath={"contract"})
def _add(target, factor, values):
    for k in range(values.shape[0]):
        target[k] += factor * values[k]


@njit(cache=True, fastmath={"contract"})
def _pixel_products(geometry, shade, light, pose, pair, sides):
    """The products of a pixel's local columns that only the barycentric weights still multiply.

    pair: geometry by geometry (6 x 6), geometry by albedo (6 x 3), albedo by albedo (3, channel by channel);
    sides: geometry and albedo by pose and lighting, (9 x 33).
    """
    for a in range(6):
        g0, g1, g2 = geometry[0, a], geometry[1, a], geometry[2, a]
        for b in range(6):
            pair[6 * a + b] = g0 * geometry[0, b] + g1 * geometry[1, b] + g2 * geometry[2, b]
        pair[36 + 3 * a], pair[37 + 3 * a], pair[38 + 3 * a] = g0 * shade[0], g1 * shade[1], g2 * shade[2]
        for b in range(_POSE):
            sides[_GLOBAL * a + b] = g0 * pose[0, b] + g1 * pose[1, b] + g2 * pose[2, b]
        for c in range(3):
            for b in range(9):
                sides[_GLOBAL * a + _POSE + 9 * c + b] = geometry[c, a] * light[c, b]
    for c in range(3):
        pair[54 + c] = shade[c] * shade[c]
        for b in range(_POSE):
            sides[_GLOBAL * (6 + c) + b] = shade[c] * pose[c, b]
        for b in range(9):
            sides[_GLOBAL * (6 + c) + _POSE + 9 * c + b] = shade[c] * light[c, b]


@njit(cache=True, fastmath={"contract"})
def _add_global(residual, light, pose, dense, h, g):
    """Pose and lighting columns by themselves, and their part of g."""
    for c in range(3):
        at = dense + _POSE + 9 * c
        for a in range(_POSE):
            g[dense + a] += residual[c] * pose[c, a]
            for b in range(_POSE):
                h[dense + a, dense + b] += pose[c, a] * pose[c, b]
            for b in range(9):
                h[dense + a, at + b] += pose[c, a] * light[c, b]
        for a in range(9):
            g[at + a] += residual[c] * light[c, a]
            for b in range(9):
                h[at + a, at + b] += light[c, a] * light[c, b]


@njit(cache=True, fastmath={"contract"})
def _multiply(block, shape_basis, normal_basis, albedo_basis, shape_count, y):
    """y (9, P) += a block of C^T C times the columns of the vertex it belongs to."""
    for a in range(6):
        c0, c1, c2 = block[6 * a], block[6 * a + 1], block[6 * a + 2]
        c3, c4, c5 = block[6 * a + 3], block[6 * a + 4], block[6 * a + 5]
        for k in range(shape_count):
            y[a, k] += (c0 * shape_basis[0, k] + c1 * shape_basis[1, k] + c2 * shape_basis[2, k]
                        + c3 * normal_basis[0, k] + c4 * normal_basis[1, k] + c5 * normal_basis[2, k])
        c0, c1, c2 = block[36 + 3 * a], block[37 + 3 * a], block[38 + 3 * a]
        for k in range(albedo_basis.shape[1]):
            y[a, shape_count + k] += c0 * albedo_basis[0, k] + c1 * albedo_basis[1, k] + c2 * albedo_basis[2, k]
    for c in range(3):
        for k in range(albedo_basis.shape[1]):
            y[6 + c, shape_count + k] += block[54 + c] * albedo_basis[c, k]


@njit(cache=True, fastmath={"contract"})
def _fold(shape_basis, normal_basis, albedo_basis, force, y, h, g):
    """h += U_v^T y for one vertex (upper triangle, begun at a multiple of `_LANES`), g += U_v^T force."""
    shape_count, albedo_count = shape_basis.shape[1], albedo_basis.shape[1]
    for a in range(shape_count):
        u0, u1, u2 = shape_basis[0, a], shape_basis[1, a], shape_basis[2, a]
        u3, u4, u5 = normal_basis[0, a], normal_basis[1, a], normal_basis[2, a]
        first = a - a % _LANES
        for k in range(h.shape[1] - first):
            h[a, first + k] += (u0 * y[0, first + k] + u1 * y[1, first + k] + u2 * y[2, first + k]
                                + u3 * y[3, first + k] + u4 * y[4, first + k] + u5 * y[5, first + k])
        g[a] += (np.float64(u0) * force[0] + np.float64(u1) * force[1] + np.float64(u2) * force[2]
                 + np.float64(u3) * force[3] + np.float64(u4) * force[4] + np.float64(u5) * force[5])
    for a in range(albedo_count):
        u0, u1, u2 = albedo_basis[0, a], albedo_basis[1, a], albedo_basis[2, a]
        at = shape_count + a
        for k in range(h.shape[1] - at):
            h[at, at + k] += u0 * y[6, at + k] + u1 * y[7, at + k] + u2 * y[8, at + k]
        g[at] += np.float64(u0) * force[6] + np.float64(u1) * force[7] + np.float64(u2) * force[8]
