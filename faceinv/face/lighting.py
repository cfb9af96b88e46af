"""Second-order spherical-harmonics lighting (Ramamoorthi and Hanrahan, SIGGRAPH 2001).

The nine real basis functions of the camera-frame unit normal (x, y, z), in this order:
`1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2`, each with its orthonormal constant. The radiance of channel c is
`I_c = albedo_c * (gamma[:, c] . Y(n))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LIGHTING_COUNT",
    "SH_CONSTANTS",
    "SH_COUNT",
    "SH_TURNS",
    "ambient",
    "pack_lighting",
    "sh_basis",
    "unpack_lighting",
]

SH_COUNT: Final = 9
"""Basis functions of the first three bands."""
LIGHTING_COUNT: Final = 3 * SH_COUNT
"""Numbers of a lighting: nine coefficients for red, then green, then blue."""

SH_CONSTANTS: Final = (
    0.5 / np.sqrt(np.pi),
    np.sqrt(3 / (4 * np.pi)),
    0.5 * np.sqrt(15 / np.pi),
    0.25 * np.sqrt(5 / np.pi),
    0.25 * np.sqrt(15 / np.pi),
)
"""The orthonormal constants of: 1; x, y, z; xy, yz, xz; 3z^2-1; x^2-y^2."""


def _turns() -> NDArray[np.float64]:
    root = np.sqrt(3.0)
    turns = np.zeros((3, SH_COUNT, SH_COUNT))
    for axis, function, other, factor in (
        *((0, 1, 2, -1.0), (0, 2, 1, 1.0), (1, 2, 3, -1.0), (1, 3, 2, 1.0), (2, 1, 3, 1.0), (2, 3, 1, -1.0)),
        *((0, 4, 7, -1.0), (1, 4, 5, 1.0), (2, 4, 8, 2.0)),
        *((0, 5, 6, -root), (0, 5, 8, -1.0), (1, 5, 4, -1.0), (2, 5, 7, 1.0)),
        *((0, 6, 5, root), (1, 6, 7, -root)),
        *((0, 7, 4, 1.0), (1, 7, 6, root), (1, 7, 8, -1.0), (2, 7, 5, -1.0)),
        *((0, 8, 5, 1.0), (1, 8, 7, 1.0), (2, 8, 4, -2.0)),
    ):
        turns[axis, function, other] = factor
    turns.setflags(write=False)
    return turns


SH_TURNS: Final = _turns()
"""(3, 9, 9): a turn by dw moves what is in the basis's space, Y(n) for one, by `sum_a dw_a SH_TURNS[a] @ Y`."""


def sh_basis(normals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Y (..., 9) at unit normals (..., 3) in the camera frame."""
    x, y, z = np.moveaxis(np.asarray(normals, np.float64), -1, 0)
    c0, c1, c2, c3, c4 = SH_CONSTANTS
    return np.stack(
        [
            np.full_like(x, c0),
            *(c1 * y, c1 * z, c1 * x),
            *(c2 * x * y, c2 * y * z, c3 * (3 * z * z - 1), c2 * x * z, c4 * (x * x - y * y)),
        ],
        axis=-1,
    )


def ambient(radiance: float = 1.0) -> NDArray[np.float64]:
    """gamma (9, 3) of a white light from everywhere under which a white surface has the given radiance."""
    gamma = np.zeros((9, 3))
    gamma[0] = radiance / SH_CONSTANTS[0]
    return gamma


def pack_lighting(gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    """gamma (..., 9, 3) as unknowns (..., 27), channel after channel."""
    return np.swapaxes(gamma, -1, -2).reshape(*gamma.shape[:-2], LIGHTING_COUNT)


def unpack_lighting(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """gamma (..., 9, 3) of unknowns (..., 27)."""
    return np.swapaxes(parameters.reshape(*parameters.shape[:-1], 3, SH_COUNT), -1, -2)
