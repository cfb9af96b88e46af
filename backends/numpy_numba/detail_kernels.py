# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels of fine detail: stencils of one item, by the equations of `faceinv.engine.detail`.

Fields are planes (..., H, W) of pixels and (H + 1, W + 1) of corners, zero where neither counts; the mask's rim is
false, so neighbours are read without a look at bounds. Row y of corners counts from `start[y]` to `stop[y]`, exclusive,
at most; pixels that count, and with them all that loops over pixels touch, lie between these too.

Sums run along rows, and the rows' are added from the top down: bits do not depend on the number of threads. Along a
row the compiler may add in lanes (`reassoc`), in one order on one machine.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import prange

from faceinv.backends.numpy_numba.kernel import kernel, parallel_kernel

__all__ = [
    "add_scaled",
    "conjugate_gradients",
    "curvatures",
    "displaced_normals",
    "gradient_and_diagonal",
    "hessian_product",
    "photometric",
    "prolong",
]

_UNSIGNED = np.uintp
_NEXT = np.uintp(1)
"""Indices without a sign: Numba looks whether others are below 0, which keeps loops from being vectorised."""
_FAST = {"reassoc", "contract"}
_inner = partial(kernel, fastmath=_FAST)
_kernel = partial(parallel_kernel, fastmath=_FAST)


@_inner
def _normal(normal, y, x, dx, dy, a, b, one, tiny):
    """The displaced unit normal, and e over the length it had."""
    n0x, n0y, n0z = normal[0, y, x], normal[1, y, x], normal[2, y, x]
    e = n0z - a * n0x - b * n0y
    mx, my, mz = n0x - e * dx, n0y + e * dy, n0z + e * (b * dy - a * dx)
    inverse = one / np.sqrt(max(mx * mx + my * my + mz * mz, tiny))
    return mx * inverse, my * inverse, mz * inverse, e * inverse


@_inner
def _channel(light, c, x, y, z, a, b, one, two, three):
    """Shading of a channel at a unit normal, and its derivatives by the slopes over the last number of `_normal`."""
    l1, l2, l3, l4, l5, l6, l7, l8 = (
        light[1, c],
        light[2, c],
        light[3, c],
        light[4, c],
        light[5, c],
        light[6, c],
        light[7, c],
        light[8, c],
    )
    shade = light[0, c] + l1 * y + l2 * z + l3 * x + l4 * x * y + l5 * y * z + l7 * x * z
    shade += l6 * (three * z * z - one) + l8 * (x * x - y * y)
    sx = l3 + l4 * y + l7 * z + two * l8 * x
    sy = l1 + l4 * x + l5 * z - two * l8 * y
    sz = l2 + l5 * y + l7 * x + two * three * l6 * z
    along = sx * x + sy * y + sz * z
    sx, sy, sz = sx - along * x, sy - along * y, sz - along * z
    return shade, -(sx + a * sz), sy + b * sz


@_inner
def _sparse(squared, strength, soft, heavy, one):
    """A sparse cost of a number by its square, and half its derivative over the number."""
    whole = squared + soft * soft
    if heavy:
        ratio = soft / whole
        return strength * ratio, strength * soft * np.log(one + squared / (soft * soft))
    root = np.sqrt(whole)
    return strength / (root + root), strength * (root - soft)


