"""The square of the photo that is fitted, and the way between its pixels and the photo's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.face.camera import Camera
from faceinv.face.landmarks68 import INNER, OUTER_EYES
from faceinv.photo.resample import crop_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FaceCrop", "eye_distance"]


@dataclass(frozen=True)
class FaceCrop:
    """A square with its corner at (x0, y0) in the photo's pixel edges, resampled to size x size.

    `photo_xy = (x0, y0) + side/size * (crop_xy + 0.5) - 0.5`, both at pixel centres.
    """

    x0: float
    y0: float
    side: float
    size: int

    @classmethod
    def around(cls, landmarks: NDArray[np.float64], margin: float, size: int) -> FaceCrop:
        """A square `margin` times as large as the landmarks' box, shifted up by what a forehead takes."""
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        side = margin * float((high - low).max())
        x, y = (low + high) / 2
        return cls(float(x) - side / 2, float(y) - 0.56 * side, side, size)

    @property
    def zoom(self) -> float:
        """Crop pixels per photo pixel."""
        return self.size / self.side

    def at(self, size: int) -> FaceCrop:
        """The same square at another size."""
        return FaceCrop(self.x0, self.y0, self.side, size)

    def to_crop(self, photo_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Photo px to crop px."""
        crop_xy: NDArray[np.float64] = (photo_xy + 0.5 - np.array([self.x0, self.y0])) * self.zoom - 0.5
        return crop_xy

    def to_photo(self, crop_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Crop px to photo px."""
        return np.array([self.x0, self.y0]) + (crop_xy + 0.5) / self.zoom - 0.5

    def camera_to_crop(self, camera: Camera) -> Camera:
        """A camera of the photo, in crop px."""
        return camera.moved(self.zoom, self.to_crop(np.zeros(2)))

    def camera_to_photo(self, camera: Camera) -> Camera:
        """A camera of the crop, in photo px."""
        return camera.moved(1 / self.zoom, self.to_photo(np.zeros(2)))

    def cut(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(size, size, C) resampled, and (size, size) where the photo was there."""
        pixels, on_photo = crop_square(image, self.x0, self.y0, self.side, self.size)
        return pixels.astype(np.float32, copy=False), on_photo


def eye_distance(landmarks: NDArray[np.float64]) -> float:
    """d of the energy: px between the outer eye corners (36 and 45).

    Turned heads show it shortened, so it is taken to be at least .45 of the diagonal of the inner landmarks' box,
    which is what a frontal face has at the least.
    """
    inner = landmarks[INNER]
    diagonal = float(np.linalg.norm(inner.max(axis=0) - inner.min(axis=0)))
    return max(float(np.linalg.norm(landmarks[OUTER_EYES[0]] - landmarks[OUTER_EYES[1]])), 0.45 * diagonal)
