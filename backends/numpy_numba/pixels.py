# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: what the pixels of an image show of the surface, and its radiance."""

from __future__ import annotations

import numpy as np

from faceinv.backends.numpy_numba.kernel import kernel
from faceinv.backends.numpy_numba.record import LIGHTS
from faceinv.backends.numpy_numba.shading import face_normal, harmonics, mixed_normal, shade

__all__ = ["mix", "mix_normals", "radiance"]


@kernel
def mix(triangle_image, barycentric, corners, values, out):
    """out (H, W, D): values (M, D) mixed over the corners (T, 3) of each pixel's triangle, zeros for the background."""
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            t = triangle_image[y, x]
            if t < 0:
                for c in range(out.shape[2]):
                    out[y, x, c] = 0.0
                continue
            i0, i1, i2 = corners[t, 0], corners[t, 1], corners[t, 2]
            b0, b1, b2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for c in range(out.shape[2]):
                out[y, x, c] = b0 * values[i0, c] + b1 * values[i1, c] + b2 * values[i2, c]


@kernel
def mix_normals(flat, triangle_image, barycentric, triangles, points, normals, out):
    """out (H, W, 3): unit normals in the camera frame, zeros for the background."""
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            t = triangle_image[y, x]
            nx = ny = nz = 0.0
            if t >= 0:
                i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                if flat:
                    nx, ny, nz, _ = face_normal(points, i0, i1, i2)
                else:
                    b0, b1, b2 = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
                    nx, ny, nz, _ = mixed_normal(normals, i0, i1, i2, b0, b1, b2)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = nx, ny, nz


@kernel
def radiance(triangle_image, normal, albedo, shadow, gamma, out):
    """out (H, W, 3): normals, albedo (H, W, 3) and shadows (H, W, 9) under the light, zeros for the background.

    No shadows are (0, W, 9).
    """
    lit = np.empty(LIGHTS)
    for y in range(triangle_image.shape[0]):
        for x in range(triangle_image.shape[1]):
            if triangle_image[y, x] < 0:
                out[y, x, 0] = out[y, x, 1] = out[y, x, 2] = 0.0
                continue
            basis = harmonics(normal[y, x, 0], normal[y, x, 1], normal[y, x, 2])
            for k in range(LIGHTS):
                lit[k] = basis[k] - shadow[y, x, k] if shadow.shape[0] else basis[k]
            for c in range(3):
                out[y, x, c] = albedo[y, x, c] * shade(gamma, c, lit)