@_kernel
def photometric(d, target, gain, normal, weight, mask, light, metric, ray, weights, start, stop, system, force, cost):
    """What pixels add, at displacement d.

    Args:
        light: (9, 3) gamma times the constants of the basis.
        ray: (4,) principal point, inverse focal length, one over twice the pixel.
        weights: (5,) huber, slope, steep, slope softness, whether tails are heavy.
        system: (3, H, W) out: A + t I as xx, xy, yy.
        force: (2, H, W) out: `t (d_x, d_y) - b`, of which g is G^T, and what corners add.
        cost: (2, H) out: photometric and slope of each row.
    """
    real = d.dtype.type
    zero, one, two, three, tiny = real(0.0), real(1.0), real(2.0), real(3.0), real(1e-12)
    huber, slope, steep, soft = weights[0], weights[1], weights[2], weights[3]
    heavy = weights[4] > zero
    w00, w01, w02, w11, w12, w22 = metric[0, 0], metric[0, 1], metric[0, 2], metric[1, 1], metric[1, 2], metric[2, 2]
    for row in prange(1, mask.shape[0] - 1):
        y = _UNSIGNED(row)
        south = y + _NEXT
        seen, steps = zero, zero
        b = -(real(row) - ray[1]) * ray[2]
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            east = x + _NEXT
            on = mask[y, x]
            dx = (d[y, east] + d[south, east] - d[y, x] - d[south, x]) * ray[3]
            dy = (d[south, x] + d[south, east] - d[y, x] - d[y, east]) * ray[3]
            a = (real(column) - ray[0]) * ray[2]
            nx, ny, nz, turned = _normal(normal, y, x, dx, dy, a, b, one, tiny)
            s0, x0, y0 = _channel(light, 0, nx, ny, nz, a, b, one, two, three)
            s1, x1, y1 = _channel(light, 1, nx, ny, nz, a, b, one, two, three)
            s2, x2, y2 = _channel(light, 2, nx, ny, nz, a, b, one, two, three)
            g0, g1, g2 = gain[0, y, x], gain[1, y, x], gain[2, y, x]
            r0, r1, r2 = target[0, y, x] - g0 * s0, target[1, y, x] - g1 * s1, target[2, y, x] - g2 * s2
            g0, g1, g2 = g0 * turned, g1 * turned, g2 * turned
            x0, x1, x2, y0, y1, y2 = g0 * x0, g1 * x1, g2 * x2, g0 * y0, g1 * y1, g2 * y2
            q0, q1, q2 = w00 * r0 + w01 * r1 + w02 * r2, w01 * r0 + w11 * r1 + w12 * r2, w02 * r0 + w12 * r1 + w22 * r2
            k0, k1, k2 = w00 * x0 + w01 * x1 + w02 * x2, w01 * x0 + w11 * x1 + w12 * x2, w02 * x0 + w12 * x1 + w22 * x2
            p0, p1, p2 = w00 * y0 + w01 * y1 + w02 * y2, w01 * y0 + w11 * y1 + w12 * y2, w02 * y0 + w12 * y1 + w22 * y2
            counts = weight[y, x] * on
            size = np.sqrt(max(r0 * q0 + r1 * q1 + r2 * q2, tiny * tiny))
            near = min(size, huber)
            seen += counts * near * (two * size - near)
            counts *= near / size
            squared = dx * dx + dy * dy
            stiff, value = _sparse(squared, slope, soft, heavy, one)
            turn = on * (stiff + two * steep * squared)
            steps += on * (value + steep * squared * squared)
            system[0, y, x] = counts * (k0 * x0 + k1 * x1 + k2 * x2) + turn
            system[1, y, x] = counts * (k0 * y0 + k1 * y1 + k2 * y2)
            system[2, y, x] = counts * (p0 * y0 + p1 * y1 + p2 * y2) + turn
            force[0, y, x] = turn * dx - counts * (x0 * q0 + x1 * q1 + x2 * q2)
            force[1, y, x] = turn * dy - counts * (y0 * q0 + y1 * q1 + y2 * q2)
        cost[0, row] = seen
        cost[1, row] = steps


@_kernel
def curvatures(d, count, on, weights, start, stop, curve, bent, cost):
    """What corners add, at displacement d.

    Args:
        count: (H + 1, W + 1) how many neighbours of each corner count.
        weights: (5,) size, curvature, curvature softness, one over the squared pixel, whether tails are heavy.
        curve: (H + 1, W + 1) out: l.
        bent: (H + 1, W + 1) out: l times the Laplacian of d.
        cost: (2, H + 1) out: size and curvature of each row.
    """
    real = d.dtype.type
    zero, one = real(0.0), real(1.0)
    size, strength, soft, per_area = weights[0], weights[1], weights[2], weights[3]
    heavy = weights[4] > zero
    for row in prange(1, d.shape[0] - 1):
        y = _UNSIGNED(row)
        north, south = y - _NEXT, y + _NEXT
        sizes, bends = zero, zero
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            west, east = x - _NEXT, x + _NEXT
            c = d[y, x]
            bend = (d[north, x] + d[south, x] + d[y, west] + d[y, east] - count[y, x] * c) * per_area
            stiff, value = _sparse(bend * bend, strength, soft, heavy, one)
            stiff *= on[y, x]
            curve[y, x] = stiff
            bent[y, x] = stiff * bend
            sizes += c * c
            bends += on[y, x] * value
        cost[0, row] = sizes * size
        cost[1, row] = bends


