"""How near relief that was found is to the true relief."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "angle",
    "correlation_and_gain",
    "false_dents",
    "false_relief",
    "high_passed",
    "partial_correlation",
    "slopes",
]

HIGH_PASS: Final = 3.0
"""mm, standard deviation: what is broader is the coarse face's."""


def high_passed(values: Array, mask: NDArray[np.bool_], mm_per_px: float, sigma: float = HIGH_PASS) -> Array:
    """Values (H, W) or (H, W, C) less their Gaussian mean, which knows the mask's pixels alone; zeros elsewhere."""
    inside = mask.astype(np.float64)
    share = np.maximum(gaussian_filter(inside, sigma / mm_per_px), 1e-4)
    channels = values if values.ndim == 3 else values[..., None]
    passed = np.empty(channels.shape)
    for c in range(channels.shape[2]):
        kept = np.where(mask, channels[..., c], 0.0)
        passed[..., c] = np.where(mask, kept - gaussian_filter(kept, sigma / mm_per_px) / share, 0.0)
    return passed if values.ndim == 3 else passed[..., 0]


def correlation_and_gain(found: Array, true: Array, mask: NDArray[np.bool_], mm_per_px: float) -> tuple[float, float]:
    """Of displacements (H, W) mm after the high-pass: the correlation, and how much of the true relief is found (the
    slope of found over true)."""
    a, b = (high_passed(values, mask, mm_per_px)[mask] for values in (found, true))
    a, b = a - a.mean(), b - b.mean()
    squares = float(b @ b)
    if squares == 0.0:
        return float("nan"), float("nan")
    return float(a @ b / max(np.sqrt(float(a @ a) * squares), 1e-300)), float(a @ b / squares)


def angle(found: Array, true: Array, mask: NDArray[np.bool_]) -> float:
    """Mean angle in degrees between unit normals (H, W, 3)."""
    cosine = np.clip((found * true).sum(axis=-1)[mask], -1, 1)
    return float(np.degrees(np.arccos(cosine)).mean())


def false_relief(found: Array, mask: NDArray[np.bool_]) -> float:
    """mm that 99 % of what was found on flat skin stay below."""
    return float(np.quantile(np.abs(found[mask]), 0.99))


def slopes(found: Array, mask: NDArray[np.bool_], mm_per_px: float) -> tuple[float, float]:
    """The steepest slope between neighbouring pixels of the mask, and the share (%) of pixels with one above 1."""
    right = np.where(mask[:, 1:] & mask[:, :-1], np.abs(np.diff(found, axis=1)), 0.0)[:-1]
    down = np.where(mask[1:] & mask[:-1], np.abs(np.diff(found, axis=0)), 0.0)[:, :-1]
    steep = np.hypot(right, down) / mm_per_px
    return float(steep.max()), 100 * float((steep > 1).sum() / mask.sum())


def false_dents(found: Array, mask: NDArray[np.bool_], mm_per_px: float, marks: Array) -> dict[str, Any]:
    """Median and 90 % over lone marks (N, 3) (x, y, radius mm) of the relief found there, peak to peak in mm."""
    y, x = np.mgrid[: found.shape[0], : found.shape[1]] * mm_per_px
    dents = []
    for left, top, radius in marks:
        around = mask & (np.hypot(x - left, y - top) < radius + 2.5)
        dents.append(float(np.ptp(found[around])))
    return {"dent": float(np.median(dents)), "dent_90": float(np.quantile(dents, 0.9))}


def partial_correlation(
    found: Array, coarse: Array, true: Array, mask: NDArray[np.bool_], mm_per_px: float
) -> dict[str, float]:
    """Correlation of normals (H, W, 3) with the true ones after the high-pass, x and y together, once what the coarse
    normals explain of both is taken off (`partial`); and how much of the rest is found (`partial_gain`)."""
    a, c, b = (high_passed(n[..., :2], mask, mm_per_px)[mask].ravel() for n in (found, coarse, true))
    explained = float(c @ c)
    if explained > 0:
        a, b = a - c * float(c @ a) / explained, b - c * float(c @ b) / explained
    both = float(np.sqrt((a @ a) * (b @ b)))
    # Rounding alone is no relief.
    if both <= 1e-12 * max(explained, 1.0):
        return {"partial": 0.0, "partial_gain": 0.0}
    return {"partial": float(a @ b / both), "partial_gain": float(a @ b / (b @ b))}
