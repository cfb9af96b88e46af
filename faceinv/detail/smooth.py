"""Gaussian means over a mask: quick for wide kernels, by way of a smaller picture."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

__all__ = ["MaskedMean", "enlarged"]

_FINE: Final = 2.0
"""px of the smaller picture that a kernel's sigma takes at least."""
_LEAST: Final = 1e-4
"""Of the weight of all neighbours: below it a mean is that of the weight's floor."""


class MaskedMean:
    """Means of values within a Gaussian of `sigma` px, over the pixels of a mask or by weights.

    The kernel acts on means of blocks of whole pixels, between whose centres it is linear: blocks are at most half as
    wide as sigma, and their own spread is taken off it.

    Args:
        weight: (H, W) at least 0: how much each pixel counts.
        sigma: px.
    """

    def __init__(self, weight: NDArray[np.floating[Any] | np.bool_], sigma: float) -> None:
        self._factor = max(1, int(sigma / _FINE))
        spread = (self._factor**2 - 1) / 12 + (self._factor**2 / 6 if self._factor > 1 else 0.0)
        self._sigma = float(np.sqrt(max(sigma**2 - spread, 0.01))) / self._factor
        self._weight = weight.astype(np.float32)
        self._total = np.maximum(self._blurred(self._weight[..., None]), _LEAST)

    def __call__(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Means (H, W, C) of values (H, W, C), which must be finite where the weight is 0 too."""
        blurred = self._blurred(self._weight[..., None] * values.astype(np.float32, copy=False)) / self._total
        return enlarged(blurred.astype(np.float32, copy=False), self._weight.shape, self._factor)

    def _blurred(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter1d

        f = self._factor
        height, width, channels = values.shape
        if f > 1:
            values = np.pad(values, ((0, -height % f), (0, -width % f), (0, 0)))
            values = sum(values[i::f] for i in range(f))  # type: ignore[assignment]
            values = sum(values[:, i::f] for i in range(f))  # type: ignore[assignment]
        for axis in (0, 1):
            values = gaussian_filter1d(values, self._sigma, axis=axis, mode="constant", truncate=3.5)
        return values.reshape(*values.shape[:2], channels)


def enlarged(values: NDArray[np.float32], size: tuple[int, ...], factor: int) -> NDArray[np.float32]:
    """Means (H, W, C) of blocks of `factor` x `factor` pixels as a picture of `size`, linear between centres."""
    if factor == 1:
        return values
    rows, columns = _linear(values.shape[0], size[0], factor), _linear(values.shape[1], size[1], factor)
    channels = values.shape[2]
    tall = (rows @ values.reshape(values.shape[0], -1)).reshape(size[0], values.shape[1], channels)
    turned = np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(values.shape[1], -1)
    return np.asarray((columns @ turned).reshape(size[1], size[0], channels).transpose(1, 0, 2))


@lru_cache(maxsize=16)
def _linear(blocks: int, pixels: int, factor: int) -> csr_array[Any, tuple[int, int]]:
    """(pixels, blocks) interpolation between the centres of blocks."""
    from scipy.sparse import csr_array

    place = np.clip((np.arange(pixels) + 0.5) / factor - 0.5, 0, blocks - 1)
    first = np.minimum(place.astype(np.int64), max(blocks - 2, 0))
    share = (place - first).astype(np.float32)
    second = np.minimum(first + 1, blocks - 1)
    entries = np.stack([1 - share, share], axis=1).ravel()
    index, start = np.stack([first, second], axis=1).ravel(), 2 * np.arange(pixels + 1)
    return csr_array((entries, index, start), shape=(pixels, blocks))
