"""Outlines about a point, and the plane around them as it moves with the outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ANGLES", "angle_grid", "at_directions", "first_exit", "head_outline", "last_exit", "source_radii"]

ANGLES: Final = 360
"""Directions around the point, the first along x, the next towards y (down, in images)."""
_NOISE: Final = 0.7
"""mm by which outlines of the same head may differ."""
_STEP: Final = 0.5
"""px along rays."""
RINGS: Final = 48
_SMOOTH_FAR: Final = 25.0
"""Degrees: standard deviation by which the outline's motion is evened out far from it."""


def angle_grid() -> NDArray[np.float64]:
    """(ANGLES,) radians."""
    return np.asarray(np.arange(ANGLES) * (2 * np.pi / ANGLES), np.float64)


def first_exit(
    mask: NDArray[np.bool_], centre: NDArray[np.float64], px_per_mm: float, reach: float = 260.0
) -> NDArray[np.float64]:
    """(ANGLES,) mm from a point (2,) px to where its rays first leave a mask (H, W): 0 for a point outside."""
    return _exits(mask, centre, px_per_mm, reach, last=False)


def last_exit(
    mask: NDArray[np.bool_], centre: NDArray[np.float64], px_per_mm: float, reach: float = 260.0
) -> NDArray[np.float64]:
    """(ANGLES,) mm from a point (2,) px to where its rays leave a mask (H, W) for good; 0 where they never meet it."""
    return _exits(mask, centre, px_per_mm, reach, last=True)


def _exits(
    mask: NDArray[np.bool_], centre: NDArray[np.float64], px_per_mm: float, reach: float, last: bool
) -> NDArray[np.float64]:
    from faceinv.generate.kernels import mask_exits

    out = np.empty(ANGLES)
    mask_exits(
        np.ascontiguousarray(mask), np.asarray(centre, np.float64), px_per_mm, _STEP / px_per_mm, reach, last, out
    )
    return out


def head_outline(
    triangle: NDArray[np.int32],
    barycentric: NDArray[np.float64],
    triangles: NDArray[np.int32],
    opacity: NDArray[np.float64],
    centre: NDArray[np.float64],
    px_per_mm: float,
    turn: float = 0.0,
    reach: float = 260.0,
) -> NDArray[np.float64]:
    """(ANGLES,) mm from a point (2,) px to where its rays first leave a head.

    Args:
        triangle, barycentric: (H, W) and (H, W, 3) what pixels show of `triangles` (T, 3).
        opacity: (N,) of vertices; what is half transparent is no head any more.
        centre: of the rays.
        px_per_mm: there.
        turn: radians by which all rays are turned.
        reach: mm.
    """
    from faceinv.generate.kernels import head_exits

    out = np.empty(ANGLES)
    where = np.asarray(centre, np.float64)
    head_exits(triangle, barycentric, triangles, opacity, where, px_per_mm, turn, _STEP / px_per_mm, reach, out)
    return out


def source_radii(before: NDArray[np.float64], after: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """(RINGS, ANGLES) how much further out (mm) than the place itself the picture of a place is found.

    Rings run from the outline `after` (ANGLES,) at 0 to `reach` at 1, evenly. What lay at the outline `before` comes to
    the new one, what lies at `reach` stays; between, radii move linearly, so that no two places meet: the map of each
    ray onto itself rises everywhere. Far from the outline its motion is evened out over directions.
    """
    moved = before - after
    # What is less than the pixels that outlines were found in is no motion.
    moved = np.sign(moved) * np.maximum(np.abs(moved) - _NOISE, 0.0)
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
