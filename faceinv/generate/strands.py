"""Hair where a photo does not show any: strands like those that it shows, running down from the crown.

The texture is Gaussian noise with the covariance of a patch of the photo's hair (Galerne, Gousseau and Morel, "Random
phase textures", IEEE TIP 2011): it repeats without a seam, has the photo's contrasts and curls, and shows no piece of
the photo twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.canvas import Canvas
    from faceinv.generate.regions import Regions

__all__ = ["hair_patch", "strand_places", "strand_tile"]

_TILE: Final = 256
"""px: the texture's period."""
_PATCH_MM: Final = (36.0, 24.0, 16.0)
"""Sides of the patches that are tried, the largest first."""
_FILLED: Final = 0.9
"""The share of a patch that must be hair."""
_COARSEST_MM: Final = 2.5
"""Standard deviation of what is taken for light on the hair and not for its strands."""
_LIMITS: Final = (0.5, 1.8)
_CONTRAST: Final = 0.8
"""Of the patch's: it stands in light, and what is not seen does not."""
_LENGTHENED: Final = 3.0
_SKULL: Final = 90.0
"""mm: a head's radius, to turn angles into ways along it."""


def hair_patch(
    canvas: Canvas, hair: NDArray[np.bool_], centre: NDArray[np.float64], map_px: float, px_per_mm: float
) -> NDArray[np.float64] | None:
    """The largest square of a photo that is full of hair, (P, P, 3) linear; None where there is hardly any.

    Args:
        canvas: of the head.
        hair: (H, W) where a map around the same point shows hair.
        centre: (2,) px of the canvas: the map's middle.
        map_px: pixels of the map for one mm.
        px_per_mm: of the canvas.
    """
    share = hair.astype(np.float32)
    middle = (np.array(hair.shape[::-1]) - 1) / 2
    share[int(middle[1]) :] = 0.0  # below the ears dark clothes may be taken for hair
    for side in _PATCH_MM:
        full = uniform_filter(share, max(3, round(side * map_px)), mode="constant")
        row, column = np.unravel_index(int(full.argmax()), full.shape)
        if full[row, column] < _FILLED:
            continue
        at = centre + (np.array([column, row]) - middle) * (px_per_mm / map_px)
        half = side * px_per_mm / 2
        low = np.maximum(np.rint(at - half).astype(int), 0)
        high = np.rint(at + half).astype(int) + 1
        patch = canvas.pixels[low[1] : high[1], low[0] : high[0], :3].astype(np.float64)
        edge = min(patch.shape[:2])
        if edge >= 6:
            return patch[:edge, :edge]
    return None


def strand_tile(patch: NDArray[np.float64] | None, px_per_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The texture (`_TILE`, `_TILE`, 3) of a patch (P, P, 3) of hair, as factors around 1; and (2, 2) what leads from
    ways across the strands and along them to the texture's x and y. All ones for no patch."""
    if patch is None:
        return np.ones((_TILE, _TILE, 3), np.float32), np.eye(2)
    logs = np.log(np.maximum(patch, 1e-3))
    fine = logs - gaussian_filter(logs, (*2 * (_COARSEST_MM * px_per_mm,), 0), mode="nearest")
    fine -= fine.mean(axis=(0, 1))
    side = min(len(fine), _TILE)
    window = np.hanning(side + 2)[1:-1]
    window = np.sqrt(window[:, None] * window)[..., None]
    padded = np.zeros((_TILE, _TILE, 3))
    padded[:side, :side] = fine[:side, :side] * window
    noise = np.random.Generator(np.random.Philox(0)).normal(size=(_TILE, _TILE))
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(noise)[..., None]
    made = np.fft.irfft2(spectrum, s=(_TILE, _TILE), axes=(0, 1))
    made *= _CONTRAST * fine.std() / max(float(made.std()), 1e-9)
    tile: NDArray[np.float32] = np.clip(np.exp(made), *_LIMITS).astype(np.float32)
    along, straight = _flow(fine.mean(axis=2))
    # The more all strands of the patch run one way, the longer they are.
    return tile, np.stack([[-along[1], along[0]], along / (1 + _LENGTHENED * straight)], axis=1)


def strand_places(
    vertices: NDArray[np.float64], regions: Regions, px_per_mm: float, chart: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 2) px of the tile, for vertices (N, 3) mm: around the head from its back, the same on both sides, and down
    from the crown, which `chart` (2, 2) leads to the texture's x and y."""
    middle = regions.pivot + regions.unit * np.array([0.0, 35.0, -5.0])
    x, y, z = (vertices - middle).T
    around = np.arctan2(np.abs(x), -z)
    down = np.arctan2(np.hypot(x, z), y)
    places: NDArray[np.float64] = _SKULL * regions.unit * px_per_mm * np.stack([around, down], axis=1) @ chart.T
    return places


def _flow(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """(2,) the unit direction (x, y) along which an image varies least, and from 0 to 1 how much less than across it:
    by its structure tensor."""
    dy, dx = np.gradient(image)
    xx, yy, xy = (float((a * b).sum()) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    angle = 0.5 * float(np.arctan2(2 * xy, xx - yy)) + np.pi / 2
    straight = float(np.hypot(xx - yy, 2 * xy)) / max(xx + yy, 1e-12)
    return np.array([np.cos(angle), np.sin(angle)]), straight
