"""Lips that meet when the mouth is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrays import Bools, Floats, Ints
    from shell import Skin

__all__ = ["CORNER_MM", "closed_lips", "lip_share", "lower_lip"]

GAP_MM: Final = -0.06
"""They overlap a little, seen from the front, one behind the other."""
CORNER: Final = 0.325
"""How far the corners of the mouth go along when the jaw opens, over how far the chin does."""
ROUNDS: Final = 40
MOST_MM: Final = 1.0
"""Lips farther apart than this are no lips at rest: by as much as this they move in one round."""
CORNER_MM: Final = (19.5, 22.0)
"""The gap is closed up to the first distance from the middle, and less and less up to the second."""


def lower_lip(skin: Skin, jaw_open: Floats) -> Bools:
    """(M + H,) which coarse vertices the jaw carries, by the full offset (M + H, 3) of `jawOpen`."""
    lower: Bools = jaw_open[:, 1] < CORNER * jaw_open[:, 1].min()
    return lower & (np.abs(skin.mean[:, 0]) < 60)


def closed_lips(skin: Skin, mean: Floats, jaw_open: Floats) -> Floats:
    """The mean (M + H, 3) with both lips moved up and down, each by half of the gap between them.

    The gap at a width x is that between the lowest point of the upper and the highest of the lower lip.
    """
    moved = mean.copy()
    low = lower_lip(skin, jaw_open)
    inner = _lips(skin, mean) & (skin.mouth_ring > 0)
    edges = np.unique(
        np.sort(np.concatenate([skin.triangles[:, [0, 1]], skin.triangles[:, [1, 2]], skin.triangles[:, [0, 2]]]), 1),
        axis=0,
    )
    side = np.array([low[list(key)].mean() if inner[list(key)].all() else -1 for key in skin.parents])[edges]
    upper, lower = edges[(side == 0).all(axis=1)], edges[(side == 1).all(axis=1)]
    share = lip_share(skin, mean)
    centres = np.arange(-22.0, 22.25, 0.25)
    for _ in range(ROUNDS):
        surface = skin.subdivision @ moved
        gaps = _border(surface, upper, centres, np.min) - _border(surface, lower, centres, np.max) - GAP_MM
        gaps = np.clip(np.nan_to_num(gaps), 0.0, MOST_MM)
        gaps *= np.interp(np.abs(centres), CORNER_MM, (1.0, 0.0))
        gaps = np.round((gaps + gaps[::-1]) / 2, 6)
        if gaps.max() < 0.01:
            break
        half = 0.5 * np.interp(moved[:, 0], centres, gaps) * share
        moved[:, 1] += np.where(low, half, -half)
    return np.round(moved, 4)


def _lips(skin: Skin, mean: Floats) -> Bools:
    """(M + H,) the lips, by where they are on a mean (M + H, 3)."""
    x, y, z = mean.T
    lips: Bools = (skin.mouth_ring <= 4) & (np.abs(y + 66) < 12) & (z > 74) & (np.abs(x) < 24)
    return lips


def lip_share(skin: Skin, mean: Floats) -> Floats:
    """(M + H,) how far each vertex goes along when the lips are moved: their inner edges wholly, what is beside
    less."""
    share = np.select([skin.mouth_ring == 0, skin.mouth_ring == 4], [0.35, 0.5], 1.0)
    beside = skin.mouth_ring == 0
    for quad in skin.quads:
        if (skin.mouth_ring[quad] == 1).any():
            beside[quad] = False
    whole: Floats = np.where(beside, 0.0, share) * _lips(skin, mean)
    return whole


def _border(surface: Floats, edges: Ints, x: Floats, extreme: Callable[..., Floats]) -> Floats:
    """The height (n,) of the outermost of some edges (E, 2), seen from the front, at widths x (n,); NaN where there is
    none."""
    heights = np.full(len(x), np.nan)
    a, b = surface[edges[:, 0]], surface[edges[:, 1]]
    for k, at in enumerate(x):
        span = b[:, 0] - a[:, 0]
        share = (at - a[:, 0]) / np.where(np.abs(span) < 1e-9, 1.0, span)
        crossed = (share >= 0) & (share <= 1) & (np.abs(span) >= 1e-9)
        if crossed.any():
            heights[k] = extreme((a[:, 1] + share * (b[:, 1] - a[:, 1]))[crossed])
    return heights
