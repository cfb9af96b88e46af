"""What every part asks of large arrays, in as few passes over them as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_finite"]


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
