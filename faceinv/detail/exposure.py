"""Which pixels a photo has exposed well enough for the shading of their surface to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["well_exposed"]

_DARK: Final = (0.004, 0.015)
"""Mean of linear R, G and B between which pixels begin to count: a level of 8 bits is a tenth of the light there, and a
twentieth."""
_CLIPPED: Final = 0.99
"""Of linear light: a channel that is brighter may have been brighter still, and then the others alone vary."""


def well_exposed(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) from 0 to 1, for linear RGB (N, 3): 0 for pixels that are black or have a channel at its limit."""
    share = np.clip((light.mean(axis=1) - _DARK[0]) / (_DARK[1] - _DARK[0]), 0, 1)
    return np.where(light.max(axis=1) < _CLIPPED, share * share * (3 - 2 * share), 0).astype(np.float32)
