"""What every part asks of large arrays, in as few passes over them as can be."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_finite", "combined"]

_ROWS: Final = 1024


def all_finite(array: NDArray[Any]) -> bool:
    """Whether `array` holds neither NaN nor infinite values.

    Both carry through a sum, so a finite sum proves it, in one pass without a temporary. A sum that is not finite may
    also have overflowed, and only then is each value looked at.
    """
    if array.dtype.kind in "iub":
        return True
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            if np.isfinite(np.add.reduce(array, axis=None)):
                return True
    return bool(np.isfinite(array).all())


def combined(basis: NDArray[np.floating], coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
    """`basis @ coefficients` (N, 3) float64 of a float32 basis (N, 3, K).

    A few rows at a time: NumPy would first make a float64 copy of all of the basis, which takes most of the time.
    """
    weights = np.asarray(coefficients, np.float64)
    result = np.empty(basis.shape[:2])
    for start in range(0, len(basis), _ROWS):
        part = basis[start : start + _ROWS]
        result[start : start + _ROWS] = part.astype(np.float64) @ weights
    return result
