"""The photo around the head, decoded and made no finer than pictures need; and what lies where the head was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.photo.color import srgb_to_linear
from faceinv.photo.resample import crop_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Canvas", "canvas_of", "filled"]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A square of a photo, resampled."""

    pixels: NDArray[np.float32]
    """(S, S, 4): linear RGB, and how surely a pixel shows a person and not the ground."""
    on_photo: NDArray[np.bool_]
    """(S, S)."""
    corner: NDArray[np.float64]
    """(2,) px of the photo: the upper left corner of the square, at pixels' edges."""
    zoom: float
    """Pixels of the canvas for one of the photo."""

    def place(self, photo_xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., 2) px of the photo in px of the canvas."""
        moved: NDArray[np.float64] = (np.asarray(photo_xy, np.float64) + 0.5 - self.corner) * self.zoom - 0.5
        return moved

    def sample(self, photo_xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 4) what points (N, 2) px of the photo show; the edge's pixels outside."""
        from scipy.ndimage import map_coordinates

        x, y = self.place(photo_xy).T
        channels = [map_coordinates(self.pixels[..., c], [y, x], order=1, mode="nearest") for c in range(4)]
        return np.stack(channels, axis=1).astype(np.float64)


def canvas_of(
    photo: NDArray[np.float32], matte: NDArray[np.float32], centre: NDArray[np.float64], half: float, zoom: float
) -> Canvas:
    """The square around `centre` (2,) px that reaches `half` px of the photo to each side.

    Args:
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        matte: (H, W) from 0, the ground, to 1, a person.
        centre: its middle, px of the photo.
        half: half its side, px of the photo.
        zoom: its pixels for one of the photo; at most 1 is used, as a photo does not become finer.
    """
    zoom = min(zoom, 1.0)
    size = max(8, round(2 * half * zoom))
    corner = np.asarray(centre, np.float64) + 0.5 - half
    if zoom == 1.0:  # the photo's own pixels, not mixed anew
        corner, half = np.rint(corner), size / 2
    layers = np.concatenate([srgb_to_linear(photo), matte[..., None]], axis=2, dtype=np.float32)
    pixels, on_photo = crop_square(layers, float(corner[0]), float(corner[1]), 2 * half, size)
    return Canvas(np.ascontiguousarray(pixels), on_photo, corner, size / (2 * half))


def filled(image: NDArray[np.float32], known: NDArray[np.floating]) -> NDArray[np.float32]:
    """An image (S, S, C) whose unknown pixels continue the known ones smoothly, coarser the further away.

    A pyramid of weighted means, from which each size takes what the finer one lacks (Gortler et al., "The lumigraph",
    SIGGRAPH 1996: push and pull).

    Args:
        image: the image.
        known: (S, S) weights from 0 to 1.
    """
    weight: NDArray[np.float32] = np.asarray(known, np.float32)
    height, width = weight.shape
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        mean = (image * weight[..., None]).sum(axis=(0, 1)) / total
        flat: NDArray[np.float32] = weight[..., None] * image + (1 - weight[..., None]) * mean
        return flat
    weighted = image * weight[..., None]
    small_weight = _halved(weight[..., None])
    small = np.asarray(_halved(weighted) / np.maximum(small_weight, 1e-6), np.float32)
    coarse = filled(small, np.minimum(4 * small_weight[..., 0], 1.0))
    result: NDArray[np.float32] = weighted + (1 - weight[..., None]) * _doubled(coarse, (height, width))
    return result


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of two by two, after a pixel is repeated at odd edges."""
    padded = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
    mean: NDArray[np.float32] = 0.25 * (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2])
    return mean


def _doubled(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Twice as large, smoothly, cut to a size."""
    for axis in range(2):
        before = np.concatenate([image.take([0], axis), image.take(range(image.shape[axis] - 1), axis)], axis)
        after = np.concatenate([image.take(range(1, image.shape[axis]), axis), image.take([-1], axis)], axis)
        pair = np.stack([0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after], axis=axis + 1)
        shape = list(image.shape)
        shape[axis] *= 2
        image = pair.reshape(shape).take(range(size[axis]), axis)
    return image
