"""Rows of J from local derivatives by the constant bases, and J^T J from their columns' products."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.local_autodiff.local import ALBEDO, CAMERA, COEFFICIENTS, GEOMETRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.local import Local
    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer
    from faceinv.engine.local_autodiff.shown import Shown

__all__ = ["NormalMatrix", "coefficient_table", "row_columns"]


def coefficient_table(ops: ArrayOps, shown: Shown, local: Local, chosen: Array | None) -> Array:
    """All that rows of pixels depend on, pixel by pixel: (m, 3 COEFFICIENTS + 15) float64: the channels' coefficients,
    the basis (9), the scaled albedo (3), the corners' weights (3). Of all pixels, or of those `chosen` (m,)."""
    parts = [*local.coefficients, shown.shaded.basis, local.reflected, ops.stack(shown.shares.weights, 0)]
    table = ops.transpose(ops.concatenate(parts, 0))
    return table if chosen is None else ops.take(table, chosen)


def row_columns(
    renderer: LocalAutodiffRenderer, normal_basis: Array | None, table: Array, triangle: Array
) -> list[Array]:
    """J (3m, P) of pixels that show triangles (m,), R, G, B of pixel after pixel, in column blocks: those of the shape
    and of the albedo, where there are any, and those of camera and light.

    Args:
        renderer: the bases.
        normal_basis: `LocalAutodiffRenderer.normal_derivative`.
        table: (m, ...) of `coefficient_table`, in the rows' precision.
        triangle: (m,).
    """
    ops, layout, n = renderer.ops, renderer.layout, int(triangle.shape[0])
    split = 3 * COEFFICIENTS
    local = table[:, :split].reshape((n, 3, COEFFICIENTS))
    weights = table[:, split + 12 : split + 15]
    corners = ops.take(renderer.triangles, triangle)
    columns = []
    if normal_basis is not None:
        moved = ops.blend(corners, weights, renderer.row_shape_basis)
        owners = ops.take(renderer.owner_place, triangle if renderer.flat else corners)
        turned = ops.take(normal_basis, owners) if renderer.flat else ops.blend(owners, weights, normal_basis)
        half = GEOMETRY.stop // 2
        part = ops.multiply_each(local[:, :, :half], moved.reshape((n, 3, -1)))
        part = part + ops.multiply_each(local[:, :, half : GEOMETRY.stop], turned.reshape((n, 3, -1)))
        columns.append(part.reshape((3 * n, -1)))
    if layout.albedo_count:
        mixed = ops.blend(corners, weights, renderer.row_albedo_basis).reshape((n, 3, -1))
        columns.append((mixed * local[:, :, ALBEDO : ALBEDO + 1]).reshape((3 * n, -1)))
    # A channel has its own light.
    own = table[:, split + 9 : split + 12].reshape((n, 3, 1, 1)) * renderer.row_eye
    light = (own * table[:, split : split + 9].reshape((n, 1, 1, 9))).reshape((n, 3, 27))
    columns.append(ops.concatenate([local[:, :, CAMERA], light], 2).reshape((3 * n, -1)))
    return columns


class NormalMatrix:
    """J^T J, summed over pixels; products of column blocks, of which those below the diagonal are not needed."""

    def __init__(self, ops: ArrayOps) -> None:
        self._ops = ops
        self._parts: list[Array] = []
        self._widths: list[int] = []

    def add(self, columns: Sequence[Array]) -> None:
        """Add rows (m, P), given by `row_columns`."""
        ops = self._ops
        self._widths = [int(block.shape[1]) for block in columns]
        parts = []
        for k, left in enumerate(columns):
            parts.append(ops.gram(left))
            parts += [ops.multiply_transposed(left, right) for right in columns[k + 1 :]]
        parts = [ops.cast(part.reshape((-1,)), "float64") for part in parts]
        self._parts = [a + b for a, b in zip(self._parts, parts, strict=True)] if self._parts else parts

    @property
    def entries(self) -> list[Array]:
        """Float64 arrays (...,), to be taken to the host and given to `full`."""
        return self._parts

    def full(self, host: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, P) of the entries, one after the other."""
        ends = np.cumsum([0, *self._widths])
        upper, at = np.zeros((ends[-1], ends[-1])), 0
        for k, (top, bottom) in enumerate(pairwise(ends)):
            for left, right in pairwise(ends[k:]):
                size = int((bottom - top) * (right - left))
                upper[top:bottom, left:right] = host[at : at + size].reshape(bottom - top, right - left)
                at += size
        upper = np.triu(upper)
        return upper + np.triu(upper, 1).T
