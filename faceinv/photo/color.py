"""The sRGB transfer curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    pass

__all__ = ["linear_to_srgb", "srgb_to_linear"]

_Float = TypeVar("_Float", np.float32, np.float64)


def srgb_to_linear(values: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Decode sRGB (IEC 61966-2-1) values to linear light; any shape, float32 or float64 kept."""
    low = values <= 0.04045
    curve = ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(low, values / 12.92, curve).astype(values.dtype, copy=False)


def linear_to_srgb(values: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Encode linear light as sRGB (IEC 61966-2-1) values; any shape, float32 or float64 kept."""
    low = values <= 0.0031308
    curve = 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(low, values * 12.92, curve).astype(values.dtype, copy=False)
