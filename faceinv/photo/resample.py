"""Square crops of a photo, resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from faceinv.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["bilinear", "crop_square"]


def crop_square(
    image: npt.NDArray[np.floating[Any]], x0: float, y0: float, side: float, size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Resample an axis-aligned square of an image to `size` x `size` pixels.

    Pixel centres map by `photo_xy = (x0, y0) + (side / size) * (crop_xy + 0.5) - 0.5`, both 0-based. Enlarging is
    bilinear; shrinking weighs photo pixels by a triangle as wide as two crop pixels. Neither rings, and both
    reproduce a linear ramp.

    Args:
        image: (H, W, C) floats.
        x0, y0: the square's upper left corner in pixel-edge coordinates (the photo's own is 0, 0).
        side: side of the square, photo px, above 0.
        size: side of the result, px, at least 1.

    Returns:
        crop (size, size, C) float32, where the photo's edge pixels go on outside of it; and on_photo (size, size) bool,
        True where a pixel's centre lies on the photo.

    Raises:
        InputError: a square that is not finite or empty, or an image without pixels.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise InputError(f"crop_square expects an image (height, width, channels), not shape {image.shape}.")
    if not np.isfinite([x0, y0, side]).all() or side <= 0 or size < 1:
        raise InputError(
            f"cannot crop the square at ({x0}, {y0}) of side {side} px to {size} px: "
            "corner and side must be finite, and both sides above 0."
        )
    height, width, channels = image.shape
    rows, top, bottom, inside_y = _resampling(y0, side, size, height)
    columns, left, right, inside_x = _resampling(x0, side, size, width)
    part = image[top:bottom, left:right].astype(np.float32, copy=False)
    part = (rows @ part.reshape(bottom - top, -1)).reshape(size, right - left, channels)
    part = (columns @ part.transpose(1, 0, 2).reshape(right - left, -1)).reshape(size, size, channels)
    return np.ascontiguousarray(part.transpose(1, 0, 2)), inside_y[:, None] & inside_x


def bilinear(
    image: npt.NDArray[np.float32], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """The values of an image (H, W, C), of 2 x 2 pixels at least, at places (...) px from its first to its last pixel's
    centre: (..., C)."""
    height, width, channels = image.shape
    left, top = np.minimum(np.floor(x), width - 2), np.minimum(np.floor(y), height - 2)
    at = (top * width + left).astype(np.intp)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    # Channel after channel: rows of three numbers are slow to work on.
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)).reshape(channels, -1)
    values = np.empty((channels, *at.shape), np.float32)
    for plane, value in zip(planes, values, strict=True):
        upper, lower = plane.take(at), plane.take(at + width)
        upper += across * (plane.take(at + 1) - upper)
        lower += across * (plane.take(at + (width + 1)) - lower)
        np.add(upper, down * (lower - upper), out=value)
    return np.moveaxis(values, 0, -1)


def _resampling(
    start: float, side: float, size: int, length: int
) -> tuple[csr_array[Any, tuple[int, int]], int, int, npt.NDArray[np.bool_]]:
    """One axis: weights (size, stop - first) over pixels [first, stop) of `length`, and which centres are inside."""
    from scipy.sparse import csr_array

    step = side / size
    centres = start + step * (np.arange(size) + 0.5) - 0.5
    radius = max(step, 1.0)
    taps = np.floor(centres - radius).astype(np.int64)[:, None] + np.arange(int(np.ceil(2 * radius)) + 2)
    offsets = taps - centres[:, None]
    weights = np.maximum(0, 1 - np.abs(offsets) / radius)
    # A triangle sampled at whole pixels leans a little to one side unless its radius is whole; straighten it.
    lean = (weights * offsets).sum(1) / np.maximum((weights * offsets**2).sum(1), 1e-12)
    weights *= 1 - lean[:, None] * offsets
    weights /= weights.sum(1, keepdims=True)
    taps = np.clip(taps, 0, length - 1)
    first, stop = int(taps.min()), int(taps.max()) + 1
    starts = np.arange(0, taps.size + 1, taps.shape[1])
    matrix = csr_array((weights.astype(np.float32).ravel(), (taps - first).ravel(), starts), shape=(size, stop - first))
    return matrix, first, stop, (centres >= -0.5) & (centres < length - 0.5)
