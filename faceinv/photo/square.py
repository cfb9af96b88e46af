"""Squares of a photo that networks look at, rolled or not, and boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faceinv.photo.networks import Colours
from faceinv.photo.pts import Points
from faceinv.photo.resample import crop_square

__all__ = ["Box", "Square", "area", "box_around", "covered", "overlap"]

Box = npt.NDArray[np.float64]
"""(4,) x0, y0, x1, y1."""


@dataclass(frozen=True)
class Square:
    """A square of the photo: centre, px; side, px; roll, radians, clockwise as seen."""

    x: float
    y: float
    side: float
    roll: float = 0.0

    @property
    def box(self) -> Box:
        """The square, px, as if it were not rolled."""
        half = self.side / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half])

    def to_photo(self, fractions: Points) -> Points:
        """(..., 2) fractions of the square's side, from its corner -> photo px."""
        c, s = math.cos(self.roll), math.sin(self.roll)
        points: Points = (fractions - 0.5) * self.side @ np.array([[c, s], [-s, c]]) + np.array([self.x, self.y])
        return points

    def sample(self, image: Colours, size: int) -> tuple[Colours, npt.NDArray[np.bool_]]:
        """The square as (size, size, 3), and which of its pixels lie on the photo."""
        if self.roll == 0:
            return crop_square(image, self.x + 0.5 - self.side / 2, self.y + 0.5 - self.side / 2, self.side, size)
        from scipy.ndimage import map_coordinates

        wide = math.ceil(size * (abs(math.cos(self.roll)) + abs(math.sin(self.roll)))) + 2
        upright = Square(self.x, self.y, self.side * wide / size)
        patch, on_photo = upright.sample(image, wide)
        across = (np.arange(size) + 0.5) / size
        grid = np.stack(np.meshgrid(across, across), axis=-1)
        turned = Square((wide - 1) / 2, (wide - 1) / 2, size, self.roll).to_photo(grid)
        places = [turned[..., 1], turned[..., 0]]
        crop = np.empty((size, size, 3), dtype=np.float32)
        for channel in range(3):
            map_coordinates(patch[..., channel], places, output=crop[..., channel], order=1, mode="nearest")
        return crop, map_coordinates(on_photo.astype(np.uint8), places, order=0, mode="nearest") > 0


def box_around(points: Points) -> Box:
    """The box around points (Q, 2)."""
    return np.concatenate([points.min(0), points.max(0)])


def area(box: Box) -> float:
    """Square px."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _common(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    size: npt.NDArray[Any] = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(size[0] * size[1]) if (size > 0).all() else 0.0


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    common = _common(a, b)
    return common / (area(a) + area(b) - common)


def covered(a: Box, b: Box) -> float:
    """The share of the smaller of two boxes that lies in the other."""
    return _common(a, b) / min(area(a), area(b))
