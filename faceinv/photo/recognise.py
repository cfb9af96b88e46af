"""Whether a photo is the one that was fitted: by a print of its face, of 16 x 16 pixels.

A print outlives other file formats, compression and halved sizes (less than .005) and a lost colour profile (.03);
prints of different portraits differ by .15 and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SAME_PHOTO", "photo_print", "print_difference"]

SAME_PHOTO: Final = 0.05
"""Prints of one photo differ by less than this."""
_SIDE: Final = 16
_MARGIN: Final = 1.6


def photo_print(photo: NDArray[np.float32], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(16, 16, 3) sRGB: the face and what is around it, very small.

    Args:
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        landmarks: (68, 2) px.
    """
    pixels, _ = FaceCrop.around(landmarks, _MARGIN, _SIDE).cut(photo)
    small: NDArray[np.uint8] = np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return small


def print_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Root mean square difference, of 1."""
    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)) / 255)