@_kernel
def gradient_and_diagonal(
    d, system, force, curve, bent, count, on, weights, ray, start, stop, gradient, inverse_diagonal
):
    """g and one over H's diagonal, (H + 1, W + 1) out; zeros where corners do not count."""
    real = d.dtype.type
    one, two = real(1.0), real(2.0)
    size, per_area, half = weights[0], weights[3], ray[3]
    quarter = half * half
    for row in prange(1, d.shape[0] - 1):
        y = _UNSIGNED(row)
        north, south = y - _NEXT, y + _NEXT
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            west, east = x - _NEXT, x + _NEXT
            around = bent[north, x] + bent[south, x] + bent[y, west] + bent[y, east] - count[y, x] * bent[y, x]
            upper = force[1, north, west] + force[1, north, x]
            lower = force[1, y, west] + force[1, y, x]
            left = force[0, north, west] + force[0, y, west]
            right = force[0, north, x] + force[0, y, x]
            gradient[y, x] = on[y, x] * (around * per_area + size * d[y, x] + half * (left - right + upper - lower))
            stiff = curve[north, x] + curve[south, x] + curve[y, west] + curve[y, east]
            stiff += count[y, x] * count[y, x] * curve[y, x]
            turns = system[0, north, west] + system[0, north, x] + system[0, y, west] + system[0, y, x]
            turns += system[2, north, west] + system[2, north, x] + system[2, y, west] + system[2, y, x]
            turns += two * (system[1, north, west] - system[1, north, x] - system[1, y, west] + system[1, y, x])
            diagonal = size + per_area * per_area * stiff + quarter * turns
            inverse_diagonal[y, x] = on[y, x] / (diagonal + (one - on[y, x]))


@_kernel
def _strains(p, system, curve, count, weights, ray, start, stop, bent, sums, differences):
    """Of a vector p: l times its Laplacian, and the sum and difference of (A + t I) times its slopes."""
    per_area, half = weights[3], ray[3]
    for row in prange(1, p.shape[0] - 1):
        y = _UNSIGNED(row)
        north, south = y - _NEXT, y + _NEXT
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            west, east = x - _NEXT, x + _NEXT
            c, right, below, across = p[y, x], p[y, east], p[south, x], p[south, east]
            bent[y, x] = curve[y, x] * per_area * (p[north, x] + below + p[y, west] + right - count[y, x] * c)
            dx, dy = (right + across - c - below) * half, (below + across - c - right) * half
            ux, uy = system[0, y, x] * dx + system[1, y, x] * dy, system[1, y, x] * dx + system[2, y, x] * dy
            sums[y, x] = ux + uy
            differences[y, x] = ux - uy


@_kernel
def _stresses(p, bent, sums, differences, count, on, weights, ray, start, stop, out, dots):
    """H p from what `_strains` gives, and the dot product of each row with p."""
    size, per_area, half = weights[0], weights[3], ray[3]
    zero = p.dtype.type(0.0)
    for row in prange(1, p.shape[0] - 1):
        y = _UNSIGNED(row)
        north, south = y - _NEXT, y + _NEXT
        dot = zero
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            west, east = x - _NEXT, x + _NEXT
            around = bent[north, x] + bent[south, x] + bent[y, west] + bent[y, east] - count[y, x] * bent[y, x]
            turned = sums[north, west] - sums[y, x] + differences[y, west] - differences[north, x]
            value = on[y, x] * (per_area * around + size * p[y, x] + half * turned)
            out[y, x] = value
            dot += value * p[y, x]
        dots[row] = dot


@_kernel
def hessian_product(p, system, curve, count, on, weights, ray, start, stop, out):
    """H p; out starts as zeros."""
    bent, sums, differences = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    dots = np.zeros(p.shape[0], p.dtype)
    _strains(p, system, curve, count, weights, ray, start, stop, bent, sums, differences)
    _stresses(p, bent, sums, differences, count, on, weights, ray, start, stop, out, dots)


@_kernel
def _first(gradient, inverse_diagonal, start, stop, r, p, dots):
    zero = gradient.dtype.type(0.0)
    for row in prange(1, r.shape[0] - 1):
        y = _UNSIGNED(row)
        dot = zero
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            value = -gradient[y, x]
            r[y, x] = value
            p[y, x] = value * inverse_diagonal[y, x]
            dot += value * value * inverse_diagonal[y, x]
        dots[row] = dot


