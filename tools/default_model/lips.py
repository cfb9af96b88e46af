"""Lips that meet when the mouth is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from arrays import Bools, Floats
    from shell import Skin

__all__ = ["closed_lips", "lower_lip"]

GAP_MM: Final = 0.02
ROUNDS: Final = 40
WINDOW_MM: Final = 1.3
CORNER_MM: Final = (17.0, 21.0)
"""The gap is closed up to the first distance from the middle, and less and less up to the second."""


def lower_lip(skin: Skin, jaw_open: Floats) -> Bools:
    """(M + H,) which coarse vertices the jaw carries, by the full offset (M + H, 3) of `jawOpen`."""
    lower: Bools = jaw_open[:, 1] < 0.5 * jaw_open[:, 1].min()
    return lower & (np.abs(skin.mean[:, 0]) < 60)


def closed_lips(skin: Skin, mean: Floats, jaw_open: Floats) -> Floats:
    """The mean (M + H, 3) with both lips moved up and down, each by half of the gap between them.

    The gap at a width x is that between the lowest point of the upper and the highest of the lower lip.
    """
    moved = mean.copy()
    low = lower_lip(skin, jaw_open)
    lips = (skin.mouth_ring <= 4) & (np.abs(mean[:, 1] + 66) < 12) & (mean[:, 2] > 74) & (np.abs(mean[:, 0]) < 24)
    inner = lips & (skin.mouth_ring > 0)
    fine_low = np.array([low[list(key)].mean() > 0.5 for key in skin.parents])
    fine_inner = np.array([bool(inner[list(key)].all()) for key in skin.parents])
    uppers, lowers = np.flatnonzero(fine_inner & ~fine_low), np.flatnonzero(fine_inner & fine_low)
    share = np.select([skin.mouth_ring == 0, skin.mouth_ring == 4], [0.35, 0.5], 1.0)
    beside = skin.mouth_ring == 0
    for quad in skin.quads:
        if (skin.mouth_ring[quad] == 1).any():
            beside[quad] = False
    share = np.where(beside, 0.0, share) * lips
    centres = np.arange(-22.0, 22.5, 0.5)
    for _ in range(ROUNDS):
        surface = skin.subdivision @ moved
        gaps = np.zeros(len(centres))
        for k, x in enumerate(centres):
            a = uppers[np.abs(surface[uppers, 0] - x) < WINDOW_MM]
            b = lowers[np.abs(surface[lowers, 0] - x) < WINDOW_MM]
            if len(a) and len(b):
                gaps[k] = surface[a, 1].min() - surface[b, 1].max() - GAP_MM
        gaps = np.maximum(gaps, 0.0)
        gaps *= np.interp(np.abs(centres), CORNER_MM, (1.0, 0.0))
        gaps = np.round((gaps + gaps[::-1]) / 2, 6)
        if gaps.max() < 0.01:
            break
        half = 0.5 * np.interp(moved[:, 0], centres, gaps) * share
        moved[:, 1] += np.where(low, half, -half)
    return np.round(moved, 4)
