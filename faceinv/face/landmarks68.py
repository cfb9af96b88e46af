"""The 68 landmarks of iBUG / 300-W: which is which.

Left and right are the image's, for a frontal face: the person's right eye is in the image's left half.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = [
    "BROWS",
    "CHIN",
    "CURVES",
    "EYES",
    "INNER",
    "INNER_LIPS",
    "JAW",
    "JAW_COUNT",
    "LANDMARK_COUNT",
    "MIRRORED",
    "NOSE",
    "NOSE_TIP",
    "OUTER_EYES",
]

LANDMARK_COUNT: Final = 68
JAW_COUNT: Final = 17
JAW: Final = slice(0, JAW_COUNT)
"""The outline from the image's left ear over the chin to the right one: silhouette points, which depend on the view."""
CHIN: Final = 8
INNER: Final = slice(JAW_COUNT, LANDMARK_COUNT)
"""All but the jaw: points of the skin."""
BROWS: Final = slice(17, 27)
NOSE: Final = slice(27, 36)
NOSE_TIP: Final = 30
EYES: Final = (slice(36, 42), slice(42, 48))
"""The eye in the image's left half, and the one in its right half."""
OUTER_EYES: Final = (36, 45)
"""The outer corners of the eyes."""
INNER_LIPS: Final = slice(60, LANDMARK_COUNT)
"""Around the mouth's opening."""

CURVES: Final = (
    *(range(0, 17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)),
    *((*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60)),
)
"""Runs of landmarks that are joined by lines; closed ones end where they begin."""

MIRRORED: Final = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),  # jaw, brows, nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)),  # lips
    ]
)
"""Landmark i of a photo is landmark MIRRORED[i] of the photo seen in a mirror."""
