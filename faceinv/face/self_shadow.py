"""What a face keeps off its own skin: light that nose, brows and lips block, in spherical harmonics.

A point with normal n receives `int L(w) max(n.w, 0) dw` from an environment L. Where the face itself stands in the way
of some directions, that part is missing. With L in spherical harmonics up to the second order, only moments of the
blocked, cosine-weighted directions count (Sloan, Kautz and Snyder, SIGGRAPH 2002, for surfaces that do not shine):

    m_0 = int_blocked (n.w) dw,   m_1 = int_blocked (n.w) w dw,   m_2 = int_blocked (n.w) w w^T dw

Ten numbers for a vertex, in the model's frame. They belong to the mean face and turn with the head; turned into the
camera's frame and through the constants of the basis they become nine, the vertex's `shadow`, to be taken from the
basis: a pixel's radiance is `albedo * gamma . (Y(n) - shadow)`, with the shadows of the corners mixed over a triangle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.lighting import SH_CONSTANTS, SH_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COSINE_BANDS", "INTERREFLECTION", "MOMENT_COUNT", "shadow_matrix", "shadows"]

MOMENT_COUNT: Final = 10
"""1; x, y, z; xx, xy, xz, yy, yz, zz: of the directions."""

INTERREFLECTION: Final = 0.3
"""The share of the constant light that comes from a blocked direction all the same: what is there is skin, and lit. The
first bounce of Jimenez et al. (Practical Realtime Strategies for Accurate Indirect Occlusion, 2016), whose share is the
reflectance; that of skin is about .45 in red, .3 in green and .2 in blue."""

COSINE_BANDS: Final = (np.pi, 2 * np.pi / 3, np.pi / 4)
"""How a cosine weakens the harmonics of each order (Ramamoorthi and Hanrahan 2001); gamma has them in it already."""

_ROWS, _COLUMNS = np.triu_indices(3)
_TWICE: Final = (_ROWS != _COLUMNS).astype(np.float64)
"""1 for entries of a symmetric matrix that stand for two."""
_FIRST, _SECOND = [0, 1, 2, 0, 0, 1], [1, 2, 2, 2, 0, 1]
"""Entries of the turned moment: xy, yz, zz, xz, xx, yy."""


def shadow_matrix(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 10, 9) of rotations (..., 3, 3), model to camera: `moments @ matrix` are shadows in the camera frame."""
    rotation = np.asarray(rotation, np.float64)
    c0, c1, c2, c3, c4 = SH_CONSTANTS
    matrix = np.zeros((*rotation.shape[:-2], MOMENT_COUNT, SH_COUNT))
    matrix[..., 0, 0] = c0 / COSINE_BANDS[0] * (1.0 - INTERREFLECTION)
    matrix[..., 1:4, 1:4] = c1 / COSINE_BANDS[1] * np.swapaxes(rotation[..., (1, 2, 0), :], -1, -2)
    # The second moment as a full matrix, turned: R m R^T is linear in the six entries.
    one, other = rotation[..., _FIRST, :], rotation[..., _SECOND, :]
    turned = one[..., _ROWS] * other[..., _COLUMNS] + _TWICE * (one[..., _COLUMNS] * other[..., _ROWS])
    xy, yz, zz, xz, xx, yy = np.moveaxis(turned, -2, 0) / COSINE_BANDS[2]
    # The trace of the second moment is the first, but for rounding; so what is turned stays free of it.
    free_of_trace = 3 * zz - (1 - _TWICE) / COSINE_BANDS[2]
    matrix[..., 4:, 4:] = np.stack([c2 * xy, c2 * yz, c3 * free_of_trace, c2 * xz, c4 * (xx - yy)], axis=-1)
    return matrix


def shadows(moments: NDArray[np.floating], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., N, 9) what a surface with moments (N, 10) takes from the basis, for rotations (..., 3, 3)."""
    result: NDArray[np.float64] = np.asarray(moments, np.float64) @ shadow_matrix(rotation)
    return result