@_kernel
def _advance(length, p, product, inverse_diagonal, start, stop, step, r, dots):
    zero = p.dtype.type(0.0)
    for row in prange(1, p.shape[0] - 1):
        y = _UNSIGNED(row)
        dot = zero
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            step[y, x] += length * p[y, x]
            value = r[y, x] - length * product[y, x]
            r[y, x] = value
            dot += value * value * inverse_diagonal[y, x]
        dots[row] = dot


@_kernel
def _turn(share, r, inverse_diagonal, start, stop, p):
    for row in prange(1, p.shape[0] - 1):
        y = _UNSIGNED(row)
        for column in range(start[row], stop[row]):
            x = _UNSIGNED(column)
            p[y, x] = r[y, x] * inverse_diagonal[y, x] + share * p[y, x]


@kernel
def _total(rows):
    total = 0.0
    for y in range(rows.shape[0]):
        total += rows[y]
    return total


@kernel
def conjugate_gradients(
    gradient, inverse_diagonal, system, curve, count, on, weights, ray, start, stop, tolerance, limit, step
):
    """Add to `step` what solves `H step = -g`, see `AbstractDetailSolver.solve`; the number of steps taken."""
    real = gradient.dtype.type
    r, p, product = np.zeros_like(gradient), np.zeros_like(gradient), np.zeros_like(gradient)
    bent, sums, differences = np.zeros_like(gradient), np.zeros_like(gradient), np.zeros_like(gradient)
    dots = np.zeros(gradient.shape[0], gradient.dtype)
    _first(gradient, inverse_diagonal, start, stop, r, p, dots)
    size = _total(dots)
    small = tolerance * tolerance * size
    taken = 0
    while taken < limit and size > small:
        _strains(p, system, curve, count, weights, ray, start, stop, bent, sums, differences)
        _stresses(p, bent, sums, differences, count, on, weights, ray, start, stop, product, dots)
        _advance(real(size / _total(dots)), p, product, inverse_diagonal, start, stop, step, r, dots)
        left = _total(dots)
        _turn(real(left / size), r, inverse_diagonal, start, stop, p)
        size = left
        taken += 1
    return taken


@_kernel
def add_scaled(d, step, length, out):
    """out: `d + length step`."""
    scale = d.dtype.type(length)
    for row in prange(d.shape[0]):
        y = _UNSIGNED(row)
        for column in range(d.shape[1]):
            x = _UNSIGNED(column)
            out[y, x] = d[y, x] + scale * step[y, x]


@_kernel
def prolong(coarse, on, out):
    """See `AbstractDetailSolver.prolong`."""
    half = coarse.dtype.type(0.5)
    rows, columns = coarse.shape[0] - 1, coarse.shape[1] - 1
    for y in prange(out.shape[0]):
        above, below = min(y // 2, rows), min((y + 1) // 2, rows)
        for x in range(out.shape[1]):
            left, right = min(x // 2, columns), min((x + 1) // 2, columns)
            upper = half * (coarse[above, left] + coarse[above, right])
            lower = half * (coarse[below, left] + coarse[below, right])
            out[y, x] = on[y, x] * half * (upper + lower)


@_kernel
def displaced_normals(d, normal, mask, ray, out):
    """out (H, W, 3): see `AbstractDetailSolver.normals`."""
    real = d.dtype.type
    one, tiny = real(1.0), real(1e-12)
    for row in prange(mask.shape[0]):
        y = _UNSIGNED(row)
        south = y + _NEXT
        b = -(real(row) - ray[1]) * ray[2]
        for column in range(mask.shape[1]):
            x = _UNSIGNED(column)
            east = x + _NEXT
            nx, ny, nz = normal[0, y, x], normal[1, y, x], normal[2, y, x]
            if mask[y, x] > 0:
                dx = (d[y, east] + d[south, east] - d[y, x] - d[south, x]) * ray[3]
                dy = (d[south, x] + d[south, east] - d[y, x] - d[y, east]) * ray[3]
                a = (real(column) - ray[0]) * ray[2]
                nx, ny, nz, _ = _normal(normal, y, x, dx, dy, a, b, one, tiny)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = nx, ny, nz
