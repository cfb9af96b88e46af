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


def shadow_matrix(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 10, 9) of rotations (..., 3, 3), model to camera: `moments @ matrix` are shadows in the camera frame."""
    rotation = np.asarray(rotation, np.float64)
    c0, c1, c2, c3, c4 = SH_CONSTANTS
    # The second moment as a full matrix, turned: R m R^T is linear in the six entries.
    rows, columns = np.triu_indices(3)
    matrix = np.zeros((*rotation.shape[:-2], MOMENT_COUNT, SH_COUNT))
    matrix[..., 0, 0] = c0 / COSINE_BANDS[0] * (1.0 - INTERREFLECTION)
    for k, axis in enumerate((1, 2, 0)):
        matrix[..., 1:4, 1 + k] = c1 / COSINE_BANDS[1] * rotation[..., axis, :]

    def turned(a: int, b: int) -> NDArray[np.float64]:
        """(..., 6) entry a, b of the turned second moment by the six."""
        first = rotation[..., a, rows] * rotation[..., b, columns]
        second = rotation[..., a, columns] * rotation[..., b, rows]
        entry: NDArray[np.float64] = np.where(rows == columns, first, first + second)
        return entry

    for k, entry in (
        (4, c2 * turned(0, 1)),
        (5, c2 * turned(1, 2)),
        # The trace of the second moment is the first, but for rounding; so what is turned stays free of it.
        (6, c3 * (3 * turned(2, 2) - (rows == columns))),
        (7, c2 * turned(0, 2)),
        (8, c4 * (turned(0, 0) - turned(1, 1))),
    ):
        matrix[..., 4:, k] = entry / COSINE_BANDS[2]
    return matrix


def shadows(moments: NDArray[np.floating], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., N, 9) what a surface with moments (N, 10) takes from the basis, for rotations (..., 3, 3)."""
    result: NDArray[np.float64] = np.asarray(moments, np.float64) @ shadow_matrix(rotation)
    return result
