"""How lit a surface is, for pictures that are lit anew: always above zero, so that ratios of light exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.lighting import SH_CONSTANTS, sh_basis
from faceinv.face.self_shadow import shadow_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HAIR_FRONT", "HAIR_LIMITS", "RATIO_LIMITS", "calm", "lowest_light", "soft_light"]

_FLOOR: Final = 0.15
"""Of the constant light. Second-order harmonics fall to zero and below where a light would leave a surface dark."""
HAIR_LIMITS: Final = (0.6, 1.1)
HAIR_FRONT: Final = np.array([[0.0, 0.3, 0.954]])
"""(1, 3) normal of what stands for all hair."""
RATIO_LIMITS: Final = (0.15, 3.0)
"""A photo's pixel is made darker or brighter by these factors at most: beyond, noise and what is burnt in show."""


def lowest_light(gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) what `soft_light` does not fall below."""
    low: NDArray[np.float64] = np.maximum(_FLOOR * gamma[0] * SH_CONSTANTS[0], 1e-4)
    return low


def soft_light(
    normals: NDArray[np.floating],
    gamma: NDArray[np.float64],
    moments: NDArray[np.floating] | None = None,
    rotation: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """(N, 3) light on normals (N, 3), camera frame, under gamma (9, 3): `gamma . (Y(n) - shadow)`, but where that is
    low it goes on falling ever more slowly and stays above zero.

    Args:
        normals: unit, camera frame.
        gamma: spherical-harmonics lighting.
        moments: (N, 10) of the light that is blocked (`faceinv.face.self_shadow`), or None.
        rotation: (3, 3) model to camera, for moments.
    """
    light = sh_basis(normals) @ gamma
    if moments is not None and rotation is not None:
        light -= np.asarray(moments, np.float64) @ (shadow_matrix(rotation) @ gamma)
    low = lowest_light(gamma)
    result: NDArray[np.float64] = low + np.where(
        light > 2 * low, light - low, low * np.exp(np.minimum(light / low - 2, 0.0))
    )
    return result


def calm(light: NDArray[np.float64], share: NDArray[np.floating], gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light (N, 3) on hair, which scatters it: where `share` (N,) is 1, not far from that on what faces the viewer."""
    front = soft_light(HAIR_FRONT, gamma)
    even = front * np.clip(light / front, *HAIR_LIMITS)
    part = np.asarray(share, np.float64)[:, None]
    result: NDArray[np.float64] = light + part * (even - light)
    return result
