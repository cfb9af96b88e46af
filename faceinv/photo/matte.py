"""Where a photo shows people and where the ground behind them: MediaPipe's selfie segmentation, brought to the photo's
own edges."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from faceinv.errors import InputError
from faceinv.photo.networks import Colours, run_network

__all__ = ["person_matte"]

Planes = npt.NDArray[np.float64]

_SIDE: Final = 256
_RADIUS: Final = 5
"""Of the windows in which the matte follows the photo's colours, px of the network's picture: as wide as locks that it
cuts off, narrower than what lies between two edges."""
_NOISE: Final = 0.02
"""Standard deviation of colours that differ without an edge; sRGB values, of 1."""


def person_matte(photo: Colours) -> npt.NDArray[np.float32]:
    """How much of each pixel is a person, hair and clothes included, and not the ground.

    The network looks at the whole photo at 256 x 256 px. What it says is carried to the photo's resolution by a guided
    filter (He et al., Guided Image Filtering, PAMI 2013; He and Sun, Fast Guided Filter, 2015): around every pixel the
    matte is the linear function of the colours that fits best, so that it gets the photo's edges and is soft in hair.
    To look closely at a head give a crop around it, with the shoulders in it.

    Args:
        photo: (H, W, 3) float32, sRGB-encoded values in [0, 1].

    Returns:
        (H, W) float32 from 0 to 1. The same photo gives the same bits.

    Raises:
        InputError: for an array of another shape, or without pixels.
        BackendError: the package onnxruntime is missing.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise InputError(f"a matte of an array of shape {photo.shape}; expected a photo (height, width, 3).")
    planes = np.ascontiguousarray(photo.transpose(2, 0, 1), np.float32)
    small = _resized(planes, _SIDE, _SIDE)
    (person,) = run_network("person_matte.onnx", small.transpose(1, 2, 0)[None])
    slopes = _linear_in_colours(small.astype(np.float64), person[0])
    red, green, blue, offset = _resized(slopes.astype(np.float32), *photo.shape[:2])
    matte = red * planes[0] + green * planes[1] + blue * planes[2] + offset
    clipped: npt.NDArray[np.float32] = np.clip(matte, 0.0, 1.0)
    return clipped


def _resized(planes: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """(C, height, width) linear between pixels, averaged where it shrinks."""
    from PIL import Image

    smooth = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(plane).resize((width, height), smooth)) for plane in planes])


def _linear_in_colours(guide: Planes, matte: Planes) -> Planes:
    """(4, H, W): slopes and offset of the function of the colours (3, H, W) that fits the matte (H, W) best, by
    windows, averaged over the windows that a pixel lies in."""
    r, g, b = guide
    mean_r, mean_g, mean_b, share = (_mean(plane) for plane in (*guide, matte))
    # The covariance of the colours, its adjugate, and so its inverse.
    rr, gg, bb = (_mean(c * c) - m * m + _NOISE**2 for c, m in ((r, mean_r), (g, mean_g), (b, mean_b)))
    rg, rb, gb = _mean(r * g) - mean_r * mean_g, _mean(r * b) - mean_r * mean_b, _mean(g * b) - mean_g * mean_b
    joint = [_mean(c * matte) - m * share for c, m in ((r, mean_r), (g, mean_g), (b, mean_b))]
    adjugate = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rg * rb - rr * gb],
        [rg * gb - rb * gg, rg * rb - rr * gb, rr * gg - rg * rg],
    ]
    inverse = 1 / (rr * adjugate[0][0] + rg * adjugate[0][1] + rb * adjugate[0][2])
    slopes = [inverse * sum(a * j for a, j in zip(row, joint, strict=True)) for row in adjugate]
    offset = share - slopes[0] * mean_r - slopes[1] * mean_g - slopes[2] * mean_b
    return np.stack([_mean(plane) for plane in (*slopes, offset)])


def _mean(plane: Planes) -> Planes:
    """Of the window around each pixel."""
    from scipy.ndimage import uniform_filter

    averaged: Planes = uniform_filter(plane, 2 * _RADIUS + 1, mode="nearest")
    return averaged
