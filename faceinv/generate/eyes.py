"""Eyeballs that come to light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.regions import Regions

__all__ = ["eyeball_reflectance"]

_SCLERA: Final = 65.0
"""Percentile of an eye's brightness that is taken for its white."""


def eyeball_reflectance(
    regions: Regions,
    own: NDArray[np.float64],
    trust: NDArray[np.float64],
    albedo: NDArray[np.float64],
    mirror: NDArray[np.int32],
) -> NDArray[np.float64]:
    """(N, 3) for eyeballs where the photo does not show them: the white of the photo's eyes, so that no second iris
    appears beside the photo's; as the model paints them where the photo shows next to nothing of an eye.

    Args:
        regions: of the model.
        own: (N, 3) the photo's colours without their light.
        trust: (N,) in them.
        albedo: (N, 3) of the model.
        mirror: (N,) the model's.
    """
    result = albedo.copy()
    left = regions.eyes & (np.arange(len(mirror)) < mirror)
    for eye in (left, regions.eyes & ~left):
        seen = eye & (trust > 0.5)
        if seen.sum() < 12:
            continue
        bright = own[seen].sum(axis=1)
        white = own[seen][bright >= np.percentile(bright, _SCLERA)]
        result[eye] = np.median(white, axis=0)
    return result
