"""Log albedo painted on flat skin: what must not be taken for relief."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["MOLES", "SKIN", "draw_brow_and_beard", "draw_moles", "draw_skin", "single_moles"]

SKIN: Final = np.array([0.55, 0.36, 0.27])
"""Linear reflectance of bare skin."""
MOLES: Final = {
    "brown": np.array([0.35, 0.65, 0.9]),
    "as skin varies": np.array([0.41, 0.59, 0.69]),
    "red": np.array([0.1, 0.8, 0.6]),
    "grey": np.array([0.7, 0.7, 0.7]),
}
"""How much darker a mark is in log linear red, green and blue, times its contrast."""
_HAIR: Final = np.array([1.0, 0.95, 0.9])


def _mole(shape: tuple[int, int], mm_per_px: float, middle: Array, radius: float) -> Array:
    """(H, W) 1 inside, 0 outside, with an edge .15 mm soft."""
    y, x = np.mgrid[: shape[0], : shape[1]] * mm_per_px
    gap = np.hypot(x - middle[0], y - middle[1]) - radius
    inside: Array = 1 / (1 + np.exp(np.clip(gap / 0.15, -60, 60)))
    return inside


def draw_moles(rng: np.random.Generator, shape: tuple[int, int], mm_per_px: float, count: int = 40) -> Array:
    """(H, W, 3) brown marks of log contrast .2 to .9 and .5 to 2.5 mm of radius."""
    logs = np.zeros((*shape, 3))
    for _ in range(count):
        middle = rng.uniform(0.15, 0.85, 2) * [shape[1], shape[0]] * mm_per_px
        radius, contrast = rng.uniform(0.5, 2.5), rng.uniform(0.2, 0.9)
        logs -= (contrast * _mole(shape, mm_per_px, middle, radius))[..., None] * MOLES["brown"]
    return logs


def draw_skin(
    rng: np.random.Generator, shape: tuple[int, int], mm_per_px: float, stubble: float = 0.06, patches: float = 0.1
) -> Array:
    """(H, W, 3) moles, soft red patches 4 mm across, and grey stubble on the lower half."""
    logs = draw_moles(rng, shape, mm_per_px)
    logs += patches * _noise(rng, shape, 4 / mm_per_px)[..., None] * MOLES["red"]
    lower = np.clip((np.arange(shape[0]) / shape[0] - 0.6) / 0.08, 0, 1)[:, None]
    hairs = np.abs(_noise(rng, shape, 0.25 / mm_per_px)) * lower
    painted: Array = logs - stubble * hairs[..., None] * _HAIR
    return painted


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Array:
    """(H, W) smooth, of unit variance."""
    noise = gaussian_filter(rng.standard_normal(shape), sigma)
    smooth: Array = noise / noise.std()
    return smooth


def single_moles(
    rng: np.random.Generator, mask: NDArray[np.bool_], mm_per_px: float, colour: str, contrast: float = 0.6
) -> tuple[Array, Array]:
    """(H, W, 3) lone marks of one of `MOLES` about 14 mm apart, well inside a mask; their (N, 3) x, y, radius in mm."""
    shape = mask.shape
    logs, marks = np.zeros((*shape, 3)), []
    step = 14.0
    height, width = shape[0] * mm_per_px, shape[1] * mm_per_px
    for top in np.arange(step / 2, height, step):
        for left in np.arange(step / 2, width, step):
            middle = np.array([left, top]) + rng.uniform(-2, 2, 2)
            radius = rng.uniform(0.5, 2.5)
            column, row = np.rint(middle / mm_per_px).astype(int)
            reach = int(np.ceil(6.0 / mm_per_px))
            window = mask[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
            if window.size == (2 * reach + 1) ** 2 and window.all():
                logs -= (contrast * _mole((shape[0], shape[1]), mm_per_px, middle, radius))[..., None] * MOLES[colour]
                marks.append((*middle, radius))
    return logs, np.array(marks)


def draw_brow_and_beard(rng: np.random.Generator, shape: tuple[int, int], mm_per_px: float) -> Array:
    """(H, W, 3) dense dark hairs, .15 mm thick: two brows, and a beard over the lower third."""
    height, width = shape[0] * mm_per_px, shape[1] * mm_per_px
    cover = np.zeros(shape)
    for side in (-1.0, 1.0):
        for _ in range(500):
            along = rng.uniform()
            root = np.array([width / 2 + side * (12 + 36 * along), 0.36 * height - 4 * np.sin(np.pi * along)])
            root[1] += rng.uniform(-3, 3) * (1 - 0.5 * along)
            _stroke(cover, mm_per_px, root, np.array([side, -0.5 + 0.6 * along + 0.2 * rng.normal()]), 6.0)
    for _ in range(6000):
        root = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.66, 0.95) * height])
        _stroke(cover, mm_per_px, root, np.array([0.35 * rng.normal(), 1.0]), 7.0)
    logs: Array = -1.6 * np.minimum(cover, 1.3)[..., None] * _HAIR
    return logs


def _stroke(cover: Array, mm_per_px: float, root: Array, direction: Array, length: float) -> None:
    """Add a hair: how much of each pixel it covers, spread over the four pixels around each of its points."""
    step = 0.25 * mm_per_px
    points = (root + np.arange(0, length, step)[:, None] * direction / np.linalg.norm(direction)) / mm_per_px
    share = step * 0.15 / mm_per_px**2
    low = np.floor(points).astype(int)
    part = points - low
    for right in (0, 1):
        for down in (0, 1):
            weight = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1]) * share
            column, row = low[:, 0] + right, low[:, 1] + down
            inside = (column >= 0) & (row >= 0) & (column < cover.shape[1]) & (row < cover.shape[0])
            np.add.at(cover, (row[inside], column[inside]), weight[inside])
