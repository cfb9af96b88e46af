"""The 68 landmarks of iBUG / 300-W: which is which."""

from __future__ import annotations

import numpy as np

__all__ = ["LANDMARK_COUNT", "MIRRORED"]

LANDMARK_COUNT = 68
MIRRORED = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),  # jaw, brows, nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)),  # lips
    ]
)
"""Landmark i of a photo is landmark MIRRORED[i] of the photo seen in a mirror."""
