"""How surely pixels of a face show bare skin, whose shading tells relief.

Hair, stubble, brows, glasses, teeth and make-up are as grey as shading is, so colour alone cannot tell them from
relief. What tells them is their extent: their low-passed colour is not the skin's, or what is finer varies much over
several millimetres, where a wrinkle is a line. And at the rims of the face's parts a fit is off by a millimetre or two.
What skin is left in between, islands of some pixels among hairs, counts as little as what is around it.
Pixels that count little get their relief from their neighbours, which is to say hardly any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.detail.smooth import MaskedMean

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["skin_confidence"]

_SKIN_LIGHT: Final = 0.35
"""Standard deviation of the mean over log R, G and B of low-passed albedo over a face: red and shaded parts, errors of
the coarse shading."""
_SKIN_COLOUR: Final = 0.15
"""The same across that."""
_ROUGH: Final = 0.2
"""Root mean square of grey relative residuals within `_EXTENT` at which a pixel counts half."""
_EXTENT: Final = 2.5
"""mm, sigma."""
_RIM: Final = 1.5
"""mm from the rim of the mask in which confidence rises."""

_ISLAND: Final = 3.0
"""mm, sigma: what lies within it of a pixel is around it."""
_ALONE: Final = (0.2, 0.5)
"""Mean confidence around a pixel between which its own begins to count."""


def skin_confidence(
    mask: NDArray[np.bool_], albedo: NDArray[np.float32], grey: NDArray[np.float32], pixel: float
) -> NDArray[np.float32]:
    """(N,) from 0 to 1.

    Args:
        mask: (S, S) of which the others are values, N pixels.
        albedo: (N, 3) log of low-passed albedo.
        grey: (N,) relative residuals, as shading would make them.
        pixel: mm.
    """
    from scipy.ndimage import distance_transform_edt

    centred = albedo - np.median(albedo, axis=0)
    lightness = centred.mean(axis=1)
    colour = np.sqrt(((centred - lightness[:, None]) ** 2).mean(axis=1))
    unlike = (lightness / _SKIN_LIGHT) ** 2 + (colour / _SKIN_COLOUR) ** 2
    likely = 1 / (1 + (unlike / 8) ** 2)
    square = np.zeros((*mask.shape, 1), np.float32)
    square[mask, 0] = np.minimum(np.abs(grey), 1.0) ** 2
    rough = MaskedMean(mask, _EXTENT / pixel)(square)[mask, 0] / _ROUGH**2
    even = 1 / (1 + rough**2)
    rim = np.minimum(distance_transform_edt(mask)[mask] * (pixel / _RIM), 1.0)
    own = likely * even * rim**2
    square[mask, 0] = own
    around = MaskedMean(mask, _ISLAND / pixel)(square)[mask, 0]
    in_skin = np.clip((around - _ALONE[0]) / (_ALONE[1] - _ALONE[0]), 0, 1)
    confidence: NDArray[np.float32] = (own * in_skin).astype(np.float32)
    return confidence
