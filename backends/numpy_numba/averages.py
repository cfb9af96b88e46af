# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Pictures with smooth edges: what a finer raster shows, averaged over the pixels of a coarser one."""

from __future__ import annotations

from numba import prange

from faceinv.backends.numpy_numba.kernel import parallel_kernel

__all__ = ["average_drawn"]


@parallel_kernel
def average_drawn(triangle, barycentric, corners, values, chosen, out, shares):
    """Mean values of the model over each block of pixels, and which share of it shows the model.

    Args:
        triangle: (F h, F w) int32, -1 for the background.
        barycentric: (F h, F w, 3).
        corners: (T, 3) rows of `values`.
        values: (M, 2 D) float32: D numbers that are averaged over the chosen triangles alone, then D over all.
        chosen: (T,) bool.
        out: (h, w, 2 D) float32, filled; zeros where nothing is seen.
        shares: (h, w, 2) float32, filled: the share of the block that shows a chosen triangle, and any.
    """
    height, width = out.shape[0], out.shape[1]
    finer = triangle.shape[0] // height
    depth = out.shape[2]
    half = depth // 2
    for y in prange(height):
        for x in range(width):
            some, all_ = 0, 0
            for d in range(depth):
                out[y, x, d] = 0.0
            for v in range(y * finer, (y + 1) * finer):
                for u in range(x * finer, (x + 1) * finer):
                    t = triangle[v, u]
                    if t < 0:
                        continue
                    all_ += 1
                    start = half
                    if chosen[t]:
                        some += 1
                        start = 0
                    a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
                    wa, wb, wc = barycentric[v, u, 0], barycentric[v, u, 1], barycentric[v, u, 2]
                    for d in range(start, depth):
                        out[y, x, d] += wa * values[a, d] + wb * values[b, d] + wc * values[c, d]
            for d in range(depth):
                out[y, x, d] /= max(some if d < half else all_, 1)
            shares[y, x, 0], shares[y, x, 1] = some / finer**2, all_ / finer**2
