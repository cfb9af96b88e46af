"""Light that a photo has on the skin and the fit's nine harmonics have not: hard side light, coloured rims.

It would be carried as if it were skin. It is told from skin by two signs: a face is the same on both sides, light is
not; and skin does not differ widely from place to place by more than stubble does, which is darker and greyer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from faceinv.generate.regions import ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.generate.regions import Regions

__all__ = ["smoothed", "unexplained_light"]

_CELL_MM: Final = 4.0
_WIDTH_MM: Final = 10.0
"""Standard deviation over which colours are averaged: what is finer is skin, what is wider may be light."""
_CYLINDER_MM: Final = 85.0
_KNOWN: Final = (0.01, 0.08)
"""The share of a neighbourhood that must be known for its mean to be believed."""
_ALIEN: Final = (0.25, 0.6)
"""Of logarithms: how far from the mean around it a colour begins not to count, and does not."""
_MOST: Final = 1.0
"""Of logarithms."""
_EVEN: Final = 0.15
_EVEN_COLOUR: Final = 0.08
"""How far wide shades of skin are from its median, in logarithms of brightness and of colour: what is more is light."""


def smoothed(
    model: MorphableModel, regions: Regions, values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, C) weighted means of values (N, C) in Gaussian windows on a cylinder around the mean head, and (N,) the
    weight in them.

    Args:
        model: the model.
        regions: of it.
        values: of vertices.
        weight: (N,).
    """
    used = weight > 0
    if not used.any():
        return np.zeros_like(values), np.zeros(len(values))
    x, y, z = ((model.mean - regions.pivot) / regions.unit).T
    place = np.stack([_CYLINDER_MM * np.arctan2(x, z), y], axis=1) / _CELL_MM
    place -= place[used].min(axis=0) - 2
    columns, rows = (int(n) + 3 for n in place[used].max(axis=0))
    at = np.rint(place[used]).astype(np.int64)
    index = at[:, 1] * columns + at[:, 0]
    layers = np.concatenate([values[used] * weight[used, None], weight[used, None]], axis=1)
    number = np.maximum(np.bincount(index, minlength=rows * columns), 1)
    sums = [np.bincount(index, layer, minlength=rows * columns) / number for layer in layers.T]
    grids = [gaussian_filter(s.reshape(rows, columns), _WIDTH_MM / _CELL_MM, mode="constant") for s in sums]
    sampled = [map_coordinates(g, [place[:, 1], place[:, 0]], order=1, mode="nearest") for g in grids]
    total = sampled[-1]
    means = np.stack(sampled[:-1], axis=1) / np.maximum(total, 1e-6)[:, None]
    return means, np.asarray(total, np.float64)


def unexplained_light(
    model: MorphableModel,
    regions: Regions,
    own: NDArray[np.float64],
    sure: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, 3) logarithm of light on vertices over that of the fit.

    Args:
        model: the model.
        regions: of it.
        own: (N, 3) logarithms of the photo's colours over the fit's light.
        sure: (N,) how surely they are skin.
    """
    seen = sure > 0.5
    if not seen.any():
        return np.zeros_like(own)
    mirror = model.mirror
    here, _ = smoothed(model, regions, own, sure)
    # Glasses, brows and what hair is left are no skin.
    sure = sure * (1 - ramp(np.abs(own - here).max(axis=1), *_ALIEN))
    here, weight = smoothed(model, regions, own, sure)
    known = ramp(weight, *_KNOWN)[:, None]
    both = np.minimum(known, known[mirror])
    uneven = 0.5 * both * (here - here[mirror])
    even = here - uneven - np.median(here[seen], axis=0)
    bright = even.mean(axis=1, keepdims=True)
    colour = even - bright
    # Stubble is darker and greyer than skin: that stays.
    bright = np.maximum(bright - _EVEN, 0.0)
    warmth = np.abs(colour).max(axis=1, keepdims=True)
    colour *= np.where(colour[:, :1] > colour[:, 2:], np.maximum(1 - _EVEN_COLOUR / np.maximum(warmth, 1e-9), 0.0), 0.0)
    extra: NDArray[np.float64] = np.clip(uneven + known * (bright + colour), -_MOST, _MOST)
    return extra
