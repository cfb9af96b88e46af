"""Ridges and grooves of known depth, width and direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Relief", "displaced_normals", "draw_ridges", "flat"]


@dataclass(frozen=True)
class Relief:
    """A displacement towards the viewer at the pixels' centres."""

    displacement: Array
    """(H, W) mm."""
    right: Array
    """(H, W) its slope along x, mm per mm."""
    down: Array
    """(H, W) its slope along y, which runs down."""


def flat(shape: tuple[int, int]) -> Relief:
    """No relief."""
    return Relief(*(np.zeros(shape) for _ in range(3)))


def draw_ridges(rng: np.random.Generator, shape: tuple[int, int], mm_per_px: float, count: int = 60) -> Relief:
    """Bent ridges, three of four of them grooves, .2 to 1 mm high, 5 to 15 mm long; across, a Gaussian whose standard
    deviation is .6 to 1.5 mm. Slopes are those of the formula, not differences of pixels."""
    height, width = shape
    y, x = np.mgrid[:height, :width] * mm_per_px
    displacement, right, down = (np.zeros(shape) for _ in range(3))
    for _ in range(count):
        middle = rng.uniform(0.15, 0.85, 2) * [width, height] * mm_per_px
        angle, half = rng.uniform(0, np.pi), rng.uniform(5, 15) / 2
        across = rng.uniform(0.6, 1.5)
        amplitude = rng.uniform(0.2, 1.0) * (-1 if rng.random() < 0.75 else 1)
        bend = 0.01 * rng.normal()
        cosine, sine = np.cos(angle), np.sin(angle)
        u = (x - middle[0]) * cosine + (y - middle[1]) * sine
        v = (y - middle[1]) * cosine - (x - middle[0]) * sine - bend * u * u
        ridge = amplitude * np.exp(-0.5 * (v / across) ** 2 - 0.5 * (u / half) ** 4)
        by_v = -v / across**2 * ridge
        by_u = -2 * u**3 / half**4 * ridge - 2 * bend * u * by_v
        displacement += ridge
        right += by_u * cosine - by_v * sine
        down += by_u * sine + by_v * cosine
    return Relief(displacement, right, down)


def displaced_normals(normals: Array, relief: Relief) -> Array:
    """(H, W, 3) unit: normals (H, W, 3) of a smooth surface once relief is added to its depth."""
    lean = np.stack([-relief.right, relief.down, np.zeros_like(relief.right)], axis=-1)
    turned: Array = normals + normals[..., 2:] * lean
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    return turned
