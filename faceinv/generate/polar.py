"""Outlines about a point, and the plane around them as it moves with the outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ANGLES", "angle_grid", "at_directions", "first_exit", "last_exit", "source_radii"]

ANGLES: Final = 360
"""Directions around the point, the first along x, the next towards y (down, in images)."""
RINGS: Final = 48
_SMOOTH_FAR: Final = 25.0
"""Degrees: standard deviation by which the outline's motion is evened out far from it."""


def angle_grid() -> NDArray[np.float64]:
    """(ANGLES,) radians."""
    return np.arange(ANGLES) * (2 * np.pi / ANGLES)


def _along_rays(
    image: NDArray[np.floating], centre: NDArray[np.float64], px_per_mm: float, turn: float, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radii (R,) mm, and what an image shows along rays (ANGLES, R); 0 outside of it."""
    step = max(0.5, 0.5 / px_per_mm)
    radius = np.arange(0.0, reach, step)
    angle = angle_grid()[:, None] + turn
    x = centre[0] + px_per_mm * radius * np.cos(angle)
    y = centre[1] + px_per_mm * radius * np.sin(angle)
    return radius, map_coordinates(np.asarray(image, np.float32), [y, x], order=1, mode="constant")


def first_exit(
    mask: NDArray[Any], centre: NDArray[np.float64], px_per_mm: float, turn: float = 0.0, reach: float = 260.0
) -> NDArray[np.float64]:
    """(ANGLES,) mm from a point to where its rays first leave a mask (H, W): for a ray that begins outside, 0."""
    radius, along = _along_rays(mask, centre, px_per_mm, turn, reach)
    outside = along < 0.5
    outside[:, -1] = True
    return radius[outside.argmax(axis=1)]


def last_exit(
    mask: NDArray[Any], centre: NDArray[np.float64], px_per_mm: float, turn: float = 0.0, reach: float = 260.0
) -> NDArray[np.float64]:
    """(ANGLES,) mm from a point to where its rays leave a mask (H, W) for good."""
    radius, along = _along_rays(mask, centre, px_per_mm, turn, reach)
    inside = along >= 0.5
    last = along.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    return np.where(inside.any(axis=1), radius[last], 0.0)


def source_radii(
    before: NDArray[np.float64], after: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """(RINGS, ANGLES) how much further out (mm) than the place itself the picture of a place is found.

    Rings run from the outline `after` (ANGLES,) at 0 to `reach` at 1, evenly. What lay at the outline `before` comes to
    the new one, what lies at `reach` stays; between, radii move linearly, so that no two places meet: the map of each
    ray onto itself rises everywhere. Far from the outline its motion is evened out over directions.
    """
    moved = before - after
    spread = np.linspace(0.0, 1.0, 5)
    layers = np.stack(
        [moved if s == 0 else gaussian_filter1d(moved, s * _SMOOTH_FAR * ANGLES / 360, mode="wrap") for s in spread]
    )
    share = np.linspace(0.0, 1.0, RINGS)
    place = share * (len(spread) - 1)
    low = np.minimum(place.astype(np.int64), len(spread) - 2)
    part = (place - low)[:, None]
    even = (1 - part) * layers[low] + part * layers[low + 1]
    result: NDArray[np.float64] = (1 - share)[:, None] * even
    return result


def at_directions(values: NDArray[Any], angle: NDArray[np.float64]) -> NDArray[Any]:
    """Values (ANGLES,) at angles (N,) rad."""
    place = np.asarray(angle, np.float64) / (2 * np.pi) * ANGLES
    low = np.floor(place).astype(np.int64)
    part = place - low
    result: NDArray[Any] = (1 - part) * values[low % ANGLES] + part * values[(low + 1) % ANGLES]
    return result
