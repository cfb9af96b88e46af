"""Squares of a photo that networks look at, rolled or not, and boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faceinv.photo.networks import Colours
from faceinv.photo.pts import Points
from faceinv.photo.resample import bilinear, crop_square

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
        c, s = math.cos(self.roll), math.sin(self.roll)
        wide = math.ceil(size * (abs(c) + abs(s))) + 2
        patch, _ = Square(self.x, self.y, self.side * wide / size).sample(image, wide)
        # From the middle, in pixels of the crop, along the photo's axes.
        along = np.arange(size) + 0.5 - size / 2
        right, down = c * along - s * along[:, None], s * along + c * along[:, None]
        middle, step, (height, width) = (wide - 1) / 2, self.side / size, image.shape[:2]
        on_photo = _inside(self.x + step * right, width) & _inside(self.y + step * down, height)
        return bilinear(patch, middle + right, middle + down), on_photo


def _inside(places: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.bool_]:
    """Whether places, px, lie on so many pixels."""
    return (places >= -0.5) & (places < length - 0.5)


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
